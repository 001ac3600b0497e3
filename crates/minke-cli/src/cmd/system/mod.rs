//! Commands about the engine, and those over all kinds of objects.

pub mod events;
pub mod info;
pub mod inspect;
pub mod version;
