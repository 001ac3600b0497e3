//! Layers, snapshots, images and durable facts. Must never know containers, networks or HTTP: a
//! container is an id here, and its record is bytes.
//!
//! Everything blocks: an async caller uses `spawn_blocking`. A [`Store`] is cheap to clone. Reads of images
//! come from memory and never wait for a write.
//!
//! ```text
//! <data-root>/minke.db              facts: images, tags, layers, containers, networks, volumes (redb)
//! <data-root>/blobs, ingest         content as received (minke-content)
//! <data-root>/layers/<hex>/fs       one layer unpacked alone in overlay form, keyed by its diff ID
//! <data-root>/chains/<hex>/fs       the small top layer that repairs what only a whole chain shows
//! <data-root>/rw/<id>/              what one container writes: upper and work, or a whole copy
//! <data-root>/volumes/<name>/_data  what a volume holds
//! <data-root>/staging, trash        on the way in, on the way out; emptied in the background
//! <exec-root>/records/<boot>/       records that need not survive a reboot (`--rm`)
//! ```
//!
//! # The public interface
//!
//! | call | what it does |
//! |---|---|
//! | [`Store::open`] | opens a data root; half-finished work of an earlier process is dropped or redone |
//! | [`Store::put_container`], [`Store::delete_container`], [`Store::containers`] | opaque container records |
//! | [`Store::put`], [`Store::delete`], [`Store::list`] | the same for every [`Table`] |
//! | [`Store::images`], [`Store::image`], [`Store::image_by_id`] | [`Image`] values from memory |
//! | [`Store::resolve_reference`] | the image that exactly one reference names |
//! | [`Store::tag`], [`Store::remove_image`], [`Store::history`] | as Docker's endpoints, results as data |
//! | [`Store::load`], [`Store::import`], [`Store::save`] | archives in and out |
//! | [`Store::layer_presence`], [`Store::unpack_coming`], [`Store::record_pulled`] | a pull's questions and steps |
//! | [`Store::keep`], [`Store::abandon`], [`Store::release_all`] | what broke off is kept for a day, or given up |
//! | [`Store::plan_push`], [`Store::compress_layer`], [`Store::record_pushed`] | a push's |
//! | [`Store::create_rw`], [`Store::rootfs`], [`Store::remove_rw`], [`Store::rw_ids`] | a container's own layer |
//! | [`Store::create_volume`], [`Store::volumes`], [`Store::remove_volume`] | volumes: records and directories |
//! | [`Store::file_changes`], [`Store::commit`] | what a container has changed; the same as a new image |
//! | [`Tree`] | the files of a root behind a descriptor: looked at, packed, written |
//! | [`Store::unpack_layer`] | one layer from a reader (pull, build) |
//! | [`Store::lease`], [`Store::collect`] | what comes in is not collected while a lease lives |
//! | [`Store::settle`] | waits until everything staged is durable and the trash is empty (tests, shutdown) |

mod archive;
mod change;
mod collect;
mod db;
mod files;
mod fill;
mod image;
mod layer;
mod lease;
mod record;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;
mod trash;
mod tree;
mod volume;

pub use archive::compression::Compression;
pub use change::{Change, apply_changes, parse_changes};
pub use collect::Lease;
pub use db::{Keep, Table};
pub use files::{ChunkSink, Extract, ExtractError, FileStat, Tree};
pub use fill::fill_directory;
pub use image::commit::CommitOptions;
pub use image::history::HistoryEntry;
pub use image::import::ImportOptions;
pub use image::load::{LoadEvent, LoadOptions, Loaded};
pub use image::pull::{LayerPresence, PulledImage};
pub use image::push::{PushImage, PushLayer, PushPlan};
pub use image::remove::{ContainerUse, Removal, RemoveOptions, Removed};
pub use image::{Image, ImageEvent, ImageEventKind};
pub use layer::LayerInfo;
pub use layer::intake::UnpackRequest;
pub use layer::limits::Limits;
pub use snapshot::changes::{ChangeKind, FileChanges};
pub use snapshot::{RootFs, SnapshotKind};
pub use store::{Options, Store};
pub use volume::VolumeRecord;
