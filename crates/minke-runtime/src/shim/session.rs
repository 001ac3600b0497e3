//! The streams of one process: its pipes or terminal on one side, the log and the attached clients on the other.
//!
//! A byte of output goes into the log first and then to each client; while one client's buffer is full the process isn't read, so
//! it waits, as under Docker.

use alloc::vec::Vec;

use minke_spec::shim::{AttachRequest, Stdio};
use minke_sys::epoll::{self, Epoll};
use minke_sys::{OwnedFd, descriptor, process as kernel, pty};
use rustix::fs::{Mode, OFlags};

use super::client::{self, Client, Input};
use super::log::Log;
use super::pace::{self, Flow, Pace};
use super::token::{Kind, Token};
use crate::enter::ChildStreams;

/// How much is read from a stream at once.
pub const READ_BYTES: usize = 128 * 1024;

/// How often a stream is read before others get their turn.
const READS_PER_TURN: u32 = 4;

/// The streams of a process.
pub struct Session {
    tty: bool,
    /// Standard input ends with the first client that was attached to it.
    stdin_once: bool,
    stdin: Option<OwnedFd>,
    stdin_registered: Option<u32>,
    /// Bytes on their way to standard input.
    pending: Vec<u8>,
    /// Standard input ends when `pending` is written.
    stdin_ends: bool,
    /// Standard input is to be closed.
    stdin_done: bool,
    /// Standard output (or the terminal) and standard error.
    outputs: [Option<Output>; 2],
    /// The terminal's controlling side.
    controller: Option<OwnedFd>,
    clients: Vec<Client>,
    next_client: u32,
    log: Option<Log>,
}

struct Output {
    fd: OwnedFd,
    registered: Option<u32>,
    pace: Pace,
    /// The pipe has been made larger.
    grown: bool,
}

impl Output {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, registered: None, pace: Pace::default(), grown: false }
    }
}

/// What reading once has given.
enum Read {
    /// So many bytes; there may be more.
    Some(usize),
    /// Nothing is there now, or nothing ever will be.
    Nothing,
}

/// What a client did that others want to know.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Nothing of interest.
    None,
    /// It sent its detach keys.
    Detached,
}

/// How a session is made.
pub struct Settings {
    /// The request's.
    pub stdio: Stdio,
    /// Nobody will ever see the output: give the process the null device (a terminal is still a terminal).
    pub unseen: bool,
    /// The log.
    pub log: Option<Log>,
}

impl Session {
    /// Makes the pipes; returns the process's ends.
    pub fn new(settings: Settings) -> minke_sys::Result<(Self, ChildStreams)> {
        let Settings { stdio, unseen, log } = settings;
        let mut session = Self {
            tty: stdio.tty,
            stdin_once: stdio.stdin_once,
            stdin: None,
            stdin_registered: None,
            pending: Vec::new(),
            stdin_ends: false,
            stdin_done: false,
            outputs: [None, None],
            controller: None,
            clients: Vec::new(),
            next_client: 0,
            log,
        };
        if stdio.tty {
            return Ok((session, ChildStreams::Terminal(stdio.console_size)));
        }
        let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let input = if stdio.open_stdin {
            let (theirs, ours) = descriptor::pipe()?;
            descriptor::set_nonblocking(&ours)?;
            session.stdin = Some(ours);
            theirs
        } else {
            null()?
        };
        if unseen {
            return Ok((session, ChildStreams::Files([input, null()?, null()?])));
        }
        let (first, out) = output_pipe()?;
        let (second, error) = output_pipe()?;
        session.outputs = [Some(first), Some(second)];
        Ok((session, ChildStreams::Files([input, out, error])))
    }

    /// Takes over the controlling side of the process's terminal.
    pub fn take_terminal(&mut self, controller: OwnedFd, open_stdin: bool) -> minke_sys::Result<()> {
        descriptor::set_nonblocking(&controller)?;
        // One number for each direction, so that each can be waited for alone.
        self.outputs[0] = Some(Output::new(descriptor::duplicate_above(&controller, 3)?));
        if open_stdin {
            self.stdin = Some(descriptor::duplicate_above(&controller, 3)?);
        }
        self.controller = Some(controller);
        self.flush_input();
        Ok(())
    }

    /// Sets the terminal's size; false if the process has none.
    pub fn resize(&self, rows: u16, columns: u16) -> minke_sys::Result<bool> {
        let Some(controller) = &self.controller else { return Ok(false) };
        pty::resize(controller, rows, columns).map(|()| true)
    }

    /// Adds a client; `has_stdin`: the process's input can be written to (a terminal may not be there yet).
    pub fn attach(
        &mut self,
        socket: OwnedFd,
        request: &AttachRequest,
        has_stdin: bool,
    ) -> minke_sys::Result<ClientEvent> {
        let id = self.next_client;
        let mut client = Client::new(id, socket, request, self.tty, has_stdin)?;
        self.next_client += 1;
        let mut event = ClientEvent::None;
        if client.input_open
            && !request.prefix.is_empty()
            && let Input::Detached = client.take(&request.prefix, &mut self.pending)
        {
            event = ClientEvent::Detached;
        }
        self.clients.push(client);
        self.flush_input();
        Ok(event)
    }

    /// Lets the client that was attached last wait for [`Session::release`]; returns its number, and the log's file and how much is in
    /// it. What isn't in the file because its line has no end yet waits for the client.
    pub fn hold_last(&mut self, engine: u32) -> (u32, Option<OwnedFd>, u64) {
        let (file, bytes) = self.log.as_ref().map_or((None, 0), Log::place);
        let Some(client) = self.clients.last_mut() else { return (0, file, bytes) };
        client.hold(engine);
        for stream in 0..2 {
            let begun = self.log.as_ref().map_or(&[][..], |log| log.begun(stream));
            if !begun.is_empty() {
                client.push(stream, begun);
            }
        }
        (client.id, file, bytes)
    }

    /// Sends a held client what has waited for it; false if it isn't there any more.
    pub fn release(&mut self, id: u32, epoll: &Epoll) -> bool {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return false };
        client.release();
        self.forget_gone(epoll);
        true
    }

    /// Lets go of the clients that an engine has kept waiting and then left.
    pub fn drop_held(&mut self, engine: u32, epoll: &Epoll) {
        for client in self.clients.iter_mut().filter(|client| client.is_held_by(engine)) {
            client.hang_up();
            client.end(None);
        }
        self.forget_gone(epoll);
    }

    /// The log, while it is written to.
    pub fn log(&mut self) -> Option<&mut Log> {
        self.log.as_mut()
    }

    /// Reads from the process, if every client has room.
    pub fn pump_output(&mut self, stream: usize, buffer: &mut [u8], epoll: &Epoll) {
        self.wait_for_flow(stream);
        let mut total = 0;
        for _ in 0..READS_PER_TURN {
            if !self.may_read(stream) {
                break;
            }
            let Read::Some(count) = self.pump_once(stream, buffer, epoll) else { break };
            total += count;
            // A terminal gives a line at a time; a pipe that gave less is empty, or tells that it isn't.
            if !self.tty && count < buffer.len() {
                break;
            }
        }
        if let Some(output) = &mut self.outputs[stream] {
            output.pace.end(kernel::monotonic_ns(), total);
        }
    }

    /// Waits a moment where that makes larger pieces and nobody late.
    fn wait_for_flow(&mut self, stream: usize) {
        if self.tty || self.clients.iter().any(|client| client.input_open) {
            return;
        }
        let has_clients = !self.clients.is_empty();
        let Some(output) = &mut self.outputs[stream] else { return };
        let flow = output.pace.begin(kernel::monotonic_ns(), has_clients);
        if flow != Flow::Calm && !output.grown {
            // The writer goes on while what it has written is being logged.
            output.grown = true;
            let _ = rustix::pipe::fcntl_setpipe_size(&output.fd, pace::PIPE_BYTES);
        }
        if flow == Flow::WaitFor {
            kernel::pause(pace::PAUSE_NS);
        }
    }

    /// Reads once whether or not the clients have room.
    fn pump_once(&mut self, stream: usize, buffer: &mut [u8], epoll: &Epoll) -> Read {
        let Some(output) = &self.outputs[stream] else { return Read::Nothing };
        match descriptor::read(&output.fd, buffer) {
            Ok(None) => Read::Nothing,
            Ok(Some(0)) | Err(_) => {
                self.close_output(stream, epoll);
                Read::Nothing
            }
            Ok(Some(count)) => {
                let bytes = &buffer[..count];
                if let Some(log) = &mut self.log {
                    log.append(stream, bytes, kernel::now_ns());
                }
                for client in &mut self.clients {
                    client.push(stream, bytes);
                }
                Read::Some(count)
            }
        }
    }

    fn may_read(&self, stream: usize) -> bool {
        self.outputs[stream].is_some() && self.clients.iter().all(|client| client.has_room(stream))
    }

    fn close_output(&mut self, stream: usize, epoll: &Epoll) {
        if let Some(output) = self.outputs[stream].take()
            && output.registered.is_some()
        {
            let _ = epoll.remove(&output.fd);
        }
        if let Some(log) = &mut self.log {
            log.end(stream, kernel::now_ns());
        }
    }

    /// Reads all that a process has left behind when it ended: at most what its pipes hold, whatever the clients do.
    pub fn drain_outputs(&mut self, buffer: &mut [u8], epoll: &Epoll) {
        for stream in 0..2 {
            while let Read::Some(_) = self.pump_once(stream, buffer, epoll) {}
        }
    }

    /// Whether both streams have ended.
    pub fn outputs_ended(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Nothing more is read from the process or written to it; the log is complete.
    pub fn close_streams(&mut self, epoll: &Epoll) {
        for stream in 0..2 {
            self.close_output(stream, epoll);
        }
        self.close_input(epoll);
        self.controller = None;
        self.log = None;
    }

    /// The process has ended, and each client is told.
    pub fn end(&mut self, code: Option<i32>, epoll: &Epoll) {
        self.close_streams(epoll);
        for client in &mut self.clients {
            client.end(code);
        }
        self.forget_gone(epoll);
    }

    /// The process could not be started: its clients are left as they are, for the engine to tell them why.
    pub fn abandon(&mut self, epoll: &Epoll) {
        self.close_streams(epoll);
        for client in self.clients.drain(..) {
            client.leave(epoll);
        }
    }

    /// The process can't be written to any more (or never could).
    fn close_input(&mut self, epoll: &Epoll) {
        if let Some(stdin) = self.stdin.take()
            && self.stdin_registered.take().is_some()
        {
            let _ = epoll.remove(&stdin);
        }
        self.pending = Vec::new();
    }

    /// Something happened to a client.
    pub fn client_ready(&mut self, id: u32, events: u32, buffer: &mut [u8], epoll: &Epoll) -> ClientEvent {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return ClientEvent::None;
        };
        if events & epoll::OUT != 0 {
            client.flush();
        }
        if events & (epoll::HANGUP | epoll::ERROR) != 0 {
            client.hang_up();
        }
        let mut event = ClientEvent::None;
        if client.input_open && self.pending.is_empty() && events & (epoll::IN | epoll::HANGUP) != 0 {
            match client.read(buffer, &mut self.pending) {
                Input::Open => {}
                Input::Detached => event = ClientEvent::Detached,
                // Whose input was the process's alone ends it; with a terminal, or where others may come, it is the client who goes.
                Input::Ended if self.stdin_once && !self.tty => self.stdin_ends = true,
                Input::Ended => client.end(None),
            }
        }
        self.flush_input();
        self.forget_gone(epoll);
        event
    }

    /// Standard input takes bytes again.
    pub fn input_ready(&mut self) {
        self.flush_input();
    }

    fn flush_input(&mut self) {
        let Some(stdin) = &self.stdin else {
            // A terminal that is still to come is written to then; anything else has been closed.
            if !self.tty || self.controller.is_some() {
                self.pending.clear();
            }
            return;
        };
        let mut done = 0;
        while done < self.pending.len() {
            match descriptor::write(stdin, &self.pending[done..]) {
                Ok(Some(count)) => done += count,
                Ok(None) => break,
                // The process has closed it.
                Err(_) => {
                    self.stdin_done = true;
                    self.pending = Vec::new();
                    return;
                }
            }
        }
        if done == self.pending.len() {
            self.pending = Vec::new();
            self.stdin_done |= self.stdin_ends;
        } else {
            self.pending.drain(..done);
        }
    }

    /// Forgets the clients that are gone.
    fn forget_gone(&mut self, epoll: &Epoll) {
        let mut place = 0;
        while place < self.clients.len() {
            if self.clients[place].is_gone() {
                self.clients.swap_remove(place).close(epoll);
            } else {
                place += 1;
            }
        }
    }

    /// Whether anybody is attached.
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether standard input can be written to.
    pub fn has_stdin(&self) -> bool {
        self.stdin.is_some() && !self.stdin_ends && !self.stdin_done
    }

    /// Tells the kernel what this session waits for.
    pub fn register(&mut self, epoll: &Epoll, process: u32) {
        self.forget_gone(epoll);
        if self.stdin_done {
            self.close_input(epoll);
        }
        for (stream, kind) in [(0, Kind::Stdout), (1, Kind::Stderr)] {
            let wanted = self.may_read(stream).then_some(epoll::IN);
            if let Some(output) = &mut self.outputs[stream] {
                let token = Token { kind, process, client: 0 }.pack();
                client::update(epoll, &output.fd, &mut output.registered, wanted, token);
            }
        }
        if let Some(stdin) = &self.stdin {
            let wanted = (!self.pending.is_empty()).then_some(epoll::OUT);
            let token = Token { kind: Kind::Stdin, process, client: 0 }.pack();
            client::update(epoll, stdin, &mut self.stdin_registered, wanted, token);
        }
        let may_read = self.pending.is_empty();
        for client in &mut self.clients {
            let token = Token { kind: Kind::Client, process, client: client.id }.pack();
            client.register(epoll, token, may_read);
        }
    }

    /// Gives back the memory of an idle session.
    pub fn shrink(&mut self) {
        if let Some(log) = &mut self.log {
            log.shrink();
        }
    }
}

fn output_pipe() -> minke_sys::Result<(Output, OwnedFd)> {
    let (ours, theirs) = descriptor::pipe()?;
    descriptor::set_nonblocking(&ours)?;
    Ok((Output::new(ours), theirs))
}
