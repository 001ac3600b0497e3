//! The endpoints of networks.

use bytes::Bytes;
use minke_api::Operation::*;
use minke_api::network::*;
use minke_api::volume::PruneQuery;
use minke_model::Result;

use crate::Client;

impl Client {
    /// Lists networks.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn network_list(&self, query: &NetworkListQuery) -> Result<Vec<Network>> {
        self.call(NetworkList, "").query(query).value().await
    }

    /// Makes a network.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn network_create(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        self.call(NetworkCreate, "").json(request)?.value().await
    }

    /// Describes a network in the engine's own JSON.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn network_inspect_raw(&self, name: &str, query: &NetworkInspectQuery) -> Result<Bytes> {
        self.call(NetworkInspect, name).query(query).bytes().await
    }

    /// Connects a container to a network.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn network_connect(&self, name: &str, request: &NetworkConnectRequest) -> Result<()> {
        self.call(NetworkConnect, name).json(request)?.done().await
    }

    /// Takes a container off a network.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn network_disconnect(&self, name: &str, request: &NetworkDisconnectRequest) -> Result<()> {
        self.call(NetworkDisconnect, name).json(request)?.done().await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::Forbidden`] where containers are connected to it.
    pub async fn network_remove(&self, name: &str) -> Result<()> {
        self.call(NetworkDelete, name).done().await
    }

    /// Removes networks that no container is connected to.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn network_prune(&self, query: &PruneQuery) -> Result<NetworkPruneResponse> {
        self.call(NetworkPrune, "").query(query).value().await
    }
}
