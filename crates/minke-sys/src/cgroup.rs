//! Control groups as directories: made, written, killed, removed, read. Which and with what values is minke-spec's plan.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};

/// One value to write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The file.
    pub path: &'a Path,
    /// The value.
    pub value: &'a str,
    /// A kernel that lacks the file is no failure.
    pub optional: bool,
}

/// A failed action and the file that it was about.
#[derive(Debug)]
pub struct Failure {
    /// The file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
    move |source| Failure { path: path.to_owned(), source }
}

/// Makes a directory in a v1 hierarchy, with its parents; a cpuset gets its parent's processors and memory nodes.
pub fn make_v1(path: &Path) -> Result<(), Failure> {
    // Most often only the last directory is missing: it is tried first.
    let made = match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), make_v1)?;
            std::fs::create_dir(path)
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(at(path))?,
    }
    for name in ["cpuset.cpus", "cpuset.mems"] {
        // A hierarchy that lacks the one lacks the other.
        if inherit(path, name)?.is_none() {
            break;
        }
    }
    Ok(())
}

/// Gives a directory its parent's value where it has none, and the parent its own parent's: whoever made the parent at the
/// same time may not have come to that yet. Returns the value; `None` where there is no such file.
fn inherit(directory: &Path, name: &str) -> Result<Option<String>, Failure> {
    let own = directory.join(name);
    let Ok(value) = std::fs::read_to_string(&own) else { return Ok(None) };
    if !value.trim().is_empty() {
        return Ok(Some(value.trim().to_owned()));
    }
    let Some(value) = directory.parent().map_or(Ok(None), |parent| inherit(parent, name))? else {
        return Ok(Some(String::new()));
    };
    std::fs::write(&own, &value).map_err(at(&own))?;
    Ok(Some(value))
}

/// Makes a directory in the unified hierarchy mounted at `mount`, with its parents, each of which passes on every one of `controllers`
/// that it has itself.
pub fn make_v2(mount: &Path, path: &Path, controllers: &[&str]) -> Result<(), Failure> {
    let below = path.strip_prefix(mount).map_err(|_| at(path)(io::ErrorKind::InvalidInput.into()))?;
    let mut reached = mount.to_owned();
    for name in below {
        pass_on(&reached, controllers)?;
        reached.push(name);
        match std::fs::create_dir(&reached) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(at(&reached))?,
        }
    }
    Ok(())
}

fn pass_on(path: &Path, controllers: &[&str]) -> Result<(), Failure> {
    let read = |name: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(path.join(name)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let (there, passed) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let file = path.join("cgroup.subtree_control");
    for controller in controllers {
        if there.contains(*controller) && !passed.contains(*controller) {
            std::fs::write(&file, format!("+{controller}")).map_err(at(&file))?;
        }
    }
    Ok(())
}

/// Writes values in order; stops at the first that fails.
pub fn apply<'a>(writes: impl IntoIterator<Item = Write<'a>>) -> Result<(), Failure> {
    for write in writes {
        match write_value(write.path, write.value) {
            Err(error) if write.optional && error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(at(write.path))?,
        }
    }
    Ok(())
}

/// Writes one value, never making a file.
pub fn write_value(path: &Path, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::TRUNC, Mode::empty())?;
    match rustix::io::write(&file, value.as_bytes())? {
        count if count == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// The directories in which a container is: at most one of cgroup2 and any number of v1.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The directory in the unified hierarchy.
    pub v2: Option<PathBuf>,
    /// The directories in v1 hierarchies.
    pub v1: Vec<PathBuf>,
}

impl Group {
    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.v2.iter().chain(&self.v1)
    }

    /// The directories that answer for its processes: all others hold the same ones.
    fn counted(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories().filter(|path| path.join("cgroup.procs").exists())
    }

    /// Opens the cgroup2 directory for a process to be born in.
    pub fn open_v2(&self) -> io::Result<Option<OwnedFd>> {
        self.v2.as_deref().map(crate::spawn::open_directory).transpose()
    }

    /// The pids of all processes in it and below.
    pub fn pids(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for path in self.counted() {
            collect_pids(path, &mut pids, DEPTH_LIMIT);
        }
        pids
    }

    /// Sends `SIGKILL` to every process in it and below, so that none can fork its way out. Doesn't wait for their end.
    pub fn kill(&self) -> io::Result<()> {
        if let Some(v2) = &self.v2
            && self.v1.is_empty()
            && std::fs::write(v2.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        self.set_frozen(true);
        let result = self.kill_each();
        self.set_frozen(false);
        result
    }

    fn kill_each(&self) -> io::Result<()> {
        // Frozen processes can't fork; where there is no freezer, chase them a while.
        let mut seen = BTreeSet::new();
        for _ in 0..64 {
            let new: Vec<i32> = self.pids().into_iter().filter(|pid| seen.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                match crate::process::kill(pid, crate::signal::KILL) {
                    Ok(()) | Err(crate::Errno::SRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    /// Freezes or thaws every process in it; whether there was a freezer to do it.
    pub fn set_frozen(&self, frozen: bool) -> bool {
        let v1 = self.v1.iter().map(|path| path.join("freezer.state")).find(|path| path.exists());
        let written = match (v1, &self.v2) {
            (Some(file), _) => write_value(&file, if frozen { "FROZEN" } else { "THAWED" }),
            (None, Some(v2)) => write_value(&v2.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            (None, None) => return false,
        };
        written.is_ok()
    }

    /// How often the kernel has killed a process of it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let v1 = self.v1.iter().map(|path| path.join("memory.oom_control"));
        let v2 = self.v2.iter().map(|path| path.join("memory.events"));
        v1.chain(v2)
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .find_map(|text| parse_counter(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// Removes its directories, with those that were made below; returns what is still in use, to be tried again later.
    pub fn remove(&self) -> Self {
        Self {
            v2: self.v2.clone().filter(|path| !remove_tree(path)),
            v1: self.v1.iter().filter(|path| !remove_tree(path)).cloned().collect(),
        }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.v2.is_none() && self.v1.is_empty()
    }
}

/// How deep a container may nest groups for us to find them.
const DEPTH_LIMIT: u32 = 64;

fn collect_pids(path: &Path, pids: &mut BTreeSet<i32>, depth: u32) {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    if depth > 0 {
        for child in children(path) {
            collect_pids(&child, pids, depth - 1);
        }
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a directory and those below; whether it is gone.
fn remove_tree(path: &Path) -> bool {
    match std::fs::remove_dir(path) {
        Ok(()) => return true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    for child in children(path) {
        remove_tree(&child);
    }
    match std::fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// How often the kernel has killed for want of memory, in the text of a group's `memory.events`.
pub fn oom_kills_of(events: &str) -> u64 {
    parse_counter(events, "oom_kill").unwrap_or(0)
}

fn parse_counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_kill_counter_is_not_taken_for_its_longer_named_neighbours() {
        let text = "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 7\n";
        assert_eq!(parse_counter(text, "oom_kill"), Some(1));
        assert_eq!(parse_counter("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", "oom_kill"), Some(4));
    }

    #[test]
    fn a_cpuset_is_inherited_through_a_parent_that_has_none_yet() {
        let root = std::env::temp_dir().join(format!("minke-cpuset-{}", std::process::id()));
        let child = root.join("parent/child");
        std::fs::create_dir_all(&child).unwrap();
        for (directory, value) in [(root.as_path(), "0-1\n"), (&root.join("parent"), "\n"), (&child, "\n")] {
            std::fs::write(directory.join("cpuset.cpus"), value).unwrap();
        }
        let inherited = inherit(&child, "cpuset.cpus").ok().flatten();
        let parent = std::fs::read_to_string(root.join("parent/cpuset.cpus")).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!((inherited.as_deref(), parent.as_str()), (Some("0-1"), "0-1"));
    }
}
