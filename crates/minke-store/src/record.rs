//! The records that the store keeps in its own tables, as JSON that newer programs only add to.

use minke_model::image::Descriptor;
use minke_model::{Digest, Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An image: what its configuration's bytes do not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The digest of the configuration; the image's ID.
    pub id: Digest,
    /// The manifest it came with, if it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Descriptor>,
    /// Diff IDs, bottom first.
    pub layers: Vec<Digest>,
    /// The image that it was made from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The sum of its layers' sizes in bytes.
    pub size: u64,
    /// When it was last tagged, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_tagged: Option<String>,
}

/// What a tag or a digest reference names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagRecord {
    /// The document it stands for: an index, a manifest or a configuration.
    pub target: Descriptor,
    /// The image of this host's platform in it.
    pub image: Digest,
}

/// A layer that is unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The content that it came from, as received.
    pub blob: Descriptor,
    /// The same compressed, once it has been pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Descriptor>,
    /// The length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// The bytes in its regular files, a hard link counted once.
    pub size: u64,
    /// Whether it hides everything below, because its root is opaque.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque_root: bool,
    /// The boot in which it was unpacked, while its files may not be on disk; `None` when they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
}

/// What the top layer of a chain repairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainRecord {
    /// Diff IDs, bottom first.
    pub layers: Vec<Digest>,
    /// As in [`LayerRecord`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
}

/// A container's own layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RwRecord {
    /// Diff IDs of the layers below, bottom first.
    pub layers: Vec<Digest>,
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record is plain data")
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, id: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::system(format!("the record of {what} {id} cannot be read")).with_source(error)
    })
}
