//! Devices of the host: all of them, which a privileged container gets, and those that a container was given by name.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use minke_api::container::{DeviceMapping, HostConfig, ThrottleDevice};
use minke_model::{Error, ErrorKind, Result};
use minke_spec::docker::{Device, MountSettings, ProcessUser};

use super::cdi::{Catalog, Injected};

/// Directories of /dev that are a container's own.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// How deep nodes are looked for, and how many there may be.
const DEPTH_LIMIT: u32 = 8;
const COUNT_LIMIT: usize = 8192;

/// What a container was given, as it is on the host now.
#[derive(Debug, Default)]
pub struct Devices {
    /// The nodes that it gets.
    pub nodes: Vec<Device>,
    /// Variables that come with them.
    pub env: Vec<String>,
    /// Mounts that come with them.
    pub mounts: Vec<MountSettings>,
    /// Groups that may use them.
    pub groups: Vec<u32>,
    /// Programs that are run beside the container.
    pub hooks: Vec<minke_spec::shim::Hook>,
    /// Interfaces of the host that become its own.
    pub net_devices: Vec<minke_spec::plan::NetDevice>,
    /// Major, minor, weight.
    pub weights: Vec<(i64, i64, u16)>,
    /// Major, minor, rate.
    pub read_bps: Vec<(i64, i64, u64)>,
    /// Major, minor, rate.
    pub write_bps: Vec<(i64, i64, u64)>,
    /// Major, minor, rate.
    pub read_iops: Vec<(i64, i64, u64)>,
    /// Major, minor, rate.
    pub write_iops: Vec<(i64, i64, u64)>,
}

/// Looks at every device that a container's configuration names; at nothing where it names none. Vendors describe theirs in
/// `folders`; `user` is whom the container's process runs as.
///
/// # Errors
/// Docker's words for what isn't there or is no device.
pub fn of_container(host: &HostConfig, folders: &[PathBuf], user: &ProcessUser) -> Result<Devices> {
    let Injected { env, mut nodes, mounts, groups, hooks, net_devices } = described(host, folders, user)?;
    // All of the host's are there already, but for those that are asked for under another name.
    for mapping in host.devices.iter().flatten() {
        if !host.privileged || mapping.path_on_host != mapping.path_in_container {
            nodes.extend(mapped(mapping)?);
        }
    }
    let weights = host.blkio_weight_device.iter().flatten().map(|row| {
        let (major, minor) = numbers(&row.path)?;
        Ok((major, minor, row.weight))
    });
    Ok(Devices {
        nodes,
        env,
        mounts,
        groups,
        hooks,
        net_devices,
        weights: weights.collect::<Result<_>>()?,
        read_bps: rates(&host.blkio_device_read_bps)?,
        write_bps: rates(&host.blkio_device_write_bps)?,
        read_iops: rates(&host.blkio_device_read_iops)?,
        write_iops: rates(&host.blkio_device_write_iops)?,
    })
}

/// Checks requests to device drivers: somebody must serve each.
///
/// # Errors
/// Docker's words where nobody does.
pub fn check_requests(host: &HostConfig, folders: &[PathBuf]) -> Result<()> {
    match host.device_requests.as_deref() {
        None | Some([]) => Ok(()),
        Some(requests) => Catalog::read(folders).names(requests).map(|_| ()),
    }
}

/// What the devices that vendors describe add; nothing is read where none is asked for.
fn described(host: &HostConfig, folders: &[PathBuf], user: &ProcessUser) -> Result<Injected> {
    let Some(requests) = host.device_requests.as_deref().filter(|requests| !requests.is_empty()) else {
        return Ok(Injected::default());
    };
    let catalog = Catalog::read(folders);
    catalog.inject(&catalog.names(requests)?, user)
}

fn rates(rows: &Option<Vec<ThrottleDevice>>) -> Result<Vec<(i64, i64, u64)>> {
    let rows = rows.iter().flatten().map(|row| {
        let (major, minor) = numbers(&row.path)?;
        Ok((major, minor, row.rate))
    });
    rows.collect()
}

/// The kernel's words as Docker has them: without the number behind them, and beginning small.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn numbers(path: &str) -> Result<(i64, i64)> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| Error::new(ErrorKind::System, format!("stat {path}: {}", words(&error))))?;
    let number = metadata.rdev();
    Ok((rustix::fs::major(number).into(), rustix::fs::minor(number).into()))
}

/// One `--device`: a node, or all below a directory.
fn mapped(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let failed = |reason: String| {
        Error::new(
            ErrorKind::System,
            format!(
                "error gathering device information while adding custom device {:?}: {reason}",
                mapping.path_on_host
            ),
        )
    };
    let real = std::fs::canonicalize(&mapping.path_on_host).map_err(|error| failed(words(&error)))?;
    let metadata = std::fs::metadata(&real).map_err(|error| failed(words(&error)))?;
    let inside = if mapping.path_in_container.is_empty() {
        mapping.path_on_host.as_str()
    } else {
        mapping.path_in_container.as_str()
    };
    let access =
        if mapping.cgroup_permissions.is_empty() { "rwm" } else { mapping.cgroup_permissions.as_str() };
    let mut found = Vec::new();
    if metadata.is_dir() {
        collect(&real, DEPTH_LIMIT, &mut found);
        for device in &mut found {
            let below =
                Path::new(&device.path).strip_prefix(&real).map(Path::to_path_buf).unwrap_or_default();
            device.path = Path::new(inside).join(below).to_string_lossy().into_owned();
        }
    } else {
        found.extend(node(inside.to_owned(), &metadata));
    }
    if found.is_empty() {
        return Err(failed("not a device node".into()));
    }
    for device in &mut found {
        access.clone_into(&mut device.access);
    }
    Ok(found)
}

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
        if name == "console" || devices.len() == COUNT_LIMIT {
            continue;
        }
        devices.extend(node(entry.path().to_string_lossy().into_owned(), &metadata));
    }
}

/// Kind, major and minor number, unless it is no device.
pub fn number_of(metadata: &Metadata) -> Option<(char, u32, u32)> {
    node(String::new(), metadata).map(|device| (device.kind, device.major, device.minor))
}

/// A node with all rights, unless it is something else.
fn node(path: String, metadata: &Metadata) -> Option<Device> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    let number = metadata.rdev();
    Some(Device {
        path,
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: "rwm".into(),
    })
}
