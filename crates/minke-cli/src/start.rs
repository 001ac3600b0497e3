//! Starting the engine where none runs: once, under a lock, and so that nothing of the caller's session holds it. The program
//! calls itself with [`SESSION_WORD`] to leave session, directory and cgroup before it becomes the engine.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use minke_client::host::DEFAULT_SOCKET;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Timespec, flock};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::places;

/// The hidden first word of a process on its way to become the engine.
pub const SESSION_WORD: &str = "engine-session";

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// The unit, whether it is installed or made for the occasion.
const UNIT: &str = "minke.service";
/// Where units are installed.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Starts the engine at the default place and waits until it listens.
///
/// # Errors
/// One sentence for the user: who is not root gets the command to type, else why the engine did not start.
pub fn start_engine() -> Result<(), String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    if !rustix::process::geteuid().is_root() {
        return Err(format!(
            "No engine runs at unix://{DEFAULT_SOCKET}. Start one with: sudo {} daemon",
            program.display()
        ));
    }
    fs::create_dir_all(places::EXEC_ROOT)
        .map_err(|error| format!("cannot make {}: {error}", places::EXEC_ROOT))?;
    let _lock = lock(&Path::new(places::EXEC_ROOT).join("start.lock"))?;
    if listens() {
        return Ok(());
    }
    eprintln!("Starting the minke engine");
    let deadline = Instant::now() + DEADLINE;
    let log = log_file();
    if Path::new("/run/systemd/system").is_dir() && (start_installed() || start_unit(&program)) {
        return wait_for_socket(deadline);
    }
    start_detached(&program, log, deadline)
}

fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(file)
}

fn listens() -> bool {
    UnixStream::connect(DEFAULT_SOCKET).is_ok()
}

fn log_path() -> PathBuf {
    Path::new(places::DATA_ROOT).join("daemon.log")
}

fn log_file() -> Stdio {
    let _ = fs::create_dir_all(places::DATA_ROOT);
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(log_path());
    file.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Starts the unit that is installed, if there is one; it says when it listens.
fn start_installed() -> bool {
    if !UNITS.iter().any(|folder| Path::new(folder).join(UNIT).exists()) {
        return false;
    }
    let mut start = Command::new("systemctl");
    start.args(["--quiet", "start", UNIT]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start.status().is_ok_and(|status| status.success())
}

/// Starts the engine in a unit of its own, which owns what it starts and ends nothing of it.
fn start_unit(program: &Path) -> bool {
    let log = format!("StandardError=append:{}", log_path().display());
    Command::new("systemd-run")
        .args([
            "--quiet",
            "--collect",
            "--unit",
            UNIT,
            "-p",
            "Type=notify",
            "-p",
            "Delegate=yes",
            "-p",
            "KillMode=process",
            "-p",
            "OOMScoreAdjust=-500",
        ])
        .args([
            "-p",
            &log,
            "-p",
            "WorkingDirectory=/",
            "-p",
            "LimitNOFILE=1048576",
            "-p",
            "TasksMax=infinity",
        ])
        .arg("--")
        .arg(program)
        .arg("daemon")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn wait_for_socket(deadline: Instant) -> Result<(), String> {
    while Instant::now() < deadline {
        if listens() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(format!(
        "The minke engine did not listen within {} s; its log is {}",
        DEADLINE.as_secs(),
        log_path().display()
    ))
}

fn start_detached(program: &Path, log: Stdio, deadline: Instant) -> Result<(), String> {
    let failed = |what: &str, error: std::io::Error| format!("cannot start the engine: {what}: {error}");
    let (ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| failed("pipe", error.into()))?;
    fcntl_setfd(&tell, FdFlags::empty()).map_err(|error| failed("pipe", error.into()))?;
    let mut child = Command::new(program)
        .arg(SESSION_WORD)
        .arg("daemon")
        .arg("--ready-fd")
        .arg(tell.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| failed(&program.display().to_string(), error))?;
    drop(tell);
    match wait_ready(ready, deadline) {
        Some(true) => Ok(()),
        Some(false) => {
            let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
            Err(format!(
                "The minke engine did not start ({status}); its log is {}{}",
                log_path().display(),
                last_words()
            ))
        }
        None => wait_for_socket(Instant::now()),
    }
}

/// Whether the engine said that it listens, or nothing where the deadline passed.
fn wait_ready(ready: OwnedFd, deadline: Instant) -> Option<bool> {
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let mut byte = [0; 1];
    Some(File::from(ready).read(&mut byte).is_ok_and(|count| count == 1))
}

fn last_words() -> String {
    let log = fs::read_to_string(log_path()).unwrap_or_default();
    log.lines().last().map(|line| format!("; it ends with:\n{line}")).unwrap_or_default()
}

/// Becomes the engine outside the caller's session, directory and cgroup; gives an exit code only if that fails.
pub fn enter_session(words: Vec<OsString>) -> i32 {
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    leave_cgroup();
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program).args(words).exec(),
        Err(error) => error,
    };
    eprintln!("minke: {error}");
    crate::exit::REFUSED
}

/// Moves this process where the end of the caller's session cannot reach it; best effort, the engine runs either way.
fn leave_cgroup() {
    let unified = Path::new("/sys/fs/cgroup");
    if unified.join("cgroup.controllers").exists() {
        let home = unified.join("minke/engine");
        let _ = fs::create_dir_all(&home);
        let _ = fs::write(home.join("cgroup.procs"), "0");
        return;
    }
    let Ok(hierarchies) = fs::read_dir(unified) else { return };
    for hierarchy in hierarchies.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let tasks = hierarchy.path().join("tasks");
        let list = if tasks.exists() { tasks } else { hierarchy.path().join("cgroup.procs") };
        if list.exists() {
            let _ = fs::write(list, "0");
        }
    }
}
