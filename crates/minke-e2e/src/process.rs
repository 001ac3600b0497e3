//! Facts about processes, read from /proc.

use std::fs;

pub use rustix::process::Signal;

/// Returns the pids of all processes.
pub fn all() -> Vec<i32> {
    fs::read_dir("/proc")
        .map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        })
        .unwrap_or_default()
}

/// Tells whether a process is there and has not ended (a zombie has).
pub fn is_alive(pid: i32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// Returns the parent's pid.
pub fn parent(pid: i32) -> Option<i32> {
    stat_field(pid, 1)?.parse().ok()
}

/// Returns a process's descendants, the nearest first.
pub fn descendants(pid: i32) -> Vec<i32> {
    let pairs: Vec<(i32, i32)> = all().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let children = pairs.iter().filter(|(_, parent)| *parent == found[next]).map(|(child, _)| *child);
        let children: Vec<i32> = children.collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

/// Returns a process's arguments, joined by spaces.
pub fn arguments(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_string()
}

/// Returns the name of a process's program by its own word: the file name of its first argument.
pub fn program(pid: i32) -> String {
    let arguments = arguments(pid);
    let first = arguments.split(' ').next().unwrap_or_default();
    first.rsplit('/').next().unwrap_or_default().to_string()
}

/// Returns a process's name of at most 15 bytes.
pub fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string()
}

/// Returns the memory that counts as a process's own, in KiB: its proportional set size.
pub fn pss_kib(pid: i32) -> u64 {
    smaps_row_kib(pid, "Pss:")
}

/// Returns the memory that a process has taken for itself, in KiB. Unlike the proportional set size it doesn't hang on how many other
/// processes have the same program's pages mapped at the moment.
pub fn anonymous_kib(pid: i32) -> u64 {
    smaps_row_kib(pid, "Pss_Anon:")
}

fn smaps_row_kib(pid: i32, row: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(row));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Sends a signal; a process that has gone is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Returns a field of /proc/PID/stat, counted from the one after the name: 0 is the state, 1 the parent.
fn stat_field(pid: i32, index: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(index).map(str::to_string)
}

/// Moves the calling thread into the network namespace of a process.
///
/// # Errors
/// Where there is no such process, or the caller isn't root.
pub fn enter_network(pid: i32) -> std::io::Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    let kind = rustix::thread::LinkNameSpaceType::Network;
    Ok(rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind))?)
}
