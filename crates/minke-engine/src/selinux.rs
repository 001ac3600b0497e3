//! SELinux on this host (`--selinux-enabled`): each container's labels, and those that are given to what it binds.
//! What they are is decided by `minke_spec::selinux`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use minke_api::container::HostConfig;
use minke_model::{Context as _, Error, Result};
use minke_spec::selinux::{Contexts, Labels, Levels, Sharing, labels, options_of, relabel};
use minke_sys::descriptor::magic_path;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, XattrFlags};

use crate::container::namespaces::target;
use crate::container::record::Record;
use crate::container::security;
use crate::engine::{Shared, random_hex};

/// The attribute that holds a file's label.
const ATTRIBUTE: &str = "security.selinux";
/// More directories than this below one another are not followed.
const MAX_DEPTH: usize = 512;

/// Labels for containers, where the host has SELinux and the engine is told to use it.
#[derive(Debug)]
pub struct Selinux {
    contexts: Contexts,
    levels: Mutex<Levels>,
}

impl Selinux {
    /// Reads the host's policy. `None`: containers get no labels.
    ///
    /// # Errors
    /// The policy says nothing of containers.
    pub fn start(wanted: bool, on_host: bool) -> Result<Option<Self>> {
        if !wanted {
            return Ok(None);
        }
        if !on_host {
            tracing::warn!(
                "containers get no SELinux labels: the host's kernel has no SELinux, or it is off"
            );
            return Ok(None);
        }
        let config = std::fs::read_to_string("/etc/selinux/config").unwrap_or_default();
        let kind = config.lines().find_map(|line| line.trim().strip_prefix("SELINUXTYPE="));
        let path = PathBuf::from(format!(
            "/etc/selinux/{}/contexts/lxc_contexts",
            kind.unwrap_or("targeted").trim()
        ));
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let contexts = Contexts::parse(&text).ok_or_else(|| {
            Error::system(format!("{} names no label for containers' processes and files", path.display()))
        })?;
        Ok(Some(Self { contexts, levels: Mutex::default() }))
    }

    /// Decides the labels of a new container.
    ///
    /// # Errors
    /// Docker's words for an option that isn't one, and for joined containers whose labels differ.
    pub fn label(&self, shared: &Shared, host: &HostConfig) -> Result<Labels> {
        let words = host.security_opt.as_deref().unwrap_or_default();
        let mut options = security::parse(words, shared.security_defaults())?.labels;
        if options.is_empty() {
            let of = |mode: &str| {
                let other = shared.containers.resolve(target(mode)?).ok()?;
                Some(other.view().record.process_label.clone())
            };
            let (pid, ipc) = (of(&host.pid_mode), of(&host.ipc_mode));
            options = options_of(Sharing {
                with_host: host.privileged || host.pid_mode == "host" || host.ipc_mode == "host",
                pid: pid.as_deref(),
                ipc: ipc.as_deref(),
            })?;
        }
        let random =
            || random_hex(4).ok().and_then(|digits| u32::from_str_radix(&digits, 16).ok()).unwrap_or(0);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let level = levels.take(random)?;
        let found = labels(&options, &self.contexts, &level);
        if !found.as_ref().is_ok_and(|found| found.process.ends_with(&level)) {
            levels.give_back(&format!(":::{level}"));
        }
        found
    }

    /// Notes a container that was there before.
    pub fn note(&self, record: &Record) {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).note(&record.process_label);
    }

    /// A container is gone.
    pub fn give_back(&self, record: &Record) {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).give_back(&record.process_label);
    }
}

/// Labels what a container binds, where `mode` says so: `z` for all containers, `Z` for this one. Blocks.
///
/// # Errors
/// A path that must keep its label; the disk's.
pub fn relabel_source(source: &Path, mode: &str, mount_label: &str) -> Result<()> {
    let Some(word) = mode.split(',').find(|word| matches!(*word, "z" | "Z")) else { return Ok(()) };
    let text = source.to_string_lossy();
    let Some(label) = relabel(&text, mount_label, word == "z")? else { return Ok(()) };
    let failed = || format!("error setting label on mount source '{text}'");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(source, flags, Mode::empty()).with_context(failed)?;
    set_on_all(top, ATTRIBUTE, label.as_bytes()).map_err(std::io::Error::from).with_context(failed)
}

/// Sets an attribute on a file and, if it is a directory, on everything below, by descriptors: no link is followed.
fn set_on_all(top: OwnedFd, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    set(top.as_fd(), name, value)?;
    let mut levels = Vec::from_iter(listed(top)?);
    while let Some((directory, left)) = levels.last_mut() {
        let Some(entry) = left.pop() else {
            levels.pop();
            continue;
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&*directory, &*entry, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => continue,
            found => found?,
        };
        set(found.as_fd(), name, value)?;
        if levels.len() < MAX_DEPTH {
            levels.extend(listed(found)?);
        }
    }
    Ok(())
}

fn set(file: BorrowedFd<'_>, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::setxattr(magic_path(file), name, value, XattrFlags::empty()) {
        // A file system that has no labels.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

type Level = (OwnedFd, Vec<Vec<u8>>);

/// A directory's names; `None` for anything else.
fn listed(file: OwnedFd) -> rustix::io::Result<Option<Level>> {
    let stat = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&file, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(Some((directory, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(path: &Path) -> Option<Vec<u8>> {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(path, "user.label", &mut value[..]).ok()?;
        Some(value[..length].to_vec())
    }

    #[test]
    fn everything_below_is_labelled_and_no_link_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("top/a/b")).unwrap();
        for file in ["top/f", "top/a/b/g", "outside"] {
            std::fs::write(path(file), "").unwrap();
        }
        std::os::unix::fs::symlink(scratch.path(), path("top/a/up")).unwrap();
        let top = rustix::fs::open(path("top"), OFlags::PATH, Mode::empty()).unwrap();
        // A link itself can't have an attribute of this kind, as it can have a label.
        let result = set_on_all(top, "user.label", b"x");
        assert!(matches!(result, Ok(()) | Err(rustix::io::Errno::PERM)), "{result:?}");
        assert_eq!(value(&path("top")).as_deref(), Some(&b"x"[..]));
        assert_eq!(value(&path("outside")), None);
        assert_eq!(value(scratch.path()), None);
        std::fs::remove_file(path("top/a/up")).unwrap();
        let top = rustix::fs::open(path("top"), OFlags::PATH, Mode::empty()).unwrap();
        set_on_all(top, "user.label", b"y").unwrap();
        for file in ["top", "top/a", "top/a/b", "top/f", "top/a/b/g"] {
            assert_eq!(value(&path(file)).as_deref(), Some(&b"y"[..]), "{file}");
        }
    }

    #[test]
    fn only_where_the_mode_says_so() {
        let scratch = tempfile::tempdir().unwrap();
        relabel_source(Path::new("/usr"), "ro", "u:r:t:s0:c1,c2").unwrap();
        relabel_source(scratch.path(), "z", "").unwrap();
        let error = relabel_source(Path::new("/usr"), "ro,Z", "u:r:t:s0:c1,c2").unwrap_err();
        assert_eq!(error.message(), "SELinux relabeling of /usr is not allowed");
    }
}
