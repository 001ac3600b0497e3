//! The endpoints of volumes.

use bytes::Bytes;
use minke_api::Operation::*;
use minke_api::volume::*;
use minke_model::Result;

use crate::Client;

impl Client {
    /// Lists volumes.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn volume_list(&self, query: &VolumeListQuery) -> Result<VolumeListResponse> {
        self.call(VolumeList, "").query(query).value().await
    }

    /// Makes a volume; one of the same name is given as it is.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn volume_create(&self, request: &VolumeCreateRequest) -> Result<Volume> {
        self.call(VolumeCreate, "").json(request)?.value().await
    }

    /// Describes a volume in the engine's own JSON.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn volume_inspect_raw(&self, name: &str) -> Result<Bytes> {
        self.call(VolumeInspect, name).bytes().await
    }

    /// Changes a volume of a swarm.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::Unavailable`] where there is no swarm.
    pub async fn volume_update(&self, name: &str, query: &VolumeUpdateQuery) -> Result<()> {
        self.call(VolumeUpdate, name).query(query).done().await
    }

    /// Removes a volume and all that is in it.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::Conflict`] where containers refer to it.
    pub async fn volume_remove(&self, name: &str, query: &VolumeRemoveQuery) -> Result<()> {
        self.call(VolumeDelete, name).query(query).done().await
    }

    /// Removes volumes that no container refers to.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn volume_prune(&self, query: &PruneQuery) -> Result<VolumePruneResponse> {
        self.call(VolumePrune, "").query(query).value().await
    }
}
