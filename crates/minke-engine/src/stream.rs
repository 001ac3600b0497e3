//! What takes longer than a call: attachments, waits, streams of events and progress.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use bytes::Bytes;
use minke_api::container::ContainerWaitResponse;
use minke_api::event::EventMessage;
use minke_model::Result;
use minke_spec::shim::{AttachRequest, Framing};
use tokio::sync::mpsc;

use crate::container::handle::Container;

/// A client that may be attached to a container: everything is checked, the connection is still HTTP.
pub struct Attachment {
    /// The container has a terminal: bytes are raw, else in Docker's frames.
    pub tty: bool,
    pub(crate) container: std::sync::Arc<Container>,
    pub(crate) request: AttachRequest,
    /// The log so far, to be shown before anything else.
    pub(crate) replay: Option<crate::container::attach::Replay>,
    /// Nothing is to be attached after the replay.
    pub(crate) replay_only: bool,
}

/// An exec that may be started; its streams are those of the connection.
pub struct ExecSession {
    /// Bytes are raw, as the start asks by its own `Tty`, else in Docker's frames.
    pub tty: bool,
    pub(crate) engine: crate::Engine,
    pub(crate) exec: crate::exec::Exec,
    pub(crate) exit_frames: bool,
}

impl Attachment {
    /// Its bytes come as they are, also where the container has no terminal: both streams in one.
    pub fn unframed(mut self) -> Self {
        self.tty = true;
        self.request.framing = Framing::Raw;
        if let Some(replay) = &mut self.replay {
            replay.tty = true;
        }
        self
    }

    /// Takes the client's socket (a stream socket, whatever its blocking mode), with the bytes that were read from it already. Returns as soon as the
    /// container's shim has it, or the engine keeps it for the container's start.
    pub async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        crate::container::attach::connect(self, socket, prefix).await
    }
}

impl ExecSession {
    /// Starts the exec with the client's socket as its streams. A program that can't be started is told to the
    /// client in its stream, as Docker does, and is no error here.
    pub async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        crate::container::exec::connect(self, socket, prefix).await
    }
}

/// The answer of a wait, when it comes.
pub type WaitOutcome = Pin<Box<dyn Future<Output = ContainerWaitResponse> + Send>>;

/// Events as they happen; ends when the filter's `until` is over.
pub type EventStream = mpsc::Receiver<EventMessage>;

/// Bytes of a long answer: JSON messages of progress, or an archive. An error ends it.
pub type ProgressStream = mpsc::Receiver<io::Result<Bytes>>;
