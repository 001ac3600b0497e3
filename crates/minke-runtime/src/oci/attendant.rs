//! What a bundle asks for beside the plan, done in the child: hooks in the container's namespaces, descriptors and variables that
//! are passed on, processors.

use std::path::PathBuf;

use minke_spec::plan::ProcessPlan;
use minke_spec::shim::{ErrorCode, ShimError};
use minke_sys::rooted::Root;
use minke_sys::{OwnedFd, process as kernel};
use oci_spec::runtime::{Hook, Hooks};
use rustix::thread::CpuSet;

use super::hooks;
use super::state::{State, Status};
use crate::enter::Attendant;
use crate::failure;

/// The attendant of a process that is started by a command.
#[derive(Default)]
pub struct Companion {
    /// The hooks of the configuration, and the state that they read.
    pub hooks: Option<(Hooks, State)>,
    /// Where the root is until it is `/`; set where a hook may look for it.
    pub root_path: Option<PathBuf>,
    /// How many more descriptors the program gets.
    pub preserved: u32,
    /// `LISTEN_FDS` is among them: how many.
    pub listening: u32,
    /// Where `start` reads what kept a created container from its program.
    pub outcome: Option<OwnedFd>,
    /// The processors for the program.
    pub processors: Option<CpuSet>,
}

impl Companion {
    fn list(&self, pick: impl Fn(&Hooks) -> &Option<Vec<Hook>>) -> &[Hook] {
        self.hooks.as_ref().and_then(|(hooks, _)| pick(hooks).as_deref()).unwrap_or_default()
    }

    /// Runs hooks in the calling child.
    fn run(&self, kind: &str, pick: impl Fn(&Hooks) -> &Option<Vec<Hook>>) -> failure::Result<()> {
        let Some((_, state)) = &self.hooks else { return Ok(()) };
        let list = self.list(pick);
        if list.is_empty() {
            return Ok(());
        }
        let status = if kind == "startContainer" { Status::Created } else { Status::Creating };
        hooks::run_all(kind, list, &state.told(status, kernel::pid()), None)
            .map_err(|failure| failure::plain(ErrorCode::Setup, failure.to_string()))
    }

    fn last_steps(&self) -> failure::Result<()> {
        self.run("startContainer", Hooks::start_container)?;
        if let Some(processors) = &self.processors {
            rustix::thread::sched_setaffinity(None, processors)
                .map_err(failure::setup("setting the processors of the process"))?;
        }
        Ok(())
    }

    fn tell(&self, error: &ShimError) {
        if let Some(outcome) = &self.outcome {
            let _ = minke_sys::descriptor::write(outcome, error.message.as_bytes());
        }
    }
}

impl Attendant for Companion {
    fn root_path(&self) -> Option<&str> {
        self.root_path.as_deref().and_then(std::path::Path::to_str)
    }

    fn asks_caller(&self) -> bool {
        #[allow(deprecated)]
        let prestart = self.list(Hooks::prestart);
        !prestart.is_empty() || !self.list(Hooks::create_runtime).is_empty()
    }

    fn before_root(&self) -> failure::Result<()> {
        if let (Some(path), false) = (&self.root_path, self.list(Hooks::create_container).is_empty()) {
            rustix::process::chdir(path.as_path())
                .map_err(failure::setup("entering the root file system"))?;
        }
        self.run("createContainer", Hooks::create_container)
    }

    fn variables(&self, process: &ProcessPlan) -> Vec<String> {
        let mut variables = Vec::new();
        if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
            variables.push(format!("HOME={}", home(process.uid).unwrap_or_else(|| "/".into())));
        }
        if self.listening > 0 {
            variables.extend([format!("LISTEN_FDS={}", self.listening), "LISTEN_PID=1".into()]);
        }
        variables
    }

    fn before_program(&self) -> failure::Result<()> {
        self.last_steps().inspect_err(|error| self.tell(error))
    }

    fn preserved(&self) -> u32 {
        self.preserved
    }
}

/// The home that the container's own file names for a user; whatever else is at the file's name isn't opened.
fn home(uid: u32) -> Option<String> {
    use std::io::Read as _;
    let file = Root::current().ok()?.open_regular("/etc/passwd").ok()??;
    let mut content = Vec::new();
    let limit = minke_spec::user::FILE_LIMIT as u64;
    std::fs::File::from(file).take(limit).read_to_end(&mut content).ok()?;
    minke_spec::user::home_of(uid, &content)
}
