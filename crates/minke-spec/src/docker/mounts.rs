//! The mounts of a container as Docker orders and words them: its own first, then those asked for, by depth.

use std::path::PathBuf;

use minke_model::{Error, Result};
use oci_spec::runtime::Mount;

use super::defaults::{self, MOUNTS, SHM_SIZE};
use super::settings::{BindMount, ContainerSettings, IpcMode, MountSettings, Writability};
use crate::mounts::{normalise, propagation};

/// The mounts, and what the root's propagation must be for them.
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) root_propagation: Option<String>,
}

pub(super) fn plan_mounts(settings: &ContainerSettings) -> Result<Mounts> {
    let mut wanted = settings.mounts.clone();
    match &settings.ipc {
        IpcMode::Shareable { shm } | IpcMode::Join { shm, .. } => wanted.push(shared_memory(shm)),
        IpcMode::Host => wanted.push(shared_memory("/dev/shm")),
        IpcMode::Private | IpcMode::None => {}
    }
    for mount in &mut wanted {
        let target = match mount {
            MountSettings::Bind(bind) => &mut bind.target,
            MountSettings::Tmpfs { target, .. } => target,
        };
        *target = normalise(target, "mount destination")?;
    }
    wanted.sort_by_key(|mount| depth(target(mount)));
    let mut list = own_mounts(settings, &wanted);
    let mut root = RootPropagation::Private;
    for mount in &wanted {
        list.push(match mount {
            MountSettings::Bind(bind) => bind_mount(bind, &mut root)?,
            MountSettings::Tmpfs { target, options } => tmpfs_mount(target, options)?,
        });
    }
    adjust(settings, &wanted, &mut list);
    Ok(Mounts { list, root_propagation: root.word().map(str::to_owned) })
}

fn target(mount: &MountSettings) -> &str {
    match mount {
        MountSettings::Bind(bind) => &bind.target,
        MountSettings::Tmpfs { target, .. } => target,
    }
}

fn depth(target: &str) -> usize {
    target.bytes().filter(|byte| *byte == b'/').count()
}

fn shared_memory(source: &str) -> MountSettings {
    MountSettings::Bind(BindMount {
        source: source.into(),
        target: "/dev/shm".into(),
        ..BindMount::default()
    })
}

fn mount(target: &str, fstype: &str, source: &str, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(fstype.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options));
    mount
}

/// Docker's mounts but those that the user's replace.
fn own_mounts(settings: &ContainerSettings, wanted: &[MountSettings]) -> Vec<Mount> {
    let replaced = |path: &str| wanted.iter().any(|mount| target(mount) == path);
    let own_dev = !replaced("/dev");
    let shm_size = if settings.shm_size == 0 { SHM_SIZE } else { settings.shm_size };
    let mut list = Vec::with_capacity(MOUNTS.len() + wanted.len());
    for (path, fstype, source, options) in MOUNTS {
        let skipped = replaced(path)
            || (path.starts_with("/dev/") && !own_dev)
            || (path == "/dev/shm" && settings.ipc == IpcMode::None);
        if skipped {
            continue;
        }
        let mut options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
        if path == "/dev/shm" {
            options.push(format!("size={shm_size}"));
        }
        list.push(mount(path, fstype, source, options));
    }
    list
}

/// What the root's propagation must be at least for its mounts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RootPropagation {
    Private,
    Slave,
    Shared,
}

impl RootPropagation {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Private => None,
            Self::Slave => Some("rslave"),
            Self::Shared => Some("shared"),
        }
    }
}

fn bind_mount(bind: &BindMount, root: &mut RootPropagation) -> Result<Mount> {
    let word = if bind.propagation.is_empty() { "rprivate" } else { &bind.propagation };
    if propagation(word).is_none() || word.ends_with("unbindable") {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": invalid propagation mode: {word}"
        )));
    }
    let needed = match word {
        "shared" | "rshared" => RootPropagation::Shared,
        "slave" | "rslave" => RootPropagation::Slave,
        _ => RootPropagation::Private,
    };
    *root = (*root).max(needed);
    let mut options = vec![if bind.non_recursive { "bind".to_owned() } else { "rbind".to_owned() }];
    match bind.writability {
        Writability::Writable => {}
        Writability::ReadOnly if bind.non_recursive => options.push("ro".into()),
        Writability::ReadOnly => options.push("rro".into()),
        Writability::ReadOnlyNonRecursive => options.push("ro".into()),
    }
    options.push(word.into());
    Ok(mount(&bind.target, "bind", &bind.source, options))
}

/// Options that change a mount, with a name for what two of them would both change.
const FLAGS: [(&str, &str); 35] = [
    ("ro", "ro"),
    ("rw", "ro"),
    ("suid", "suid"),
    ("nosuid", "suid"),
    ("dev", "dev"),
    ("nodev", "dev"),
    ("exec", "exec"),
    ("noexec", "exec"),
    ("sync", "sync"),
    ("async", "sync"),
    ("dirsync", "dirsync"),
    ("remount", "remount"),
    ("mand", "mand"),
    ("nomand", "mand"),
    ("atime", "atime"),
    ("noatime", "atime"),
    ("diratime", "diratime"),
    ("nodiratime", "diratime"),
    ("bind", "bind"),
    ("rbind", "bind"),
    ("unbindable", "propagation"),
    ("runbindable", "propagation"),
    ("private", "propagation"),
    ("rprivate", "propagation"),
    ("shared", "propagation"),
    ("rshared", "propagation"),
    ("slave", "propagation"),
    ("rslave", "propagation"),
    ("relatime", "relatime"),
    ("norelatime", "relatime"),
    ("strictatime", "strictatime"),
    ("nostrictatime", "strictatime"),
    ("symfollow", "symfollow"),
    ("nosymfollow", "symfollow"),
    ("tmpcopyup", "tmpcopyup"),
];

/// The options of a tmpfs that carry a value.
const TMPFS_VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// A tmpfs: Docker's options, those of the user over them; of two that contradict each other, the later stays.
fn tmpfs_mount(target: &str, options: &str) -> Result<Mount> {
    let words = ["noexec", "nosuid", "nodev", "rprivate"].into_iter().chain(options.split(','));
    let mut merged: Vec<(&str, String)> = Vec::new();
    for word in words.filter(|word| !word.is_empty() && *word != "defaults") {
        let key = match (FLAGS.iter().find(|(name, _)| *name == word), word.split_once('=')) {
            (Some((_, key)), _) => *key,
            (None, Some((key, _))) if TMPFS_VALUES.contains(&key) => key,
            _ => return Err(Error::invalid(format!("invalid tmpfs option \"{word}\""))),
        };
        merged.retain(|(known, _)| *known != key);
        merged.push((key, word.to_owned()));
    }
    Ok(mount(target, "tmpfs", "tmpfs", merged.into_iter().map(|(_, word)| word).collect()))
}

/// What a read-only root and privileges change about Docker's own mounts.
fn adjust(settings: &ContainerSettings, wanted: &[MountSettings], list: &mut [Mount]) {
    for mount in list {
        let path = mount.destination().to_string_lossy().into_owned();
        if wanted.iter().any(|user| target(user) == path) {
            continue;
        }
        let mut options = mount.options().clone().unwrap_or_default();
        let writable = settings.writable_cgroups && path == "/sys/fs/cgroup";
        if writable || settings.privileged && matches!(path.as_str(), "/sys" | "/sys/fs/cgroup") {
            options.retain(|word| word != "ro");
        } else if settings.readonly_rootfs
            && !defaults::WRITABLE_UNDER_READONLY_ROOT.contains(&path.as_str())
            && !options.iter().any(|word| word == "ro")
        {
            options.push("ro".into());
        }
        mount.set_options(Some(options));
    }
}
