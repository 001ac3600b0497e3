//! A terminal or a pipe joined to a container's streams: output out, input in, signals and window sizes passed on, until the
//! process ends, the user detaches, or the connection does.

use std::collections::VecDeque;
use std::future::Future;
use std::io;

use bytes::Bytes;
use minke_api::container::{KillQuery, ResizeQuery};
use minke_client::frame::Output;
use minke_client::{Client, Hijacked, HijackedReader, HijackedWriter};
use minke_model::{Error, Result};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::detach::{DetachKeys, Typed};
use crate::stdio::{self, Sink};
use crate::terminal::{self, RawMode};

const INPUT_BYTES: usize = 32 * 1024;
const SIGHUP: i32 = 1;
const SIGPIPE: i32 = 13;
const SIGWINCH: i32 = 28;
/// Signals that end a program which does not care for them.
const ENDING: [i32; 4] = [SIGHUP, 2, 3, 15];
/// What a container is told of: all that can be caught but those about children, pipes and this program's own faults.
const PROXIED: [i32; 13] = [SIGHUP, 2, 3, 10, 12, 14, 15, 18, 20, 21, 22, 24, SIGWINCH];
const RESIZE_TRIES: u64 = 10;
/// How long who wants this program to end waits for an engine that doesn't answer.
const ENDING_PATIENCE: Duration = Duration::from_secs(1);

/// What the streams belong to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A container, by id or name.
    Container(String),
    /// An exec, by id.
    Exec(String),
}

/// How a joined terminal or pipe behaves.
pub struct Manner {
    /// Whose streams they are.
    pub target: Target,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether input is passed on.
    pub stdin: bool,
    /// Whether signals are passed on.
    pub sig_proxy: bool,
    /// Whether a program in the terminal is to draw itself anew, because it did so long ago.
    pub redraw: bool,
    /// What detaches, with a terminal only.
    pub detach_keys: DetachKeys,
}

/// Why the joining ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process ended with this code.
    Exit(i32),
    /// The user typed the detach keys.
    Detached,
    /// The output ended, and the exit code is known elsewhere.
    Closed,
    /// This program was asked to end.
    Signal(i32),
    /// The process could not be started, for this reason.
    NotStarted(String),
}

/// Joins until something ends.
///
/// # Errors
/// The connection failed, or the engine reported a failure in the stream.
pub async fn join(
    client: &Client,
    connection: &mut Hijacked,
    manner: &Manner,
    signals: Signals,
) -> Result<Ended> {
    let raw = (manner.tty && manner.stdin).then(RawMode::enter).flatten();
    stdio::flush();
    let keys = manner.tty.then(|| manner.detach_keys.clone());
    let ended = tokio::select! {
        biased;
        ended = show(&mut connection.reader) => ended,
        ended = feed(&mut connection.writer, manner.stdin, keys) => Ok(ended),
        ended = watch_signals(client, manner, signals) => Ok(ended),
    };
    drop(raw);
    ended
}

async fn show(reader: &mut HijackedReader) -> Result<Ended> {
    let lost =
        |error: io::Error| Error::system("the connection to the container was lost").with_source(error);
    loop {
        let (sink, bytes) = match reader.next().await.map_err(lost)? {
            None => return Ok(Ended::Closed),
            Some(Output::Stdout(bytes)) => (Sink::Stdout, bytes),
            Some(Output::Stderr(bytes)) => (Sink::Stderr, bytes),
            Some(Output::Exit(code)) => return Ok(Ended::Exit(code)),
            Some(Output::Detached) => return Ok(Ended::Detached),
            Some(Output::NotStarted(message)) => return Ok(Ended::NotStarted(message)),
            Some(Output::Failed(message)) => {
                return Err(Error::system(format!("error from daemon in stream: {message}")));
            }
        };
        if let Err(error) = sink.write(bytes).await {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(Ended::Signal(SIGPIPE)),
                _ => Err(Error::system("write the container's output").with_source(error)),
            };
        }
    }
}

/// Passes input on; gives back only when the user detaches.
async fn feed(writer: &mut HijackedWriter, stdin: bool, mut keys: Option<DetachKeys>) -> Ended {
    if stdin {
        let mut input = tokio::io::stdin();
        let mut buffer = vec![0; INPUT_BYTES];
        while let Ok(count @ 1..) = input.read(&mut buffer).await {
            let typed = match &mut keys {
                Some(keys) => keys.scan(&buffer[..count]),
                None => Typed::Input(buffer[..count].to_vec()),
            };
            let (bytes, detach) = match typed {
                Typed::Input(bytes) => (bytes, false),
                Typed::Detach(bytes) => (bytes, true),
            };
            if !bytes.is_empty() && writer.write_all(&bytes).await.is_err() {
                break;
            }
            if detach {
                return Ended::Detached;
            }
        }
        let _ = writer.half_close().await;
    }
    std::future::pending().await
}

/// Signals to this program, caught from the moment this is made.
pub struct Signals {
    caught: mpsc::Receiver<i32>,
    /// Those that came before anybody could be told.
    early: VecDeque<i32>,
}

impl Signals {
    /// Catches what `manner` passes on or must see; to be made before a container starts, so that none is missed.
    ///
    /// # Errors
    /// A signal cannot be caught.
    pub fn catch(manner: &Manner) -> Result<Self> {
        let wanted: &[i32] = match (manner.tty, manner.proxied()) {
            (_, Some(_)) => &PROXIED,
            (true, None) => &[SIGHUP, 2, 3, 15, SIGWINCH],
            (false, None) => &[],
        };
        Ok(Self { caught: listen(wanted)?, early: VecDeque::new() })
    }

    /// Waits for `work`, an answer of the engine that says whom signals go to. They are kept meanwhile; one that ends programs
    /// ends this one, by its number, if there is no answer soon.
    pub async fn kept_during<T>(&mut self, work: impl Future<Output = T>) -> std::result::Result<T, i32> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = work.as_mut() => Ok(done),
            number = self.keep_until_ending() => {
                tokio::time::timeout(ENDING_PATIENCE, work).await.map_err(|_| number)
            }
        }
    }

    async fn keep_until_ending(&mut self) -> i32 {
        while let Some(number) = self.caught.recv().await {
            self.early.push_back(number);
            if ENDING.contains(&number) {
                return number;
            }
        }
        std::future::pending().await
    }

    async fn next(&mut self) -> Option<i32> {
        match self.early.pop_front() {
            Some(number) => Some(number),
            None => self.caught.recv().await,
        }
    }
}

impl Manner {
    /// The container that signals go to.
    fn proxied(&self) -> Option<&str> {
        match &self.target {
            Target::Container(id) if self.sig_proxy => Some(id),
            _ => None,
        }
    }
}

/// Passes signals and window sizes on; gives back only when a signal ends this program.
async fn watch_signals(client: &Client, manner: &Manner, mut signals: Signals) -> Ended {
    if manner.tty {
        if manner.redraw {
            let _ = resize(client, &manner.target, 1).await;
        }
        first_resize(client, &manner.target).await;
    }
    loop {
        let Some(number) = signals.next().await else { return std::future::pending().await };
        match manner.proxied() {
            _ if manner.tty && number == SIGWINCH => {
                resize(client, &manner.target, 0).await.unwrap_or_default()
            }
            Some(id) => {
                let query = KillQuery { signal: number.to_string() };
                let _ = client.container_kill(id, &query).await;
            }
            None if ENDING.contains(&number) => return Ended::Signal(number),
            None => {}
        }
    }
}

async fn first_resize(client: &Client, target: &Target) {
    for attempt in 1..=RESIZE_TRIES {
        if resize(client, target, 0).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(10 * attempt)).await;
    }
}

/// Tells the terminal's size, or one that is larger by `extra`: a change makes programs draw.
async fn resize(client: &Client, target: &Target, extra: u32) -> Result<()> {
    let Some([height, width]) = terminal::size() else { return Ok(()) };
    let query = ResizeQuery { height: height + extra, width: width + extra };
    match target {
        Target::Container(id) => client.container_resize(id, &query).await,
        Target::Exec(id) => client.exec_resize(id, &query).await,
    }
}

fn listen(numbers: &[i32]) -> Result<mpsc::Receiver<i32>> {
    let (sender, receiver) = mpsc::channel(16);
    for &number in numbers {
        let mut stream: Signal = signal(SignalKind::from_raw(number))
            .map_err(|error| Error::system("listen for signals").with_source(error))?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && sender.send(number).await.is_ok() {} },
        );
    }
    Ok(receiver)
}

/// Writes a log's or a stream's output to this program's.
///
/// # Errors
/// Nobody reads it any more.
pub async fn write(sink: Sink, bytes: Bytes) -> io::Result<()> {
    sink.write(bytes).await
}
