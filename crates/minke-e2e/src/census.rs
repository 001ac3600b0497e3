//! The census: nothing of an engine may be left once its containers are removed and it has ended.
//!
//! Everything that an engine makes in the kernel is found by its roots, so that tests can run side by side: processes by
//! their cgroup, their open sockets and their mounts, cgroups by the subtree's name, mounts and files by path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use sha2::{Digest, Sha256};

use crate::{process, within};

/// What names the belongings of one engine.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Its data root.
    pub data_root: PathBuf,
    /// Its exec root.
    pub exec_root: PathBuf,
}

impl Marks {
    /// Returns the processes of the engine's shims and containers: those in a cgroup of its subtree.
    pub fn processes(&self) -> Vec<i32> {
        let groups = self.cgroups();
        let mut pids = BTreeSet::new();
        for group in &groups {
            let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        pids.into_iter().filter(|pid| process::is_alive(*pid)).collect()
    }

    /// Returns the cgroups of the engine, in every hierarchy, a parent before its children.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let name = subtree(&self.exec_root);
        let mut found = Vec::new();
        for hierarchy in hierarchies() {
            collect(&hierarchy.join(&name), &mut found);
            // Under systemd, in units.
            for entry in fs::read_dir(hierarchy.join("system.slice")).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
                    collect(&entry.path(), &mut found);
                }
            }
        }
        found
    }

    /// Returns what is left, a line per thing, after giving asynchronous work a moment to end.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let end = std::time::Instant::now() + crate::deadline::seconds(5);
        loop {
            left.clear();
            self.look(&mut left);
            if left.is_empty() || std::time::Instant::now() > end {
                return left;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn look(&self, left: &mut Vec<String>) {
        for pid in self.processes() {
            left.push(format!("process {pid}: {} ({})", process::arguments(pid), process::name(pid)));
        }
        for group in self.cgroups() {
            // The subtree itself may stay for the next start; what is in it may not.
            let of_container = group.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                is_id(&name) || name.ends_with(".scope")
            });
            if of_container {
                left.push(format!("cgroup {}", group.display()));
            }
        }
        for pid in process::all() {
            let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            for line in table.lines().filter(|line| self.is_mentioned(line)) {
                left.push(format!("mount in the namespace of {pid} ({}): {line}", process::name(pid)));
            }
        }
        // Tests of networks have a network namespace of their own: none makes anything in this one.
        for link in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            let alias = fs::read_to_string(link.path().join("ifalias")).unwrap_or_default();
            if alias.strip_prefix("minke ").is_some_and(|tag| tag.trim() != HOSTS_OWN) {
                left.push(format!("link {} ({})", link.path().display(), alias.trim()));
            }
        }
        let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        for line in sockets.lines().filter(|line| line.contains(&*self.exec_root.to_string_lossy())) {
            left.push(format!("socket {line}"));
        }
        for folder in
            [self.data_root.join("rw"), self.data_root.join("containers"), self.exec_root.join("containers")]
        {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                left.push(format!("file {}", entry.path().display()));
            }
        }
    }

    fn is_mentioned(&self, line: &str) -> bool {
        [&self.data_root, &self.exec_root].iter().any(|root| line.contains(&*root.to_string_lossy()))
    }

    /// Ends and removes all that can be found: for a test that failed.
    pub fn sweep(&self) {
        // On cgroup v1 a signal waits for the thaw of what stands still.
        for group in self.cgroups() {
            let state = group.join("freezer.state");
            if state.exists() {
                let _ = fs::write(state, "THAWED");
            }
        }
        let mut tries = 0;
        while !self.processes().is_empty() && tries < 200 {
            self.processes().into_iter().for_each(|pid| process::signal(pid, Signal::KILL));
            std::thread::sleep(std::time::Duration::from_millis(10));
            tries += 1;
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in table.lines().rev().filter(|line| self.is_mentioned(line)) {
            if let Some(place) = line.split(' ').nth(4) {
                let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
            }
        }
        self.cgroups().iter().rev().for_each(|group| {
            let _ = fs::remove_dir(group);
        });
        // Shims and netd end on their own once the containers have, unless a test has stopped them; an engine removes their
        // groups at its end or its next start.
        for kind in ["shims", "netd"] {
            let name = format!("{}-{kind}", subtree(&self.exec_root));
            for hierarchy in hierarchies() {
                let listed =
                    fs::read_to_string(hierarchy.join(&name).join("cgroup.procs")).unwrap_or_default();
                let pids = listed.lines().filter_map(|line| line.parse().ok());
                pids.for_each(|pid| process::signal(pid, Signal::KILL));
            }
            let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while !remove_cgroups(&name) && std::time::Instant::now() < end {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// The tag of the links of the host's own engine, the one at `/run/minke`.
const HOSTS_OWN: &str = "285de386";

/// Returns the name of an engine's part of every cgroup hierarchy, which it derives from its exec root.
///
/// This is the one thing that the harness knows of how the engine names what it makes.
fn subtree(exec_root: &Path) -> String {
    format!("minke-{}", short_digest(exec_root))
}

/// Returns eight hexadecimal digits that stand for a path.
pub(crate) fn short_digest(path: &Path) -> String {
    hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()))[..8].to_owned()
}

/// Returns where each cgroup hierarchy is mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let lines = table.lines().filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
    lines.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    if !folder.is_dir() {
        return;
    }
    found.push(folder.to_path_buf());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

/// Removes the subtree `name` from every hierarchy; true when nothing of it is left.
pub fn remove_cgroups(name: &str) -> bool {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        collect(&hierarchy.join(name), &mut found);
    }
    found.iter().rev().filter(|group| fs::remove_dir(group).is_err()).count() == 0
}

/// Panics unless everything of the engine is gone.
pub fn take(marks: &Marks) {
    let left = marks.left();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

/// Waits until a process has gone.
pub fn gone(pid: i32) {
    within(20, &format!("process {pid} ({}) ends", process::arguments(pid)), || {
        (!process::is_alive(pid)).then_some(())
    });
}

fn is_id(name: &str) -> bool {
    name.len() >= 64 && name.chars().take(64).all(|letter| letter.is_ascii_hexdigit())
}
