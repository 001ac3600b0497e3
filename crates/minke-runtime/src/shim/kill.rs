//! Signals to every process of a container, found by its control groups.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use minke_sys::{process as kernel, signal};
use rustix::fs::{FileType, Mode, OFlags, RawDir};

use crate::enter::ExecContext;

/// How deep a container may nest control groups for us to find them.
const DEPTH_LIMIT: u32 = 32;

/// How often new processes are looked for.
const ROUNDS: u32 = 64;

/// Sends a signal to every process of the container; `SIGKILL` is repeated until no new one is found.
pub fn all(context: &ExecContext, number: i32) {
    if number == signal::KILL && kill_by_kernel(context) {
        return;
    }
    // The first v1 directory knows all of them, as every other one does.
    let Some(directory) = context.v1.first().or(context.v2.as_ref()) else { return };
    let own = kernel::pid();
    let mut seen: Vec<i32> = Vec::new();
    for _ in 0..ROUNDS {
        let mut pids = Vec::new();
        collect(directory, DEPTH_LIMIT, &mut pids);
        pids.retain(|pid| *pid > 0 && *pid != own && !seen.contains(pid));
        if pids.is_empty() {
            return;
        }
        for pid in &pids {
            let _ = kernel::kill(*pid, number);
        }
        seen.append(&mut pids);
    }
}

/// `cgroup.kill`, where the container is in a cgroup2 directory alone (Linux 5.14).
fn kill_by_kernel(context: &ExecContext) -> bool {
    let (Some(directory), true) = (&context.v2, context.v1.is_empty()) else { return false };
    let file = format!("{directory}/cgroup.kill");
    let opened = rustix::fs::open(file.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    opened.is_ok_and(|file| rustix::io::write(&file, b"1").is_ok())
}

fn collect(directory: &str, depth: u32, pids: &mut Vec<i32>) {
    let text = read(&format!("{directory}/cgroup.procs"));
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth == 0 {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(directory, flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&opened, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_str().unwrap_or(".");
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            collect(&format!("{directory}/{name}"), depth - 1, pids);
        }
    }
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 1024];
    if let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        while let Ok(count @ 1..) = rustix::io::read(&file, &mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}
