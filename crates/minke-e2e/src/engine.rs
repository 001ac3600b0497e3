//! A private engine for one test: ours, or a real dockerd in namespaces of its own.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::census::Marks;
use crate::session::wait_for_end;
use crate::{deadline, peers, process, within};

/// Stands among the flags of an engine that has the default bridge: one in a network namespace of its own.
pub const NETWORKS: &str = "networks";
/// The same in the caller's network namespace, which is nobody else's.
pub const NETWORKS_HERE: &str = "networks-here";
/// The words that are none of the engine's own flags.
const WORDS: [&str; 2] = [NETWORKS, NETWORKS_HERE];

/// Which engine a test runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Ours.
    Minke,
    /// The reference.
    Dockerd,
}

/// What a test needs of an engine.
pub trait Engine: Send {
    /// Tells which one it is.
    fn kind(&self) -> EngineKind;
    /// Returns the address of its API.
    fn socket(&self) -> &Path;
    /// Returns its pid, while it runs.
    fn pid(&self) -> Option<i32>;
    /// Starts it, with more flags, and waits until it answers.
    fn start(&mut self, flags: &[&str]);
    /// Kills it alone, as `kill -9` does.
    fn kill(&mut self);
    /// Asks it to end, and waits for that.
    fn stop(&mut self);
    /// Ends whatever is left of it and of its containers.
    fn sweep(&mut self);
    /// Returns what names its belongings, for the census.
    fn marks(&self) -> Marks;
    /// Returns the end of its own log.
    fn log(&self) -> String;
}

/// Our engine, with all its places below one folder.
pub struct Minke {
    folder: PathBuf,
    socket: PathBuf,
    inside: Vec<String>,
    /// The network namespace that it has to itself, from its first start on.
    network: Option<File>,
    child: Option<Child>,
}

impl Minke {
    /// Prepares one whose places are below `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            socket: folder.join("minke.sock"),
            inside: Vec::new(),
            network: None,
            child: None,
        }
    }

    /// Lets it be executed by a command that makes a surrounding for it, `unshare` for one.
    pub fn inside(mut self, command: &[&str]) -> Self {
        self.inside = command.iter().map(|word| word.to_string()).collect();
        self
    }

    /// Returns the folder of what the engine keeps.
    pub fn data_root(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the folder of what is gone after a reboot.
    pub fn exec_root(&self) -> PathBuf {
        self.folder.join("exec")
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        process::signal(child.id() as i32, signal);
        let ended = wait_for_end(child.id() as i32, deadline::seconds(30));
        if !ended {
            let _ = child.kill();
        }
        let _ = child.wait();
        assert!(ended, "the engine does not end by {signal:?}: {}", self.log());
    }
}

impl Engine for Minke {
    fn kind(&self) -> EngineKind {
        EngineKind::Minke
    }

    fn socket(&self) -> &Path {
        &self.socket
    }

    fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id() as i32)
    }

    fn start(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "the engine runs already");
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        // Out of the way of the standard streams, and inherited under the same number.
        let ready = fcntl_dupfd_cloexec(&writing, 100).expect("a descriptor");
        drop(writing);
        fcntl_setfd(&ready, FdFlags::empty()).expect("a flag");
        let own_network = flags.contains(&NETWORKS);
        let around = if own_network { inside_network(self.network.as_ref()) } else { Vec::new() };
        let inside = [around, self.inside.clone()].concat();
        let mut command = match inside.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(peers::minke());
                command
            }
            None => Command::new(peers::minke()),
        };
        command.arg("daemon").arg("--exec-root").arg(self.exec_root());
        if !flags.iter().any(|flag| flag.starts_with("--bridge") || WORDS.contains(flag)) {
            // The host's network is nobody's to change: tests of networks have one of their own.
            command.args(["--bridge", "none"]);
        }
        if !flags.contains(&"--data-root") {
            command.arg("--data-root").arg(self.data_root());
        }
        command.arg("--pidfile").arg(self.folder.join("minke.pid"));
        command.arg("-H").arg(format!("unix://{}", self.socket.display()));
        command.arg("--ready-fd").arg(ready.as_raw_fd().to_string());
        command.args(flags.iter().filter(|flag| !WORDS.contains(flag)));
        let log =
            File::options().create(true).append(true).open(self.folder.join("engine.log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child =
            Some(command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}; was it built?")));
        drop(ready);
        let mut byte = [0];
        let told = File::from(reading).read(&mut byte).unwrap_or(0);
        assert!(told == 1, "the engine does not get ready: {}", self.log());
        if own_network && self.network.is_none() {
            let pid = self.pid().expect("it runs");
            self.network = Some(File::open(format!("/proc/{pid}/ns/net")).expect("its network namespace"));
        }
    }

    fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    fn sweep(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.marks().sweep();
    }

    fn marks(&self) -> Marks {
        Marks { data_root: self.data_root(), exec_root: self.exec_root() }
    }

    fn log(&self) -> String {
        last_lines(&self.folder.join("engine.log"))
    }
}

/// The command that executes another one in a network namespace with `lo` up: that one, or a new one.
fn inside_network(network: Option<&File>) -> Vec<String> {
    match network {
        Some(network) => {
            let place = format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
            vec!["nsenter".into(), place]
        }
        None => {
            let busybox = peers::busybox().to_string_lossy().into_owned();
            let script = format!("{busybox} ip link set lo up && exec \"$@\"");
            ["unshare", "--net", &busybox, "sh", "-c", &script, "sh"].map(str::to_string).into()
        }
    }
}

/// The reference engine. It and all its containers end with the process that holds their pid namespace.
pub struct Dockerd {
    folder: PathBuf,
    socket: PathBuf,
    /// The process whose network namespace it shares; otherwise it has one of its own.
    beside: Option<i32>,
    child: Option<Child>,
}

impl Dockerd {
    /// Prepares one whose places are below `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), socket: folder.join("docker.sock"), beside: None, child: None }
    }

    /// Lets it live in the network namespace of a process, which a test made.
    pub fn beside(mut self, pid: i32) -> Self {
        self.beside = Some(pid);
        self
    }

    /// Asks it to end as its own service does, and waits for that; its containers end with it.
    pub fn end(&mut self) {
        if let Some(pid) = self.pid() {
            process::signal(pid, Signal::TERM);
            crate::census::gone(pid);
        }
        self.sweep();
    }

    fn cgroup(&self) -> String {
        // Of the whole path: several tests' folders may have one name, and each removes its group at its end.
        format!("/peer-{}", crate::census::short_digest(&self.folder))
    }
}

impl Engine for Dockerd {
    fn kind(&self) -> EngineKind {
        EngineKind::Dockerd
    }

    fn socket(&self) -> &Path {
        &self.socket
    }

    fn pid(&self) -> Option<i32> {
        let outer = self.child.as_ref()?.id() as i32;
        process::descendants(outer).into_iter().find(|pid| process::name(*pid) == "dockerd")
    }

    fn start(&mut self, flags: &[&str]) {
        let state = self.folder.join("peer");
        let mut command = match self.beside {
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{pid}/ns/net")).arg(peers::script()).arg("enter-here");
                command
            }
            None => {
                let mut command = Command::new(peers::script());
                command.arg("enter");
                command
            }
        };
        command.arg(peers::folder("docker")).arg(&state).arg("dockerd");
        command
            .arg("--data-root")
            .arg(state.join("docker"))
            .arg("--pidfile")
            .arg(self.folder.join("dockerd.pid"));
        command.arg("-H").arg(format!("unix://{}", self.socket.display()));
        command.arg("--cgroup-parent").arg(self.cgroup()).args(["-l", "warn"]);
        command.args(flags.iter().filter(|flag| !WORDS.contains(flag)));
        let log =
            File::options().create(true).append(true).open(self.folder.join("engine.log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}")));
        within(60, "dockerd answers", || UnixStream::connect(&self.socket).ok());
    }

    fn kill(&mut self) {
        panic!("a test that kills the engine is not one for dockerd, whose containers end with it");
    }

    fn stop(&mut self) {
        self.sweep();
    }

    fn sweep(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
        let name = self.cgroup();
        within(10, "dockerd's cgroups can be removed", || {
            crate::census::remove_cgroups(&name[1..]).then_some(())
        });
    }

    fn marks(&self) -> Marks {
        Marks { data_root: self.folder.join("peer/docker"), exec_root: self.folder.join("peer") }
    }

    fn log(&self) -> String {
        last_lines(&self.folder.join("engine.log"))
    }
}

fn last_lines(file: &Path) -> String {
    let text =
        std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
