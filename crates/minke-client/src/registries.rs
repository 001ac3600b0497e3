//! The endpoints that make the engine speak with a registry.

use minke_api::Operation::{DistributionInspect, ImageCreate, ImagePush, ImageSearch, SystemAuth};
use minke_api::image::ImageCreateQuery;
use minke_api::registry::{self, AuthConfig, AuthResponse, ImagePushQuery, ImageSearchQuery, SearchResult};
use minke_api::stream::ProgressMessage;
use minke_model::Result;

use crate::Client;
use crate::call::JsonLines;

impl Client {
    /// Pulls an image; progress comes back. The engine may report a failure in the stream.
    ///
    /// # Errors
    /// What the engine or the registry refuses before anything comes.
    pub async fn image_pull(
        &self,
        query: &ImageCreateQuery,
        auth: &AuthConfig,
    ) -> Result<JsonLines<ProgressMessage>> {
        Ok(JsonLines::new(self.call(ImageCreate, "").query(query).registry_auth(auth).chunks().await?))
    }

    /// Pushes an image by its repository's name; progress comes back. The engine may report a failure in the stream.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`] where there is no such image.
    pub async fn image_push(
        &self,
        name: &str,
        query: &ImagePushQuery,
        auth: &AuthConfig,
    ) -> Result<JsonLines<ProgressMessage>> {
        Ok(JsonLines::new(self.call(ImagePush, name).query(query).registry_auth(auth).chunks().await?))
    }

    /// Searches a registry.
    ///
    /// # Errors
    /// What the registry refuses, a limit or a filter that is none.
    pub async fn image_search(
        &self,
        query: &ImageSearchQuery,
        auth: &AuthConfig,
    ) -> Result<Vec<SearchResult>> {
        self.call(ImageSearch, "").query(query).registry_auth(auth).value().await
    }

    /// Has credentials tried at their registry.
    ///
    /// # Errors
    /// The registry refuses them.
    pub async fn system_auth(&self, auth: &AuthConfig) -> Result<AuthResponse> {
        self.call(SystemAuth, "").json(auth)?.value().await
    }

    /// Asks what a registry has under a name.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        auth: &AuthConfig,
    ) -> Result<registry::DistributionInspect> {
        self.call(DistributionInspect, name).registry_auth(auth).value().await
    }
}
