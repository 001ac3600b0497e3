//! Connecting containers to networks and taking them off, also while they run.

use minke_api::network::{NetworkConnectRequest, NetworkDisconnectRequest};
use minke_model::{Error, ErrorKind, Result};

use super::settle;
use crate::Engine;
use crate::container::handle::Command;

impl Engine {
    /// `POST /networks/{id}/connect`.
    pub async fn network_connect(&self, reference: &str, request: NetworkConnectRequest) -> Result<()> {
        let network = self.shared.networks.find(reference)?;
        let container = self.shared.containers.resolve(&request.container)?;
        let view = container.view();
        settle::check_change(&view.record.host_config.network_mode, &network)?;
        let settings = Box::new(request.endpoint_config.unwrap_or_default());
        settle::check(&network, &settings)?;
        let id = network.id.clone();
        container.ask(|reply| Command::Connect { network: id, settings, reply }).await
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(&self, reference: &str, request: NetworkDisconnectRequest) -> Result<()> {
        let container = self.shared.containers.resolve(&request.container);
        let network = match self.shared.networks.find(reference) {
            Ok(network) => network,
            // A container may still ask for a network that is gone.
            Err(error) => match &container {
                Ok(container) if container.view().record.networks().contains_key(reference) => {
                    let name = reference.to_owned();
                    return container.ask(|reply| Command::Disconnect { network: name, reply }).await;
                }
                _ => return Err(error),
            },
        };
        let container = match container {
            Err(error) if request.force && error.kind() == ErrorKind::NotFound => {
                return Err(Error::not_found(format!("endpoint {} not found", request.container)));
            }
            result => result?,
        };
        let view = container.view();
        settle::check_change(&view.record.host_config.network_mode, &network)?;
        let name = network.name.clone();
        container.ask(|reply| Command::Disconnect { network: name, reply }).await
    }
}
