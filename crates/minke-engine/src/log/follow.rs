//! Reading a log from its files, oldest first, and following it while the container runs.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::entry::Output;
use super::files::{self, LogFile};
use super::local::{self, Framed};
use super::{packed, tail};
use crate::readiness;

/// How much is read of a file at once.
const CHUNK: usize = 256 * 1024;
/// A longer line can't be an entry: it is dropped.
const LINE_LIMIT: usize = 1024 * 1024;

/// The folder of a log in Docker's `local` format, in its container's.
pub const LOCAL_FOLDER: &str = "local-logs";

/// What a reader wants.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on while the container runs.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing newer.
    pub until: Option<Timestamp>,
    /// Each line's time before it.
    pub timestamps: bool,
    /// Each line's extra facts before it.
    pub details: bool,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Each line in a frame of its own, for a client that takes a frame for a line.
    pub frame_per_line: bool,
}

/// A log being read.
#[derive(Debug)]
pub struct LogStream {
    /// The container has a terminal: the bytes are raw, else in Docker's frames.
    pub tty: bool,
    /// The bytes.
    pub chunks: mpsc::Receiver<io::Result<Bytes>>,
}

/// Starts reading the log at `path`. `running` says whether the container may still write; following ends after it became
/// false and all is read.
pub fn read(path: PathBuf, tty: bool, options: LogOptions, running: watch::Receiver<bool>) -> LogStream {
    let (sender, chunks) = mpsc::channel(8);
    tokio::spawn(async move {
        if let Err(error) = Reader::new(path, tty, options, sender.clone()).run(running).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    LogStream { tty, chunks }
}

/// Where a replay ends.
#[derive(Debug)]
pub enum ReplayEnd {
    /// With what was there when it was asked for.
    Asked,
    /// With what is there by now: nobody writes any more, or it isn't known where a live stream begins.
    Now,
    /// Where a live stream begins.
    Join(Join),
}

/// Where in the log a live stream begins.
#[derive(Debug)]
pub struct Join {
    /// The file, held open so that nobody else gets its number.
    pub file: File,
    /// How much of it is replayed; all of the older ones is.
    pub bytes: u64,
}

/// Starts reading the log at `path` up to a place that is only chosen when all that was there is read: `end` then chooses it, close to
/// the log's end.
pub fn replay(
    path: PathBuf,
    tty: bool,
    options: LogOptions,
    end: impl Future<Output = ReplayEnd> + Send + 'static,
) -> LogStream {
    let (sender, chunks) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut reader = Reader::new(path, tty, options, sender.clone());
        let work = async {
            let mut current = reader.read_all().await?;
            match end.await {
                ReplayEnd::Asked => Ok(()),
                ReplayEnd::Now => reader.catch_up(&mut current).await,
                ReplayEnd::Join(join) => reader.read_until(current, join).await,
            }
        };
        if let Err(error) = work.await {
            let _ = sender.send(Err(error)).await;
        }
    });
    LogStream { tty, chunks }
}

struct Reader {
    path: PathBuf,
    options: LogOptions,
    sender: mpsc::Sender<io::Result<Bytes>>,
    output: Output,
    /// Whether it is Docker's `local` format, else json-file.
    local: bool,
    /// The rest of this file can't be read: something in it isn't a record.
    broken: bool,
    /// An entry whose end isn't read yet.
    partial: Vec<u8>,
    /// No file is read beyond this, in bytes.
    limit: Option<u64>,
    /// Nobody wants more.
    done: bool,
}

impl Reader {
    fn new(path: PathBuf, tty: bool, options: LogOptions, sender: mpsc::Sender<io::Result<Bytes>>) -> Self {
        let local = path.parent().is_some_and(|folder| folder.ends_with(LOCAL_FOLDER));
        Self {
            path,
            options,
            sender,
            local,
            broken: false,
            output: Output::new(!tty),
            partial: Vec::new(),
            limit: None,
            done: false,
        }
    }

    async fn run(mut self, mut running: watch::Receiver<bool>) -> io::Result<()> {
        if self.local
            && let Some(folder) = self.path.parent()
        {
            // There is nothing to watch before the first start; a container that is gone stays so.
            let _ = std::fs::create_dir(folder);
        }
        let watcher = if self.options.follow { Some(Watcher::new(&self.path)?) } else { None };
        let current = self.read_all().await?;
        let Some(watcher) = watcher else { return Ok(()) };
        self.follow(current, watcher, &mut running).await
    }

    /// Reads all that was there when it began, which is not more lines than were asked for, and comes to an end however fast the container
    /// writes; returns the newest file, and how much of it was read.
    async fn read_all(&mut self) -> io::Result<Option<(LogFile, u64)>> {
        let files = files::open_all(&self.path)?;
        let end = files.last().map_or(Ok(0), |newest| newest.file().metadata().map(|found| found.len()))?;
        let (first, mut offset) = match self.options.tail {
            Some(lines) => tail::start_of(&files, self.local, lines, end)?,
            None => (0, 0),
        };
        let last = files.len().saturating_sub(1);
        let mut current = None;
        for (index, file) in files.into_iter().enumerate().skip(first) {
            self.limit = (index == last).then_some(end);
            self.read_to_end(&file, &mut offset).await?;
            if index == last {
                current = Some((file, offset));
            }
            offset = 0;
        }
        self.limit = None;
        Ok(current)
    }

    /// Reads on to where a live stream begins. That file has lost its name perhaps; who has its descriptor keeps it from being packed.
    async fn read_until(&mut self, mut current: Option<(LogFile, u64)>, join: Join) -> io::Result<()> {
        let end = LogFile::plain(File::open(format!("/proc/self/fd/{}", join.file.as_raw_fd()))?);
        let identity = end.identity()?;
        let mut place = 0;
        let mut offset = 0;
        loop {
            let next = match &mut current {
                Some((file, read)) if file.identity()? == identity => {
                    offset = *read;
                    break;
                }
                Some((file, read)) => {
                    self.read_rest(file, read).await?;
                    files::after(&self.path, file, &mut place)?
                }
                None => files::open_all(&self.path)?.into_iter().next(),
            };
            match next {
                // What is newer than a file that was given up isn't asked for.
                Some(next) if !end.is_gone()? => current = Some((next, 0)),
                _ => break,
            }
        }
        self.limit = Some(join.bytes);
        self.read_to_end(&end, &mut offset).await
    }

    async fn follow(
        &mut self,
        mut current: Option<(LogFile, u64)>,
        watcher: Watcher,
        running: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        while !self.done {
            let may_write = *running.borrow_and_update();
            self.catch_up(&mut current).await?;
            if !may_write || self.done {
                return Ok(());
            }
            tokio::select! {
                event = watcher.changed() => event?,
                change = running.changed() => if change.is_err() {
                    return self.catch_up(&mut current).await;
                },
                () = self.sender.closed() => return Ok(()),
                () = until(self.options.until) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the rest of the open file, and of those that rotation has put in its place.
    async fn catch_up(&mut self, current: &mut Option<(LogFile, u64)>) -> io::Result<()> {
        loop {
            let next = match current {
                Some((file, offset)) => {
                    self.read_rest(file, offset).await?;
                    let next = files::after(&self.path, file, &mut 0)?;
                    if next.is_some() {
                        // It was written to between the two looks at it; now it never is again.
                        self.read_rest(file, offset).await?;
                    }
                    next
                }
                None => files::open_all(&self.path)?.into_iter().next(),
            };
            match next {
                Some(next) if !self.done => *current = Some((next, 0)),
                _ => return Ok(()),
            }
        }
    }

    async fn read_rest(&mut self, file: &LogFile, offset: &mut u64) -> io::Result<()> {
        // One that an older shim has emptied.
        if !file.is_packed() && file.file().metadata()?.len() < *offset {
            *offset = 0;
            self.partial.clear();
        }
        self.read_to_end(file, offset).await
    }

    async fn read_to_end(&mut self, file: &LogFile, offset: &mut u64) -> io::Result<()> {
        if file.is_packed() {
            return self.read_packed(file, offset).await;
        }
        if self.local && *offset == 0 {
            self.partial.clear();
            self.broken = false;
        }
        let mut chunk = vec![0; CHUNK];
        while !self.done {
            let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(*offset));
            let room = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let count = file.file().read_at(&mut chunk[..room], *offset)?;
            if count == 0 {
                break;
            }
            *offset += count as u64;
            self.take(&chunk[..count]).await;
        }
        self.flush().await;
        Ok(())
    }

    /// Reads a packed file, which is complete: once, from an offset in what is in it.
    async fn read_packed(&mut self, file: &LogFile, offset: &mut u64) -> io::Result<()> {
        let start = std::mem::replace(offset, u64::MAX);
        if start == u64::MAX || self.options.since.is_some_and(|since| packed::is_older(file, since)) {
            return Ok(());
        }
        if start == 0 {
            self.partial.clear();
            self.broken = false;
        }
        let mut content = packed::content(file);
        let mut skipped = Ok(0);
        if start > 0 {
            skipped = io::copy(&mut (&mut content).take(start), &mut io::sink());
        }
        let mut chunk = vec![0; CHUNK];
        while !self.done && skipped.is_ok() {
            let count = match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                // The log goes on behind it.
                Err(error) => {
                    packed::complain(&error);
                    break;
                }
            };
            self.take(&chunk[..count]).await;
        }
        self.flush().await;
        Ok(())
    }

    async fn take(&mut self, bytes: &[u8]) {
        match self.local {
            true => self.push_records(bytes),
            false => self.push(bytes),
        }
        if self.output.len() >= CHUNK / 2 {
            self.flush().await;
        }
        tokio::task::yield_now().await;
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let wanted = if self.partial.is_empty() {
                self.output.push(&bytes[..end], &self.options)
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                let wanted = self.output.push(&self.partial, &self.options);
                self.partial.clear();
                wanted
            };
            if !wanted {
                self.done = true;
                return;
            }
            bytes = &bytes[end + 1..];
        }
        if self.partial.len() + bytes.len() <= LINE_LIMIT {
            self.partial.extend_from_slice(bytes);
        } else {
            self.partial.clear();
        }
    }

    fn push_records(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.partial.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            match local::first(&self.partial[done..]) {
                Framed::Whole(message, length) => {
                    done += length;
                    if !self.output.push_local(message, &self.options) {
                        self.done = true;
                        return;
                    }
                }
                Framed::Begun => break,
                Framed::Broken => {
                    self.broken = true;
                    break;
                }
            }
        }
        self.partial.drain(..done);
    }

    async fn flush(&mut self) {
        if !self.output.is_empty() {
            let bytes = self.output.take();
            if self.sender.send(Ok(bytes.into())).await.is_err() {
                self.done = true;
            }
        }
    }
}

/// Ends at `time`; never without one.
async fn until(time: Option<Timestamp>) {
    match time.map(|time| time.duration_since(Timestamp::now())) {
        Some(left) => tokio::time::sleep(left.try_into().unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

/// Tells when something in a log's directory has changed.
struct Watcher {
    inotify: AsyncFd<OwnedFd>,
}

impl Watcher {
    fn new(path: &Path) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let inotify = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        rustix::fs::inotify::add_watch(
            &inotify,
            directory,
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF,
        )?;
        Ok(Self { inotify: readiness::watch_reading(inotify)? })
    }

    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let read = ready.try_io(|fd| {
                let mut events = [0; 4096];
                Ok(rustix::io::read(fd.get_ref(), &mut events)?)
            });
            if let Ok(result) = read {
                return result.map(|_| ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}\n")
    }

    /// Replays a log that gets another line, and a further file, after all that was there has been read.
    async fn replayed(end: ReplayEnd) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        std::fs::write(&path, record("one")).unwrap();
        let (log, rotated) = (path.clone(), folder.path().join("x-json.log.1"));
        let end = async move {
            let mut text = std::fs::read_to_string(&log).unwrap();
            text += &record("two");
            std::fs::write(&log, text).unwrap();
            std::fs::rename(&log, rotated).unwrap();
            std::fs::write(&log, record("three")).unwrap();
            end
        };
        let options = LogOptions { stdout: true, ..LogOptions::default() };
        let mut stream = replay(path, true, options, end);
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunks.recv().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_replay_for_who_is_joined_nowhere_has_all_that_was_written_by_now() {
        assert_eq!(replayed(ReplayEnd::Now).await, "one\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn a_replay_alone_ends_with_what_was_there() {
        assert_eq!(replayed(ReplayEnd::Asked).await, "one\n");
    }
}
