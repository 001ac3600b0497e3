//! Images: what they are made of, found by, and how archives bring and take them.
//! An image is an immutable value; changing a tag makes a new one.

pub(crate) mod catalog;
pub(crate) mod commit;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod manifests;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod resolve;
pub(crate) mod save;

#[cfg(test)]
mod tests;

use minke_model::image::{Descriptor, ImageConfig};
use minke_model::{Digest, Reference};

/// One image with everything that list and inspect show; taken from memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration.
    pub id: Digest,
    /// The parsed configuration.
    pub config: ImageConfig,
    /// The configuration's bytes as received.
    pub config_bytes: Vec<u8>,
    /// The manifest it came with, if it came with one.
    pub manifest: Option<Descriptor>,
    /// Names with tags, sorted: `RepoTags` are their familiar forms.
    pub tags: Vec<Reference>,
    /// Names with digests, sorted: `RepoDigests`.
    pub digests: Vec<Reference>,
    /// Diff IDs, bottom first.
    pub layers: Vec<Digest>,
    /// The image that it was made from here.
    pub parent: Option<Digest>,
    /// The sum of its layers' sizes in bytes.
    pub size: u64,
    /// When it was last tagged, RFC 3339 with nanoseconds.
    pub last_tagged: Option<String>,
}

impl Image {
    /// When it was made, in seconds since 1970; 0 where the configuration does not say.
    pub fn created_unix(&self) -> i64 {
        let created = self.config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        created.map_or(0, |created| created.as_second())
    }

    /// Whether nothing names it.
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}

/// Something that happened to an image, for the engine to send as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// What happened.
    pub kind: ImageEventKind,
    /// The event's actor: an image ID, as Docker sends it.
    pub id: Digest,
    /// The attribute `name`: the reference as the user gave it, else the ID.
    pub name: String,
}

/// What can happen to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageEventKind {
    /// It was given a tag.
    Tag,
    /// It lost a tag.
    Untag,
    /// It is gone.
    Delete,
    /// It came from an archive.
    Load,
    /// It was made from a file system.
    Import,
    /// It was written to an archive.
    Save,
}

impl ImageEventKind {
    /// The action's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Delete => "delete",
            Self::Load => "load",
            Self::Import => "import",
            Self::Save => "save",
        }
    }
}
