//! The operations of the Engine API on version, info and events.

use minke_api::event::EventsQuery;
use minke_api::system::{SystemInfo, SystemVersion};
use minke_model::Result;

use crate::{Engine, EventStream};

impl Engine {
    /// `GET /version`.
    pub fn version(&self) -> SystemVersion {
        let _ = (self);
        SystemVersion::default()
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<SystemInfo> {
        let _ = (self);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /events`; a bad filter is refused before the stream begins.
    pub fn events(&self, query: &EventsQuery) -> Result<EventStream> {
        let _ = (self, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }
}
