//! Unpacking while the archive is still being read. Which of its files are layers is said by documents that mostly come last, so
//! every large file is taken for one: it is unpacked as it comes, under the digest that it turns out to have, and what is no
//! layer, or nobody's, is forgotten. Never decides what an image needs: [`super::plan`] does.
//!
//! ```text
//! reader --- bytes ---> ingest's file --- follower ---> worker: decompress, hash, unpack
//!        --- the ingest, when all of it came ---------> worker: bring to disk, name, commit the layer
//! ```

use crate::layer::Layers;
use crate::layer::limits::Limits;
use minke_content::{Blob, ContentStore, Follower, Ingest};
use minke_model::image::ImageConfig;
use minke_model::{Context, Digest, Error, Platform, Result};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that wait for a worker, each with two descriptors.
const MAX_WAITING: usize = 16;
const COPY_BYTES: usize = 256 << 10;

/// What came of it.
#[derive(Default)]
pub(super) struct Ahead {
    /// The layers that were unpacked.
    pub(super) unpacked: HashSet<Digest>,
    /// Why a file could not be, by its digest; of no concern unless an image says that it is a layer.
    pub(super) failed: HashMap<Digest, Error>,
    /// Content that could not be kept.
    broken: Option<Error>,
}

/// A large file on its way in.
struct Coming {
    /// Reads it as it comes; none where it is not to be unpacked.
    follower: Option<Follower>,
    /// Gives it when it is whole; ends without where it broke off.
    whole: Receiver<Ingest>,
}

/// Where large files of the archive go.
pub(super) struct Intake<'s> {
    content: &'s ContentStore,
    limits: &'s Limits,
    platform: &'s Platform,
    sender: SyncSender<Coming>,
    ahead: &'s Mutex<Ahead>,
    /// What is here already, by digests of layers and of their content.
    known: HashSet<Digest>,
    /// How many more may be unpacked.
    left: usize,
    buffer: Vec<u8>,
}

/// Runs `read` with an [`Intake`] whose files are unpacked by `workers` threads meanwhile.
pub(super) fn with_workers<T>(
    layers: &Layers,
    content: &ContentStore,
    platform: &Platform,
    limits: &Limits,
    workers: usize,
    read: impl FnOnce(&mut Intake<'_>) -> Result<T>,
) -> Result<(T, Ahead)> {
    let ahead = Mutex::new(Ahead::default());
    let (sender, receiver) = sync_channel(MAX_WAITING);
    let receiver = Mutex::new(receiver);
    let read = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(layers, &receiver, &ahead));
        }
        let buffer = vec![0; COPY_BYTES];
        let known = layers.known_digests();
        let left = limits.layers;
        // Dropped at the end: then the workers end.
        read(&mut Intake { content, limits, platform, sender, ahead: &ahead, known, left, buffer })
    })?;
    let mut ahead = ahead.into_inner().unwrap_or_else(PoisonError::into_inner);
    ahead.broken.take().map_or(Ok((read, ahead)), Err)
}

fn work(layers: &Layers, coming: &Mutex<Receiver<Coming>>, ahead: &Mutex<Ahead>) {
    loop {
        let next = lock(coming).recv();
        let Ok(Coming { follower, whole }) = next else { return };
        let staged = follower.map(|follower| layers.stage(follower, None, &mut |_| {}));
        let Ok(ingest) = whole.recv() else { continue };
        let blob = match ingest.commit(None) {
            Ok(blob) => blob,
            Err(error) => {
                lock(ahead).broken.get_or_insert(error);
                continue;
            }
        };
        match staged.map(|staged| staged?.commit(&blob.digest, blob.size)) {
            Some(Ok(layer)) => drop(lock(ahead).unpacked.insert(layer.diff_id)),
            Some(Err(error)) => drop(lock(ahead).failed.insert(blob.digest, error)),
            None => {}
        }
    }
}

impl Intake<'_> {
    /// Takes in a large file; it is content when all workers are through.
    pub(super) fn take_in(&mut self, path: &[u8], reader: &mut dyn Read) -> Result<Blob> {
        if let Some(error) = lock(self.ahead).broken.take() {
            return Err(error);
        }
        let mut ingest = self.content.ingest(self.limits.bytes)?;
        let follower = self.may_be_new_layer(path).then(|| ingest.follow()).transpose()?;
        let (give, whole) = sync_channel(1);
        let gone = || Error::system("nobody unpacks");
        self.sender.send(Coming { follower, whole }).map_err(|_| gone())?;
        loop {
            let read = reader.read(&mut self.buffer).context("cannot take in content")?;
            if read == 0 {
                break;
            }
            ingest.write_all(&self.buffer[..read]).context("cannot take in content")?;
        }
        ingest.written();
        let blob = Blob { digest: ingest.digest(), size: ingest.size() };
        give.send(ingest).map_err(|_| gone())?;
        Ok(blob)
    }

    fn may_be_new_layer(&mut self, path: &[u8]) -> bool {
        if self.left == 0 || named_digests(path).any(|digest| self.known.contains(&digest)) {
            return false;
        }
        self.left -= 1;
        true
    }

    /// Looks at a small file: with the configuration of an image for another platform, most of what comes may be other platforms'.
    pub(super) fn see_document(&mut self, bytes: &[u8]) {
        if self.left > 0
            && bytes.first() == Some(&b'{')
            && let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes)
            && !config.rootfs.diff_ids.is_empty()
            && self.platform.rank(&config.platform()).is_none()
        {
            self.left = 0;
        }
    }
}

/// The digests that parts of a path may be.
fn named_digests(path: &[u8]) -> impl Iterator<Item = Digest> {
    path.split(|byte| *byte == b'/').filter_map(|part| {
        let stem = part.strip_suffix(b".tar").unwrap_or(part);
        Digest::from_hex(std::str::from_utf8(stem).ok()?).ok()
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
