//! The work of a transfer: bytes from the registry into a file, hashed as they come; read again from that file while it grows,
//! decompressed and unpacked. What came before a break stays, and the next transfer goes on after it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minke_content::Ingest;
use minke_model::image::Descriptor;
use minke_model::{Context as _, Digest, Error, ErrorKind, Result};
use minke_registry::client::Repository;
use tokio::sync::{mpsc, watch};

use super::transfer::{Phase, State};
use crate::engine::Shared;

/// Parts of a download that wait for the disk.
const PARTS: usize = 8;
/// How long a download may take to say why it failed.
const REASON_PATIENCE: Duration = Duration::from_secs(1);
/// How often content is asked for that somebody else is just letting go of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One thing to fetch.
pub struct Fetch {
    pub shared: Arc<Shared>,
    pub repository: Repository,
    pub blob: Descriptor,
    /// As which layer it is unpacked.
    pub diff_id: Option<Digest>,
    pub state: Arc<watch::Sender<State>>,
}

enum Part {
    Bytes(Bytes),
    /// All has come; without it, what came is only a beginning.
    End,
}

impl Fetch {
    /// Brings in what is not here.
    pub async fn run(self) -> Result<()> {
        let store = &self.shared.store;
        let unpack =
            self.diff_id.as_ref().filter(|layer| !store.layer_presence(layer, &self.blob.digest).unpacked);
        let unpack = unpack.cloned();
        if store.content().contains(&self.blob.digest) {
            return self.unpack_present(unpack).await;
        }
        let permit = self.shared.distribution.downloads.clone().acquire_owned().await;
        let permit = permit.context("the engine is ending")?;
        let Some(ingest) = self.begin().await? else { return self.unpack_present(unpack).await };
        self.state.send_modify(|state| {
            state.phase = Phase::Downloading;
            state.downloaded = ingest.size();
        });
        let unpacking = match unpack {
            Some(diff_id) => Some(self.unpack_coming(&ingest, diff_id)?),
            None => None,
        };
        let from = ingest.size();
        let mut download = std::pin::pin!(self.download(ingest, from));
        let Some(mut unpacking) = unpacking else {
            download.await?;
            self.state.send_modify(|state| state.phase = Phase::Downloaded);
            return Ok(());
        };
        tokio::select! {
            biased;
            downloaded = download.as_mut() => downloaded?,
            unpacked = &mut unpacking => {
                let Err(error) = unpacked.context("unpacking a layer")? else {
                    return download.await;
                };
                // It may only have failed because the bytes did; then they say why, and soon.
                return match tokio::time::timeout(REASON_PATIENCE, download).await {
                    Ok(Err(reason)) => Err(reason),
                    _ => Err(error),
                };
            }
        }
        self.state.send_modify(|state| state.phase = Phase::Extracting);
        drop(permit);
        unpacking.await.context("unpacking a layer")?
    }

    /// Begins to take content in, after what is here of it; nothing where somebody else has brought it meanwhile.
    async fn begin(&self) -> Result<Option<Ingest>> {
        loop {
            let (content, blob) = (self.shared.store.content().clone(), self.blob.clone());
            if content.contains(&blob.digest) {
                return Ok(None);
            }
            let begun = tokio::task::spawn_blocking(move || content.resume(&blob.digest, blob.size));
            match begun.await.context("opening partial content")? {
                Err(error) if error.kind() == ErrorKind::Conflict => tokio::time::sleep(LOOK_AGAIN).await,
                begun => return begun.map(Some),
            }
        }
    }

    async fn download(&self, ingest: Ingest, from: u64) -> Result<()> {
        let (parts, received) = mpsc::channel(PARTS);
        let writing = self.write(ingest, received);
        let sent = self.receive(parts, from).await;
        let written = writing.await.context("keeping content")?;
        // A writer that failed is why the parts went nowhere.
        written.and(sent)
    }

    async fn receive(&self, parts: mpsc::Sender<Part>, from: u64) -> Result<()> {
        if from < self.blob.size || self.blob.size == 0 {
            // A large one takes the connections that no other download needs just now.
            let downloads = self.shared.distribution.downloads.clone();
            let spare = Box::new(move || downloads.clone().try_acquire_owned().ok());
            let mut stream = self.repository.layer_spread(&self.blob, from, spare).await?;
            while let Some(bytes) = stream.next().await? {
                if parts.send(Part::Bytes(bytes)).await.is_err() {
                    return Ok(());
                }
            }
        }
        // The writer is gone only where it has failed, and says why itself.
        let _ = parts.send(Part::End).await;
        Ok(())
    }

    /// Writes what is received on a thread of its own.
    fn write(
        &self,
        mut ingest: Ingest,
        mut parts: mpsc::Receiver<Part>,
    ) -> tokio::task::JoinHandle<Result<()>> {
        let (state, digest) = (self.state.clone(), self.blob.digest.clone());
        tokio::task::spawn_blocking(move || {
            while let Some(part) = parts.blocking_recv() {
                match part {
                    Part::Bytes(bytes) => {
                        let kept = ingest.write_all(&bytes);
                        kept.with_context(|| format!("cannot keep layer {}", digest.short()))?;
                        let size = ingest.size();
                        state.send_modify(|state| state.downloaded = size);
                    }
                    Part::End => {
                        state.send_modify(|state| state.phase = Phase::Verifying);
                        return ingest.commit(Some(&digest)).map(drop).map_err(|error| match error.kind() {
                            ErrorKind::InvalidParameter => Error::system(format!(
                                "filesystem layer verification failed for digest {digest}"
                            ))
                            .with_source(error),
                            _ => error,
                        });
                    }
                }
            }
            Ok(())
        })
    }

    fn unpack_coming(&self, ingest: &Ingest, diff_id: Digest) -> Result<tokio::task::JoinHandle<Result<()>>> {
        let follower = ingest.follow()?;
        let (shared, blob, state) = (self.shared.clone(), self.blob.clone(), self.state.clone());
        Ok(tokio::spawn(async move {
            let permit = shared.distribution.unpacks.clone().acquire_owned().await;
            let permit = permit.context("the engine is ending")?;
            let work = move || {
                let _permit = permit;
                let mut tell = |read| state.send_modify(|state| state.extracted = read);
                shared.store.unpack_coming(follower, &blob, &diff_id, &mut tell)
            };
            tokio::task::spawn_blocking(work).await.context("unpacking a layer")?.map_err(unregistered)
        }))
    }

    async fn unpack_present(&self, diff_id: Option<Digest>) -> Result<()> {
        let Some(diff_id) = diff_id else { return Ok(()) };
        self.state.send_modify(|state| state.phase = Phase::Extracting);
        let permit = self.shared.distribution.unpacks.clone().acquire_owned().await;
        let permit = permit.context("the engine is ending")?;
        let (shared, digest, state) = (self.shared.clone(), self.blob.digest.clone(), self.state.clone());
        let work = move || {
            let _permit = permit;
            let mut tell = |read| state.send_modify(|state| state.extracted = read);
            shared.store.unpack_present(&digest, &diff_id, &mut tell)
        };
        tokio::task::spawn_blocking(work).await.context("unpacking a layer")?.map_err(unregistered)
    }
}

fn unregistered(error: Error) -> Error {
    Error::system("failed to register layer").with_source(error)
}
