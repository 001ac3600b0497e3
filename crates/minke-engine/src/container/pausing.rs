//! The operations of the Engine API that let a container stand still, and go on.

use minke_model::Result;

use super::handle::Command;
use crate::Engine;

impl Engine {
    /// `POST /containers/{id}/pause`.
    pub async fn container_pause(&self, reference: &str) -> Result<()> {
        self.shared.containers.resolve(reference)?.ask(Command::Pause).await
    }

    /// `POST /containers/{id}/unpause`.
    pub async fn container_unpause(&self, reference: &str) -> Result<()> {
        self.shared.containers.resolve(reference)?.ask(Command::Unpause).await
    }
}
