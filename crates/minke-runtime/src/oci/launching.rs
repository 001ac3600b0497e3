//! Following a process on its way to its program: terminal, listener, hooks of the caller, words of failure.

use std::os::unix::net::UnixStream;

use minke_sys::OwnedFd;
use oci_spec::runtime::{Hooks, LinuxSeccomp};

use super::state::{State, Status};
use super::{Failure, console, failed, hooks, listener};
use crate::enter::{Launched, Report};

/// Who is told what on the way.
pub struct Watch<'a> {
    /// The container.
    pub state: &'a mut State,
    /// What it is on its way to.
    pub status: Status,
    /// Where the terminal goes; without it, it is kept for the caller.
    pub console: Option<UnixStream>,
    /// The terminal's controlling side.
    pub terminal: Option<OwnedFd>,
    /// The filter's agent.
    pub seccomp: Option<LinuxSeccomp>,
    /// The hooks that run here.
    pub hooks: Option<Hooks>,
    /// Whether the process is the container's init.
    pub is_init: bool,
}

impl Watch<'_> {
    /// Follows until the process waits for its start (`true`) or executes its program.
    pub fn follow(&mut self, launched: &mut Launched) -> Result<bool, Failure> {
        let mut executing = false;
        loop {
            let report = launched.report().map_err(failed("setting up the process"))?;
            match report {
                Some((Report::Terminal, Some(controller))) => self.keep(controller)?,
                Some((Report::Pid(pid), _)) => {
                    // It may have ended already.
                    if launched.found_pid(pid).is_err() {
                        launched.pid = Some(pid);
                    }
                    if self.is_init {
                        self.state.set_pid(pid);
                    }
                }
                Some((Report::Created, _)) => {
                    self.run_hooks()?;
                    launched.go().map_err(failed("releasing the process"))?;
                }
                Some((Report::Listener, Some(descriptor))) => {
                    if let Some(seccomp) = &self.seccomp {
                        let pid = launched.pid.unwrap_or(0);
                        listener::send(seccomp, self.state, self.status, pid, &descriptor)?;
                    }
                }
                Some((Report::Ready, _)) => return Ok(true),
                Some((Report::Failed(error), _)) => return Err(error.into()),
                Some((Report::Executing, _)) => executing = true,
                Some((Report::Terminal | Report::Listener, None)) => {}
                None if executing => return Ok(false),
                None => return Err(Failure::new("the process ended while it was being set up")),
            }
        }
    }

    fn keep(&mut self, controller: OwnedFd) -> Result<(), Failure> {
        match self.console.take() {
            Some(socket) => console::send(&socket, &controller),
            None => {
                self.terminal = Some(controller);
                Ok(())
            }
        }
    }

    fn run_hooks(&self) -> Result<(), Failure> {
        let Some(lists) = &self.hooks else { return Ok(()) };
        let told = self.state.told(Status::Creating, self.state.pid);
        #[allow(deprecated)]
        let prestart = lists.prestart();
        for (kind, list) in [("prestart", prestart), ("createRuntime", lists.create_runtime())] {
            hooks::run_all(kind, list.as_deref().unwrap_or_default(), &told, Some(&self.state.bundle))?;
        }
        Ok(())
    }
}
