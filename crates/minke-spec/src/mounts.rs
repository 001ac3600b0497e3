//! The mounts of a configuration as plan steps: options parsed, targets made absolute and free of `..`.
//! Runtime specification: config.md "Mounts", config-linux.md "Linux mount options". Never touches a path.

use minke_model::{Error, Result};
use oci_spec::runtime::{LinuxIdMapping, Mount};

use crate::cgroup;
use crate::host::{CgroupMode, HostFacts};
use crate::plan::{IdMap, MountStep};

pub(crate) const ATTR_RDONLY: u64 = 0x1;
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;
const ATTR_NOEXEC: u64 = 0x8;
const ATTR_TIME_MASK: u64 = 0x70;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_STRICTATIME: u64 = 0x20;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

const MS_REC: u64 = 1 << 14;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// The most mounts that a configuration may have; the kernel's own default limit per namespace is 100,000.
const MOUNT_LIMIT: usize = 10_000;
/// The longest path that the kernel takes.
pub(crate) const PATH_LIMIT: usize = 4096;

/// What one option word does.
enum Effect {
    /// Sets mount attribute bits after clearing the mask.
    Attribute {
        set: u64,
        clear: u64,
    },
    /// The same for the whole tree.
    Tree {
        set: u64,
        clear: u64,
    },
    /// Sets the propagation.
    Propagation(u64),
    Bind,
    BindTree,
    CopyUp,
    /// Maps owners, perhaps in the whole tree.
    IdMap,
    /// A flag of the file system itself.
    Superblock(&'static str),
    /// Says what is so anyway.
    Nothing,
}

/// The mount attributes of an option word: bits to set, bits to clear.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (ATTR_RDONLY, 0),
        "rw" => (0, ATTR_RDONLY),
        "nosuid" => (ATTR_NOSUID, 0),
        "suid" => (0, ATTR_NOSUID),
        "nodev" => (ATTR_NODEV, 0),
        "dev" => (0, ATTR_NODEV),
        "noexec" => (ATTR_NOEXEC, 0),
        "exec" => (0, ATTR_NOEXEC),
        "nodiratime" => (ATTR_NODIRATIME, 0),
        "diratime" => (0, ATTR_NODIRATIME),
        "relatime" | "norelatime" | "atime" | "nostrictatime" => (0, ATTR_TIME_MASK),
        "noatime" => (ATTR_NOATIME, ATTR_TIME_MASK),
        "strictatime" => (ATTR_STRICTATIME, ATTR_TIME_MASK),
        "nosymfollow" => (ATTR_NOSYMFOLLOW, 0),
        "symfollow" => (0, ATTR_NOSYMFOLLOW),
        _ => return None,
    })
}

/// The propagation of an option word.
pub(crate) fn propagation(word: &str) -> Option<u64> {
    Some(match word {
        "private" => MS_PRIVATE,
        "rprivate" => MS_PRIVATE | MS_REC,
        "shared" => MS_SHARED,
        "rshared" => MS_SHARED | MS_REC,
        "slave" => MS_SLAVE,
        "rslave" => MS_SLAVE | MS_REC,
        "unbindable" => MS_UNBINDABLE,
        "runbindable" => MS_UNBINDABLE | MS_REC,
        _ => return None,
    })
}

/// Finds what a word does; `None` for what the file system itself has to understand.
fn effect(word: &str) -> Option<Effect> {
    if let Some((set, clear)) = attribute(word) {
        return Some(Effect::Attribute { set, clear });
    }
    if let Some(flags) = propagation(word) {
        return Some(Effect::Propagation(flags));
    }
    if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute) {
        return Some(Effect::Tree { set, clear });
    }
    Some(match word {
        "bind" => Effect::Bind,
        "rbind" => Effect::BindTree,
        "tmpcopyup" => Effect::CopyUp,
        "idmap" | "ridmap" => Effect::IdMap,
        "sync" => Effect::Superblock("sync"),
        "dirsync" => Effect::Superblock("dirsync"),
        "lazytime" => Effect::Superblock("lazytime"),
        "mand" => Effect::Superblock("mand"),
        "iversion" => Effect::Superblock("iversion"),
        "silent" => Effect::Superblock("silent"),
        "defaults" | "async" | "nolazytime" | "nomand" | "noiversion" | "loud" | "acl" | "noacl"
        | "remount" => Effect::Nothing,
        _ => return None,
    })
}

/// The option words that have a meaning of their own, in order.
pub(crate) const OPTION_WORDS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// The options of one mount, taken apart.
#[derive(Default)]
struct Options {
    set: u64,
    clear: u64,
    set_recursive: u64,
    clear_recursive: u64,
    propagation: Option<u64>,
    bind: bool,
    recursive: bool,
    copy_up: bool,
    id_map: bool,
    data: Vec<(String, Option<String>)>,
}

fn parse_options(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        if word.contains('\0') {
            return Err(Error::invalid("invalid mount option: it contains a NUL byte"));
        }
        match effect(word) {
            Some(Effect::Attribute { set, clear }) => {
                options.set = options.set & !clear | set;
                options.clear = options.clear & !set | clear;
            }
            Some(Effect::Tree { set, clear }) => {
                options.set_recursive = options.set_recursive & !clear | set;
                options.clear_recursive = options.clear_recursive & !set | clear;
            }
            Some(Effect::Propagation(flags)) => options.propagation = Some(flags),
            Some(Effect::Bind) => options.bind = true,
            Some(Effect::BindTree) => (options.bind, options.recursive) = (true, true),
            Some(Effect::CopyUp) => options.copy_up = true,
            Some(Effect::IdMap) => options.id_map = true,
            Some(Effect::Superblock(flag)) => options.data.push((flag.into(), None)),
            Some(Effect::Nothing) => {}
            None => options.data.push(match word.split_once('=') {
                Some((key, value)) => (key.into(), Some(value.into())),
                None => (word.clone(), None),
            }),
        }
    }
    // The kernel wants the whole mask cleared where a time bit is set.
    for (set, clear) in
        [(options.set, &mut options.clear), (options.set_recursive, &mut options.clear_recursive)]
    {
        if set & ATTR_TIME_MASK != 0 {
            *clear |= ATTR_TIME_MASK;
        }
    }
    Ok(options)
}

/// Makes a path inside the container absolute and takes `.`, `..` and doubled slashes out of it, by its letters alone.
pub(crate) fn normalise(path: &str, what: &str) -> Result<String> {
    if path.contains('\0') || path.len() >= PATH_LIMIT {
        return Err(Error::invalid(format!("invalid {what}: it contains a NUL byte or is too long")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A path of the specification as text; the plan holds no other bytes.
pub(crate) fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::invalid(format!("path {} is not valid UTF-8", path.display())))
}

pub(crate) fn id_map(uid: Option<&Vec<LinuxIdMapping>>, gid: Option<&Vec<LinuxIdMapping>>) -> IdMap {
    let rows = |list: Option<&Vec<LinuxIdMapping>>| {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|row| (row.container_id(), row.host_id(), row.size())).collect()
    };
    IdMap { uid: rows(uid), gid: rows(gid) }
}

/// Turns the mounts of a configuration into steps.
pub(crate) fn plan_mounts(mounts: &[Mount], context: &MountContext<'_>) -> Result<Vec<MountStep>> {
    if mounts.len() > MOUNT_LIMIT {
        return Err(Error::invalid(format!("too many mounts: {} (limit {MOUNT_LIMIT})", mounts.len())));
    }
    mounts.iter().map(|mount| plan_mount(mount, context)).collect()
}

/// What a mount step depends on beside the mount itself.
pub(crate) struct MountContext<'a> {
    pub(crate) host: &'a HostFacts,
    /// The container's own groups in v1 hierarchies, in the order of the host's.
    pub(crate) cgroup_v1: &'a [String],
    /// Whether a cgroup namespace is made.
    pub(crate) cgroup_namespace: bool,
    /// The propagation that mounts without any get.
    pub(crate) inherited_propagation: u64,
}

fn plan_mount(mount: &Mount, context: &MountContext<'_>) -> Result<MountStep> {
    let target = normalise(text(mount.destination())?, "mount destination")?;
    if target == "/" {
        return Err(Error::invalid("invalid mount: destination can't be '/'"));
    }
    let words = mount.options().as_deref().unwrap_or_default();
    let options = parse_options(words).map_err(|error| Error::invalid(format!("mount {target}: {error}")))?;
    let source = mount.source().as_deref().map(text).transpose()?.unwrap_or_default();
    if source.contains('\0') || source.len() >= PATH_LIMIT {
        return Err(Error::invalid(format!("mount {target}: invalid source")));
    }
    let fstype = mount.typ().as_deref().unwrap_or_default();
    let mapped = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
    if options.bind || fstype == "bind" {
        if !source.starts_with('/') {
            return Err(Error::invalid(format!("mount {target}: source path \"{source}\" must be absolute")));
        }
        let id_map = mapped.then(|| id_map(mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref()));
        if options.id_map && id_map.is_none() {
            return Err(Error::invalid(format!("mount {target}: idmap needs uidMappings and gidMappings")));
        }
        return Ok(MountStep::Bind {
            source: source.into(),
            target,
            recursive: options.recursive,
            set: options.set,
            clear: options.clear,
            set_recursive: options.set_recursive,
            clear_recursive: options.clear_recursive,
            propagation: options.propagation.unwrap_or(context.inherited_propagation),
            id_map,
        });
    }
    if fstype.is_empty() {
        return Err(Error::invalid(format!("mount {target}: type is missing")));
    }
    if mapped || options.id_map {
        return Err(Error::invalid(format!(
            "mount {target}: only bind mounts can be mapped to other owners"
        )));
    }
    if fstype == "cgroup" {
        return Ok(plan_cgroup_mount(target, &options, context));
    }
    if options.copy_up && fstype != "tmpfs" {
        return Err(Error::invalid(format!("mount {target}: tmpcopyup needs a tmpfs")));
    }
    Ok(MountStep::Filesystem {
        fstype: fstype.into(),
        source: if source.is_empty() { fstype.into() } else { source.into() },
        options: options.data,
        attributes: options.set | options.set_recursive,
        target,
        propagation: options.propagation.unwrap_or(0),
        copy_up: options.copy_up,
    })
}

fn plan_cgroup_mount(target: String, options: &Options, context: &MountContext<'_>) -> MountStep {
    let readonly = (options.set | options.set_recursive) & ATTR_RDONLY != 0;
    let (mut v1, mut links) = (Vec::new(), Vec::new());
    if let CgroupMode::V1 { hierarchies } = &context.host.cgroups {
        for hierarchy in hierarchies {
            let directory = cgroup::directory_name(hierarchy);
            for controller in hierarchy.controllers.iter().filter(|name| !name.contains('=')) {
                if *controller != directory {
                    links.push((controller.clone(), directory.to_owned()));
                }
            }
            v1.push((directory.to_owned(), hierarchy.controllers.join(",")));
        }
    }
    let binds = if context.cgroup_namespace { Vec::new() } else { context.cgroup_v1.to_vec() };
    MountStep::Cgroup { target, v1, links, readonly, binds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(json: serde_json::Value) -> Result<MountStep> {
        let host = HostFacts::example_v2();
        let context = MountContext {
            host: &host,
            cgroup_v1: &[],
            cgroup_namespace: true,
            inherited_propagation: MS_SLAVE | MS_REC,
        };
        plan_mount(&serde_json::from_value(json).expect("a mount"), &context)
    }

    fn bind(options: &[&str]) -> (u64, u64, u64, u64, u64, bool) {
        match step(serde_json::json!({"destination": "/d", "source": "/s", "options": options}))
            .expect("plan")
        {
            MountStep::Bind {
                set, clear, set_recursive, clear_recursive, propagation, recursive, ..
            } => (set, clear, set_recursive, clear_recursive, propagation, recursive),
            other => panic!("no bind: {other:?}"),
        }
    }

    #[test]
    fn every_word_that_is_announced_has_a_meaning() {
        assert!(OPTION_WORDS.is_sorted());
        for word in OPTION_WORDS {
            assert!(effect(word).is_some(), "{word}");
        }
    }

    #[test]
    fn later_words_win_over_earlier_ones() {
        assert_eq!(bind(&["bind", "ro", "rw"]).0, 0);
        assert_eq!(bind(&["bind", "rw", "ro"]).0, ATTR_RDONLY);
        assert_eq!(bind(&["bind", "private", "rshared"]).4, MS_SHARED | MS_REC);
    }

    #[test]
    fn words_with_r_are_for_the_whole_tree() {
        assert_eq!(
            bind(&["rbind", "rro", "nosuid"]),
            (ATTR_NOSUID, 0, ATTR_RDONLY, 0, MS_SLAVE | MS_REC, true)
        );
    }

    #[test]
    fn a_time_bit_clears_the_whole_time_mask() {
        assert_eq!(bind(&["bind", "noatime"]).1, ATTR_TIME_MASK);
        assert_eq!(
            bind(&["bind", "noatime", "relatime"]),
            (0, ATTR_TIME_MASK, 0, 0, MS_SLAVE | MS_REC, false)
        );
    }

    #[test]
    fn what_no_word_means_goes_to_the_file_system() {
        let json = serde_json::json!({
            "destination": "run//x/../y", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "size=64m", "mode=1777", "tmpcopyup", "inode64"]
        });
        assert_eq!(
            step(json).expect("plan"),
            MountStep::Filesystem {
                fstype: "tmpfs".into(),
                source: "tmpfs".into(),
                options: vec![
                    ("size".into(), Some("64m".into())),
                    ("mode".into(), Some("1777".into())),
                    ("inode64".into(), None)
                ],
                attributes: ATTR_NOSUID,
                target: "/run/y".into(),
                propagation: 0,
                copy_up: true,
            }
        );
    }

    #[test]
    fn a_path_can_t_climb_out_of_the_root() {
        assert_eq!(normalise("../../etc/./passwd", "path").expect("path"), "/etc/passwd");
        assert!(normalise("a\0b", "path").is_err());
    }

    #[test]
    fn mounts_that_make_no_sense_are_refused() {
        for (json, message) in [
            (
                serde_json::json!({"destination": "/a/..", "type": "tmpfs"}),
                "invalid mount: destination can't be '/'",
            ),
            (
                serde_json::json!({"destination": "/a", "source": "b", "options": ["bind"]}),
                "mount /a: source path \"b\" must be absolute",
            ),
            (serde_json::json!({"destination": "/a", "source": "b"}), "mount /a: type is missing"),
            (
                serde_json::json!({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}),
                "mount /a: tmpcopyup needs a tmpfs",
            ),
        ] {
            assert_eq!(step(json).expect_err("refused").to_string(), message);
        }
    }
}
