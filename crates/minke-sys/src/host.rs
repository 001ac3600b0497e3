//! What this host's kernel offers, as plain values: found once at the engine's start.

use std::path::PathBuf;

use crate::Errno;

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The kernel's release as `uname` gives it.
    pub kernel_release: String,
    /// The machine as `uname` gives it.
    pub machine: String,
    /// The unified hierarchy, if it is mounted.
    pub cgroup2: Option<Unified>,
    /// The v1 hierarchies that are mounted.
    pub cgroup1: Vec<Hierarchy>,
    /// The number of the last capability that the kernel knows.
    pub last_capability: u32,
    /// The capabilities that the calling thread may give on at all.
    pub bounding_capabilities: u64,
    /// AppArmor is on.
    pub apparmor: bool,
    /// SELinux is on.
    pub selinux: bool,
    /// User namespaces can be made.
    pub user_namespaces: bool,
    /// Control group namespaces can be made.
    pub cgroup_namespaces: bool,
    /// System call filters can be loaded.
    pub seccomp: bool,
    /// Overlay file systems can be mounted at all (where is found out by mounting).
    pub overlay: bool,
    /// The exit code of a process can be read through its pidfd by others than its parent.
    pub pidfd_exit_code: bool,
    /// Number of processors that are online.
    pub processors: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// The unified hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unified {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The controllers in its root.
    pub controllers: Vec<String>,
    /// The calling process's group, a path from the mount's root.
    pub own: String,
}

/// A v1 hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its controllers, as `/proc/self/cgroup` orders them; a named one is `name=...`.
    pub controllers: Vec<String>,
    /// The calling process's group, a path from the mount's root.
    pub own: String,
}

/// Finds out.
pub fn probe() -> std::io::Result<Host> {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    let own = parse_own_groups(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let mounts = parse_cgroup_mounts(&mountinfo);
    let exists = |path: &str| std::path::Path::new(path).exists();
    Ok(Host {
        kernel_release: text(uname.release()),
        machine: text(uname.machine()),
        cgroup2: unified(&mounts, &own),
        cgroup1: hierarchies(&mounts, &own),
        last_capability: read_number("/proc/sys/kernel/cap_last_cap").unwrap_or(40) as u32,
        bounding_capabilities: crate::credentials::bounding_capabilities(),
        apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.trim() == "Y")
            && exists("/sys/kernel/security/apparmor"),
        selinux: exists("/sys/fs/selinux/enforce"),
        user_namespaces: exists("/proc/self/ns/user")
            && read_number("/proc/sys/user/max_user_namespaces").is_none_or(|limit| limit > 0),
        cgroup_namespaces: exists("/proc/self/ns/cgroup"),
        seccomp: exists("/proc/sys/kernel/seccomp/actions_avail"),
        overlay: std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n"))
            || crate::mount::Context::new("overlay").is_ok(),
        pidfd_exit_code: exit_code_is_readable(),
        processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        memory_bytes: memory_bytes(),
    })
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// Kernels that know the question refuse a running process with an empty answer, older ones with an error.
fn exit_code_is_readable() -> bool {
    let Ok(fd) = crate::process::pidfd_open(std::process::id() as i32) else { return false };
    crate::process::pidfd_knows_exit(&fd)
}

struct CgroupMount {
    root: String,
    mount: PathBuf,
    unified: bool,
    options: Vec<String>,
}

/// The cgroup mounts of a mountinfo text; of several at one place the last, which covers the others.
fn parse_cgroup_mounts(mountinfo: &str) -> Vec<CgroupMount> {
    let mut found: Vec<CgroupMount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(mount), Some(fstype)) = (left.get(3), left.get(4), right.first()) else {
            continue;
        };
        if *fstype != "cgroup" && *fstype != "cgroup2" {
            continue;
        }
        let options = right.get(2).map_or(Vec::new(), |text| text.split(',').map(str::to_owned).collect());
        let mount = PathBuf::from(crate::mountinfo::unescape(mount));
        found.retain(|other| other.mount != mount);
        found.push(CgroupMount {
            root: crate::mountinfo::unescape(root),
            mount,
            unified: *fstype == "cgroup2",
            options,
        });
    }
    found
}

/// The lines of `/proc/self/cgroup`: controllers (none for the unified hierarchy) and path.
fn parse_own_groups(text: &str) -> Vec<(Vec<String>, String)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let names = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Some((names, fields.next()?.to_owned()))
        })
        .collect()
}

/// A group's path as it is seen below a mount whose root is `root`.
fn below(root: &str, path: &str) -> String {
    match path.strip_prefix(root.trim_end_matches('/')) {
        Some("") => "/".to_owned(),
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        _ => "/".to_owned(),
    }
}

fn unified(mounts: &[CgroupMount], own: &[(Vec<String>, String)]) -> Option<Unified> {
    let found =
        mounts.iter().filter(|mount| mount.unified).min_by_key(|mount| mount.mount.as_os_str().len())?;
    let path = own.iter().find(|(controllers, _)| controllers.is_empty()).map_or("/", |(_, path)| path);
    let controllers = std::fs::read_to_string(found.mount.join("cgroup.controllers")).unwrap_or_default();
    Some(Unified {
        mount: found.mount.clone(),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        own: below(&found.root, path),
    })
}

fn hierarchies(mounts: &[CgroupMount], own: &[(Vec<String>, String)]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for (controllers, path) in own.iter().filter(|(controllers, _)| !controllers.is_empty()) {
        let matches = |mount: &&CgroupMount| {
            !mount.unified && controllers.iter().all(|name| mount.options.contains(name))
        };
        if let Some(mount) = mounts.iter().filter(matches).min_by_key(|mount| mount.mount.as_os_str().len()) {
            found.push(Hierarchy {
                mount: mount.mount.clone(),
                controllers: controllers.clone(),
                own: below(&mount.root, path),
            });
        }
    }
    found
}

/// Whether an error says that a kernel feature isn't there (as opposed to a wrong use of it).
pub fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_a_mixed_host_are_found_with_the_own_group() {
        let mountinfo = "30 20 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            31 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 20 0:27 /docker/1 /sys/fs/cgroup/systemd rw shared:1 - cgroup cgroup rw,xattr,name=systemd\n\
            33 20 0:28 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a\n3:cpu,cpuacct:/\n2:name=systemd:/docker/1/x\n0::/u\n";
        let mounts = parse_cgroup_mounts(mountinfo);
        let own = parse_own_groups(own);
        let found = hierarchies(&mounts, &own);
        let rows: Vec<_> = found
            .iter()
            .map(|h| (h.mount.to_str().unwrap(), h.controllers.join(","), h.own.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("/sys/fs/cgroup/memory", "memory".to_owned(), "/a"),
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct".to_owned(), "/"),
                ("/sys/fs/cgroup/systemd", "name=systemd".to_owned(), "/x"),
            ]
        );
        let unified = unified(&mounts, &own).unwrap();
        assert_eq!(
            (unified.mount.to_str().unwrap(), unified.own.as_str()),
            ("/sys/fs/cgroup/uni fied", "/u")
        );
    }

    #[test]
    fn this_host_can_be_probed() {
        let host = probe().unwrap();
        assert!(host.processors > 0 && host.memory_bytes > 0 && host.last_capability >= 37);
        assert!(host.cgroup2.is_some() || !host.cgroup1.is_empty());
    }
}
