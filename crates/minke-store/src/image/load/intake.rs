//! The files of an image archive: small ones in memory, others as content (by [`super::ahead`]), links followed by name only
//! within the archive. Nothing of the archive itself ever becomes a path on disk.

use super::ahead::Intake;
use crate::archive::compression::{decompress, sniff};
use crate::archive::reader::{EntryKind, TarReader};
use crate::layer::limits::Limits;
use crate::layer::name::{Name, join, parse_name, split};
use crate::layer::room::Room;
use minke_content::ContentStore;
use minke_model::{Context, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read};

/// Files up to this many bytes are held in memory.
const SMALL_BYTES: u64 = 64 << 10;
/// All of them together; and, in bytes as well, all names.
const MAX_SMALL_BYTES: u64 = 64 << 20;
const MAX_NAMES_BYTES: usize = 64 << 20;
const MAX_FILES: usize = 200_000;

/// What an archive holds, by cleaned path.
pub(super) struct Files<'c> {
    content: &'c ContentStore,
    files: HashMap<Vec<u8>, Held>,
    links: HashMap<Vec<u8>, Vec<u8>>,
    /// Paths by the digest of what they hold.
    by_digest: HashMap<Digest, Vec<u8>>,
}

enum Held {
    Memory(Vec<u8>),
    Content(Digest, u64),
}

impl<'c> Files<'c> {
    pub(super) fn read(
        reader: &mut (dyn Read + Send),
        content: &'c ContentStore,
        limits: &Limits,
        large: &mut Intake<'_>,
    ) -> Result<Self> {
        let (compression, reader) = sniff(reader)?;
        let reader = decompress(compression, reader)?.take(limits.bytes);
        let mut reader = Watched { reader, room: Room::of(content.folder()) };
        let mut files =
            Self { content, files: HashMap::new(), links: HashMap::new(), by_digest: HashMap::new() };
        let mut tar = TarReader::new(&mut reader, limits);
        let (mut small_bytes, mut names_bytes) = (0, 0);
        while let Some(entry) = tar.next_entry()? {
            let Name::Entry(path) = parse_name(&entry.path, limits)? else { continue };
            names_bytes += 2 * path.len() + entry.link.len();
            if files.files.len() + files.links.len() >= MAX_FILES || names_bytes > MAX_NAMES_BYTES {
                return Err(Error::invalid("the archive has too many files"));
            }
            match entry.kind {
                EntryKind::File => {
                    let (held, digest) = if entry.size <= SMALL_BYTES && small_bytes <= MAX_SMALL_BYTES {
                        small_bytes += entry.size;
                        let mut bytes = Vec::new();
                        tar.read_to_end(&mut bytes).context("cannot read the archive")?;
                        let digest = Digest::sha256(&Sha256::digest(&bytes));
                        large.see_document(&bytes);
                        (Held::Memory(bytes), digest)
                    } else {
                        let blob = large.take_in(&path, &mut tar)?;
                        (Held::Content(blob.digest.clone(), blob.size), blob.digest)
                    };
                    check_blob_name(&path, &digest)?;
                    files.by_digest.insert(digest, path.clone());
                    files.files.insert(path, held);
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let target = match entry.kind {
                        EntryKind::Symlink => join(split(&path).0, &entry.link),
                        _ => entry.link,
                    };
                    if let Name::Entry(target) = parse_name(&target, limits)? {
                        files.links.insert(path, target);
                    }
                }
                _ => {}
            }
        }
        // What follows the archive's end is read, so that who sends it is not cut off.
        io::copy(&mut reader, &mut io::sink()).context("cannot read the archive")?;
        Ok(files)
    }

    /// The path after one link.
    fn follow<'p>(&'p self, path: &'p [u8]) -> &'p [u8] {
        self.links.get(path).map_or(path, Vec::as_slice)
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(self.follow(path.as_bytes()))
    }

    /// The path of the file that has this digest.
    pub(super) fn path_of(&self, digest: &Digest) -> Option<String> {
        Some(String::from_utf8_lossy(self.by_digest.get(digest)?).into_owned())
    }

    /// The bytes of a document.
    pub(super) fn document(&self, path: &str, limits: &Limits) -> Result<Vec<u8>> {
        match self.files.get(self.follow(path.as_bytes())) {
            Some(Held::Memory(bytes)) => Ok(bytes.clone()),
            Some(Held::Content(digest, _)) => self.content.read(digest, limits.document_bytes),
            None => Err(missing(path)),
        }
    }

    /// The file as content, brought in now if it was held in memory.
    pub(super) fn blob(&self, path: &str) -> Result<(Digest, u64)> {
        match self.files.get(self.follow(path.as_bytes())) {
            Some(Held::Memory(bytes)) => {
                self.content.ingest_bytes(bytes).map(|blob| (blob.digest, blob.size))
            }
            Some(Held::Content(digest, size)) => Ok((digest.clone(), *size)),
            None => Err(missing(path)),
        }
    }
}

/// Reads as long as there is room for it.
struct Watched<R> {
    reader: R,
    room: Room,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.room.take(read as u64)?;
        Ok(read)
    }
}

fn missing(path: &str) -> Error {
    Error::invalid(format!("invalid archive: it has no {path}"))
}

/// A file that is named by its digest must have it.
fn check_blob_name(path: &[u8], digest: &Digest) -> Result<()> {
    let Some(hex) = path.strip_prefix(b"blobs/sha256/") else { return Ok(()) };
    if hex.len() == 64 && hex != digest.hex().as_bytes() {
        let name = String::from_utf8_lossy(hex);
        return Err(Error::invalid(format!("unexpected digest: blobs/sha256/{name} is {digest}")));
    }
    Ok(())
}
