//! An archive from a container becomes files of this host.
//!
//! What a container sends is as it likes: no name leaves the directory, neither by `..` nor by a link that came before.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use minke_model::{Context as _, Error, Result};
use rustix::fs::{FileType, Mode};
use tar::EntryType;
use tokio::sync::mpsc;

use super::paths::{Plan, Rename, is_inside, renamed};

const COPY_BUFFER: usize = 512 * 1024;

/// What to unpack where.
pub struct Job {
    /// The directory and the names.
    pub plan: Plan,
    /// A renaming before the plan's.
    pub rename: Rename,
    /// Keep owners, where the caller may.
    pub own: bool,
}

/// Unpacks the archive that comes in parts; what follows its end is read as well.
pub fn run(parts: mpsc::Receiver<Bytes>, job: &Job) -> Result<()> {
    let root =
        fs::canonicalize(&job.plan.directory).with_context(|| format!("stat {}", job.plan.directory))?;
    let mut archive = tar::Archive::new(Parts { parts, left: Bytes::new() });
    let mut unpacking = Unpacking { job, root, times: Vec::new(), buffer: vec![0; COPY_BUFFER] };
    for entry in archive.entries().context("the archive")? {
        unpacking.entry(&mut entry.context("the archive")?)?;
    }
    for (path, time) in unpacking.times.iter().rev() {
        if let Ok(directory) = File::open(path) {
            let _ = directory.set_times(FileTimes::new().set_modified(*time).set_accessed(*time));
        }
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).context("the archive").map(|_| ())
}

/// Parts as a stream of bytes.
struct Parts {
    parts: mpsc::Receiver<Bytes>,
    left: Bytes,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.left = part,
                None => return Ok(0),
            }
        }
        let taken = self.left.len().min(buffer.len());
        self.left.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

struct Unpacking<'a> {
    job: &'a Job,
    root: PathBuf,
    /// The times of directories, set when nothing is made in them any more.
    times: Vec<(PathBuf, SystemTime)>,
    buffer: Vec<u8>,
}

type Entry<'a> = tar::Entry<'a, Parts>;

impl Unpacking<'_> {
    fn entry(&mut self, entry: &mut Entry<'_>) -> Result<()> {
        let Some(path) = self.place(&entry.path_bytes())? else { return Ok(()) };
        let shown = path.display().to_string();
        let kind = entry.header().entry_type();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() && kind == EntryType::Directory => {}
            Ok(found) if found.is_dir() => {
                return Err(refused("directory", "non-directory", &shown, &self.root));
            }
            Ok(_) if kind == EntryType::Directory => {
                return Err(refused("non-directory", "directory", &shown, &self.root));
            }
            Ok(_) => fs::remove_file(&path).with_context(|| format!("unlink {shown}"))?,
            Err(_) if kind == EntryType::Directory => {
                fs::create_dir(&path).with_context(|| format!("mkdir {shown}"))?;
            }
            Err(_) => {}
        }
        self.make(entry, kind, &path).with_context(|| shown)
    }

    /// Where a name of the archive goes, below directories that are there afterwards; nothing for the place itself.
    fn place(&self, name: &[u8]) -> Result<Option<PathBuf>> {
        let name = renamed(&renamed(name, &self.job.rename), &self.job.plan.rename);
        let shown = String::from_utf8_lossy(&name).into_owned();
        let outside =
            || Error::invalid(format!("{shown:?} in the archive is outside of {}", self.root.display()));
        let mut path = self.root.clone();
        let mut parts: Vec<&[u8]> =
            name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&&b".."[..]) {
            return Err(outside());
        }
        let Some(base) = parts.pop() else { return Ok(None) };
        for part in parts {
            path.push(std::ffi::OsString::from_vec(part.to_vec()));
            if fs::symlink_metadata(&path).is_err() {
                fs::create_dir(&path).with_context(|| format!("mkdir {}", path.display()))?;
            }
            if !is_inside(&path, &self.root) {
                return Err(outside());
            }
        }
        path.push(std::ffi::OsString::from_vec(base.to_vec()));
        Ok(Some(path))
    }

    fn make(&mut self, entry: &mut Entry<'_>, kind: EntryType, path: &Path) -> Result<()> {
        let header = entry.header();
        let mode = header.mode().context("mode")? & 0o7777;
        let seconds = Duration::from_secs(header.mtime().unwrap_or(0));
        let time = SystemTime::UNIX_EPOCH + seconds;
        match kind {
            EntryType::Directory => {
                self.own(entry, path)?;
                fs::set_permissions(path, Permissions::from_mode(mode)).context("chmod")?;
                self.times.push((path.to_owned(), time));
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                symlink(std::ffi::OsString::from_vec(target), path).context("symlink")?;
                self.own(entry, path)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = self.place(&target)?.ok_or_else(|| Error::invalid("a hard link to nothing"))?;
                fs::hard_link(target, path).context("link")?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = File::options().write(true).create_new(true).open(path).context("open")?;
                loop {
                    match entry.read(&mut self.buffer).context("the archive")? {
                        0 => break,
                        count => file.write_all(&self.buffer[..count]).context("write")?,
                    }
                }
                self.own(entry, path)?;
                file.set_permissions(Permissions::from_mode(mode)).context("chmod")?;
                let _ = file.set_times(FileTimes::new().set_modified(time).set_accessed(time));
            }
            EntryType::Fifo => self.node(entry, path, FileType::Fifo, mode)?,
            EntryType::Char => self.node(entry, path, FileType::CharacterDevice, mode)?,
            EntryType::Block => self.node(entry, path, FileType::BlockDevice, mode)?,
            _ => {}
        }
        Ok(())
    }

    fn node(&self, entry: &Entry<'_>, path: &Path, kind: FileType, mode: u32) -> Result<()> {
        let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        let header = entry.header();
        let device = rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(mode), device)
            .context("mknod")?;
        self.own(entry, path)
    }

    fn own(&self, entry: &Entry<'_>, path: &Path) -> Result<()> {
        if !self.job.own || !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let id = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok());
        let header = entry.header();
        std::os::unix::fs::lchown(path, id(header.uid()), id(header.gid())).context("lchown")
    }
}

fn refused(is: &str, comes: &str, path: &str, place: &Path) -> Error {
    Error::invalid(format!("cannot overwrite {is} {path:?} with {comes} {:?}", place.display().to_string()))
}
