//! What an engine and a container's shim say to each other: the messages, their encoding, their versions.
//!
//! One `SOCK_SEQPACKET` packet is one message: a [`Packet`] encoded by postcard. A message that is longer than
//! [`INLINE_LIMIT`] travels in a sealed memfd, the first descriptor of a packet whose body is the single byte
//! [`LARGE`]. Descriptors travel by `SCM_RIGHTS`, in the order that the message's documentation names.
//!
//! Shims live for years beside newer engines, so **the layout of a message never changes once released**: whatever is new
//! is a new variant at the end of its enum. A shim answers a request that it can't decode with
//! [`ErrorCode::Unsupported`]; an engine skips an event that it can't decode. Only [`StartRequest`] may change freely:
//! it is sent by an engine to the shim that the same engine carries.
//!
//! ```text
//! engine                                   shim
//!   | -- Start (plan, stdio, log) + root ->  |  binds shim.sock, clones init
//!   | <------------ Reply::Started + pidfd - |
//!   | -- Attach + fd, Exec + fd, Kill ... -> |
//!   | <----------- Reply::Ok / Error ------- |
//!   | <----------- Event::ExecExited ------- |
//!   | <----------- Event::Exited ----------- |  after the exit record is on disk
//! (a later engine: connect shim.sock, Hello, Status, and goes on from there)
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::plan::{ProcessPlan, StartPlan};

/// The protocol's version: the number of released revisions, each of which only added variants.
pub const PROTOCOL: u16 = 3;

/// The longest message that is sent in the packet itself, in bytes.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// The whole body of a packet whose message is in a memfd.
pub const LARGE: u8 = 0xff;

/// The longest message at all, in bytes; whoever is told a longer one refuses it.
pub const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// The stream type of Docker's multiplexed framing for the container's standard output.
pub const FRAME_STDOUT: u8 = 1;
/// The stream type for the container's standard error.
pub const FRAME_STDERR: u8 = 2;
/// minke's own stream type: the process has ended; the payload is its exit code, an `i32`, big-endian.
pub const FRAME_EXIT: u8 = 16;
/// minke's own stream type: the client's detach keys were seen; no payload.
pub const FRAME_DETACHED: u8 = 17;

/// One message with the number that pairs a reply with its request (events have 0).
#[derive(Debug, Serialize, Deserialize)]
pub struct Packet<Body> {
    /// The request's number, chosen by the engine, returned in the reply.
    pub id: u32,
    /// The message.
    pub body: Body,
}

/// What an engine asks of a shim. Every request is answered by exactly one [`Message::Reply`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first message on a connection made to `shim.sock`.
    Hello {
        /// The engine's [`PROTOCOL`].
        protocol: u16,
    },
    /// Starts the container; only on the inherited connection, only once.
    /// Descriptors: the root file system as a detached mount, then that of [`StartRequest::network`], those of
    /// [`StartRequest::sources`], that of [`StartRequest::foreign`] and those of [`StartRequest::attach`], in order.
    Start(alloc::boxed::Box<StartRequest>),
    /// Sends a signal to the container's init process, or with `all` to every process of its pid namespace.
    Kill {
        /// The signal's number.
        signal: i32,
        /// Every process instead of the first one.
        all: bool,
    },
    /// Adds a client to the container's streams. Descriptor: the client's socket.
    Attach(AttachRequest),
    /// Runs one more process in the container. Descriptor: the client's socket if [`ExecRequest::attach`] is there.
    Exec(alloc::boxed::Box<ExecRequest>),
    /// Sends a signal to a process started by [`Request::Exec`].
    ExecKill {
        /// Its [`ExecRequest::exec_id`].
        exec_id: String,
        /// The signal's number.
        signal: i32,
    },
    /// Sets the size of a terminal.
    Resize {
        /// An exec's id; the container's own terminal without one.
        exec_id: Option<String>,
        /// Character rows.
        rows: u16,
        /// Character columns.
        columns: u16,
    },
    /// Tells how the container and its execs are.
    Status,
    /// Returns the container's root file system as a descriptor, for readers of its files.
    OpenRoot,
    /// Lets a container that was started with [`StartPlan::wait_for_start`] execute its program.
    Continue,
    /// As [`Request::Attach`], but nothing is sent to the client before [`Request::Release`]: until then the engine shows it what the
    /// log has up to here. A client that is held when the engine goes away is let go. Since protocol 2.
    AttachHeld(AttachRequest),
    /// Sends a held client what has waited for it. Since protocol 2.
    Release {
        /// Of [`Reply::Held`].
        client: u32,
    },
    /// Asks for [`Event::LogRotated`] once more. Since protocol 3.
    WatchLog,
    /// Puts a packed file in the place of one of the log's older files, whose names only the shim changes. Refused while somebody reads
    /// that one, and when it isn't there any more. Descriptor: the older file, without a lock. Since protocol 3.
    ReplaceLog {
        /// The packed file, in a place of its own on the same file system.
        packed: String,
    },
}

/// What a shim sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request.
    Reply(Reply),
    /// Something happened.
    Event(Event),
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done.
    Error(ShimError),
    /// To [`Request::Hello`].
    Hello {
        /// The shim's [`PROTOCOL`].
        protocol: u16,
        /// The version of the engine that it came with.
        version: String,
    },
    /// To [`Request::Start`]. Descriptor: a pidfd of the container's init.
    Started(Started),
    /// To [`Request::Exec`].
    ExecStarted {
        /// The process's pid as the host sees it.
        pid: i32,
    },
    /// To [`Request::Status`]. Descriptor: a pidfd of the container's init while it runs.
    Status(Status),
    /// To [`Request::OpenRoot`]. Descriptor: an `O_PATH` directory.
    Root,
    /// To [`Request::AttachHeld`]. Descriptor: the log's file, if there is one.
    Held {
        /// Names the client in [`Request::Release`].
        client: u32,
        /// All that this file has up to here is from before the client, and so is all in files before it; what comes later
        /// goes to the client.
        log_bytes: u64,
    },
}

/// Something that happened in a container.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// The container's init has ended, and `exit` is written. The last event.
    Exited(Exited),
    /// A process of [`Request::Exec`] has ended.
    ExecExited {
        /// Its [`ExecRequest::exec_id`].
        exec_id: String,
        /// Its exit code as a shell counts: 128 + n for signal n.
        code: i32,
    },
    /// An attached client sent its detach keys.
    Detached {
        /// The exec it was attached to; the container itself without one.
        exec_id: Option<String>,
    },
    /// The log of a container with `compress` has an older file more. Told once, and then only after
    /// [`Request::WatchLog`], at once if it is so already. Since protocol 3.
    LogRotated,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimError {
    /// The class.
    pub code: ErrorCode,
    /// The system call's error number, or 0.
    pub errno: i32,
    /// What was being done and to what, in words that can stand in Docker's error message.
    pub message: String,
}

/// The classes of [`ShimError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The request can't be decoded: it is newer than the shim.
    Unsupported,
    /// The container or exec has ended or isn't there.
    NotRunning,
    /// The container's world could not be set up.
    Setup,
    /// The working directory is no directory inside the root (exit code 127 in Docker).
    WorkingDirectory,
    /// The program isn't there (exit code 127).
    ProgramNotFound,
    /// The program can't be executed (exit code 126).
    ProgramNotExecutable,
    /// Anything else.
    Other,
}

/// All that a shim needs to run a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRequest {
    /// The container's id, for messages.
    pub container_id: String,
    /// The number of this start of the container, from 1; stands in the records.
    pub generation: u64,
    /// The directory under the exec root where `shim.sock`, `state` and `exit` are.
    pub runtime_dir: String,
    /// What to do.
    pub plan: StartPlan,
    /// Where the standard streams go.
    pub stdio: Stdio,
    /// The log.
    pub log: LogSettings,
    /// Clients that are there from the first byte on.
    pub attach: Vec<AttachRequest>,
    /// The binds of [`StartPlan::mounts`], by their number, whose source comes as a descriptor of a detached mount.
    pub sources: Vec<u32>,
    /// The new network namespace of the plan comes as a descriptor, with `lo` up: it was made ahead.
    pub network: bool,
    /// Programs of the host to run on the way and at the end; mostly none.
    pub hooks: Vec<Hook>,
    /// Where hooks find the container's configuration: a folder with `config.json`, and with a folder `rootfs`, at which the root is
    /// attached until it is `/`. Empty without hooks.
    pub bundle: String,
    /// Another runtime starts the container from `bundle`, and runs its execs. The helper's program, which calls it, comes as a
    /// descriptor behind those of `sources`; those are for the helper, whatever their numbers.
    pub foreign: bool,
}

/// A program that is run beside a container (OCI runtime specification, config.md "POSIX-platform Hooks").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When.
    pub stage: HookStage,
    /// The program, an absolute path.
    pub path: String,
    /// Its arguments, its name first; empty: its path.
    pub args: Vec<String>,
    /// Its variables; without them, a usual `PATH`.
    pub env: Option<Vec<String>>,
    /// Seconds until it is killed, which is a failure; 0: never.
    pub timeout_s: u32,
}

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookStage {
    /// As [`HookStage::CreateRuntime`], before those.
    Prestart,
    /// In the host's namespaces, when the container's and its mounts are there.
    CreateRuntime,
    /// In the container's namespaces, before its root is `/`.
    CreateContainer,
    /// In the container, just before its program.
    StartContainer,
    /// In the host's namespaces, when the program runs.
    Poststart,
    /// In the host's namespaces, when the container has ended.
    Poststop,
}

impl HookStage {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<Self> {
        use HookStage::*;
        [Prestart, CreateRuntime, CreateContainer, StartContainer, Poststart, Poststop]
            .into_iter()
            .find(|stage| stage.name() == name)
    }
}

/// The standard streams of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// Standard input can be written to; else it is `/dev/null`.
    pub open_stdin: bool,
    /// Standard input ends with the first client that was attached to it.
    pub stdin_once: bool,
    /// The terminal's size at the start, rows and columns.
    pub console_size: Option<(u16, u16)>,
}

/// Where a container's output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSettings {
    /// Nowhere.
    None,
    /// Docker's json-file format.
    JsonFile {
        /// The file; rotated ones get `.1`, `.2` and so on appended.
        path: String,
        /// The size in bytes at which the file is rotated; without it, never.
        max_size: Option<u64>,
        /// How many files are kept, at least 1 (then a full file is emptied).
        max_file: u32,
        /// The value of the key `attrs` of each line, a JSON object; without it, the key isn't written.
        attributes: Option<String>,
        /// Older files may be packed by an engine, see [`Request::ReplaceLog`].
        compress: bool,
    },
    /// Docker's `local` format: protobuf records.
    Local {
        /// The file, in a folder of its own that is made; rotated ones get `.1`, `.2` and so on appended.
        path: String,
        /// The size in bytes at which the file is rotated.
        max_size: u64,
        /// How many files are kept, at least 1.
        max_file: u32,
        /// Facts of the container that stand in each record.
        attributes: Vec<(String, String)>,
        /// As with json-file.
        compress: bool,
    },
}

/// How a client is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The client's bytes go to standard input.
    pub stdin: bool,
    /// The client gets standard output.
    pub stdout: bool,
    /// The client gets standard error.
    pub stderr: bool,
    /// How bytes to the client are framed.
    pub framing: Framing,
    /// Bytes that the client has sent already.
    pub prefix: Vec<u8>,
    /// The keys that detach the client (with a terminal only); empty: none.
    pub detach_keys: Vec<u8>,
}

/// The framing of an attached stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// None: what Docker does with a terminal.
    #[default]
    Raw,
    /// Docker's 8-byte headers.
    Multiplexed,
    /// Docker's headers, and [`FRAME_EXIT`] or [`FRAME_DETACHED`] as the last frame.
    MultiplexedWithExit,
}

/// One more process in a running container.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Names it in later requests and events.
    pub exec_id: String,
    /// What to execute and as whom.
    pub process: ProcessPlan,
    /// Where its streams go.
    pub stdio: Stdio,
    /// The client; without one, the streams are `/dev/null`.
    pub attach: Option<AttachRequest>,
}

/// The container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The init process's pid as the host sees it.
    pub pid: i32,
    /// When it was started, nanoseconds since 1970.
    pub started_at_ns: u64,
}

/// The container has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its exit code as a shell counts: 128 + n for signal n.
    pub code: i32,
    /// When, nanoseconds since 1970.
    pub finished_at_ns: u64,
}

/// How a container and its execs are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`StartRequest::generation`].
    pub generation: u64,
    /// The running or ended container; without it, it is still being started.
    pub started: Option<Started>,
    /// Its end.
    pub exited: Option<Exited>,
    /// The execs that this shim has run: id, pid, and the exit code of those that ended.
    pub execs: Vec<(String, i32, Option<i32>)>,
}

/// Encodes a message. Fails only when out of memory.
pub fn encode<Body: Serialize>(id: u32, body: &Body) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(&(id, body))
}

/// Decodes a message; bytes after it are ignored.
pub fn decode<'a, Body: Deserialize<'a>>(bytes: &'a [u8]) -> Result<Packet<Body>, postcard::Error> {
    let (packet, _) = postcard::take_from_bytes(bytes)?;
    Ok(packet)
}

/// Decodes only the number of a message, so that a request too new to decode can still be answered.
pub fn decode_id(bytes: &[u8]) -> Result<u32, postcard::Error> {
    let (id, _) = postcard::take_from_bytes(bytes)?;
    Ok(id)
}
