//! Other settings for a container, also while it runs.

use std::sync::Arc;

use minke_api::container::HostConfig;
use minke_model::restart_policy::RestartPolicy;
use minke_model::{Error, Result};

use super::super::lifecycle::State;
use super::super::record::Record;
use super::super::update;
use super::Owner;

impl Owner {
    pub(super) async fn update(&mut self, change: &HostConfig) -> Result<()> {
        if matches!(self.lifecycle.state, State::Removing | State::Dead) {
            return Err(Error::conflict(format!(
                "Cannot update container {}: container is marked for removal and cannot be \"update\"",
                self.record.id
            )));
        }
        let host_config = update::joined(&self.record, change)?;
        let note = self.shared.paths(&self.record.id).updating;
        if self.lifecycle.run().is_some() {
            update::note(&note, &host_config)?;
        }
        let outcome = self.take_settings(host_config).await;
        let _ = std::fs::remove_file(note);
        outcome
    }

    /// Gives the container other settings: its groups first, which may refuse them.
    async fn take_settings(&mut self, host_config: HostConfig) -> Result<()> {
        if let Some(run) = self.lifecycle.run() {
            update::write_limits(&self.shared, &self.record, run.generation, &host_config)?;
        }
        let before = (self.record.clone(), self.lifecycle.policy);
        let policy = &host_config.restart_policy;
        self.lifecycle.policy = RestartPolicy::from_parts(&policy.name, policy.maximum_retry_count)?;
        self.record = Arc::new(Record { host_config, ..Record::clone(&self.record) });
        if let Err(error) = self.persist().await {
            (self.record, self.lifecycle.policy) = before;
            return Err(error);
        }
        self.publish();
        self.emit("update", &[]);
        Ok(())
    }
}
