//! Reading a log's packed files: gzip, with the time of the last entry in the header, as Docker writes them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::LogFile;
use super::local::{self, Framed};
use super::tail;

const CHUNK: usize = 64 * 1024;
/// More than one entry can have.
const ENTRY_LIMIT: usize = 4 * 1024 * 1024;

/// What stands in the header of a packed file.
#[derive(Serialize, Deserialize)]
pub struct Facts {
    /// When its last entry was written.
    #[serde(rename = "lastTime", default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Timestamp>,
}

/// The content of a file, unpacked.
pub fn content(file: &LogFile) -> Box<dyn Read + Send + '_> {
    let bytes = Positioned { file: file.file(), place: 0 };
    match file.is_packed() {
        true => Box::new(decoder(bytes)),
        false => Box::new(bytes),
    }
}

/// Whether all that is in a packed file is older than `time`.
pub fn is_older(file: &LogFile, time: Timestamp) -> bool {
    let mut decoder = decoder(Positioned { file: file.file(), place: 0 });
    // The header is read with the first byte.
    let _ = decoder.read(&mut [0]);
    let facts = decoder.header().and_then(|header| header.extra());
    let facts: Option<Facts> = facts.and_then(|facts| serde_json::from_slice(facts).ok());
    facts.and_then(|facts| facts.last_time).is_some_and(|last| last < time)
}

fn decoder(bytes: Positioned<'_>) -> MultiGzDecoder<BufReader<Positioned<'_>>> {
    MultiGzDecoder::new(BufReader::with_capacity(CHUNK, bytes))
}

/// Reads a file by places, so that others who read it don't disturb.
struct Positioned<'a> {
    file: &'a File,
    place: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}

/// The offset in a packed file's content behind the entry that precedes the last `wanted` lines, or `None` when it has fewer; then
/// `wanted` is what is still missing. It is read twice, because its end can't be read first.
pub fn start_in(file: &LogFile, local: bool, wanted: &mut u64) -> Option<u64> {
    let mut lines = 0;
    each_entry(file, local, |_, ends_line| {
        lines += u64::from(ends_line);
        true
    });
    let Some(mut before) = lines.checked_sub(*wanted).filter(|before| *before > 0) else {
        *wanted -= lines;
        return None;
    };
    let mut start = 0;
    each_entry(file, local, |end, ends_line| {
        before -= u64::from(ends_line);
        start = end;
        before > 0
    });
    Some(start)
}

/// Tells of each entry where it ends, and whether a line ends with it, until it hears no. A damaged file ends where it is damaged.
fn each_entry(file: &LogFile, local: bool, mut tell: impl FnMut(u64, bool) -> bool) {
    let mut content = content(file);
    let (mut pending, mut chunk, mut end) = (Vec::new(), vec![0; CHUNK], 0);
    loop {
        let count = match content.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => return complain(&error),
        };
        pending.extend_from_slice(&chunk[..count]);
        let mut done = 0;
        while let Some((length, ends_line)) = first_entry(&pending[done..], local) {
            done += length;
            end += length as u64;
            if !tell(end, ends_line) {
                return;
            }
        }
        pending.drain(..done);
        if pending.len() > ENTRY_LIMIT {
            return;
        }
    }
}

/// Says in the engine's log that a packed file can't be read to its end.
pub fn complain(error: &io::Error) {
    tracing::warn!(%error, "a packed file of a log is damaged: the rest of it is left out");
}

fn first_entry(bytes: &[u8], local: bool) -> Option<(usize, bool)> {
    if !local {
        let end = memchr::memchr(b'\n', bytes)?;
        return Some((end + 1, tail::ends_line(&bytes[..end])));
    }
    match local::first(bytes) {
        Framed::Whole(message, length) => {
            Some((length, local::parse(message).is_some_and(|record| record.ends_line)))
        }
        Framed::Begun | Framed::Broken => None,
    }
}
