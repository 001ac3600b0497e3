//! The mounts, device nodes, links and masks of a container: applied inside its root, to descriptors, before it becomes `/`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::{DeviceNode, MountStep};
use minke_spec::shim::ErrorCode;
use minke_sys::mount::{self, Change, Context, Extent};
use minke_sys::pty::{self, Terminal};
use minke_sys::rooted::{self, Root};
use minke_sys::{AsFd, Errno, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};

use super::sources::Source;
use crate::failure::{self, Result};

const PROC_MAGIC: u64 = 0x9fa0;
/// How deep a directory may be that is copied into the tmpfs that covers it.
const COPY_DEPTH: u32 = 64;

/// Applies all steps in order; `sources` has each step's opened host paths.
pub(super) fn apply_all(root: &Root, steps: &[MountStep], sources: Vec<Vec<Source>>) -> Result<()> {
    for (step, sources) in steps.iter().zip(sources) {
        apply(root, step, sources)?;
    }
    Ok(())
}

fn apply(root: &Root, step: &MountStep, sources: Vec<Source>) -> Result<()> {
    match step {
        MountStep::Filesystem { fstype, source, options, attributes, target, propagation, copy_up } => {
            let words = || format!("error mounting {source:?} to rootfs at {target:?}");
            let place = place_for_filesystem(root, fstype, target).map_err(|errno| match errno {
                Errno::NOTDIR => {
                    failure::setup(format!("{target:?} must be mounted on ordinary directory"))(errno)
                }
                errno => failure::setup(words())(errno),
            })?;
            // What is copied in must be written before it is read-only; in /dev nodes and terminals are still to be made.
            let late = if *copy_up { attributes & mount::ATTR_RDONLY } else { 0 };
            let attributes = if is_late(target) { attributes & !mount::ATTR_RDONLY } else { *attributes };
            let mount = new_filesystem(fstype, source, options, attributes & !late)
                .map_err(failure::setup(words()))?;
            if *copy_up {
                rooted::copy_content(place.as_fd(), mount.as_fd(), COPY_DEPTH)
                    .map_err(failure::setup(words()))?;
            }
            let propagation = propagation & !mount::RECURSIVE;
            if late != 0 || propagation != 0 {
                let change = Change { set: late, propagation, ..Change::default() };
                mount::change(&mount, change).map_err(failure::setup(words()))?;
            }
            mount::attach(&mount, &place).map_err(failure::setup(words()))
        }
        MountStep::Bind { source, target, .. } => {
            let words = || format!("error mounting {source:?} to rootfs at {target:?}");
            for opened in sources {
                let refused = |reason| {
                    let why = format!("{}: {target:?} cannot be mounted because it is {reason}", words());
                    failure::plain(ErrorCode::Setup, why)
                };
                in_proc(&opened, target).map_or(Ok(()), |reason| Err(refused(reason)))?;
                let place = place_for(root, &opened, target).map_err(failure::setup(words()))?;
                if is_procfs(&place) && !target.starts_with("/proc") {
                    return Err(refused(INSIDE_PROC));
                }
                mount::attach(&opened.mount, &place).map_err(failure::setup(words()))?;
            }
            Ok(())
        }
        MountStep::Cgroup { target, v1, links, readonly, .. } => {
            let words = || format!("error mounting \"cgroup\" to rootfs at {target:?}");
            let step = CgroupMount { target, v1, links, readonly: *readonly };
            step.apply(root, sources).map_err(failure::setup(words()))
        }
    }
}

/// Files of `/proc` that may be others: what file systems like lxcfs show instead.
const PROC_FILES: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];
const INSIDE_PROC: &str = "inside /proc";

/// Why something must not be bound there, as the field's runtimes refuse it: a container would be shown, and others that join it would
/// write to, what is not the kernel's.
fn in_proc(source: &Source, target: &str) -> Option<&'static str> {
    let path = target.trim_end_matches('/').strip_prefix("/proc")?;
    match path.strip_prefix('/') {
        Some(file) => (!PROC_FILES.contains(&file)).then_some(INSIDE_PROC),
        None => (path.is_empty() && !is_procfs(&source.mount)).then_some("not of type proc"),
    }
}

fn is_procfs(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type as u64 == PROC_MAGIC)
}

/// Whether things are still made in a mount there when all others are in place.
fn is_late(target: &str) -> bool {
    target == "/dev"
}

/// Makes those read-only that had to wait for what was made in them.
pub(super) fn make_late_ones_readonly(root: &Root, steps: &[MountStep]) -> Result<()> {
    for step in steps {
        let MountStep::Filesystem { target, attributes, .. } = step else { continue };
        if is_late(target) && attributes & mount::ATTR_RDONLY != 0 {
            root.find(target)
                .and_then(|place| {
                    mount::change(&place, Change { set: mount::ATTR_RDONLY, ..Change::default() })
                })
                .map_err(failure::setup(format!("error making {target:?} read-only")))?;
        }
    }
    Ok(())
}

/// The kernel's own views must not be put where a link of the image leads.
fn place_for_filesystem(root: &Root, fstype: &str, target: &str) -> minke_sys::Result<OwnedFd> {
    let place = root.make_directories(target, 0o755)?;
    if matches!(fstype, "proc" | "sysfs") {
        return root
            .find_without_links(target)
            .map_err(|errno| if errno == Errno::LOOP { Errno::NOTDIR } else { errno });
    }
    Ok(place)
}

fn new_filesystem(
    fstype: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> minke_sys::Result<OwnedFd> {
    let context = Context::new(fstype)?;
    context.set("source", Some(source))?;
    for (key, value) in options {
        context.set(key, value.as_deref())?;
    }
    context.create()?;
    context.mount(attributes)
}

fn bind(root: &Root, source: Source, target: &str) -> minke_sys::Result<()> {
    let place = place_for(root, &source, target)?;
    mount::attach(&source.mount, &place)
}

fn place_for(root: &Root, source: &Source, target: &str) -> minke_sys::Result<OwnedFd> {
    if source.is_directory { root.make_directories(target, 0o755) } else { root.make_file(target, 0o755) }
}

struct CgroupMount<'a> {
    target: &'a str,
    v1: &'a [(String, String)],
    links: &'a [(String, String)],
    readonly: bool,
}

impl CgroupMount<'_> {
    fn attributes(&self) -> u64 {
        let always = mount::ATTR_NOSUID | mount::ATTR_NODEV | mount::ATTR_NOEXEC;
        if self.readonly { always | mount::ATTR_RDONLY } else { always }
    }

    fn apply(&self, root: &Root, mut sources: Vec<Source>) -> minke_sys::Result<()> {
        let place = root.make_directories(self.target, 0o755)?;
        if self.v1.is_empty() {
            let mount = match sources.pop() {
                Some(source) => self.limited(source)?,
                None => new_filesystem("cgroup2", "cgroup", &[], self.attributes())?,
            };
            return mount::attach(&mount, &place);
        }
        let options = [("mode".into(), Some("755".into()))];
        let top = new_filesystem("tmpfs", "tmpfs", &options, self.attributes() & !mount::ATTR_RDONLY)?;
        mount::attach(&top, &place)?;
        let mut sources = sources.into_iter();
        for (name, controllers) in self.v1 {
            let mount = match sources.next() {
                Some(source) => self.limited(source)?,
                None => self.hierarchy(controllers)?,
            };
            rustix::fs::mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755))?;
            let flags =
                rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
            let inner = rustix::fs::openat(&top, name.as_str(), flags, Mode::empty())?;
            mount::attach(&mount, &inner)?;
        }
        for (link, name) in self.links {
            rustix::fs::symlinkat(name.as_str(), &top, link.as_str())?;
        }
        if self.readonly {
            mount::change(&top, Change { set: mount::ATTR_RDONLY, ..Change::default() })?;
        }
        Ok(())
    }

    fn limited(&self, source: Source) -> minke_sys::Result<OwnedFd> {
        mount::change(&source.mount, Change { set: self.attributes(), ..Change::default() })?;
        Ok(source.mount)
    }

    fn hierarchy(&self, controllers: &str) -> minke_sys::Result<OwnedFd> {
        let options: Vec<(String, Option<String>)> = controllers
            .split(',')
            .map(|part| match part.split_once('=') {
                Some((key, value)) => (key.into(), Some(value.into())),
                None => (part.into(), None),
            })
            .collect();
        new_filesystem("cgroup", "cgroup", &options, self.attributes())
    }
}

/// Makes the device nodes, or binds the host's where the plan says so.
pub(super) fn make_devices(root: &Root, devices: &[DeviceNode], sources: Vec<Option<Source>>) -> Result<()> {
    for (device, source) in devices.iter().zip(sources) {
        let made = match source {
            Some(source) => bind(root, source, &device.path),
            None => make_device(root, device),
        };
        made.map_err(failure::setup(format!("error creating device node {:?}", device.path)))?;
    }
    Ok(())
}

fn make_device(root: &Root, device: &DeviceNode) -> minke_sys::Result<()> {
    let (parent, name) = root.make_parent(&device.path)?;
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), number) {
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != kind
                || (kind != FileType::Fifo && stat.st_rdev != number)
            {
                return Err(Errno::EXIST);
            }
        }
        result => result?,
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // The node is what was made or compared above, never a link: nobody else is inside yet.
    rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(device.mode), AtFlags::empty())
}

/// Makes symbolic links; what is there already stays.
pub(super) fn make_links(root: &Root, links: &[(String, String)]) -> Result<()> {
    for (path, target) in links {
        let made = root.make_parent(path).and_then(|(parent, name)| {
            match rustix::fs::symlinkat(target.as_str(), &parent, name) {
                Err(Errno::EXIST) => Ok(()),
                result => result,
            }
        });
        made.map_err(failure::setup(format!("error creating link {path:?}")))?;
    }
    Ok(())
}

/// Opens the container's terminal and puts it at `/dev/console`.
pub(super) fn open_console(root: &Root) -> Result<Terminal> {
    let words = "error opening the container's terminal";
    let terminal = pty::open(root).map_err(failure::setup(words))?;
    let place = root.make_file("/dev/console", 0o600).map_err(failure::setup(words))?;
    let mount = mount::copy_fd(&terminal.user, Extent::One).map_err(failure::setup(words))?;
    mount::attach(&mount, &place).map_err(failure::setup(words))?;
    Ok(terminal)
}

/// Makes paths read-only, with all below them; absent ones are skipped.
pub(super) fn make_readonly(root: &Root, paths: &[String]) -> Result<()> {
    for path in paths {
        make_one_readonly(root, path).map_err(failure::setup(format!("error making {path:?} read-only")))?;
    }
    Ok(())
}

fn make_one_readonly(root: &Root, path: &str) -> minke_sys::Result<()> {
    let place = match root.find(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        result => result?,
    };
    let mount = mount::copy_fd(&place, Extent::Tree)?;
    mount::change(&mount, Change { set: mount::ATTR_RDONLY, recursive: true, ..Change::default() })?;
    mount::attach(&mount, &place)
}

/// Hides paths: files behind the null device, directories behind one empty read-only file system; absent ones are skipped.
pub(super) fn mask(root: &Root, paths: &[String], null: Option<Source>) -> Result<()> {
    let mut masks = Masks { null: null.map(|source| source.mount), null_used: false, empty: None };
    for path in paths {
        masks.cover(root, path).map_err(failure::setup(format!("error masking {path:?}")))?;
    }
    Ok(())
}

/// The first of each kind is attached itself; the others are copies of it, which can be made only of an attached one.
struct Masks {
    null: Option<OwnedFd>,
    null_used: bool,
    empty: Option<OwnedFd>,
}

impl Masks {
    fn cover(&mut self, root: &Root, path: &str) -> minke_sys::Result<()> {
        let place = match root.find(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            result => result?,
        };
        if rooted::kind(&place)? == FileType::Directory {
            self.cover_directory(&place)
        } else {
            self.cover_file(&place)
        }
    }

    fn cover_file(&mut self, place: &OwnedFd) -> minke_sys::Result<()> {
        let null = self.null.as_ref().ok_or(Errno::NODEV)?;
        if self.null_used {
            return mount::attach(mount::copy_fd(null, Extent::One)?, place);
        }
        self.null_used = true;
        mount::attach(null, place)
    }

    fn cover_directory(&mut self, place: &OwnedFd) -> minke_sys::Result<()> {
        if let Some(empty) = &self.empty {
            return mount::attach(mount::copy_fd(empty, Extent::One)?, place);
        }
        let options = [("size".into(), Some("0k".into())), ("mode".into(), Some("755".into()))];
        let empty = new_filesystem("tmpfs", "tmpfs", &options, mount::ATTR_RDONLY)?;
        mount::attach(&empty, place)?;
        self.empty = Some(empty);
        Ok(())
    }
}
