//! The endpoints of the engine itself.

use bytes::Bytes;
use minke_api::Operation::{SystemDataUsage, SystemEvents, SystemInfo, SystemVersion};
use minke_api::disk_usage::{DiskUsage, DiskUsageQuery};
use minke_api::event::{EventMessage, EventsQuery};
use minke_api::{ApiVersion, system};
use minke_model::Result;

use crate::Client;
use crate::call::{self, JsonLines};

impl Client {
    /// Asks for the newest version that the engine speaks.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn ping(&self) -> Result<ApiVersion> {
        call::ping(self).await
    }

    /// Asks for the engine's version.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn system_version(&self) -> Result<system::SystemVersion> {
        self.call(SystemVersion, "").value().await
    }

    /// Asks for the engine's state and what it offers.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn system_info(&self) -> Result<system::SystemInfo> {
        self.call(SystemInfo, "").value().await
    }

    /// As [`Client::system_info`], in the engine's own JSON.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn system_info_raw(&self) -> Result<Bytes> {
        self.call(SystemInfo, "").bytes().await
    }

    /// Asks how much space things take, in the form of the version spoken.
    ///
    /// # Errors
    /// Every failure of the connection.
    pub async fn disk_usage(&self, query: &DiskUsageQuery) -> Result<DiskUsage> {
        self.call(SystemDataUsage, "").query(query).value().await
    }

    /// Follows events; the stream ends by itself only where the query has an end.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn system_events(&self, query: &EventsQuery) -> Result<JsonLines<EventMessage>> {
        Ok(JsonLines::new(self.call(SystemEvents, "").query(query).chunks().await?))
    }
}
