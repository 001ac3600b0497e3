//! One attached client: what it is sent, what it sends, when it goes.
//!
//! ```text
//!   attached -- its input ends ------> half closed (standard input was its alone) or ending
//!   attached -- detach keys ---------> ending
//!   attached -- the process ends ----> ending -- all is sent --> gone
//!   attached -- it hangs up ---------> input only, until what it had sent is read --> gone
//! ```

use alloc::vec::Vec;

use minke_spec::shim::{AttachRequest, FRAME_STDERR, FRAME_STDOUT, Framing};
use minke_sys::epoll::{self, Epoll};
use minke_sys::{Errno, OwnedFd, channel, descriptor};
use rustix::io::IoSlice;

use super::detach::{DetachKeys, Seen};
use super::frame;

/// With this many bytes waiting, a client's container isn't read any more.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// A client.
pub struct Client {
    /// Its number within its session.
    pub id: u32,
    socket: OwnedFd,
    /// Which of standard output and standard error it gets.
    gets: [bool; 2],
    framing: Framing,
    detach: Option<DetachKeys>,
    /// Its input goes to the process and hasn't ended.
    pub input_open: bool,
    /// Bytes that wait for the client to read.
    queue: Vec<u8>,
    sent: usize,
    hung_up: bool,
    ending: bool,
    /// The exit code is among what it is sent: it needs no end of the stream to know the end.
    told_exit: bool,
    /// The engine that lets it wait for what it is shown first.
    held_by: Option<u32>,
    registered: Option<u32>,
}

/// What came of reading from a client.
pub enum Input {
    /// Nothing, or only what was appended.
    Open,
    /// It has sent its last byte.
    Ended,
    /// It has sent its detach keys.
    Detached,
}

impl Client {
    /// Takes over a client's socket.
    pub fn new(
        id: u32,
        socket: OwnedFd,
        request: &AttachRequest,
        tty: bool,
        has_stdin: bool,
    ) -> minke_sys::Result<Self> {
        descriptor::set_nonblocking(&socket)?;
        let detach = if tty { DetachKeys::new(request.detach_keys.clone()) } else { None };
        Ok(Self {
            id,
            socket,
            gets: [request.stdout || (tty && request.stderr), request.stderr && !tty],
            framing: request.framing,
            detach,
            input_open: request.stdin && has_stdin,
            queue: Vec::new(),
            sent: 0,
            hung_up: false,
            ending: false,
            told_exit: false,
            held_by: None,
            registered: None,
        })
    }

    /// Whether more output of a stream may be given to it.
    pub fn has_room(&self, stream: usize) -> bool {
        self.hung_up || self.ending || !self.gets[stream] || self.queue.len() - self.sent < BUFFER_BYTES
    }

    /// Sends output, or keeps what the client doesn't take now.
    pub fn push(&mut self, stream: usize, bytes: &[u8]) {
        if self.hung_up || self.ending || !self.gets[stream] {
            return;
        }
        let kind = if stream == 0 { FRAME_STDOUT } else { FRAME_STDERR };
        let header = frame::header(kind, bytes.len());
        let header: &[u8] = if self.framing == Framing::Raw { &[] } else { &header };
        let mut taken = 0;
        if self.queue.is_empty() && self.held_by.is_none() {
            taken = match rustix::io::writev(&self.socket, &[IoSlice::new(header), IoSlice::new(bytes)]) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => return self.hang_up(),
            };
        }
        if taken < header.len() {
            self.queue.extend_from_slice(&header[taken..]);
        }
        self.queue.extend_from_slice(&bytes[taken.saturating_sub(header.len()).min(bytes.len())..]);
    }

    /// Keeps all output until [`Client::release`].
    pub fn hold(&mut self, engine: u32) {
        self.held_by = Some(engine);
    }

    /// Sends what has waited.
    pub fn release(&mut self) {
        self.held_by = None;
        self.flush();
    }

    /// Whether `engine` keeps it waiting.
    pub fn is_held_by(&self, engine: u32) -> bool {
        self.held_by == Some(engine)
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        if self.held_by.is_some() {
            return;
        }
        while self.sent < self.queue.len() {
            match descriptor::write(&self.socket, &self.queue[self.sent..]) {
                Ok(Some(count)) => self.sent += count,
                Ok(None) => return,
                Err(_) => return self.hang_up(),
            }
        }
        self.sent = 0;
        self.queue = Vec::new();
    }

    /// The client reads no more; what it has sent before is still read.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
        self.held_by = None;
        (self.queue, self.sent) = (Vec::new(), 0);
    }

    /// Nothing comes any more but what waits and the last frame for a process's exit code.
    pub fn end(&mut self, code: Option<i32>) {
        if self.ending || self.hung_up {
            self.input_open = false;
            self.ending = true;
            return;
        }
        if let Some(frame) = code.and_then(|code| frame::exit(self.framing, code)) {
            self.queue.extend_from_slice(&frame);
            self.told_exit = true;
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.ending = true;
        self.input_open = false;
        self.flush();
    }

    /// Reads once into `scratch` and appends to `out` what is for the process.
    pub fn read(&mut self, scratch: &mut [u8], out: &mut Vec<u8>) -> Input {
        match descriptor::read(&self.socket, scratch) {
            Ok(None) => Input::Open,
            Ok(Some(0)) | Err(_) => {
                self.input_open = false;
                Input::Ended
            }
            Ok(Some(count)) => self.take(&scratch[..count], out),
        }
    }

    /// Takes bytes that the client has sent.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Input {
        match &mut self.detach {
            None => out.extend_from_slice(bytes),
            Some(keys) => {
                if keys.filter(bytes, out) == Seen::Keys {
                    if let Some(frame) = frame::detached(self.framing) {
                        self.queue.extend_from_slice(&frame);
                    }
                    self.finish();
                    return Input::Detached;
                }
            }
        }
        Input::Open
    }

    /// Whether it can be forgotten.
    pub fn is_gone(&self) -> bool {
        let served = self.queue.is_empty() && self.held_by.is_none();
        (self.ending && (self.hung_up || served)) || (self.hung_up && !self.input_open)
    }

    /// Tells the kernel what is waited for; `may_read`: the process takes input at the moment.
    pub fn register(&mut self, epoll: &Epoll, token: u64, may_read: bool) {
        let wants_input = self.input_open && may_read;
        let mut wanted = if wants_input { epoll::IN } else { 0 };
        if !self.queue.is_empty() && self.held_by.is_none() {
            wanted |= epoll::OUT;
        }
        // A socket that was hung up reports it again and again.
        let wanted = if self.hung_up && !wants_input { None } else { Some(wanted) };
        update(epoll, &self.socket, &mut self.registered, wanted, token);
    }

    /// Closes its socket, so that the client reads all that was sent and then the end; a client that has been told the exit
    /// code may be kept waiting for the end of the stream by an engine that holds the connection too.
    pub fn close(self, epoll: &Epoll) {
        let told_exit = self.told_exit;
        let socket = self.leave(epoll);
        if told_exit { channel::close_ours(socket) } else { channel::close_gently(socket) }
    }

    /// Lets go of its socket, whose connection stays.
    pub fn leave(self, epoll: &Epoll) -> OwnedFd {
        if self.registered.is_some() {
            let _ = epoll.remove(&self.socket);
        }
        self.socket
    }
}

/// Brings a descriptor's registration to what is wanted.
pub fn update(epoll: &Epoll, fd: &OwnedFd, registered: &mut Option<u32>, wanted: Option<u32>, token: u64) {
    if *registered == wanted {
        return;
    }
    let done = match (*registered, wanted) {
        (None, Some(events)) => epoll.add(fd, events, token),
        (Some(_), Some(events)) => epoll.modify(fd, events, token),
        (Some(_), None) => epoll.remove(fd),
        (None, None) => Ok(()),
    };
    if done.is_ok() {
        *registered = wanted;
    }
}
