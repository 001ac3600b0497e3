//! The note of which process a container's shim is. It is written before the shim is told to start anything, so that an engine that comes
//! after a crash knows of a shim which it can't talk to. Says nothing of how the container is: that only the shim says.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use minke_model::{Context as _, Result};
use minke_sys::procfs::Procfs;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
const SIGKILL: i32 = 9;
/// How long the kernel may take to end a process that was killed.
const DEATH_PATIENCE: Duration = Duration::from_secs(10);

/// The shim of one run; later versions add keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    /// The number of the start that it was made for.
    pub generation: u64,
    pid: i32,
    /// When it was started, in clock ticks since boot: with the pid it can't be mistaken for another process.
    start_ticks: u64,
}

impl Note {
    /// The note of a child that has not been reaped.
    pub fn of(generation: u64, pid: i32) -> Result<Self> {
        let start_ticks = start_ticks(pid).context("looking at the container's shim")?;
        Ok(Self { version: VERSION, generation, pid, start_ticks })
    }

    /// Writes it. A half written one is as good as none: until it is whole, the shim has not been told to start anything.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).context("the note of a shim can't be written")?;
        std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads what this or another version wrote; `None` where there is nothing of the kind.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// The process, as long as it runs.
    pub fn process(&self) -> Option<OwnedFd> {
        let pidfd = minke_sys::process::pidfd_open(self.pid).ok()?;
        (start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks) && !has_ended(&pidfd))
            .then_some(pidfd)
    }
}

/// Kills the process and waits until it has ended, within limits.
pub async fn kill(process: &OwnedFd) {
    let _ = minke_sys::process::pidfd_signal(process, SIGKILL);
    let deadline = tokio::time::Instant::now() + DEATH_PATIENCE;
    while !has_ended(process) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start_ticks(pid: i32) -> std::io::Result<u64> {
    Ok(Procfs::host()?.start_time_ticks(pid)?)
}

/// Also true of one that nobody has reaped.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        Note::of(3, child.id() as i32).unwrap().write(&path).unwrap();
        let note = Note::read(&path).unwrap();
        assert_eq!(note.generation, 3);
        let process = note.process().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(kill(&process));
        assert!(note.process().is_none(), "a zombie has ended");
        child.wait().unwrap();
        assert!(note.process().is_none());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_taken_for_it() {
        let mut note = Note::of(1, minke_sys::process::pid()).unwrap();
        assert!(note.process().is_some());
        note.start_ticks += 1;
        assert!(note.process().is_none());
    }

    #[test]
    fn half_a_note_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim");
        std::fs::write(&path, "{\"version\":1,\"gener").unwrap();
        assert_eq!(Note::read(&path), None);
        assert_eq!(Note::read(&folder.path().join("nothing")), None);
    }
}
