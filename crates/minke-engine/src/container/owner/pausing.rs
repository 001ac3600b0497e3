//! Letting all of a container stand still, and go on.

use minke_model::{Error, Result};

use super::super::lifecycle::{Event, State};
use super::Owner;

impl Owner {
    /// Freezes the container's control groups: done when every process stands still.
    pub(super) async fn pause(&mut self) -> Result<()> {
        let before = self.lifecycle.clone();
        self.decide(Event::Paused, "pause")?;
        if let Err(error) = self.freeze(true).await {
            self.lifecycle = before;
            return Err(Error::system(format!("cannot pause container {}: {error}", self.record.id)));
        }
        self.arrange_checkup();
        self.publish();
        self.emit("pause", &[]);
        Ok(())
    }

    /// Lets the container go on.
    pub(super) async fn unpause(&mut self) -> Result<()> {
        let before = self.lifecycle.clone();
        self.decide(Event::Unpaused, "unpause")?;
        if let Err(error) = self.freeze(false).await {
            self.lifecycle = before;
            return Err(Error::system(format!("cannot unpause container {}: {error}", self.record.id)));
        }
        self.arrange_checkup();
        self.publish();
        self.emit("unpause", &[]);
        Ok(())
    }

    /// Lets a container go on that is to end, so that it can take its signal.
    pub(super) async fn unpause_to_end(&mut self) {
        if matches!(self.lifecycle.state, State::Paused(_))
            && let Err(error) = self.unpause().await
        {
            tracing::error!(container = %self.record.id, %error, "the container stands still");
        }
    }

    async fn freeze(&self, frozen: bool) -> Result<()> {
        let group = self.shared.group(&self.record, self.lifecycle.generation);
        let work = move || if frozen { group.freeze() } else { group.thaw() };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Error::system(error.to_string()))?
            .map_err(|error| Error::system(error.to_string()))
    }
}
