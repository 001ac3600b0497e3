//! From an OCI runtime configuration and the host's facts to a start plan: everything is checked here, before anything
//! happens. Runtime specification 1.0 to 1.3. Pure: whoever reads a bundle gives absolute host paths.

use std::collections::HashMap;

use minke_model::{Error, ErrorKind, Result};
use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxNamespaceType, LinuxPersonalityDomain, Spec};

use crate::cgroup::plan_cgroup;
use crate::devices::parse_rules;
use crate::host::HostFacts;
use crate::mounts::{MountContext, PATH_LIMIT, id_map, normalise, plan_mounts, propagation, text};
use crate::net_devices::plan_net_devices;
use crate::plan::{DeviceNode, MountStep, NamespacePlan, RootPlan, StartPlan};
use crate::process::plan_process;
use crate::seccomp;

/// `CLONE_NEWTIME`.
pub(crate) const NEW_TIME: u64 = 0x80;
/// `CLONE_NEWNS`.
pub(crate) const NEW_MOUNT: u64 = 0x2_0000;
/// `CLONE_NEWCGROUP`.
pub(crate) const NEW_CGROUP: u64 = 0x200_0000;
/// `CLONE_NEWUTS`.
pub(crate) const NEW_UTS: u64 = 0x400_0000;
/// `CLONE_NEWIPC`.
pub(crate) const NEW_IPC: u64 = 0x800_0000;
/// `CLONE_NEWUSER`.
pub(crate) const NEW_USER: u64 = 0x1000_0000;
/// `CLONE_NEWPID`.
pub(crate) const NEW_PID: u64 = 0x2000_0000;
/// `CLONE_NEWNET`.
pub(crate) const NEW_NETWORK: u64 = 0x4000_0000;

const MS_REC: u64 = 1 << 14;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// The most devices, masked paths, read-only paths, kernel parameters and id map rows, each.
const LIST_LIMIT: usize = 4096;

/// The nodes that every container has: path, major and minor number.
const USUAL_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// The links that every container has.
const USUAL_LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Decides the whole start of a container.
///
/// Host paths in `spec` must be absolute, and `linux.cgroupsPath` set if anything is limited. What minke can't do
/// ([`ErrorKind::NotImplemented`]) or what contradicts itself ([`ErrorKind::InvalidParameter`]) is an error, never
/// ignored.
pub fn compile(spec: &Spec, host: &HostFacts) -> Result<StartPlan> {
    check_version(spec.version())?;
    let linux =
        spec.linux().as_ref().ok_or_else(|| Error::invalid("linux is missing in the configuration"))?;
    let process =
        spec.process().as_ref().ok_or_else(|| Error::invalid("process is missing in the configuration"))?;
    refuse_unimplemented(linux)?;
    let namespaces = plan_namespaces(linux)?;
    let has = |kind: u64| namespaces.new & kind != 0 || namespaces.join.iter().any(|(bit, _)| *bit == kind);
    check_names(spec, has(NEW_UTS))?;
    let net_devices = plan_net_devices(linux, has(NEW_NETWORK))?;

    let resources = linux.resources().clone().unwrap_or_default();
    let rules = parse_rules(resources.devices().as_deref().unwrap_or_default())?;
    let cgroup_path = linux.cgroups_path().as_deref().map(text).transpose()?.filter(|path| !path.is_empty());
    let cgroup = plan_cgroup(cgroup_path, &resources, &rules, host)?;

    let root = plan_root(spec, linux)?;
    let context = MountContext {
        host,
        cgroup_v1: &cgroup.v1,
        cgroup_namespace: has(NEW_CGROUP),
        inherited_propagation: inherited_propagation(root.propagation),
    };
    let mut mounts = plan_mounts(spec.mounts().as_deref().unwrap_or_default(), &context)?;
    label_mounts(&mut mounts, linux.mount_label().as_deref().unwrap_or_default());
    let in_user_namespace = host.in_user_namespace || has(NEW_USER);
    let own_dev =
        !mounts.iter().any(|step| matches!(step, MountStep::Bind { target, .. } if target == "/dev"));
    let mut devices = plan_devices(linux, in_user_namespace)?;
    let mut links = Vec::new();
    if own_dev {
        add_usual_devices(&mut devices, in_user_namespace);
        links.extend(USUAL_LINKS.map(|(path, target)| (path.to_owned(), target.to_owned())));
    }
    let mut process = plan_process(process, host)?;
    if let Some(filter) = linux.seccomp() {
        (process.seccomp, process.seccomp_flags) = seccomp::compile_filter(filter, host)?;
    }
    process.personality = personality(linux)?;
    Ok(StartPlan {
        net_devices,
        cgroup,
        root,
        mounts,
        devices,
        links,
        sysctls: plan_sysctls(linux.sysctl().as_ref(), &has)?,
        masked_paths: paths(linux.masked_paths().as_deref(), "masked path")?,
        readonly_paths: paths(linux.readonly_paths().as_deref(), "read-only path")?,
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        process,
        init: false,
        wait_for_start: false,
        namespaces,
    })
}

/// Gives the file systems of a container's own its SELinux label; the kernel's views have theirs.
fn label_mounts(mounts: &mut [MountStep], label: &str) {
    if label.is_empty() {
        return;
    }
    for step in mounts {
        if let MountStep::Filesystem { fstype, options, .. } = step
            && matches!(fstype.as_str(), "tmpfs" | "devpts")
        {
            options.push(("context".into(), Some(label.into())));
        }
    }
}

/// Accepts 1.0 to 1.3 with any patch number and pre-release.
fn check_version(version: &str) -> Result<()> {
    let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten()) {
        (Some(1), Some(0..=3), Some(_)) => Ok(()),
        _ => Err(Error::invalid(format!("unsupported ociVersion {version:?}: 1.0 to 1.3 are supported"))),
    }
}

/// Hooks and the processors of later processes aren't the plan's: whoever reads a bundle sees to them. Without the means
/// for it, `intelRdt` has no effect.
fn refuse_unimplemented(linux: &Linux) -> Result<()> {
    match linux.memory_policy() {
        Some(_) => Err(Error::new(
            ErrorKind::NotImplemented,
            "not supported in the configuration: linux.memoryPolicy",
        )),
        None => Ok(()),
    }
}

fn namespace_bit(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => NEW_MOUNT,
        LinuxNamespaceType::Cgroup => NEW_CGROUP,
        LinuxNamespaceType::Uts => NEW_UTS,
        LinuxNamespaceType::Ipc => NEW_IPC,
        LinuxNamespaceType::User => NEW_USER,
        LinuxNamespaceType::Pid => NEW_PID,
        LinuxNamespaceType::Network => NEW_NETWORK,
        LinuxNamespaceType::Time => NEW_TIME,
    }
}

fn plan_namespaces(linux: &Linux) -> Result<NamespacePlan> {
    let mut plan = NamespacePlan::default();
    let mut seen = 0u64;
    for namespace in linux.namespaces().as_deref().unwrap_or_default() {
        let bit = namespace_bit(namespace.typ());
        if seen & bit != 0 {
            return Err(Error::invalid(format!(
                "malformed spec file: duplicated namespace {}",
                namespace.typ()
            )));
        }
        seen |= bit;
        match namespace.path().as_deref().map(text).transpose()?.filter(|path| !path.is_empty()) {
            None => plan.new |= bit,
            Some(path) if path.starts_with('/') && path.len() < PATH_LIMIT && !path.contains('\0') => {
                plan.join.push((bit, path.to_owned()));
            }
            Some(path) => {
                return Err(Error::invalid(format!("namespace path {path:?} is not an absolute path")));
            }
        }
    }
    if plan.new & NEW_MOUNT == 0 {
        return Err(Error::invalid("a container needs a mount namespace of its own"));
    }
    let maps = id_map(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref());
    if plan.new & NEW_USER != 0 {
        if maps.uid.is_empty() || maps.gid.is_empty() {
            return Err(Error::invalid("user namespaces enabled, but no uid or gid mappings found"));
        }
    } else if seen & NEW_USER == 0 && !(maps.uid.is_empty() && maps.gid.is_empty()) {
        return Err(Error::invalid(
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        ));
    }
    if maps.uid.len().max(maps.gid.len()) > LIST_LIMIT {
        return Err(Error::invalid("too many uid or gid mappings"));
    }
    (plan.uid_map, plan.gid_map) = (maps.uid, maps.gid);
    plan.loopback_up = plan.new & NEW_NETWORK != 0;
    plan.time_offsets = time_offsets(linux, plan.new & NEW_TIME != 0)?;
    Ok(plan)
}

fn time_offsets(linux: &Linux, new: bool) -> Result<Vec<(String, i64, u32)>> {
    let mut rows = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !new {
            return Err(Error::invalid(
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            ));
        }
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(format!("unknown clock {clock:?} in timeOffsets")));
        }
        rows.push((clock.clone(), offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    rows.sort();
    Ok(rows)
}

fn check_names(spec: &Spec, own_uts: bool) -> Result<()> {
    for (name, what) in [(spec.hostname(), "hostname"), (spec.domainname(), "domainname")] {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !own_uts {
            return Err(Error::invalid(format!("unable to set {what} without a private UTS namespace")));
        }
        if name.len() > 64 || name.contains('\0') {
            return Err(Error::invalid(format!(
                "invalid {what} {name:?}: it has more than 64 bytes or a NUL byte"
            )));
        }
    }
    Ok(())
}

fn plan_root(spec: &Spec, linux: &Linux) -> Result<RootPlan> {
    let root = spec.root().as_ref();
    let path = root.map(|root| text(root.path())).transpose()?.filter(|path| !path.is_empty());
    if let Some(path) = path
        && (!path.starts_with('/') || path.len() >= PATH_LIMIT || path.contains('\0'))
    {
        return Err(Error::invalid(format!("root path {path:?} must be absolute")));
    }
    let flags = match linux.rootfs_propagation().as_deref() {
        None | Some("") => 0,
        Some(word) => propagation(word)
            .ok_or_else(|| Error::invalid(format!("rootfsPropagation={word} is not supported")))?,
    };
    Ok(RootPlan {
        path: path.map(str::to_owned),
        readonly: root.and_then(|root| root.readonly()).unwrap_or(false),
        propagation: flags,
    })
}

/// What a bind mount without a word on propagation gets: what it would inherit from the root's.
fn inherited_propagation(root: u64) -> u64 {
    if root & MS_SHARED != 0 {
        0
    } else if root & MS_PRIVATE != 0 {
        MS_PRIVATE | MS_REC
    } else {
        MS_SLAVE | MS_REC
    }
}

fn plan_devices(linux: &Linux, in_user_namespace: bool) -> Result<Vec<DeviceNode>> {
    let devices = linux.devices().as_deref().unwrap_or_default();
    if devices.len() > LIST_LIMIT {
        return Err(Error::invalid(format!("too many devices: {} (limit {LIST_LIMIT})", devices.len())));
    }
    let mut nodes: Vec<DeviceNode> = Vec::with_capacity(devices.len() + USUAL_DEVICES.len());
    for device in devices {
        let path = normalise(text(device.path())?, "device path")?;
        let kind = match device.typ() {
            LinuxDeviceType::B => 'b',
            LinuxDeviceType::C | LinuxDeviceType::U => 'c',
            LinuxDeviceType::P => 'p',
            LinuxDeviceType::A => return Err(Error::invalid(format!("device {path}: invalid type a"))),
        };
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| Error::invalid(format!("device {path}: invalid number {value}")))
        };
        let (major, minor) =
            if kind == 'p' { (0, 0) } else { (number(device.major())?, number(device.minor())?) };
        nodes.retain(|node| node.path != path);
        nodes.push(DeviceNode {
            bind: (in_user_namespace && kind != 'p').then(|| path.clone()),
            path,
            kind,
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    Ok(nodes)
}

fn add_usual_devices(nodes: &mut Vec<DeviceNode>, in_user_namespace: bool) {
    for (path, major, minor) in USUAL_DEVICES {
        if nodes.iter().any(|node| node.path == path) {
            continue;
        }
        nodes.push(DeviceNode {
            path: path.into(),
            kind: 'c',
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            bind: in_user_namespace.then(|| path.into()),
        });
    }
}

fn paths(list: Option<&[String]>, what: &str) -> Result<Vec<String>> {
    let list = list.unwrap_or_default();
    if list.len() > LIST_LIMIT {
        return Err(Error::invalid(format!("too many {what}s: {} (limit {LIST_LIMIT})", list.len())));
    }
    list.iter().map(|path| normalise(path, what)).collect()
}

/// Checks kernel parameters against the namespaces that keep them from the host, and makes paths of their names.
fn plan_sysctls(
    map: Option<&HashMap<String, String>>,
    has: &dyn Fn(u64) -> bool,
) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    for (name, value) in map.into_iter().flatten() {
        let path = sysctl_path(name)?;
        if path == "kernel/hostname" {
            return Err(Error::invalid(format!(
                "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            )));
        }
        let Some(namespace) = sysctl_namespace(&path) else {
            return Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")));
        };
        if !has(namespace) {
            let message = match namespace {
                NEW_NETWORK => format!("sysctl {name:?} not allowed in host network namespace"),
                _ => format!("sysctl {name:?} is not allowed in the hosts namespace"),
            };
            return Err(Error::invalid(message));
        }
        if value.len() > 4096 || value.contains('\0') {
            return Err(Error::invalid(format!("sysctl {name:?}: invalid value")));
        }
        rows.push((path, value.clone()));
    }
    if rows.len() > LIST_LIMIT {
        return Err(Error::invalid("too many sysctls"));
    }
    rows.sort();
    Ok(rows)
}

/// A parameter's path below /proc/sys. Where the first separator is a slash, dots are part of a name.
fn sysctl_path(name: &str) -> Result<String> {
    let dots_separate = name.find(['.', '/']).is_none_or(|index| name.as_bytes()[index] == b'.');
    let path: String = if dots_separate {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    } else {
        name.to_owned()
    };
    let fine = !path.contains('\0')
        && path.len() < 1024
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if fine { Ok(path) } else { Err(Error::invalid(format!("invalid sysctl {name:?}"))) }
}

/// The namespace that a parameter belongs to.
fn sysctl_namespace(path: &str) -> Option<u64> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if path.starts_with("net/") {
        Some(NEW_NETWORK)
    } else if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(NEW_IPC)
    } else if path == "kernel/domainname" {
        Some(NEW_UTS)
    } else if path.starts_with("user/") {
        Some(NEW_USER)
    } else {
        None
    }
}

/// Reads the persona of a configuration.
pub fn personality(linux: &Linux) -> Result<Option<u32>> {
    let Some(personality) = linux.personality() else { return Ok(None) };
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Error::invalid("additional flags not supported by personality"));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

#[cfg(test)]
mod tests;
