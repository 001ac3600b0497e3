//! User namespaces of containers (`--userns-remap`): which ids of the host they get, and the work of the engine's own in files
//! whose ids are mapped.
//!
//! Layers are kept with the ids that containers see. Every mount of them has the map on it, so that nothing is copied or changed
//! for a range of ids, and `--userns=host` sees the same layers unmapped. Volumes and binds have the host's ids.
//! See docs/design/user-namespaces.md.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use minke_model::idmap::{IdMap, IdRange, subordinate};
use minke_model::{Context as _, Error, Result};
use minke_network::link::Namespace;
use minke_spec::docker::UserNamespace;
use minke_sys::overlay::{LayerMap, Overlay};
use minke_sys::spawn::{Image, Start};
use minke_sys::{channel, credentials, overlay, process};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

/// The user whose ranges `default` means.
const DEFAULT_USER: &str = "dockremap";

/// The user namespaces that an engine's containers get.
#[derive(Debug)]
pub struct Remap {
    map: IdMap,
    /// A user namespace with the map, which nobody is in: for mounts.
    namespace: Arc<OwnedFd>,
}

/// The host's files that say who there is.
#[derive(Clone, Debug, Default)]
pub struct UserFiles {
    /// /etc/passwd.
    pub passwd: String,
    /// /etc/group.
    pub group: String,
    /// /etc/subuid.
    pub subuid: String,
    /// /etc/subgid.
    pub subgid: String,
}

impl UserFiles {
    fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            subuid: read("/etc/subuid"),
            subgid: read("/etc/subgid"),
        }
    }
}

/// Reads what `--userns-remap` says: `default`, `user`, `uid`, each with `:group` or `:gid`. `None`: root is not remapped.
///
/// # Errors
/// Docker's words for a user or group that isn't there, or has no ranges.
pub fn read(wanted: &str) -> Result<Option<IdMap>> {
    find(wanted, &UserFiles::read())
}

/// An entry of a file like /etc/passwd by the name or the number in it: both.
fn lookup(text: &str, wanted: &str, by_number: bool) -> Option<(String, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        let found = if by_number { id.parse() == wanted.parse::<u32>() } else { name == wanted };
        Some((name.to_owned(), id.parse().ok()?)).filter(|_| found)
    })
}

fn find(wanted: &str, files: &UserFiles) -> Result<Option<IdMap>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let parts: Vec<&str> = wanted.split(':').collect();
    let (named, group) = match parts[..] {
        [user] => (user, None),
        [user, group] => (user, Some(group)),
        _ => {
            return Err(Error::invalid(format!(
                "Invalid user/group specification in --userns-remap: {wanted:?}"
            )));
        }
    };
    let (name, uid) = find_user(named, files)?;
    // The group is looked for, but the ranges of both files are the user's, as in dockerd.
    find_group(group, named, &name, files)?;
    if name == "root" {
        tracing::warn!("User namespaces: root cannot be remapped with itself; user namespaces are OFF");
        return Ok(None);
    }
    let ranges = |text: &str, path: &str| -> Result<Vec<IdRange>> {
        let failed = || "Can't create ID mappings".to_owned();
        let ranges = subordinate(text, &name, uid).with_context(failed)?;
        match ranges.is_empty() {
            true => {
                Err(Error::invalid(format!("no {path} ranges found for user {name:?}"))).with_context(failed)
            }
            false => Ok(ranges),
        }
    };
    Ok(Some(IdMap::new(ranges(&files.subuid, "subuid")?, ranges(&files.subgid, "subgid")?)?))
}

fn find_user(named: &str, files: &UserFiles) -> Result<(String, u32)> {
    if named.parse::<u32>().is_ok() {
        return lookup(&files.passwd, named, true)
            .ok_or_else(|| Error::invalid(format!("Uid {named} has no entry in /etc/passwd")));
    }
    let name = if named == "default" { DEFAULT_USER } else { named };
    lookup(&files.passwd, name, false).ok_or_else(|| match named {
        "default" => Error::invalid(format!(
            "Error during uid lookup for {name:?}: no such user (make it with \"useradd --system --no-create-home {name}\", and give it ranges in /etc/subuid and /etc/subgid, such as {name}:100000:65536)"
        )),
        _ => Error::invalid(format!("Error during uid lookup for {name:?}: no such user")),
    })
}

fn find_group(group: Option<&str>, named: &str, user: &str, files: &UserFiles) -> Result<()> {
    let (wanted, missing) = match group {
        // A number alone is the group's too, a name alone that of the group of this name.
        None if named.parse::<u32>().is_ok() => (named, format!("Gid {named} has no entry in /etc/group")),
        None => (user, format!("Error during gid lookup for {user:?}: no such group")),
        Some(group) if group.parse::<u32>().is_ok() => {
            (group, format!("Gid {group} has no entry in /etc/group"))
        }
        Some(group) => (group, format!("Error during groupname lookup for {group:?}: no such group")),
    };
    match lookup(&files.group, wanted, wanted.parse::<u32>().is_ok()) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(missing)),
    }
}

impl Remap {
    /// Makes the namespace, and tries whether layers below `scratch` can be mounted with its map; `shim` is a program that ends
    /// when its connection does. Must be called inside the runtime.
    ///
    /// # Errors
    /// A kernel or a file system that can't map the ids of mounts.
    pub fn new(map: IdMap, shim: &Image, scratch: &Path) -> Result<Self> {
        let namespace = Arc::new(make_namespace(&map, shim).context("making a user namespace")?);
        let remap = Self { map, namespace };
        remap.probe(scratch).with_context(|| {
            format!(
                "userns-remap needs mounts whose ids are mapped (Linux 5.19, and a file system that can, as ext4, xfs and btrfs): {}",
                scratch.display()
            )
        })?;
        Ok(remap)
    }

    fn probe(&self, scratch: &Path) -> std::io::Result<()> {
        let place = scratch.join(".idmap");
        let _ = std::fs::remove_dir_all(&place);
        for name in ["lower", "upper", "work"] {
            std::fs::create_dir_all(place.join(name))?;
        }
        let mount = overlay::mount(&Overlay {
            lower: vec![place.join("lower")],
            upper: Some((place.join("upper"), place.join("work"))),
            id_map: Some(self.layers()),
            ..Overlay::default()
        });
        // What overlay can't write to it mounts read-only.
        let works = mount.and_then(|mount| {
            let writable = !rustix::fs::fstatvfs(&mount)?.f_flag.contains(StatVfsMountFlags::RDONLY);
            Ok(writable && rustix::fs::fstat(&mount)?.st_uid == self.map.root().0)
        });
        let _ = std::fs::remove_dir_all(&place);
        if works? { Ok(()) } else { Err(std::io::ErrorKind::Unsupported.into()) }
    }

    /// The map.
    pub fn map(&self) -> &IdMap {
        &self.map
    }

    /// The map for layers of an overlay.
    pub fn layers(&self) -> LayerMap {
        LayerMap { namespace: self.namespace.clone(), root: self.map.root() }
    }

    /// The setting of a container that gets a namespace, a new one unless it joins another container's.
    pub fn settings(&self, join: Option<String>) -> UserNamespace {
        let rows = |ranges: &[IdRange]| {
            ranges.iter().map(|range| (range.inside, range.outside, range.count)).collect()
        };
        UserNamespace { join, uids: rows(self.map.uids()), gids: rows(self.map.gids()) }
    }

    /// Makes the user namespace of a container that is on networks, or takes the one that it joins, and a network namespace that
    /// belongs to it. Must be called inside the runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_network(&self, join: Option<&str>, shim: &Image) -> Result<(OwnedFd, Namespace)> {
        let network = u64::from(process::CLONE_NEWNET);
        let made = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            if let Some(path) = join {
                let users = open_namespace(path)?;
                let held = Held::start(shim, Some(users.as_fd()), network)?;
                return Ok((users, held.namespace("net")?));
            }
            let held = Held::start(shim, None, network | u64::from(process::CLONE_NEWUSER))?;
            held.give(&self.map)?;
            Ok((held.namespace("user")?, held.namespace("net")?))
        };
        let (users, network) = made().context("making a network namespace for the container's users")?;
        let network = Namespace::open(network)?;
        let up = network.run(minke_sys::link::loopback_up)?;
        up.map_err(std::io::Error::from).context("bringing up the loopback device")?;
        Ok((users, network))
    }

    /// Does work of the engine's in files of a container, as its root where something is made.
    pub fn as_root<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let (uid, gid) = self.map.root();
        // Of one thread, which ends with the work.
        let outcome = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                credentials::make_files_as(uid, gid)
                    .map_err(std::io::Error::from)
                    .context("becoming the container's root")?;
                work()
            });
            inside.join()
        });
        outcome.unwrap_or_else(|_| Err(Error::system("the work on the container's files has failed")))
    }
}

/// Starts a process in a new user namespace, gives that its map, and keeps it after the process has ended.
fn make_namespace(map: &IdMap, shim: &Image) -> std::io::Result<OwnedFd> {
    let held = Held::start(shim, None, u64::from(process::CLONE_NEWUSER))?;
    held.give(map)?;
    held.namespace("user")
}

/// A process that does nothing but hold namespaces until this goes.
struct Held {
    pid: i32,
    _until: OwnedFd,
}

impl Held {
    /// Starts one in new `namespaces`, which belong to `users` if those are given.
    fn start(shim: &Image, users: Option<BorrowedFd<'_>>, namespaces: u64) -> std::io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let started = shim.start(Start {
            control: theirs.as_fd(),
            arguments: &["minke-shim", "ids"],
            cgroup: None,
            v1_tasks: &[],
            namespaces,
            users,
        })?;
        let pid = started.pid;
        crate::container::shims::adopt(started);
        Ok(Self { pid, _until: ours })
    }

    /// Gives its users their map.
    fn give(&self, map: &IdMap) -> std::io::Result<()> {
        let render = |ranges: &[IdRange]| -> String {
            ranges.iter().map(|row| format!("{} {} {}\n", row.inside, row.outside, row.count)).collect()
        };
        for (name, ranges) in [("gid_map", map.gids()), ("uid_map", map.uids())] {
            std::fs::write(format!("/proc/{}/{name}", self.pid), render(ranges))?;
        }
        Ok(())
    }

    fn namespace(&self, kind: &str) -> std::io::Result<OwnedFd> {
        open_namespace(&format!("/proc/{}/ns/{kind}", self.pid))
    }
}

fn open_namespace(path: &str) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> UserFiles {
        UserFiles {
            passwd: "root:x:0:0::/root:/bin/sh\ndockremap:x:990:991::/:/bin/false\nme:x:1000:1000::/:/bin/sh\nbare:x:5:5::/:/bin/sh\n".into(),
            group: "root:x:0:\ndockremap:x:991:\nme:x:1000:\nbare:x:5:\n".into(),
            subuid: "dockremap:100000:65536\n1000:300000:10\n".into(),
            subgid: "dockremap:200000:65536\nme:400000:20\n".into(),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = |wanted: &str| find(wanted, &files()).unwrap().map(|map| map.root());
        assert_eq!(root(""), None);
        assert_eq!(root("root"), None);
        assert_eq!(root("default"), Some((100_000, 200_000)));
        for wanted in ["me", "1000", "me:root", "1000:0", "me:1000"] {
            assert_eq!(root(wanted), Some((300_000, 400_000)), "{wanted}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_in_dockers_words() {
        for (wanted, words) in [
            ("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\""),
            ("nobody", "Error during uid lookup for \"nobody\": no such user"),
            ("77", "Uid 77 has no entry in /etc/passwd"),
            ("me:77", "Gid 77 has no entry in /etc/group"),
            ("me:none", "Error during groupname lookup for \"none\": no such group"),
            ("bare", "Can't create ID mappings: no subuid ranges found for user \"bare\""),
        ] {
            assert_eq!(find(wanted, &files()).unwrap_err().to_string(), words, "{wanted}");
        }
    }
}
