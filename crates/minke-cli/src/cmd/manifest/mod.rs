//! Commands about indexes (manifest lists): made on this side, from what registries have, and pushed. No engine has a part.

pub mod annotate;
pub mod create;
pub mod entry;
pub mod inspect;
pub mod push;
pub mod rm;
pub mod store;

use minke_model::{Error, Reference, Result};

/// Reads a name; `latest` where it has neither tag nor digest.
pub fn name(text: &str) -> Result<Reference> {
    Ok(Reference::parse(text)?.with_default_tag())
}

/// What is said of a manifest that is not there.
pub fn missing(name: &str) -> Error {
    Error::not_found(format!("No such manifest: {name}"))
}
