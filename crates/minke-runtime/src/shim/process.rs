//! A process of the container as the shim sees it: the init or an exec.

use alloc::string::String;

use minke_spec::shim::ShimError;
use minke_sys::epoll::{self, Epoll};
use minke_sys::{OwnedFd, descriptor};

use super::client;
use super::session::Session;
use super::token::{Kind, Token};
use crate::enter::{Launched, Report};

/// Which engine waits for an answer, and to which request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The engine's number.
    pub engine: u32,
    /// The request's number.
    pub request: u32,
}

/// Where a process is.
pub enum Phase {
    /// On its way to its program.
    Starting,
    /// Its start has failed; it is about to be forgotten.
    Failing,
    /// Running.
    Running,
    /// Ended with this exit code.
    Ended(i32),
}

/// A process.
pub struct Process {
    /// Its number here.
    pub number: u32,
    /// An exec's id; `None` for the init.
    pub exec_id: Option<String>,
    /// Where it is.
    pub phase: Phase,
    /// Its streams.
    pub session: Session,
    /// Until when an ended exec's streams are read on, in milliseconds of the monotonic clock.
    pub drain_until_ms: Option<u64>,
    /// Standard input of its terminal may be written to.
    pub open_stdin: bool,
    /// What it writes waits until it has started: before that it is the runtime who writes.
    pub quiet: bool,
    /// Who is to be answered when it has started.
    pub asked: Option<Asked>,
    pub(super) launched: Launched,
    status_registered: Option<u32>,
    status_open: bool,
    executing: bool,
    /// It is set up and waits to be let go.
    pub ready: bool,
}

/// What became of a start.
pub enum Progress {
    /// Nothing to say yet.
    Pending,
    /// It waits for the hooks to be run, and to be let go.
    Created,
    /// It waits to be let go.
    Ready,
    /// It has executed its program.
    Started,
    /// It never will.
    Failed(ShimError),
}

impl Process {
    /// A process that was launched.
    pub fn new(
        number: u32,
        exec_id: Option<String>,
        session: Session,
        launched: Launched,
    ) -> minke_sys::Result<Self> {
        descriptor::set_nonblocking(&launched.status)?;
        Ok(Self {
            number,
            exec_id,
            phase: Phase::Starting,
            session,
            drain_until_ms: None,
            open_stdin: false,
            quiet: false,
            asked: None,
            launched,
            status_registered: None,
            status_open: true,
            executing: false,
            ready: false,
        })
    }

    /// Its pid as the host sees it, once known.
    pub fn pid(&self) -> Option<i32> {
        self.launched.pid
    }

    /// Its pidfd, once known.
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.launched.pidfd.as_ref()
    }

    /// Whether it is this pid's.
    pub fn has_pid(&self, pid: i32) -> bool {
        self.pid() == Some(pid) && !matches!(self.phase, Phase::Ended(_) | Phase::Failing)
    }

    /// Whether it hasn't executed its program yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// Whether an ended exec has nobody left to serve.
    pub fn is_forgettable(&self) -> bool {
        self.exec_id.is_some()
            && self.drain_until_ms.is_none()
            && matches!(self.phase, Phase::Ended(_) | Phase::Failing)
            && !self.session.has_clients()
    }

    /// Lets a ready process execute its program.
    pub fn go(&mut self) -> minke_sys::Result<()> {
        self.ready = false;
        self.launched.go()
    }

    /// Takes the next report of a starting process.
    pub fn progress(&mut self) -> Progress {
        loop {
            match self.launched.report() {
                Err(minke_sys::Errno::AGAIN) => return Progress::Pending,
                Ok(Some((Report::Terminal, Some(controller)))) => {
                    let open_stdin = self.open_stdin;
                    if let Err(errno) = self.session.take_terminal(controller, open_stdin) {
                        return Progress::Failed(crate::failure::setup("taking over the terminal")(errno));
                    }
                }
                Ok(Some((Report::Pid(pid), _))) => {
                    // It may have ended and been reaped already: then only its number is known.
                    if self.launched.found_pid(pid).is_err() {
                        self.launched.pid = Some(pid);
                    }
                }
                Ok(Some((Report::Ready, _))) => {
                    self.ready = true;
                    return Progress::Ready;
                }
                Ok(Some((Report::Executing, _))) => self.executing = true,
                Ok(Some((Report::Created, _))) => return Progress::Created,
                // What only a bundle's filter makes.
                Ok(Some((Report::Listener, _))) => {}
                Ok(Some((Report::Failed(error), _))) => return Progress::Failed(error),
                Ok(Some((Report::Terminal, None))) | Ok(None) | Err(_) => {
                    self.status_open = false;
                    return if self.executing && self.pid().is_some() {
                        Progress::Started
                    } else {
                        Progress::Failed(crate::failure::plain(
                            minke_spec::shim::ErrorCode::Setup,
                            "the process ended before its program was executed",
                        ))
                    };
                }
            }
        }
    }

    /// Brings its registrations up to date.
    pub fn register(&mut self, epoll: &Epoll) {
        let wanted = (self.status_open && self.is_starting()).then_some(epoll::IN);
        let token = Token { kind: Kind::Status, process: self.number, client: 0 }.pack();
        client::update(epoll, &self.launched.status, &mut self.status_registered, wanted, token);
        if !(self.quiet && self.is_starting()) {
            self.session.register(epoll, self.number);
        }
    }
}

/// The process with a number.
pub fn find(processes: &mut [Process], number: u32) -> Option<&mut Process> {
    processes.iter_mut().find(|process| process.number == number)
}
