//! `rmi`: what is untagged and deleted, and what forbids it, decided as Docker decides.

use crate::image::ImageEvent;
use crate::store::Store;
use minke_model::{Digest, Result};

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Remove also where only a stopped container or several names stand against it.
    pub force: bool,
    /// Remove parents that nothing else needs.
    pub prune: bool,
}

/// A container that uses an image, as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's id.
    pub id: String,
    /// The image it was made from.
    pub image: Digest,
    /// Whether it is running.
    pub running: bool,
}

/// One row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image, or the layers under a chain ID, is gone.
    Deleted(Digest),
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The rows of the answer.
    pub removed: Vec<Removed>,
    /// What to send as events.
    pub events: Vec<ImageEvent>,
}

impl Store {
    /// Removes a name, and the image with its last one; `containers` are all that use any image.
    pub fn remove_image(&self, name: &str, options: RemoveOptions, containers: &[ContainerUse]) -> Result<Removal> {
        let _ = (name, options, containers);
        unimplemented!()
    }
}
