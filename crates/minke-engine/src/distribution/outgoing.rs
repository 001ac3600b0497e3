//! One layer on its way to a registry: left out where it is there, mounted where another repository has it, else sent;
//! compressed while it is sent, if it never was before.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use minke_api::stream::{ProgressDetail, ProgressMessage};
use minke_content::Follower;
use minke_model::image::Descriptor;
use minke_model::{Context as _, Digest, Error, Reference, Result};
use minke_registry::client::{Marked, MountAnswer, Repository, UploadSource};
use minke_store::PushLayer;
use tokio::sync::mpsc;

use super::report::Reporter;
use crate::engine::Shared;

/// Between two messages about how far something is.
const PAUSE: Duration = Duration::from_millis(100);
/// How much is read at once of what is being compressed.
const PART_BYTES: usize = 64 << 10;
/// Parts that wait for the network.
const PARTS: usize = 8;
/// Repositories that are asked to give a layer away.
const MOUNT_ATTEMPTS: usize = 4;

/// Where a layer goes, and who hears of it.
pub struct Outgoing<'a> {
    pub shared: &'a Arc<Shared>,
    pub repository: &'a Repository,
    pub reference: &'a Reference,
    pub report: &'a Reporter,
}

impl Outgoing<'_> {
    /// Sees to it that the registry has a layer; gives the descriptor under which it has it.
    pub async fn layer(&self, layer: &PushLayer) -> Result<Descriptor> {
        let id = layer.diff_id.short();
        if layer.foreign
            && let Some(blob) = &layer.blob
        {
            self.report.state(id, "Skipped foreign layer").await;
            return Ok(blob.clone());
        }
        let _turn =
            self.shared.distribution.uploads.clone().acquire_owned().await.context("the engine is ending")?;
        let Some(blob) = &layer.blob else { return self.compressed(layer).await };
        if self.repository.has_blob(&blob.digest).await? {
            self.report.state(id, "Layer already exists").await;
            return Ok(blob.clone());
        }
        if let Some(from) = self.mounted(layer, blob).await? {
            self.report.state(id, &format!("Mounted from {from}")).await;
            return Ok(blob.clone());
        }
        self.whole(layer, blob).await?;
        self.report.state(id, "Pushed").await;
        Ok(blob.clone())
    }

    /// Sends content that is here.
    async fn whole(&self, layer: &PushLayer, blob: &Descriptor) -> Result<()> {
        // By the layer, not its content: what was sent while it was compressed is gone on with when it is there whole.
        let bookmark = self.bookmark(&layer.diff_id);
        let goes_on = bookmark.as_ref().is_some_and(|bookmark| bookmark.address().is_some());
        match self.send(layer, blob, bookmark).await {
            Err(error) if goes_on => {
                tracing::debug!(%error, "an upload that broke off is begun anew");
                self.send(layer, blob, self.bookmark(&layer.diff_id)).await
            }
            sent => sent,
        }
    }

    async fn send(&self, layer: &PushLayer, blob: &Descriptor, bookmark: Marked) -> Result<()> {
        let (content, digest) = (self.shared.store.content().clone(), blob.digest.clone());
        let open = Arc::new(move |from: u64| -> std::io::Result<Box<dyn Read + Send>> {
            use std::io::Seek as _;
            let mut file = content.reader(&digest).map_err(std::io::Error::other)?;
            file.seek(std::io::SeekFrom::Start(from))?;
            Ok(Box::new(file))
        });
        let source = UploadSource::Reopenable { digest: blob.digest.clone(), size: blob.size, open };
        let sent = Arc::new(AtomicU64::new(0));
        let tell = sent.clone();
        let tell = move |bytes| tell.store(bytes, Ordering::Relaxed);
        let upload = self.repository.upload_on(source, bookmark, tell);
        self.watch(layer.diff_id.short(), blob.size, &sent, upload).await?;
        Ok(())
    }

    fn bookmark(&self, what: &Digest) -> Marked {
        self.shared.distribution.bookmarks.of(&self.reference.name(), what)
    }

    /// The repository of the same registry that has given the layer away, if any has.
    async fn mounted(&self, layer: &PushLayer, blob: &Descriptor) -> Result<Option<String>> {
        let candidates = self.shared.store.repositories_with(&layer.diff_id, self.reference.domain());
        for from in candidates.into_iter().filter(|from| from != self.reference.path()).take(MOUNT_ATTEMPTS) {
            // A registry that does not do this, or does not let us read there, gets the layer sent.
            if let Ok(MountAnswer::Mounted) = self.repository.mount(&blob.digest, &from).await {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    /// Compresses a layer, and sends what is compressed already meanwhile.
    async fn compressed(&self, layer: &PushLayer) -> Result<Descriptor> {
        let id = layer.diff_id.short();
        let ingest = self.shared.store.start_compressed()?;
        let follower = ingest.follow()?;
        let read = Arc::new(AtomicU64::new(0));
        let (shared, diff_id, tell) = (self.shared.clone(), layer.diff_id.clone(), read.clone());
        let compress = tokio::task::spawn_blocking(move || {
            shared.store.compress_layer(&diff_id, ingest, &mut |bytes| tell.store(bytes, Ordering::Relaxed))
        });
        let total = self.shared.store.uncompressed_size(&layer.diff_id);
        // The same bytes each time: what broke off can be gone on with, though it is made anew.
        let bookmark = self.bookmark(&layer.diff_id);
        let goes_on = bookmark.as_ref().is_some_and(|bookmark| bookmark.address().is_some());
        let upload = self.repository.upload_on(UploadSource::Stream(parts(follower)), bookmark, |_| {});
        let sent = self.watch(id, total, &read, upload).await;
        let blob = compress.await.context("compressing a layer")??;
        match sent {
            Ok(digest) if digest == blob.digest => {}
            Ok(_) => {
                let words = format!("the registry has another layer than {} was sent", blob.digest);
                return Err(Error::system(words));
            }
            // Unless another program has begun it, with another compressor.
            Err(error) if goes_on => {
                tracing::debug!(%error, "an upload that broke off is begun anew");
                self.whole(layer, &blob).await?;
            }
            Err(error) => return Err(error),
        }
        self.report.state(id, "Pushed").await;
        Ok(blob)
    }

    /// Tells how far `work` is until it is done.
    async fn watch<T, E>(
        &self,
        id: &str,
        total: u64,
        sent: &AtomicU64,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T>
    where
        Error: From<E>,
    {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut work = std::pin::pin!(work);
        let mut told = None;
        loop {
            match tokio::time::timeout(PAUSE, work.as_mut()).await {
                Ok(done) => return Ok(done?),
                Err(_) => {
                    let current = sent.load(Ordering::Relaxed);
                    if told != Some(current) {
                        told = Some(current);
                        let detail = ProgressDetail {
                            current: number(current),
                            total: number(total),
                            ..ProgressDetail::NONE
                        };
                        self.report.send(ProgressMessage::of(id, "Pushing", detail)).await;
                    }
                }
            }
        }
    }
}

/// What a follower reads, part by part.
fn parts(
    mut follower: Follower,
) -> std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Bytes>> + Send>> {
    let (sender, receiver) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut part = vec![0; PART_BYTES];
            let sent = match follower.read(&mut part) {
                Ok(0) => return,
                Ok(read) => {
                    part.truncate(read);
                    sender.blocking_send(Ok(Bytes::from(part)))
                }
                Err(error) => sender.blocking_send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let received = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part| (part, receiver))
    });
    received.boxed()
}
