//! The device nodes of the host, which a privileged container gets.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use minke_spec::docker::Device;

/// Directories of /dev that are a container's own.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// How deep nodes are looked for, and how many there may be.
const DEPTH_LIMIT: u32 = 8;
const COUNT_LIMIT: usize = 8192;

/// Every node below /dev.
pub fn of_host() -> Vec<Device> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), DEPTH_LIMIT, &mut devices);
    devices
}

fn collect(directory: &Path, depth: u32, devices: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name();
        if metadata.is_dir() {
            if depth > 0 && !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&entry.path(), depth - 1, devices);
            }
            continue;
        }
        let kind = match metadata.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => continue,
        };
        if name == "console" || devices.len() == COUNT_LIMIT {
            continue;
        }
        let number = metadata.rdev();
        devices.push(Device {
            path: entry.path().to_string_lossy().into_owned(),
            kind,
            major: rustix::fs::major(number),
            minor: rustix::fs::minor(number),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            access: "rwm".into(),
        });
    }
}
