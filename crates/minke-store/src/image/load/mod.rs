//! `load`: images from a docker archive or an OCI layout, read as a stream.
//! [`intake`] brings every file of the archive in, [`ahead`] unpacks what may be layers meanwhile, [`plan`] says which images
//! they make, and here those images' other layers are unpacked, several at once, and all of it recorded.

mod ahead;
mod intake;
mod plan;

use super::catalog::Edit;
use super::resolve::now;
use crate::image::{ImageEvent, ImageEventKind};
use crate::record::{ImageRecord, TagRecord};
use crate::store::Store;
use ahead::Ahead;
use intake::Files;
use minke_model::image::{Descriptor, media_type};
use minke_model::{Digest, Error, Platform, Reference, Result};
use plan::PlannedImage;
use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Threads that unpack layers of one load.
const MAX_WORKERS: usize = 4;
/// Bytes between two reports of one layer's progress.
const PROGRESS_BYTES: u64 = 512 << 10;

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
        /// Bytes of its content read so far.
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
        reader: &mut (dyn Read + Send),
        options: &LoadOptions,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Loaded> {
        let _lease = self.lease();
        let loaded = self.load_leased(reader, options, progress);
        // An archive may hold more than its images need.
        self.collect_after_leases();
        loaded
    }

    fn load_leased(
        &self,
        reader: &mut (dyn Read + Send),
        options: &LoadOptions,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Loaded> {
        let (content, limits) = (&self.inner.content, &self.inner.limits);
        let platform = options.platform.as_ref().unwrap_or(&self.inner.platform);
        let (files, mut ahead) =
            ahead::with_workers(&self.inner.layers, content, platform, limits, MAX_WORKERS, |large| {
                Files::read(reader, content, limits, large)
            })?;
        let planned = plan::plan_images(&files, platform, limits)?;
        for image in &planned {
            self.tell_unpacked(image, &ahead, progress);
            self.unpack_layers(image, &mut ahead, progress)?;
            self.inner.layers.complete_chain(&image.config.rootfs.diff_ids)?;
            if let Some(Err(error)) =
                image.stored.iter().map(|bytes| self.inner.content.ingest_bytes(bytes)).find(Result::is_err)
            {
                return Err(error);
            }
        }
        let loaded = self.record_loaded(&planned, progress)?;
        self.make_durable_later();
        Ok(loaded)
    }

    /// Tells of the layers that have been unpacked while the archive was read.
    fn tell_unpacked(&self, image: &PlannedImage, ahead: &Ahead, progress: &mut dyn FnMut(LoadEvent)) {
        let layers = image.config.rootfs.diff_ids.iter().zip(&image.layers);
        for (diff_id, blob) in layers.filter(|(diff_id, _)| ahead.unpacked.contains(*diff_id)) {
            progress(LoadEvent::Layer { diff_id: diff_id.clone(), current: blob.size, total: blob.size });
        }
    }

    /// Unpacks the layers of an image that are not here yet, on several threads; progress is told on this one.
    fn unpack_layers(
        &self,
        image: &PlannedImage,
        ahead: &mut Ahead,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        let wanted: VecDeque<(usize, Digest, Digest)> =
            (image.config.rootfs.diff_ids.iter().zip(&image.layers).enumerate())
                .filter(|(_, (diff_id, _))| {
                    self.inner.layers.record(diff_id).is_none() && seen.insert((*diff_id).clone())
                })
                .map(|(index, (diff_id, blob))| (index, diff_id.clone(), blob.digest.clone()))
                .collect();
        // What could not be unpacked once is not tried again.
        for (index, _, blob) in &wanted {
            if let Some(error) = ahead.failed.remove(blob) {
                return Err(cannot_load(*index, error));
            }
        }
        let workers = wanted.len().min(MAX_WORKERS);
        let queue = Mutex::new(wanted);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        std::thread::scope(|scope| {
            let (sender, events) = mpsc::channel();
            for _ in 0..workers {
                let sender = sender.clone();
                scope.spawn(|| self.unpack_queue(&queue, &failure, sender));
            }
            drop(sender);
            events.iter().for_each(&mut *progress);
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn unpack_queue(
        &self,
        queue: &Mutex<VecDeque<(usize, Digest, Digest)>>,
        failure: &Mutex<Option<Error>>,
        events: mpsc::Sender<LoadEvent>,
    ) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((index, diff_id, blob)) = next else { return };
            let total = self.inner.content.size(&blob).unwrap_or(0);
            let mut told = 0;
            let mut tell = |current: u64| {
                if current >= told + PROGRESS_BYTES || (current == total && told < total) {
                    told = current;
                    // Nobody listens any more only if the load has failed.
                    let _ = events.send(LoadEvent::Layer { diff_id: diff_id.clone(), current, total });
                }
            };
            if let Err(error) = self.inner.layers.unpack_blob(&blob, Some(&diff_id), &mut tell) {
                let error = cannot_load(index, error);
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    }

    /// Records images and names in one transaction, and says so in Docker's words.
    fn record_loaded(&self, planned: &[PlannedImage], progress: &mut dyn FnMut(LoadEvent)) -> Result<Loaded> {
        let _change = self.change();
        let mut edits = Vec::new();
        let mut loaded = Loaded::default();
        let mut messages = Vec::new();
        for image in planned {
            let diff_ids = &image.config.rootfs.diff_ids;
            let known = self.image_by_id(&image.id);
            let record = ImageRecord {
                id: image.id.clone(),
                manifest: image
                    .manifest
                    .clone()
                    .or_else(|| known.as_ref().and_then(|known| known.manifest.clone())),
                layers: diff_ids.clone(),
                parent: known.as_ref().and_then(|known| known.parent.clone()),
                size: diff_ids.iter().map(|diff_id| self.inner.layers.size(diff_id)).sum(),
                last_tagged: match image.names.is_empty() {
                    false => Some(now()),
                    true => known.and_then(|known| known.last_tagged.clone()),
                },
            };
            edits.push(Edit::PutImage(record, Arc::new(image.config_bytes.clone())));
            let config_len = image.config_bytes.len() as u64;
            let target = (image.target.clone())
                .unwrap_or_else(|| Descriptor::new(media_type::OCI_CONFIG, image.id.clone(), config_len));
            for name in &image.names {
                if let Some(earlier) =
                    self.inner.catalog.tag(name).filter(|earlier| earlier.image != image.id)
                {
                    messages.push(format!(
                        "The image {} already exists, renaming the old one with ID {} to empty string\n",
                        name.familiar(),
                        earlier.image
                    ));
                }
                messages.push(format!("Loaded image: {}\n", name.familiar()));
                edits.push(Edit::PutTag(
                    name.clone(),
                    TagRecord { target: target.clone(), image: image.id.clone() },
                ));
            }
            if image.names.is_empty() {
                messages.push(format!("Loaded image ID: {}\n", image.id));
            }
            loaded.events.push(ImageEvent {
                kind: ImageEventKind::Load,
                id: image.id.clone(),
                name: image.id.to_string(),
            });
            loaded.images.push((image.id.clone(), image.names.clone()));
        }
        self.inner.catalog.apply(&edits)?;
        messages.into_iter().map(LoadEvent::Stream).for_each(progress);
        Ok(loaded)
    }
}

fn cannot_load(index: usize, error: Error) -> Error {
    Error::new(error.kind(), format!("cannot load layer {index}")).with_source(error)
}
