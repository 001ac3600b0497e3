//! Changes of a container's networks: first in the kernel where it runs, then in its record.

use minke_api::network::EndpointSettings;
use minke_model::{Error, Result};

use super::Owner;
use crate::container::lifecycle::State;
use crate::container::record::Record;
use std::sync::Arc;

impl Owner {
    pub(super) async fn connect(&mut self, id: &str, mut settings: EndpointSettings) -> Result<()> {
        let network = self.shared.networks.find(id)?;
        self.check_living("connect")?;
        let mut networks = self.record.networks().into_owned();
        if self.lifecycle.run().is_some() && networks.contains_key(&network.name) {
            return Err(crate::network::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                self.record.name, network.name
            )));
        }
        settings.network_id.clone_from(&network.id);
        // Another network takes the place of none at all.
        networks.remove("none");
        networks.insert(network.name.clone(), settings);
        self.take_networks(networks).await
    }

    pub(super) async fn disconnect(&mut self, name: &str) -> Result<()> {
        self.check_living("disconnect")?;
        let mut networks = self.record.networks().into_owned();
        if networks.remove(name).is_none() {
            let words = if self.lifecycle.run().is_some() { "network" } else { "the network" };
            return Err(crate::network::forbidden(format!(
                "container {} is not connected to {words} {name}",
                self.record.id
            )));
        }
        self.take_networks(networks).await
    }

    fn check_living(&self, action: &str) -> Result<()> {
        if matches!(self.lifecycle.state, State::Removing | State::Dead) {
            return Err(Error::conflict(format!(
                "container {} is marked for removal and cannot be {action}ed",
                self.record.id
            )));
        }
        Ok(())
    }

    async fn take_networks(
        &mut self,
        networks: std::collections::BTreeMap<String, EndpointSettings>,
    ) -> Result<()> {
        let before = self.record.clone();
        self.record = Arc::new(Record { networks: Some(networks), ..Record::clone(&before) });
        if let Err(error) = self.persist().await {
            self.record = before;
            return Err(error);
        }
        self.publish();
        Ok(())
    }
}
