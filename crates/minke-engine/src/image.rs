//! The operations of the Engine API on images.

use minke_api::image::*;
use minke_model::Result;
use tokio::io::AsyncRead;

use crate::{Engine, ProgressStream};

impl Engine {
    /// `GET /images/json`.
    pub async fn image_list(&self, query: &ImageListQuery) -> Result<Vec<ImageSummary>> {
        let _ = (self, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /images/{name}/json`.
    pub async fn image_inspect(&self, name: &str, query: &ImageInspectQuery) -> Result<ImageInspect> {
        let _ = (self, name, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /images/{name}/history`.
    pub async fn image_history(&self, name: &str, query: &ImageHistoryQuery) -> Result<Vec<ImageHistoryItem>> {
        let _ = (self, name, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /images/create`: an import reads `body`; a pull is refused with a word. The stream has Docker's progress messages, and the last one the error if it fails late.
    pub async fn image_create(&self, query: &ImageCreateQuery, body: Box<dyn AsyncRead + Send + Unpin>) -> Result<ProgressStream> {
        let _ = (self, query, body);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /images/load`.
    pub async fn image_load(&self, query: &ImageLoadQuery, body: Box<dyn AsyncRead + Send + Unpin>) -> Result<ProgressStream> {
        let _ = (self, query, body);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /images/get`, `GET /images/{name}/get` (then `names` has that one): an archive.
    pub async fn image_save(&self, query: &ImageSaveQuery) -> Result<ProgressStream> {
        let _ = (self, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /images/{name}/tag`.
    pub async fn image_tag(&self, name: &str, query: &ImageTagQuery) -> Result<()> {
        let _ = (self, name, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `DELETE /images/{name}`.
    pub async fn image_delete(&self, name: &str, query: &ImageDeleteQuery) -> Result<Vec<ImageDeleteItem>> {
        let _ = (self, name, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }
}
