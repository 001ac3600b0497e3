//! How a layer comes in: its bytes are hashed, kept, decompressed, hashed again and unpacked in one pass.

use super::room::Room;
use super::{LayerInfo, Layers, missing, read};
use crate::archive::compression::{Compression, decompress, sniff};
use crate::layer::unpack::{Unpacked, unpack};
use crate::record::LayerRecord;
use crate::store::Store;
use minke_content::Ingest;
use minke_model::image::{Descriptor, media_type};
use minke_model::{Context, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// How much of an uncompressed archive is read at once.
const PLAIN_BUFFER: usize = 64 << 10;

/// A layer on its way in.
pub struct UnpackRequest<'a> {
    /// Its tar, compressed or not, from the first byte; read in one pass, kept as it comes.
    pub reader: &'a mut (dyn Read + Send),
    /// The digest that the bytes must have.
    pub blob: Option<&'a Digest>,
    /// The digest that the uncompressed bytes must have.
    pub diff_id: Option<&'a Digest>,
}

impl Store {
    /// Takes in one layer: its bytes are hashed, kept, decompressed and unpacked as they come. Several
    /// threads may unpack at once. Its blob is durable on return and the layer staged; it is collected at
    /// the next collection unless an image has it by then, so hold [`Store::lease`] around it.
    pub fn unpack_layer(&self, request: UnpackRequest<'_>) -> Result<LayerInfo> {
        self.inner.layers.take_in(request)
    }
}

impl Layers {
    pub(crate) fn take_in(&self, request: UnpackRequest<'_>) -> Result<LayerInfo> {
        let (compression, reader) = sniff(request.reader)?;
        // bzip2 and xz have no media type, so what they hold is kept without them.
        let kept = matches!(compression, Compression::None | Compression::Gzip | Compression::Zstd);
        let reader = if kept { reader } else { decompress(compression, reader)? };
        let compression = if kept { compression } else { Compression::None };
        let mut ingest = self.content.ingest(self.limits.bytes)?;
        let staging = self.staging()?;
        let result = {
            let tee = Tee { reader, ingest: &mut ingest };
            self.unpack_into(&staging, compression, Box::new(tee), request.diff_id, &mut |_| {})
        };
        let (info, diff_id) = match result {
            Ok(result) => result,
            Err(error) => {
                self.trash.take(&staging)?;
                return Err(error);
            }
        };
        let blob = match ingest.commit(request.blob) {
            Ok(blob) => blob,
            Err(error) => {
                self.trash.take(&staging)?;
                return Err(error);
            }
        };
        let record = LayerRecord {
            blob: Descriptor::new(layer_media_type(compression), blob.digest.clone(), blob.size),
            compressed: None,
            tar_size: info.tar_size,
            size: info.size,
            opaque_root: info.opaque_root,
            staged: None,
        };
        let diff_id = diff_id.unwrap_or_else(|| blob.digest.clone());
        self.commit(&staging, &diff_id, record)?;
        Ok(LayerInfo { blob: blob.digest, size: self.size(&diff_id), diff_id })
    }

    /// Unpacks a blob that is here already, unless its layer is here as well. `progress` is told how many of
    /// the blob's bytes have been read.
    pub(crate) fn unpack_blob(
        &self,
        blob: &Digest,
        expected: Option<&Digest>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<LayerInfo> {
        if let Some(diff_id) = expected
            && let Some(record) = self.record(diff_id)
        {
            return Ok(LayerInfo { diff_id: diff_id.clone(), blob: record.blob.digest, size: record.size });
        }
        let size = self.content.size(blob).unwrap_or(0);
        self.unpack_reader(self.content.reader(blob)?, blob, size, expected, progress)
    }

    /// Unpacks what `reader` gives, the bytes of `blob`, which are verified by whoever brings them: `reader` ends well only if
    /// they are right.
    pub(crate) fn unpack_reader(
        &self,
        reader: impl Read + Send,
        blob: &Digest,
        size: u64,
        expected: Option<&Digest>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<LayerInfo> {
        self.stage(reader, expected, progress)?.commit(blob, size)
    }

    /// Unpacks what `reader` gives, which need not be content yet: the layer is there once [`Staged::commit`] has said which it is.
    pub(crate) fn stage(
        &self,
        reader: impl Read + Send,
        expected: Option<&Digest>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Staged<'_>> {
        let (compression, reader) = sniff(reader)?;
        let mut staged = Staged {
            layers: self,
            folder: Some(self.staging()?),
            compression,
            facts: LayerFacts { tar_size: 0, size: 0, opaque_root: false },
            diff_id: None,
        };
        let folder = staged.folder.as_deref().expect("it was made just now");
        (staged.facts, staged.diff_id) = self.unpack_into(folder, compression, reader, expected, progress)?;
        Ok(staged)
    }

    /// The digests of all layers that are here, and of the content that they came from.
    pub(crate) fn known_digests(&self) -> HashSet<Digest> {
        let records = read(&self.records);
        records.iter().flat_map(|(diff_id, record)| [diff_id.clone(), record.blob.digest.clone()]).collect()
    }

    /// Unpacks a layer again from its blob, whose bytes are verified as they are read.
    pub(super) fn unpack_again(&self, diff_id: &Digest) -> Result<()> {
        let record = self.record(diff_id).ok_or_else(|| missing(diff_id))?;
        tracing::warn!(%diff_id, "unpacking a layer again: the host went down before it was on disk");
        self.forget(diff_id)?;
        self.unpack_blob(&record.blob.digest, Some(diff_id), &mut |_| {}).map(|_| ())
    }

    /// Gives no diff ID where that is the digest of the content itself, which is not compressed: whoever has the
    /// content computes it anyway, and once is enough.
    fn unpack_into<'r>(
        &self,
        staging: &Path,
        compression: Compression,
        reader: Box<dyn Read + Send + 'r>,
        expected: Option<&Digest>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(LayerFacts, Option<Digest>)> {
        let counted = Counted { reader, read: 0, progress };
        let tar = match compression {
            // A header is 512 bytes: not each of them from the kernel.
            Compression::None => Box::new(io::BufReader::with_capacity(PLAIN_BUFFER, counted)),
            _ => decompress(compression, Box::new(counted))?,
        };
        let hasher = (expected.is_some() || compression != Compression::None).then(Sha256::new);
        let mut tar =
            Hashed { reader: tar, hasher, read: 0, limit: self.limits.bytes, room: Room::of(staging) };
        let Unpacked { meta, size } = unpack(&mut tar, &staging.join("fs"), self.form, &self.limits)?;
        // What follows the end of the archive belongs to its digest.
        io::copy(&mut tar, &mut io::sink()).context("cannot read the archive")?;
        let diff_id = tar.hasher.map(|hasher| Digest::sha256(&hasher.finalize()));
        if let (Some(expected), Some(diff_id)) = (expected, &diff_id)
            && expected != diff_id
        {
            return Err(Error::invalid(format!(
                "invalid diffID for layer: expected {expected:?}, got {diff_id:?}"
            )));
        }
        fs::write(staging.join("meta"), meta.encode()).context("cannot write a layer's meta file")?;
        Ok((LayerFacts { tar_size: tar.read, size, opaque_root: meta.hides_contents(b"") }, diff_id))
    }
}

/// A layer whose files are unpacked, and that nobody knows of; dropped, it is thrown away.
pub(crate) struct Staged<'l> {
    layers: &'l Layers,
    folder: Option<PathBuf>,
    compression: Compression,
    facts: LayerFacts,
    /// None where it is the digest of the content itself.
    diff_id: Option<Digest>,
}

impl Staged<'_> {
    /// Puts the layer in its place: it came from `blob`, which is content by now.
    pub(crate) fn commit(mut self, blob: &Digest, size: u64) -> Result<LayerInfo> {
        let record = LayerRecord {
            blob: Descriptor::new(layer_media_type(self.compression), blob.clone(), size),
            compressed: None,
            tar_size: self.facts.tar_size,
            size: self.facts.size,
            opaque_root: self.facts.opaque_root,
            staged: None,
        };
        let diff_id = self.diff_id.take().unwrap_or_else(|| blob.clone());
        let folder = self.folder.as_deref().expect("a staged layer has its folder until it is committed");
        self.layers.commit(folder, &diff_id, record)?;
        self.folder = None;
        Ok(LayerInfo { blob: blob.clone(), size: self.layers.size(&diff_id), diff_id })
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder
            && let Err(error) = self.layers.trash.take(folder)
        {
            tracing::warn!(folder = %folder.display(), %error, "a layer that nobody needs stays until the next start");
        }
    }
}

struct LayerFacts {
    tar_size: u64,
    size: u64,
    opaque_root: bool,
}

pub(crate) fn layer_media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        _ => media_type::OCI_LAYER,
    }
}

/// Keeps what is read.
struct Tee<'r, 'i> {
    reader: Box<dyn Read + Send + 'r>,
    ingest: &'i mut Ingest,
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.ingest.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// Tells how much has been read.
pub(crate) struct Counted<'r, 'p> {
    pub reader: Box<dyn Read + Send + 'r>,
    pub read: u64,
    pub progress: &'p mut (dyn FnMut(u64) + Send),
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        Ok(read)
    }
}

struct Hashed<'r> {
    reader: Box<dyn Read + Send + 'r>,
    hasher: Option<Sha256>,
    read: u64,
    limit: u64,
    room: Room,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.read += read as u64;
        self.room.take(read as u64)?;
        match self.read > self.limit {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "the archive is too large")),
            false => Ok(read),
        }
    }
}
