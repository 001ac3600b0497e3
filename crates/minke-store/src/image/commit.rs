//! `commit`: what a container has changed becomes a layer, and with its image's layers a new image.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use minke_model::image::{ContainerConfig, Descriptor, History, ImageConfig, RootFs, media_type};
use minke_model::{Context as _, Digest, Error, Reference, Result};

use super::catalog::Edit;
use super::resolve::now;
use super::{ImageEvent, ImageEventKind};
use crate::layer::LayerInfo;
use crate::layer::intake::UnpackRequest;
use crate::record::{ImageRecord, TagRecord};
use crate::snapshot::changes;
use crate::store::Store;

/// Chunks of the layer's archive that wait between who makes it and who takes it in.
const CHUNKS: usize = 4;

/// How to commit.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The name to give it.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// The image that the container was made of.
    pub base: Option<Digest>,
    /// What the new image starts with.
    pub config: ContainerConfig,
    /// What the container was started with.
    pub container_config: ContainerConfig,
    /// The engine's version.
    pub engine_version: String,
}

impl Store {
    /// Makes an image of container `id`. Durable on return.
    pub fn commit(&self, id: &str, options: &CommitOptions) -> Result<(Digest, Vec<ImageEvent>)> {
        if options.reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
            return Err(Error::invalid("cannot commit to digest reference"));
        }
        let _lease = self.lease();
        let committed = self.commit_leased(id, options);
        if committed.is_err() {
            self.collect_after_leases();
        }
        committed
    }

    fn commit_leased(&self, id: &str, options: &CommitOptions) -> Result<(Digest, Vec<ImageEvent>)> {
        let mut layers = self.inner.snapshots.own_of(id)?.record.layers;
        let layer = self.layer_of_changes(id)?;
        let base = options.base.as_ref().and_then(|base| self.image_by_id(base));
        layers.extend(layer.iter().map(|layer| layer.diff_id.clone()));
        let base_config = base.as_ref().map(|base| &base.config);
        let config = plan_config(id, options, base_config, &self.inner.platform, &layers, layer.is_none());
        let bytes = serde_json::to_vec(&config).context("cannot write an image configuration")?;
        let blob = self.inner.content.ingest_bytes(&bytes)?;
        self.inner.layers.complete_chain(&layers)?;
        let record = ImageRecord {
            id: blob.digest.clone(),
            manifest: None,
            size: layers.iter().map(|layer| self.inner.layers.size(layer)).sum(),
            layers,
            parent: base.map(|base| base.id.clone()),
            last_tagged: options.reference.is_some().then(now),
        };
        let mut edits = vec![Edit::PutImage(record, Arc::new(bytes))];
        let mut events = Vec::new();
        if let Some(reference) = &options.reference {
            let reference = reference.clone().with_default_tag();
            let target = Descriptor::new(media_type::OCI_CONFIG, blob.digest.clone(), blob.size);
            let name = reference.familiar();
            events.push(ImageEvent { kind: ImageEventKind::Tag, id: blob.digest.clone(), name });
            edits.push(Edit::PutTag(reference, TagRecord { target, image: blob.digest.clone() }));
        }
        let _change = self.change();
        self.inner.catalog.apply(&edits)?;
        self.make_durable_later();
        Ok((blob.digest, events))
    }

    /// What the container has changed, as a layer; none where that is nothing.
    fn layer_of_changes(&self, id: &str) -> Result<Option<LayerInfo>> {
        let found = self.file_changes(id)?;
        if found.is_empty() {
            return Ok(None);
        }
        let layout = self.rootfs_layout(id)?;
        let (sender, receiver) = sync_channel(CHUNKS);
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let sent = changes::pack(&layout, &found, &mut |chunk| {
                    sender.send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
                });
                if let Err(error) = sent {
                    // Whoever reads must not take a torn archive for a whole one.
                    let _ = sender.send(Err(io::Error::other(error.to_string())));
                }
            });
            let mut reader = ChunkReader { receiver, chunk: Vec::new(), read: 0 };
            let layer =
                self.inner.layers.take_in(UnpackRequest { reader: &mut reader, blob: None, diff_id: None });
            drop(reader);
            packing.join().map_err(|_| Error::system("packing a container's changes"))?;
            layer.map(Some)
        })
    }
}

/// Chunks from a channel as a stream of bytes.
struct ChunkReader {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.read) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.chunk[self.read..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

fn plan_config(
    container: &str,
    options: &CommitOptions,
    base: Option<&ImageConfig>,
    host: &minke_model::Platform,
    layers: &[Digest],
    empty_layer: bool,
) -> ImageConfig {
    let created = now();
    let mut history = base.map(|base| base.history.clone()).unwrap_or_default();
    history.push(History {
        created: Some(created.clone()),
        created_by: options.container_config.cmd.clone().unwrap_or_default().join(" "),
        author: options.author.clone(),
        comment: options.comment.clone(),
        empty_layer,
    });
    let (architecture, variant, os) = match base {
        Some(base) => (base.architecture.clone(), base.variant.clone(), base.os.clone()),
        None => (host.architecture.clone(), host.variant.clone(), host.os.clone()),
    };
    ImageConfig {
        architecture,
        variant,
        author: options.author.clone(),
        config: Some(options.config.clone()),
        container: container.to_owned(),
        container_config: Some(options.container_config.clone()),
        created: Some(created),
        docker_version: options.engine_version.clone(),
        history,
        os,
        os_version: base.map(|base| base.os_version.clone()).unwrap_or_default(),
        os_features: base.map(|base| base.os_features.clone()).unwrap_or_default(),
        rootfs: RootFs { diff_ids: layers.to_vec(), ..RootFs::default() },
        ..ImageConfig::default()
    }
}
