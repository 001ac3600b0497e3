//! The Engine API as data: request and response types, queries, versions, and one table of endpoints that the
//! router, the client and the parity report read.
//!
//! It never does I/O and knows neither HTTP nor the engine. Field names, order, and the choice between `null`, empty
//! and absent follow the Engine API specification, versions 1.24 to 1.55.
#![forbid(unsafe_code)]

pub mod adapt;
pub mod container;
pub mod disk_usage;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod json;
pub mod manifest;
pub mod network;
pub mod omit;
pub mod query;
pub mod registry;
pub mod run;
pub mod stream;
pub mod system;
pub mod time;
pub mod version;
pub mod volume;

pub use endpoint::{ENDPOINTS, Endpoint, Method, Noun, Operation};
pub use error::ErrorResponse;
pub use filters::Filters;
pub use query::{FromQuery, Query, QueryWriter, ToQuery};
pub use time::Time;
pub use version::ApiVersion;

/// A value that is always the empty JSON object, as in the sets that Docker writes as maps to `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}

/// A set of strings on the wire: a JSON object whose values are all `{}`.
pub type StringSet = std::collections::BTreeMap<String, Empty>;
/// A map of strings, sorted by key as Docker prints it.
pub type StringMap = std::collections::BTreeMap<String, String>;
