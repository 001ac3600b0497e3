//! A container's log, json-file or local: lines are split and written as dockerd does it, in large writes, and the file is rotated
//! (Docker's json-file driver; parts of a long line have 16 KiB and no newline).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::shim::LogSettings;
use minke_sys::rotation::Names;
use minke_sys::{OwnedFd, descriptor};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{json_line, local_entry};
use crate::failure::{self, Result};

/// The longest part of a line in one entry.
const PART_BYTES: usize = 16 * 1024;

/// From this size on the buffer is written out.
const WRITE_BYTES: usize = 128 * 1024;

/// The names of the streams in the log.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// How entries are written.
enum Format {
    JsonFile {
        attributes: Option<String>,
    },
    Local {
        attributes: Vec<u8>,
        /// The line of each stream of which parts are written: its id, and how many.
        parts: [Option<(String, u32)>; 2],
    },
}

/// The log file and what isn't in it yet.
pub struct Log {
    path: String,
    max_size: Option<u64>,
    max_file: u32,
    /// Older files may be packed, by an engine.
    packs: bool,
    format: Format,
    /// `None` after a failed rotation, until the next attempt.
    file: Option<OwnedFd>,
    size: u64,
    /// The begun line of each stream.
    begun: [Vec<u8>; 2],
    buffer: Vec<u8>,
    /// There is an older file that no engine has been told of.
    rotated: bool,
}

impl Log {
    /// Opens the log; `None` if none is wanted.
    pub fn open(settings: LogSettings) -> Result<Option<Self>> {
        let (path, max_size, max_file, format, packs) = match settings {
            LogSettings::None => return Ok(None),
            LogSettings::JsonFile { path, max_size, max_file, attributes, compress } => {
                (path, max_size, max_file, Format::JsonFile { attributes }, compress)
            }
            LogSettings::Local { path, max_size, max_file, attributes, compress } => {
                if let Some((folder, _)) = path.rsplit_once('/') {
                    let _ = rustix::fs::mkdir(folder, Mode::from_raw_mode(0o700));
                }
                let attributes = local_entry::attributes(&attributes);
                (path, Some(max_size), max_file, Format::Local { attributes, parts: [None, None] }, compress)
            }
        };
        let words = || format!("error opening the log {path:?}");
        let file = open_file(&path, OFlags::empty()).map_err(failure::setup(words()))?;
        let size = rustix::fs::fstat(&file).map_err(failure::setup(words()))?.st_size as u64;
        let mut log = Self {
            path,
            max_size,
            max_file: max_file.max(1),
            packs,
            format,
            file: None,
            size,
            begun: Default::default(),
            buffer: Vec::new(),
            rotated: false,
        };
        log.take(Some(file));
        Ok(Some(log))
    }

    /// Adds what a stream (0: standard output, 1: standard error) has given; whole lines are in the file afterwards.
    pub fn append(&mut self, stream: usize, mut bytes: &[u8], now_ns: u64) {
        let tail = self.tail(stream, now_ns);
        let plain = matches!(self.format, Format::JsonFile { .. });
        while !bytes.is_empty() {
            if plain && self.begun[stream].is_empty() {
                let run = json_line::plain_run(&bytes[..bytes.len().min(PART_BYTES)]);
                if run < PART_BYTES && bytes.get(run) == Some(&b'\n') {
                    self.plain_entry(&bytes[..run], &tail);
                    bytes = &bytes[run + 1..];
                    continue;
                }
            }
            let room = PART_BYTES - self.begun[stream].len();
            let window = &bytes[..room.min(bytes.len())];
            match find_newline(window) {
                Some(end) => {
                    self.entry(stream, &bytes[..end], true, &tail, now_ns);
                    bytes = &bytes[end + 1..];
                }
                None if window.len() == room => {
                    self.entry(stream, window, false, &tail, now_ns);
                    bytes = &bytes[room..];
                }
                None => {
                    self.begun[stream].extend_from_slice(window);
                    break;
                }
            }
        }
        self.flush();
    }

    /// Writes what a stream had begun when it ended.
    pub fn end(&mut self, stream: usize, now_ns: u64) {
        if !self.begun[stream].is_empty() {
            let tail = self.tail(stream, now_ns);
            self.entry(stream, &[], false, &tail, now_ns);
            self.flush();
        }
        self.begun[stream] = Vec::new();
    }

    /// The current file, and how much is in it.
    pub fn place(&self) -> (Option<OwnedFd>, u64) {
        (self.file.as_ref().and_then(|file| file.try_clone().ok()), self.size)
    }

    /// The begun line of a stream, which isn't in the file.
    pub fn begun(&self, stream: usize) -> &[u8] {
        &self.begun[stream]
    }

    /// Gives back the memory of an idle log.
    pub fn shrink(&mut self) {
        self.buffer = Vec::new();
        for begun in &mut self.begun {
            begun.shrink_to_fit();
        }
    }

    /// A whole line in which every byte stands for itself, as most are.
    fn plain_entry(&mut self, text: &[u8], tail: &[u8]) {
        self.rotate_if_full();
        let needed = json_line::HEAD.len() + text.len() + json_line::NEWLINE.len() + tail.len();
        if self.buffer.len() + needed > self.buffer.capacity() {
            self.make_room(needed);
        }
        for part in [json_line::HEAD, text, json_line::NEWLINE, tail] {
            self.buffer.extend_from_slice(part);
        }
    }

    /// What stands behind a text; nothing in the `local` format.
    fn tail(&self, stream: usize, now_ns: u64) -> Vec<u8> {
        match &self.format {
            Format::JsonFile { attributes } => {
                json_line::tail(STREAMS[stream], attributes.as_deref(), now_ns)
            }
            Format::Local { .. } => Vec::new(),
        }
    }

    fn entry(&mut self, stream: usize, text: &[u8], newline: bool, tail: &[u8], now_ns: u64) {
        self.rotate_if_full();
        let begun = core::mem::take(&mut self.begun[stream]);
        if let Format::Local { attributes, parts } = &mut self.format {
            let of = &mut parts[stream];
            if !newline && of.is_none() {
                *of = Some((random_id(), 0));
            }
            let part = of.as_mut().map(|(id, count)| {
                *count += 1;
                local_entry::Part { last: newline, id, ordinal: *count }
            });
            let text = [&begun[..], text];
            local_entry::append(STREAMS[stream], now_ns, text, part.as_ref(), attributes, &mut self.buffer);
            if newline {
                *of = None;
            }
            self.begun[stream] = begun;
            self.begun[stream].clear();
            if self.buffer.len() >= WRITE_BYTES {
                self.flush();
            }
            return;
        }
        let needed = json_line::bound(begun.len() + text.len()) + tail.len();
        if self.buffer.len() + needed > self.buffer.capacity() {
            self.make_room(needed);
        }
        self.buffer.extend_from_slice(json_line::HEAD);
        json_line::escape_joined(&begun, text, &mut self.buffer);
        if newline {
            self.buffer.extend_from_slice(json_line::NEWLINE);
        }
        self.buffer.extend_from_slice(tail);
        // Keep the memory: the next line of this stream is likely to be begun soon.
        self.begun[stream] = begun;
        self.begun[stream].clear();
    }

    fn make_room(&mut self, needed: usize) {
        if self.buffer.len() >= WRITE_BYTES {
            self.flush();
        }
        if self.buffer.capacity() < WRITE_BYTES {
            self.buffer.reserve_exact(2 * WRITE_BYTES);
        } else {
            self.flush();
            self.buffer.reserve(needed);
        }
    }

    /// Docker looks at the size before it writes an entry, so a file may exceed it by one.
    fn rotate_if_full(&mut self) {
        if self.max_size.is_some_and(|max| self.size + self.buffer.len() as u64 >= max) {
            self.flush();
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        self.names().rotate();
        self.rotated = self.packs && self.max_file > 1;
        self.take(open_file(&self.path, OFlags::TRUNC).ok());
        self.size = 0;
    }

    /// Whether an engine is to be told that there is an older file; says so once.
    pub fn take_rotated(&mut self) -> bool {
        core::mem::take(&mut self.rotated)
    }

    /// Puts a packed file in the place of an older one.
    pub fn replace(&self, older: &OwnedFd, packed: &str) -> minke_sys::Result<()> {
        self.names().replace(older, packed)
    }

    fn names(&self) -> Names<'_> {
        Names { path: &self.path, files: self.max_file, packs: self.packs }
    }

    /// The current file is this one. Whoever is given its descriptor by [`Log::place`] has its lock as well: it isn't packed while
    /// that is open.
    fn take(&mut self, file: Option<OwnedFd>) {
        if let (true, Some(file)) = (self.packs, &file) {
            let _ = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared);
        }
        self.file = file;
    }

    /// Writes the buffer. What can't be written (a full disk) is lost, but no torn line stays, and the container goes on.
    fn flush(&mut self) {
        if self.file.is_none() {
            self.take(open_file(&self.path, OFlags::empty()).ok());
        }
        if let Some(file) = &self.file {
            let mut written = self.buffer.len();
            if let Err((done, _)) = descriptor::write_all(file, &self.buffer) {
                written = match self.format {
                    Format::JsonFile { .. } => {
                        self.buffer[..done].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
                    }
                    Format::Local { .. } => local_entry::whole(&self.buffer[..done]),
                };
                let _ = rustix::fs::ftruncate(file, self.size + written as u64);
            }
            self.size += written as u64;
        }
        self.buffer.clear();
    }
}

fn open_file(path: &str, more: OFlags) -> minke_sys::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags | more, Mode::from_raw_mode(0o640))
}

/// Names a line that is in parts.
fn random_id() -> String {
    let mut bytes = [0; 32];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut done = 0;
    for word in bytes.chunks_exact(8) {
        let word =
            u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        let word = word ^ (ONES * u64::from(b'\n'));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(done + (found.trailing_zeros() / 8) as usize);
        }
        done += 8;
    }
    bytes[done..].iter().position(|&byte| byte == b'\n').map(|place| done + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("minke-log-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn log(&self, max_size: Option<u64>, max_file: u32, attributes: Option<&str>) -> Log {
            let path = self.0.join("x-json.log").to_str().unwrap().to_owned();
            let attributes = attributes.map(str::to_owned);
            let settings = LogSettings::JsonFile { path, max_size, max_file, attributes, compress: false };
            Log::open(settings).unwrap().unwrap()
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_line_is_one_entry_however_it_was_read() {
        let scratch = Scratch::new("line");
        let mut log = scratch.log(None, 1, Some("{\"tag\":\"t\"}"));
        log.append(0, b"hel", 0);
        log.append(1, b"err\n", 1_000_000_000);
        log.append(0, b"lo\n\n", 2_000_000_000);
        assert_eq!(
            scratch.read("x-json.log"),
            "{\"log\":\"err\\n\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"t\"},\"time\":\"1970-01-01T00:00:01Z\"}\n\
             {\"log\":\"hello\\n\",\"stream\":\"stdout\",\"attrs\":{\"tag\":\"t\"},\"time\":\"1970-01-01T00:00:02Z\"}\n\
             {\"log\":\"\\n\",\"stream\":\"stdout\",\"attrs\":{\"tag\":\"t\"},\"time\":\"1970-01-01T00:00:02Z\"}\n"
        );
    }

    fn texts(log: &str) -> Vec<String> {
        log.lines()
            .map(|line| {
                line.split("\",\"stream\"").next().unwrap().trim_start_matches("{\"log\":\"").to_owned()
            })
            .collect()
    }

    #[test]
    fn long_lines_are_split_after_16_kib_and_the_end_without_newline_is_kept() {
        for chunk in [1000, 16384, 65536] {
            let scratch = Scratch::new("long");
            let mut log = scratch.log(None, 1, None);
            let text = [vec![b'a'; 16384], b"\n".to_vec(), vec![b'b'; 40000], b"\nend".to_vec()].concat();
            for part in text.chunks(chunk) {
                log.append(0, part, 0);
            }
            log.end(0, 0);
            let lengths: Vec<usize> = texts(&scratch.read("x-json.log")).iter().map(String::len).collect();
            assert_eq!(lengths, [16384, 2, 16384, 16384, 7234, 3]);
        }
    }

    #[test]
    fn a_full_file_is_rotated_before_the_next_entry() {
        let scratch = Scratch::new("rotate");
        let mut log = scratch.log(Some(100), 3, None);
        for number in 0..10 {
            log.append(0, format!("{number}\n").as_bytes(), 0);
        }
        let of = |name: &str| texts(&scratch.read(name)).concat();
        assert_eq!(
            [of("x-json.log"), of("x-json.log.1"), of("x-json.log.2")],
            ["8\\n9\\n", "6\\n7\\n", "4\\n5\\n"]
        );
        assert!(!scratch.0.join("x-json.log.3").exists());
    }

    #[test]
    fn with_one_file_a_full_one_is_emptied() {
        let scratch = Scratch::new("one");
        let mut log = scratch.log(Some(100), 1, None);
        log.append(0, b"a\nb\nc\n", 0);
        assert_eq!(texts(&scratch.read("x-json.log")), ["c\\n"]);
    }

    #[test]
    fn newlines_are_found_at_every_place() {
        for place in 0..40 {
            let mut text = [b'\x8a'; 40];
            text[place] = b'\n';
            assert_eq!(find_newline(&text), Some(place));
        }
        assert_eq!(find_newline(&[b'\x0b'; 40]), None);
    }

    /// What a real dockerd 20.10 has logged of every byte, of valid, invalid and special characters, and of empty lines.
    #[test]
    fn entries_are_those_of_a_real_dockerd() {
        let scratch = Scratch::new("dockerd");
        let mut log = scratch.log(None, 1, None);
        log.append(0, include_bytes!("vectors/dockerd-20.10-input"), 0);
        let ours = scratch.read("x-json.log").replace("1970-01-01T00:00:00Z", "T");
        assert_eq!(ours, include_str!("vectors/dockerd-20.10-json.log"));
    }
}
