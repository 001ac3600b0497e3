//! A tree of this host becomes an archive on its way to the engine, as it is read.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use minke_client::Upload;
use minke_model::Error;
use tokio::sync::mpsc;

use super::UploadCount;
use super::paths::{Rename, Source, renamed, split_entry};

const CHUNK_BYTES: usize = 512 * 1024;
const CHUNKS: usize = 4;
const BLOCK: u64 = 512;

/// Sends an archive of `source`, its names changed by `rename`; the number counts the bytes sent.
pub fn upload(source: &Source, rename: Rename) -> Result<UploadCount, Error> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let count = Arc::new(AtomicU64::new(0));
    let writer =
        Chunked { sender: sender.clone(), pending: Vec::with_capacity(CHUNK_BYTES), count: count.clone() };
    let source = source.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pack(&source, &rename, writer) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk: io::Result<Bytes>| (chunk, receiver))
    });
    Ok((Upload::new(stream), count))
}

/// Collects what is written into chunks.
struct Chunked {
    sender: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
    count: Arc<AtomicU64>,
}

impl Chunked {
    /// Reads `size` bytes of `file`; one that has become shorter is filled up.
    fn take(&mut self, file: &mut File, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            if self.pending.len() >= CHUNK_BYTES {
                self.flush()?;
            }
            let before = self.pending.len();
            let room = (CHUNK_BYTES - before) as u64;
            let read = file.take(room.min(left)).read_to_end(&mut self.pending)? as u64;
            left -= read;
            if read == 0 {
                break;
            }
        }
        let zeros = left + size.next_multiple_of(BLOCK) - size;
        io::copy(&mut io::repeat(0).take(zeros), self).map(|_| ())
    }
}

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_BYTES));
        self.count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct Packing<'a> {
    builder: tar::Builder<Chunked>,
    first: Rename,
    second: &'a Rename,
    /// Names of files with several names, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

fn pack(source: &Source, rename: &Rename, writer: Chunked) -> io::Result<()> {
    let (directory, base) = split_entry(&source.path);
    let top = Path::new(&directory).join(&base);
    let name = if base == "/" { String::new() } else { base.clone() };
    let first = source.rebased.clone().map(|rebased| (base, rebased));
    let mut packing =
        Packing { builder: tar::Builder::new(writer), first, second: rename, links: HashMap::new() };
    // What is left to do, the next one last.
    let mut left: Vec<(PathBuf, Vec<u8>)> = vec![(top, name.into_bytes())];
    while let Some((path, name)) = left.pop() {
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !left.is_empty() => continue,
            found => found.map_err(|error| told(&path, &error))?,
        };
        packing.entry(&path, &name, &found).map_err(|error| told(&path, &error))?;
        if found.is_dir() {
            let mut names = fs::read_dir(&path)
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
                })
                .map_err(|error| told(&path, &error))?;
            names.sort_by(|one, other| other.cmp(one));
            left.extend(
                names
                    .into_iter()
                    .map(|base| (path.join(&base), [&name, &b"/"[..], base.as_bytes()].concat())),
            );
        }
    }
    packing.builder.finish()?;
    packing.builder.get_mut().flush()
}

fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Packing<'_> {
    fn entry(&mut self, path: &Path, name: &[u8], found: &Metadata) -> io::Result<()> {
        let kind = found.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let as_path = |bytes: Vec<u8>| PathBuf::from(std::ffi::OsString::from_vec(bytes));
        let shown = |name: &[u8]| renamed(&renamed(name, &self.first), self.second);
        let mut header = tar::Header::new_gnu();
        header.set_metadata(found);
        header.set_mode(found.mode() & 0o7777);
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            let mut name = shown(name);
            name.push(b'/');
            return self.append(&mut header, &name);
        }
        let name = shown(name);
        if found.nlink() > 1 {
            match self.links.get(&(found.dev(), found.ino())) {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Link);
                    let target = as_path(target.clone());
                    return self.builder.append_link(&mut header, as_path(name), target);
                }
                None => drop(self.links.insert((found.dev(), found.ino()), name.clone())),
            }
        }
        if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            return self.builder.append_link(&mut header, as_path(name), fs::read_link(path)?);
        }
        if !kind.is_file() {
            return self.append(&mut header, &name);
        }
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        self.append(&mut header, &name)?;
        self.builder.get_mut().take(&mut file, size)
    }

    /// Writes a header; what follows it is for the caller to write.
    fn append(&mut self, header: &mut tar::Header, name: &[u8]) -> io::Result<()> {
        // The root of a tree has no name of its own.
        let name = if name == b"/" { b"./".to_vec() } else { name.to_vec() };
        let path = PathBuf::from(std::ffi::OsString::from_vec(name));
        self.builder.append_data(header, path, io::empty())
    }
}
