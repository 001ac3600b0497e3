//! The client against the registry of this crate: one that behaves, and one that does not.

mod access;
mod broken;
mod pages;
mod push;
mod setup;
mod simple;
mod spread;
mod transport;
