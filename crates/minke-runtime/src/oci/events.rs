//! `events`: what a container uses, at intervals, and each time the kernel ends a process of it for want of memory.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minke_model::duration;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::arguments::{Given, Global};
use super::state::{Directory, State, Status};
use super::{Failure, failed, stats};

/// Prints until the container has ended, or once.
pub fn events(global: &Global, given: &Given) -> Result<(), Failure> {
    let interval = duration::parse_nanos(given.get("interval").unwrap_or("5s"))?;
    let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(0));
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    let id = given.id()?;
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    if directory.status(&state) == Status::Stopped {
        return Err(Failure::new(format!("container with id {id} is not running")));
    }
    if given.has("stats") {
        return tell(&state, "stats");
    }
    follow(&state, interval)
}

fn tell(state: &State, kind: &str) -> Result<(), Failure> {
    let id = serde_json::Value::from(state.id.as_str());
    let data = if kind == "stats" { format!(",\"data\":{}", stats::read(state)) } else { String::new() };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{{\"type\":\"{kind}\",\"id\":{id}{data}}}").map_err(failed("writing an event"))
}

fn follow(state: &State, interval: Duration) -> Result<(), Failure> {
    let group = state.group();
    let shortage = Shortage::watch(state);
    let end = minke_sys::process::pidfd_open(state.pid).map_err(failed("watching the container"))?;
    let mut kills = group.oom_kills();
    tell(state, "stats")?;
    let mut next = Instant::now() + interval;
    while state.is_alive() {
        let left = next.saturating_duration_since(Instant::now());
        let mut watched = vec![PollFd::new(&end, PollFlags::IN)];
        watched.extend(shortage.iter().map(|shortage| PollFd::new(&shortage.signal, shortage.flags)));
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("waiting for events")(errno)),
        }
        if let Some(shortage) = &shortage
            && shortage.happened()
        {
            let now = group.oom_kills();
            // The end of the group is told in the same way.
            if now > kills || (shortage.is_v1 && state.is_alive()) {
                tell(state, "oom")?;
            }
            kills = now;
        }
        if Instant::now() >= next && state.is_alive() {
            tell(state, "stats")?;
            next = Instant::now() + interval;
        }
    }
    Ok(())
}

/// Where the kernel tells of a shortage of memory: an event counter on version 1, a file to be watched on version 2.
struct Shortage {
    signal: OwnedFd,
    flags: PollFlags,
    is_v1: bool,
    // Closing it would end the watch.
    _control: Option<std::fs::File>,
    events: PathBuf,
}

impl Shortage {
    fn watch(state: &State) -> Option<Self> {
        match state.v1.iter().find(|path| path.join("memory.oom_control").exists()) {
            Some(path) => Self::watch_v1(path),
            None => state.v2.as_deref().and_then(Self::watch_v2),
        }
    }

    fn watch_v1(path: &Path) -> Option<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let control = std::fs::File::open(path.join("memory.oom_control")).ok()?;
        let words = format!("{} {}", signal.as_raw_fd(), control.as_fd().as_raw_fd());
        std::fs::write(path.join("cgroup.event_control"), words).ok()?;
        let events = path.join("memory.oom_control");
        Some(Self { signal, flags: PollFlags::IN, is_v1: true, _control: Some(control), events })
    }

    fn watch_v2(path: &Path) -> Option<Self> {
        let events = path.join("memory.events");
        let signal = OwnedFd::from(std::fs::File::open(&events).ok()?);
        let shortage = Self { signal, flags: PollFlags::PRI, is_v1: false, _control: None, events };
        shortage.happened();
        Some(shortage)
    }

    /// Whether something was told, which is taken note of. A counter that is removed with its group tells of that too.
    fn happened(&self) -> bool {
        if self.is_v1 {
            let mut count = [0; 8];
            return matches!(rustix::io::read(&self.signal, &mut count), Ok(8)) && self.events.exists();
        }
        let mut text = [0; 512];
        rustix::io::pread(&self.signal, &mut text, 0).is_ok()
    }
}
