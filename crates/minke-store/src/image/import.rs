//! `import`: a flat file system archive becomes an image of one layer.

use crate::change::Change;
use crate::store::Store;
use crate::image::ImageEvent;
use minke_model::{Digest, Platform, Reference, Result};
use std::io::Read;

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name to give it.
    pub reference: Option<Reference>,
    /// The history's comment; Docker's is `Imported from -`.
    pub message: String,
    /// From [`crate::parse_changes`].
    pub changes: Vec<Change>,
    /// The platform it is for; `None` is the host's.
    pub platform: Option<Platform>,
}

impl Store {
    /// Makes an image of the archive that `reader` gives, compressed or not. Durable on return.
    pub fn import(&self, reader: &mut dyn Read, options: &ImportOptions) -> Result<(Digest, Vec<ImageEvent>)> {
        let _ = (reader, options);
        unimplemented!()
    }
}
