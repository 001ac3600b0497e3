//! The endpoints of images.

use bytes::Bytes;
use minke_api::Operation::*;
use minke_api::image::*;
use minke_api::stream::ProgressMessage;
use minke_api::volume::PruneQuery;
use minke_model::Result;

use crate::Client;
use crate::call::{Chunks, JsonLines, Upload};

impl Client {
    /// Lists images.
    ///
    /// # Errors
    /// What the engine refuses, and every failure of the connection.
    pub async fn image_list(&self, query: &ImageListQuery) -> Result<Vec<ImageSummary>> {
        self.call(ImageList, "").query(query).value().await
    }

    /// Describes an image in the engine's own JSON.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn image_inspect_raw(&self, image: &str, query: &ImageInspectQuery) -> Result<Bytes> {
        self.call(ImageInspect, image).query(query).bytes().await
    }

    /// Lists the steps that made an image, newest first.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn image_history(
        &self,
        image: &str,
        query: &ImageHistoryQuery,
    ) -> Result<Vec<ImageHistoryItem>> {
        self.call(ImageHistory, image).query(query).value().await
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn image_tag(&self, image: &str, query: &ImageTagQuery) -> Result<()> {
        self.call(ImageTag, image).query(query).done().await
    }

    /// Removes a name, and the image once it has none.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::Conflict`] where containers use it.
    pub async fn image_remove(&self, image: &str, query: &ImageDeleteQuery) -> Result<Vec<ImageDeleteItem>> {
        self.call(ImageDelete, image).query(query).value().await
    }

    /// Removes images that no container uses.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn image_prune(&self, query: &PruneQuery) -> Result<ImagePruneResponse> {
        self.call(ImagePrune, "").query(query).value().await
    }

    /// Removes what builds have kept.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn build_prune(&self, query: &PruneQuery) -> Result<BuildPruneResponse> {
        self.call(BuildPrune, "").query(query).value().await
    }

    /// Sends an archive of images; progress comes back. The engine may report a failure in the stream.
    ///
    /// # Errors
    /// What the engine refuses before it reads.
    pub async fn image_load(
        &self,
        query: &ImageLoadQuery,
        archive: Upload,
    ) -> Result<JsonLines<ProgressMessage>> {
        Ok(JsonLines::new(self.call(ImageLoad, "").query(query).upload(archive).chunks().await?))
    }

    /// Makes an image of a file system's archive; progress comes back.
    ///
    /// # Errors
    /// What the engine refuses before it reads.
    pub async fn image_import(
        &self,
        query: &ImageCreateQuery,
        archive: Option<Upload>,
    ) -> Result<JsonLines<ProgressMessage>> {
        let call = self.call(ImageCreate, "").query(query);
        let call = match archive {
            Some(archive) => call.upload(archive),
            None => call,
        };
        Ok(JsonLines::new(call.chunks().await?))
    }

    /// Opens an archive of images.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`] where one of them is not there.
    pub async fn image_save(&self, query: &ImageSaveQuery) -> Result<Chunks> {
        self.call(ImageGetAll, "").query(query).chunks().await
    }
}
