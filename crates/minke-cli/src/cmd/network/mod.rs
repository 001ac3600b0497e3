//! Commands about networks.

pub mod connect;
pub mod create;
pub mod disconnect;
pub mod inspect;
mod ipam;
pub mod ls;
pub mod prune;
pub mod rm;

use minke_api::StringMap;
use minke_model::env;

/// Splits `name=value`s; none for none.
pub fn pairs(texts: &[String]) -> Option<StringMap> {
    let map: StringMap = texts
        .iter()
        .map(|text| env::split_label(text))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    (!map.is_empty()).then_some(map)
}
