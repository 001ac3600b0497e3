//! Commands about the engine, and those over all kinds of objects.

pub mod df;
pub mod events;
pub mod info;
pub mod inspect;
pub mod prune;
pub mod version;
