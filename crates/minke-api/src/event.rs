//! Events and the query of `GET /events`.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::Result;
use serde::{Deserialize, Serialize};

use crate::omit::zero;
use crate::{Filters, FromQuery, Query, QueryWriter, StringMap, ToQuery};

/// Something that has happened to a container, an image, ...
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EventMessage {
    /// The action again, of versions up to 1.51: see [`crate::adapt`].
    #[serde(rename = "status", skip_serializing_if = "zero")]
    pub status: String,
    /// The actor's identity again, of versions up to 1.51.
    #[serde(rename = "id", skip_serializing_if = "zero")]
    pub id: String,
    /// The image, of versions up to 1.51.
    #[serde(rename = "from", skip_serializing_if = "zero")]
    pub from: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub action: String,
    pub actor: EventActor,
    #[serde(rename = "scope", skip_serializing_if = "zero")]
    pub scope: String,
    /// Seconds since 1970.
    #[serde(rename = "time", skip_serializing_if = "zero")]
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano", skip_serializing_if = "zero")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EventActor {
    #[serde(rename = "ID")]
    pub id: String,
    pub attributes: StringMap,
}

/// The query of `GET /events`; the times are unix seconds with decimals, empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    pub since: String,
    pub until: String,
    pub filters: Filters,
}

impl FromQuery for EventsQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { since: query.text("since"), until: query.text("until"), filters: query.filters()? })
    }
}

impl ToQuery for EventsQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("since", &self.since).text("until", &self.until).filters(&self.filters);
    }
}
