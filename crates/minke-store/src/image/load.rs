//! `load`: images from a docker archive or an OCI layout, read as a stream.

use crate::image::ImageEvent;
use crate::store::Store;
use minke_model::{Digest, Platform, Reference, Result};
use std::io::Read;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Only this platform of a layout with several; `None` is the store's.
    pub platform: Option<Platform>,
}

/// What is reported while loading, in the order of Docker's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadEvent {
    /// `{"status":"Loading layer","progressDetail":{"current":..,"total":..},"id":<short diff ID>}`.
    Layer {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Bytes unpacked so far.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// `{"stream":<text>}`: `Loaded image: x:latest\n` and its like.
    Stream(String),
}

/// What a load brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The images, each with the names it got.
    pub images: Vec<(Digest, Vec<Reference>)>,
    /// What to send as events.
    pub events: Vec<ImageEvent>,
}

impl Store {
    /// Takes in every image of an archive, compressed or not. Durable on return; an archive that
    /// fails half way leaves no image.
    pub fn load(
        &self,
        reader: &mut dyn Read,
        options: &LoadOptions,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Loaded> {
        let _ = (reader, options, progress);
        unimplemented!()
    }
}
