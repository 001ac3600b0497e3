//! `minke bundle`, a hidden word: calls another OCI runtime (runc, crun) for a shim, so that the shim can be small. It is started by
//! the shim, does one thing, reports on its descriptor as a child of the shim's own would, and ends; what the runtime
//! has started is then the shim's child. It must never outlive that, nor talk to an engine.
//!
//! ```text
//!  minke bundle create BUNDLE ID   TERMINAL STATUS MOUNT...   attaches the mounts below the bundle, create, start
//!  minke bundle exec   BUNDLE EXEC TERMINAL STATUS            exec, with the process of exec-EXEC.json
//! ```
//! TERMINAL is `none`, or rows and columns; STATUS and MOUNT are numbers of descriptors.

mod console;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use minke_spec::foreign::{FILE, Foreign};
use minke_spec::shim::ErrorCode;
use minke_sys::{AsFd, OwnedFd, descriptor, mount, process};

use crate::enter::{Report, Reporter};
use crate::failure::{self, Result};
use console::Console;

/// Does what its words say; returns the exit code.
pub fn main(arguments: Vec<OsString>) -> i32 {
    let Some((job, reporter)) = Job::parse(&arguments) else {
        eprintln!("minke bundle: is run by the shims of containers, not by hand");
        return 2;
    };
    match job.run(&reporter) {
        Ok(()) => {
            reporter.send(&Report::Executing);
            0
        }
        Err(error) => {
            reporter.send(&Report::Failed(error));
            1
        }
    }
}

struct Job {
    creates: bool,
    bundle: PathBuf,
    /// The exec's.
    name: String,
    terminal: Option<(u16, u16)>,
    mounts: Vec<OwnedFd>,
}

/// A failure that no system call of ours has caused.
fn failed(what: &str) -> impl FnOnce(std::io::Error) -> minke_spec::shim::ShimError {
    let what = what.to_owned();
    move |error| failure::plain(ErrorCode::Setup, format!("{what}: {error}"))
}

impl Job {
    fn parse(arguments: &[OsString]) -> Option<(Self, Reporter)> {
        let words: Vec<&str> = arguments.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
        let [verb, bundle, name, terminal, status, mounts @ ..] = words.as_slice() else { return None };
        let size = |text: &str| {
            let (rows, columns) = text.split_once('x')?;
            Some((rows.parse().ok()?, columns.parse().ok()?))
        };
        let take = |number: &str| descriptor::inherited(number.parse().ok()?);
        let job = Self {
            creates: matches!((*verb, mounts.is_empty()), ("create", false)),
            bundle: PathBuf::from(bundle),
            name: (*name).to_owned(),
            terminal: size(terminal),
            mounts: mounts.iter().map(|number| take(number)).collect::<Option<_>>()?,
        };
        (job.creates || (*verb == "exec" && mounts.is_empty())).then_some(())?;
        Some((job, Reporter(take(status)?)))
    }

    fn run(self, reporter: &Reporter) -> Result<()> {
        let text =
            std::fs::read(self.bundle.join(FILE)).map_err(failed("reading how the runtime is called"))?;
        let runtime: Foreign = serde_json::from_slice(&text)
            .map_err(|error| failure::plain(ErrorCode::Setup, format!("{FILE}: {error}")))?;
        if self.creates {
            self.attach(&runtime.places)?;
        }
        // Sockets have short paths: the console's is below the current directory.
        std::env::set_current_dir(&self.bundle).map_err(failed("entering the bundle"))?;
        if self.creates { self.create(&runtime, reporter) } else { self.exec(&runtime, reporter) }
    }

    /// Attaches what was given below the bundle, in a mount namespace of our own: the host sees nothing of it, and it is gone with us
    /// and the container.
    fn attach(&self, places: &[String]) -> Result<()> {
        process::unshare(u64::from(process::CLONE_NEWNS))
            .map_err(failure::setup("making a mount namespace"))?;
        mount::set_propagation("/", mount::SLAVE | mount::RECURSIVE)
            .map_err(failure::setup("making mounts private"))?;
        for (mount, place) in self.mounts.iter().zip(places) {
            let path = self.bundle.join(place);
            mount::attach_at(mount.as_fd(), &path.to_string_lossy())
                .map_err(failure::setup(format!("attaching {}", path.display())))?;
        }
        Ok(())
    }

    fn create(&self, runtime: &Foreign, reporter: &Reporter) -> Result<()> {
        let created =
            self.start_process(runtime, reporter, "create", &["--bundle", &self.bundle.to_string_lossy()]);
        let started = created.and_then(|()| call(runtime, "start", &[&runtime.container_id]));
        if started.is_err() {
            let _ = call(runtime, "delete", &["--force", &runtime.container_id]);
        }
        started
    }

    fn exec(&self, runtime: &Foreign, reporter: &Reporter) -> Result<()> {
        let file = format!("exec-{}.json", self.name);
        let outcome = self.start_process(runtime, reporter, "exec", &["--detach", "--process", &file]);
        let _ = std::fs::remove_file(file);
        outcome
    }

    /// Runs a command that makes a process, and reports the process and its terminal.
    fn start_process(&self, runtime: &Foreign, reporter: &Reporter, verb: &str, more: &[&str]) -> Result<()> {
        let pid_file = format!("{verb}-{}.pid", process::pid());
        let console =
            self.terminal.map(|_| Console::listen(&format!("console-{}", process::pid()))).transpose()?;
        let mut words = more.to_vec();
        words.extend(["--pid-file", &pid_file]);
        if let Some(console) = &console {
            words.extend(["--console-socket", console.path()]);
        }
        words.push(&runtime.container_id);
        call(runtime, verb, &words)?;
        if let (Some(console), Some((rows, columns))) = (console, self.terminal) {
            let controller = console.receive()?;
            if rows > 0 && columns > 0 {
                let _ = minke_sys::pty::resize(&controller, rows, columns);
            }
            reporter.send_with(&Report::Terminal, &[controller.as_fd()]);
        }
        let text = std::fs::read_to_string(&pid_file).map_err(failed("reading the process's id"))?;
        let _ = std::fs::remove_file(&pid_file);
        let pid = text.trim().parse();
        let pid = pid.map_err(|_| failure::plain(ErrorCode::Setup, format!("{text:?} is no process id")))?;
        reporter.send(&Report::Pid(pid));
        Ok(())
    }
}

/// Runs the runtime; what it logs as an error is the error.
fn call(runtime: &Foreign, verb: &str, words: &[&str]) -> Result<()> {
    let log = format!("{verb}-{}.log", process::pid());
    let mut command = Command::new(&runtime.program);
    command
        .args(&runtime.arguments)
        .args(["--log", &absolute(&log), "--log-format", "json", verb])
        .args(words);
    let status = command.status().map_err(failed(&format!("running {}", runtime.program)))?;
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    match status.success() {
        true => Ok(()),
        false => Err(words::error(&text, &format!("{} {verb}: {status}", runtime.program))),
    }
}

/// A runtime may look for a file elsewhere than where it was started.
fn absolute(name: &str) -> String {
    std::path::absolute(Path::new(name))
        .map_or_else(|_| name.to_owned(), |path| path.to_string_lossy().into_owned())
}
