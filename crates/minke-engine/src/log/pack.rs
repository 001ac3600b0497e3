//! Packing a log's older files. The packed file is made in a folder of the engine's own; whoever may change the log's names at that
//! moment puts it in its place (docs/design/streams.md). An engine that is killed leaves the log as it was.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

use super::files::{self, Identity, LogFile};
use super::packed::Facts;
use super::{local, packed};
use crate::engine::random_hex;

/// The folder below the data root where packed files are made.
pub const FOLDER: &str = "packing";

const CHUNK: usize = 64 * 1024;
/// How long the kernel keeps what was written before it writes it to the disk (`vm.dirty_expire_centisecs`).
const KERNEL_WAITS: Duration = Duration::from_secs(30);
/// The end of a file that has its last entry.
const LAST_ENTRY: u64 = 256 * 1024;

/// A packed file that is not in its place yet; it goes with this value.
#[derive(Debug)]
pub struct Packed {
    /// Where it is.
    pub path: PathBuf,
    /// The file that it takes the place of, without a lock: while it is open, nobody else gets its number.
    pub of: File,
}

impl Packed {
    /// What the file is known by that it takes the place of.
    pub fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.of)
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // Gone already, if it is where it belongs.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the folder for packed files, without what an engine that was killed has left there.
pub fn prepare(data_root: &Path) -> io::Result<()> {
    let folder = data_root.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&folder)
}

/// What became of the look for something to pack.
#[derive(Debug)]
pub enum Outcome {
    /// A file is packed.
    Packed(Packed),
    /// One was begun that has been given up since.
    GivenUp,
    /// All is packed.
    Nothing,
}

/// Packs the newest older file of the log at `path` that isn't packed, and isn't among `known`. Takes as long as it takes.
pub fn newest(path: &Path, data_root: &Path, local: bool, known: &[Identity]) -> io::Result<Outcome> {
    let Some(file) = files::newest_unpacked(path, known)? else { return Ok(Outcome::Nothing) };
    let target = data_root.join(FOLDER).join(random_hex(16).map_err(io::Error::other)?);
    // It goes with this value if it isn't finished.
    let packed = Packed { path: target, of: file.file().try_clone()? };
    if !pack(&file, local, &packed.path)? {
        return Ok(Outcome::GivenUp);
    }
    // Its descriptor may be open long after those of readers.
    file.unlock()?;
    Ok(Outcome::Packed(packed))
}

/// Writes a file's content packed; false if the file was given up meanwhile.
fn pack(file: &LogFile, local: bool, target: &Path) -> io::Result<bool> {
    let facts = serde_json::to_vec(&Facts { last_time: last_time(file.file(), local)? })?;
    let out = File::options().write(true).create_new(true).mode(0o640).open(target)?;
    let mut encoder = GzBuilder::new().extra(facts).write(out, Compression::default());
    let mut content = packed::content(file);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = content.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        if file.is_gone()? {
            return Ok(false);
        }
        encoder.write_all(&chunk[..count])?;
    }
    let out = encoder.finish()?;
    if is_durable(file.file())? {
        out.sync_data()?;
    }
    Ok(true)
}

/// Whether something of a file may be on the disk already, which must not be lost by a power cut then. Where a container fills a file
/// in less time than the kernel waits, syncing each would be most of the work.
fn is_durable(file: &File) -> io::Result<bool> {
    let age = file.metadata()?.created().ok().and_then(|time| time.elapsed().ok());
    Ok(age.is_none_or(|age| age >= KERNEL_WAITS))
}

/// When a file's last entry was written.
fn last_time(file: &File, local: bool) -> io::Result<Option<Timestamp>> {
    let end = file.metadata()?.len();
    if local {
        return local::last_time(file, end);
    }
    let start = end.saturating_sub(LAST_ENTRY);
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or_default()];
    file.read_exact_at(&mut bytes, start)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = &text[memchr::memrchr(b'\n', text).map_or(0, |newline| newline + 1)..];
    #[derive(serde::Deserialize)]
    struct Line {
        time: Timestamp,
    }
    Ok(serde_json::from_slice::<Line>(line).ok().map(|line| line.time))
}
