//! Letting all processes of a control group stand still: the freezer of v1, `cgroup.freeze` of v2.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::{Group, write_value};

/// How long the processes may take until they stand still.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited before looking again, at first.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// The kernel's switch of one group.
enum Switch {
    /// `freezer.state`
    V1(PathBuf),
    /// The group's directory.
    V2(PathBuf),
}

impl Switch {
    fn of(group: &Group) -> io::Result<Self> {
        let v1 = group.v1.iter().map(|path| path.join("freezer.state")).find(|path| path.exists());
        match (v1, &group.v2) {
            (Some(file), _) => Ok(Self::V1(file)),
            (None, Some(path)) if path.join("cgroup.freeze").exists() => Ok(Self::V2(path.clone())),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this host has no freezer")),
        }
    }

    fn ask(&self, frozen: bool) -> io::Result<()> {
        match self {
            Self::V1(file) => write_value(file, if frozen { "FROZEN" } else { "THAWED" }),
            Self::V2(path) => write_value(&path.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        }
    }

    /// Whether every process stands still.
    fn stands_still(&self) -> io::Result<bool> {
        match self {
            Self::V1(file) => Ok(read(file)? == "FROZEN"),
            Self::V2(path) => Ok(read(&path.join("cgroup.events"))?.lines().any(|line| line == "frozen 1")),
        }
    }

    /// Whether somebody has asked for it.
    fn is_asked(&self) -> io::Result<bool> {
        match self {
            Self::V1(file) => Ok(read(file)? != "THAWED"),
            Self::V2(path) => Ok(read(&path.join("cgroup.freeze"))? == "1"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim_end().to_owned())
}

impl Group {
    /// Freezes every process in it and waits until all stand still; one that can't be frozen in time is let go again.
    pub fn freeze(&self) -> io::Result<()> {
        let switch = Switch::of(self)?;
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        // v1 may have to be asked again while processes come and go.
        switch.ask(true)?;
        while !switch.stands_still()? {
            if Instant::now() >= deadline {
                let _ = switch.ask(false);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "unable to freeze"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
            if matches!(switch, Switch::V1(_)) {
                switch.ask(true)?;
            }
        }
        Ok(())
    }

    /// Lets every process in it go on.
    pub fn thaw(&self) -> io::Result<()> {
        Switch::of(self)?.ask(false)
    }

    /// Whether its processes stand still, or are about to.
    pub fn is_frozen(&self) -> bool {
        Switch::of(self).and_then(|switch| switch.is_asked()).unwrap_or(false)
    }
}
