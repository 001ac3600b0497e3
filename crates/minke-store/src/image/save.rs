//! `save`: images as an OCI layout that is a docker archive as well.

use crate::image::ImageEvent;
use crate::store::Store;
use minke_model::{Platform, Result};
use std::io::Write;

impl Store {
    /// Writes the images `names` as one tar. A name without a tag takes every tag of the repository.
    /// Fails before the first byte where a name is not known.
    pub fn save(&self, names: &[String], platform: Option<&Platform>, writer: &mut dyn Write) -> Result<Vec<ImageEvent>> {
        let _ = (names, platform, writer);
        unimplemented!()
    }
}
