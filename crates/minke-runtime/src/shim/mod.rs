//! The shim: the small single-threaded process beside each container. It starts it, keeps its log, serves its attached clients, runs
//! execs, and records how it ended. It needs no engine once it has been told what to start, and must never depend on one.
//!
//! ```text
//!  Waiting -- Start --> Starting -- program executed --> Running -- init ends --> Ended -- clients served --> gone
//!     | EOF                | Failed                                                 | exit record, Exited event
//!     v                    v
//!    gone          exit record with the error, reply, gone
//! ```
//! The order at the end is the promise: the log is complete, then `exit` is written, then the engine is told, then clients that still
//! read are served as long as they like.

mod client;
mod detach;
mod engines;
mod foreign;
mod frame;
mod guard;
mod hooks;
mod json_line;
mod kill;
mod local_entry;
mod log;
mod pace;
mod process;
mod records;
mod requests;
mod session;
mod start;
mod token;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use minke_spec::shim::{Event, Exited, Status};
use minke_sys::epoll::{self, Epoll};
use minke_sys::{OwnedFd, channel, process as kernel, signal};

use crate::enter::ExecContext;
use engines::Engines;
use process::{Phase, Process};
use token::{Kind, Token};

/// How long an ended exec's streams are read on for those who have inherited them.
const EXEC_DRAIN_MS: u64 = 2000;

/// After this time without events the buffers are given back.
const IDLE_MS: u32 = 500;

/// How many ended execs are remembered for [`Status`].
const REMEMBERED_EXECS: usize = 64;

/// The number of the container's init among the processes.
const INIT: u32 = 0;

/// Runs the shim until its container has ended and everybody has been served; `control` is the connection to the engine that has
/// started it. Returns the program's exit code.
pub fn run(control: OwnedFd, version: &str) -> i32 {
    match Shim::new(control, version) {
        Ok(mut shim) => shim.run(),
        Err(_) => 1,
    }
}

/// What is known of the container once it is being started.
struct Container {
    id: String,
    generation: u64,
    context: ExecContext,
    /// The place among the victims of memory shortage of processes whose plan names none, if it isn't the shim's.
    oom_score: Option<i32>,
    /// Whom its root is on the host, if it has a user namespace.
    owner: Option<(u32, u32)>,
    /// Its root file system.
    root: Option<OwnedFd>,
    /// When it was started.
    started_at_ns: u64,
    /// Its end, once it is recorded.
    exited: Option<Exited>,
    /// What is run beside it.
    hooks: Option<hooks::Hooks>,
    /// Who starts it and its execs, if not this program.
    foreign: Option<foreign::Foreign>,
}

struct Shim {
    epoll: Epoll,
    signals: OwnedFd,
    engines: Engines,
    listener: Option<OwnedFd>,
    container: Option<Container>,
    processes: Vec<Process>,
    next_process: u32,
    ended_execs: Vec<(String, i32, i32)>,
    /// Children that were reaped before their pid was known.
    unknown: Vec<kernel::Ended>,
    buffer: Vec<u8>,
    version: String,
    /// An engine has been told of a rotated log, and hasn't asked for more.
    rotation_told: bool,
    /// Nothing can be started any more; gone when the replies are sent.
    failed: bool,
}

impl Shim {
    fn new(control: OwnedFd, version: &str) -> minke_sys::Result<Self> {
        // Nobody but SIGKILL ends a shim while its container runs.
        signal::block_exactly(signal::ALL)?;
        kernel::set_dumpable(false)?;
        let epoll = Epoll::new()?;
        let signals = signal::descriptor(signal::only(signal::CHILD))?;
        epoll.add(&signals, epoll::IN, Token { kind: Kind::Signals, process: 0, client: 0 }.pack())?;
        let mut engines = Engines::default();
        engines.add(control)?;
        Ok(Self {
            epoll,
            signals,
            engines,
            listener: None,
            container: None,
            processes: Vec::new(),
            next_process: INIT,
            ended_execs: Vec::new(),
            unknown: Vec::new(),
            buffer: Vec::new(),
            version: version.into(),
            rotation_told: false,
            failed: false,
        })
    }

    fn run(&mut self) -> i32 {
        let mut events = [epoll::Event::default(); 32];
        loop {
            self.register();
            if let Some(code) = self.finished() {
                return code;
            }
            let Ok(count) = self.epoll.wait(&mut events, self.timeout_ms()) else { return 1 };
            if count == 0 {
                self.shrink();
            }
            for event in &events[..count] {
                if let Some(token) = Token::unpack(event.token()) {
                    self.dispatch(token, event.events());
                }
            }
            self.end_drained_execs();
            self.tell_rotation();
        }
    }

    /// Tells of a rotated log, but never more often than engines take note of.
    fn tell_rotation(&mut self) {
        if self.rotation_told {
            return;
        }
        let log = process::find(&mut self.processes, INIT).and_then(|init| init.session.log());
        if log.is_some_and(log::Log::take_rotated) {
            self.rotation_told = true;
            self.engines.tell(&Event::LogRotated);
        }
    }

    fn dispatch(&mut self, token: Token, events: u32) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; session::READ_BYTES];
        }
        match token.kind {
            Kind::Signals => {
                signal::drain_descriptor(&self.signals);
                self.reap();
            }
            Kind::Listener => self.accept(),
            Kind::Engine => self.engine_ready(token.client, events),
            Kind::Status => self.status_ready(token.process),
            Kind::Stdin => {
                if let Some(process) = process::find(&mut self.processes, token.process) {
                    process.session.input_ready();
                }
            }
            Kind::Stdout | Kind::Stderr => {
                let stream = usize::from(token.kind == Kind::Stderr);
                if let Some(process) = process::find(&mut self.processes, token.process) {
                    process.session.pump_output(stream, &mut self.buffer, &self.epoll);
                }
            }
            Kind::Client => self.client_ready(token, events),
        }
    }

    fn client_ready(&mut self, token: Token, events: u32) {
        let Some(process) = process::find(&mut self.processes, token.process) else { return };
        let event = process.session.client_ready(token.client, events, &mut self.buffer, &self.epoll);
        if event == session::ClientEvent::Detached {
            let exec_id = process.exec_id.clone();
            self.engines.tell(&Event::Detached { exec_id });
        }
    }

    /// Brings all registrations up to date.
    fn register(&mut self) {
        for engine in self.engines.gone() {
            for process in &mut self.processes {
                process.session.drop_held(engine, &self.epoll);
            }
        }
        for process in &mut self.processes {
            process.register(&self.epoll);
        }
        self.engines.register(&self.epoll);
    }

    fn timeout_ms(&self) -> Option<u32> {
        let deadline = self.processes.iter().filter_map(|process| process.drain_until_ms).min();
        let until_deadline = deadline.map(|deadline| {
            let now = kernel::monotonic_ns() / 1_000_000;
            deadline.saturating_sub(now) as u32 + 1
        });
        let until_idle = (!self.buffer.is_empty()).then_some(IDLE_MS);
        match (until_deadline, until_idle) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn shrink(&mut self) {
        self.buffer = Vec::new();
        for process in &mut self.processes {
            process.session.shrink();
        }
    }

    /// The program's exit code, once there is nothing left to do.
    fn finished(&mut self) -> Option<i32> {
        if self.failed {
            return self.engines.are_flushed().then_some(1);
        }
        match &self.container {
            // Nobody will ever say what to start.
            None => self.engines.is_empty().then_some(0),
            Some(container) => {
                let served = self.processes.iter().all(|process| !process.session.has_clients());
                (container.exited.is_some() && served && self.engines.are_flushed()).then_some(0)
            }
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok(Some(socket)) = channel::accept(listener) {
            let _ = self.engines.add(socket);
        }
    }

    /// Takes the ends of all children that have ended.
    fn reap(&mut self) {
        // What a child has reported comes first: its end may be in the same round.
        let starting: Vec<u32> = self
            .processes
            .iter()
            .filter(|process| process.is_starting())
            .map(|process| process.number)
            .collect();
        for number in starting {
            self.status_ready(number);
        }
        while let Ok(Some(ended)) = kernel::reap(false) {
            match self
                .processes
                .iter()
                .find(|process| process.has_pid(ended.pid))
                .map(|process| process.number)
            {
                Some(number) => self.process_ended(number, ended),
                None => self.unknown.push(ended),
            }
        }
        if !self.processes.iter().any(Process::is_starting) {
            self.unknown.clear();
        }
    }

    fn process_ended(&mut self, number: u32, ended: kernel::Ended) {
        // What it has reported may have come in since the caller looked.
        self.status_ready(number);
        match process::find(&mut self.processes, number) {
            // Its helper still holds the other end of the connection: what is to be learnt from its end comes first.
            Some(process) if process.is_starting() => self.unknown.push(ended),
            Some(_) if number == INIT => self.init_ended(ended.code),
            Some(_) => self.exec_ended(number, ended.code),
            None => {}
        }
    }

    fn exec_ended(&mut self, number: u32, code: i32) {
        let now_ms = kernel::monotonic_ns() / 1_000_000;
        let Some(process) = process::find(&mut self.processes, number) else { return };
        if !matches!(process.phase, Phase::Running) {
            return;
        }
        process.phase = Phase::Ended(code);
        process.drain_until_ms = Some(now_ms + EXEC_DRAIN_MS);
        for stream in 0..2 {
            process.session.pump_output(stream, &mut self.buffer, &self.epoll);
        }
        let exec_id = process.exec_id.clone().unwrap_or_default();
        let pid = process.pid().unwrap_or(0);
        if self.ended_execs.len() == REMEMBERED_EXECS {
            self.ended_execs.remove(0);
        }
        self.ended_execs.push((exec_id.clone(), pid, code));
        self.engines.tell(&Event::ExecExited { exec_id, code });
    }

    /// Ends the sessions of execs whose streams have ended, or whose time is over, and forgets those without clients.
    fn end_drained_execs(&mut self) {
        if self.processes.iter().all(|process| process.drain_until_ms.is_none()) {
            return self.processes.retain(|process| !process.is_forgettable());
        }
        let now_ms = kernel::monotonic_ns() / 1_000_000;
        for process in &mut self.processes {
            let Phase::Ended(code) = process.phase else { continue };
            let Some(deadline) = process.drain_until_ms else { continue };
            if process.session.outputs_ended() || deadline <= now_ms {
                process.session.end(Some(code), &self.epoll);
                process.drain_until_ms = None;
            }
        }
        self.processes.retain(|process| !process.is_forgettable());
    }

    fn init_ended(&mut self, code: i32) {
        let finished_at_ns = kernel::now_ns();
        let Some(container) = &mut self.container else { return };
        // A start that has failed has been recorded as that, an end is recorded once.
        if self.failed || container.exited.is_some() {
            return;
        }
        // Without a pid namespace of its own the rest of the container lives on until it is killed.
        kill::all(&container.context, signal::KILL);
        // The kernel's hold on the root must be gone when the engine hears of the end.
        container.root = None;
        let exited = Exited { code, finished_at_ns };
        for process in &mut self.processes {
            process.session.drain_outputs(&mut self.buffer, &self.epoll);
            let code = match process.phase {
                Phase::Ended(code) => code,
                _ if process.number == INIT => code,
                _ => 128 + signal::KILL,
            };
            process.drain_until_ms = None;
            process.phase = Phase::Ended(code);
            process.session.close_streams(&self.epoll);
        }
        if let Some(hooks) = &container.hooks {
            hooks.run_last();
        }
        let record = records::Exit {
            container_id: &container.id,
            generation: container.generation,
            code,
            finished_at_ns,
            error: None,
        };
        let _ = records::write("exit", &record.render());
        container.exited = Some(exited);
        self.listener = None;
        self.engines.tell(&Event::Exited(exited));
        for process in &mut self.processes {
            if let Phase::Ended(code) = process.phase {
                process.session.end(Some(code), &self.epoll);
            }
        }
    }

    fn status(&self) -> Option<Status> {
        let container = self.container.as_ref()?;
        let mut execs: Vec<(String, i32, Option<i32>)> =
            self.ended_execs.iter().map(|(id, pid, code)| (id.clone(), *pid, Some(*code))).collect();
        for process in &self.processes {
            if let (Some(id), Phase::Running) = (&process.exec_id, &process.phase) {
                execs.push((id.clone(), process.pid().unwrap_or(0), None));
            }
        }
        Some(Status {
            generation: container.generation,
            started: self.started(),
            exited: container.exited,
            execs,
        })
    }
}

/// A time as Docker prints it in its logs.
#[cfg(feature = "std")]
pub(crate) fn render_time(ns_since_1970: u64) -> String {
    let mut out = Vec::new();
    json_line::render_time(ns_since_1970, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
