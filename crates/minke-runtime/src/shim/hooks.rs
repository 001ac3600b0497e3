//! Hooks: programs of the host that run on a container's way to its program and at its end (OCI runtime specification, config.md
//! "POSIX-platform Hooks"), because a device of a vendor asks for them. Most containers have none, and nothing of this happens.
//!
//! ```text
//!  here, in the host's namespaces     prestart, createRuntime      the namespaces and mounts are there
//!  in the child, before its root      createContainer
//!  in the child, inside its root      startContainer               just before the program
//!  here                               poststart, poststop          the program runs; has ended
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minke_spec::shim::{ErrorCode, Hook, HookStage};
use minke_sys::process::{Clone, Cloned};
use minke_sys::text::{Strings, text_of};
use minke_sys::{AsFd, Errno, OwnedFd, descriptor, process as kernel, signal};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::enter::Attendant;
use crate::failure::{self, Result};

/// How much of what a failed hook has said stands in the error.
const WORDS_LIMIT: usize = 1024;
/// The variables of a hook that has no list of its own.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The hooks of a container.
pub struct Hooks {
    list: Vec<Hook>,
    container_id: String,
    bundle: String,
    root: String,
}

impl Hooks {
    /// Those of a start; `None` without any.
    pub fn new(list: Vec<Hook>, bundle: String, container_id: &str) -> Option<Self> {
        let root = format!("{bundle}/rootfs");
        (!list.is_empty()).then(|| Self { list, container_id: container_id.into(), bundle, root })
    }

    /// Runs those of one stage in order; the first that fails ends it. `pid` is the container's as the hooks see it, 0 without one.
    pub fn run(&self, stage: HookStage, pid: i32) -> Result<()> {
        for (number, hook) in self.of(stage).enumerate() {
            run(hook, &self.state(stage, pid), self.directory(stage)).map_err(|reason| {
                let words = format!("error running {} hook #{number}: {reason}", stage.name());
                failure::plain(ErrorCode::Setup, words)
            })?;
        }
        Ok(())
    }

    /// Runs all that are to run when the container is gone, whatever becomes of each.
    pub fn run_last(&self) {
        for hook in self.of(HookStage::Poststop) {
            let _ = run(hook, &self.state(HookStage::Poststop, 0), self.directory(HookStage::Poststop));
        }
    }

    fn of(&self, stage: HookStage) -> impl Iterator<Item = &Hook> {
        self.list.iter().filter(move |hook| hook.stage == stage)
    }

    fn has(&self, stage: HookStage) -> bool {
        self.of(stage).next().is_some()
    }

    /// Where a hook runs; in the child it is where that is.
    fn directory(&self, stage: HookStage) -> Option<&str> {
        let in_child = matches!(stage, HookStage::CreateContainer | HookStage::StartContainer);
        (!in_child).then_some(self.bundle.as_str())
    }

    /// What a hook reads (runtime.md "State").
    fn state(&self, stage: HookStage, pid: i32) -> String {
        let status = match stage {
            HookStage::Prestart | HookStage::CreateRuntime | HookStage::CreateContainer => "creating",
            HookStage::StartContainer => "created",
            HookStage::Poststart => "running",
            HookStage::Poststop => "stopped",
        };
        let pid = if pid > 0 { format!("\"pid\":{pid},") } else { String::new() };
        let bundle = self.bundle.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "{{\"ociVersion\":\"1.2.0\",\"id\":\"{}\",\"status\":\"{status}\",{pid}\"bundle\":\"{bundle}\",\"annotations\":{{}}}}",
            self.container_id
        )
    }
}

impl Attendant for Hooks {
    fn root_path(&self) -> Option<&str> {
        Some(&self.root)
    }

    fn asks_caller(&self) -> bool {
        self.has(HookStage::Prestart) || self.has(HookStage::CreateRuntime)
    }

    fn before_root(&self) -> Result<()> {
        if !self.has(HookStage::CreateContainer) {
            return Ok(());
        }
        rustix::process::chdir(self.root.as_str())
            .map_err(failure::setup("entering the root file system"))?;
        self.run(HookStage::CreateContainer, kernel::pid())
    }

    fn before_program(&self) -> Result<()> {
        self.run(HookStage::StartContainer, kernel::pid())
    }
}

fn run(hook: &Hook, state: &str, directory: Option<&str>) -> Result<(), String> {
    let failed = |errno: Errno| format!("{}: {}", hook.path, failure::words(errno));
    let input = memory(state.as_bytes()).map_err(failed)?;
    let words = memory(&[]).map_err(failed)?;
    let mut all = Vec::from([hook.path.clone()]);
    if !hook.args.is_empty() {
        all.clone_from(&hook.args);
    }
    let variables = hook.env.clone().unwrap_or_else(|| Vec::from([PATH.into()]));
    let prepare = || Ok((text_of(&hook.path)?, Strings::new(&all)?, Strings::new(&variables)?));
    let (program, arguments, variables) = prepare().map_err(failed)?;
    match kernel::clone(Clone::default()).map_err(failed)? {
        Cloned::Child => {
            let execute = || -> minke_sys::Result<()> {
                signal::reset()?;
                descriptor::install_standard(&input, 0)?;
                descriptor::install_standard(&words, 1)?;
                descriptor::install_standard(&words, 2)?;
                if let Some(directory) = directory {
                    rustix::process::chdir(directory)?;
                }
                Err(kernel::execute(&program, &arguments, &variables))
            };
            if let Err(errno) = execute() {
                let _ = descriptor::write_all(&words, failed(errno).as_bytes());
            }
            kernel::exit(127)
        }
        Cloned::Parent(pid, pidfd) => {
            let in_time = wait(&pidfd, hook.timeout_s).map_err(failed)?;
            if !in_time {
                let _ = kernel::pidfd_signal(&pidfd, signal::KILL);
            }
            let status = reap(pid).map_err(failed)?;
            match (in_time, status.exit_status(), status.terminating_signal()) {
                (false, ..) => Err(format!("{} took longer than {} s", hook.path, hook.timeout_s)),
                (true, Some(0), _) => Ok(()),
                (true, Some(code), _) => Err(format!("exit status {code}, output: {}", said(&words))),
                (true, None, number) => Err(format!("signal {}", number.unwrap_or(0))),
            }
        }
    }
}

/// A file in memory, to be read from its beginning.
fn memory(bytes: &[u8]) -> minke_sys::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC)?;
    descriptor::write_all(&file, bytes).map_err(|(_, errno)| errno)?;
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

/// Waits for a child's end; false if it takes longer than allowed (0: as long as it takes).
fn wait(pidfd: &OwnedFd, timeout_s: u32) -> minke_sys::Result<bool> {
    if timeout_s == 0 {
        return signal::wait_readable(pidfd.as_fd()).map(|()| true);
    }
    signal::wait_readable_for(pidfd.as_fd(), Duration::from_secs(timeout_s.into()))
}

/// This child and no other.
fn reap(pid: i32) -> minke_sys::Result<WaitStatus> {
    loop {
        match rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The beginning of what a hook has said, on one line.
fn said(words: &OwnedFd) -> String {
    let mut bytes = alloc::vec![0; WORDS_LIMIT];
    let _ = rustix::fs::seek(words, SeekFrom::Start(0));
    let count = descriptor::read(words, &mut bytes).ok().flatten().unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).trim().replace('\n', " ")
}
