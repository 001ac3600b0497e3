//! Everything of the host that a start needs, opened before the child exists, in the caller's mount namespace.
//!
//! The child can't do it: the copy of a mount must be made in the namespace where the mount is; a copy that is attached nowhere
//! can then be attached by the child in its own.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::{DeviceNode, MountStep, NamespacePlan, StartPlan};
use minke_sys::mount::{self, Change, Extent};
use minke_sys::procfs::Procfs;
use minke_sys::{AsFd, Errno, OwnedFd, process as kernel, rooted};
use rustix::fs::{FileType, Mode, OFlags};

use crate::failure::{self, Result};

/// A detached copy of something of the host, to be attached at a target of the same kind.
pub struct Source {
    pub(super) mount: OwnedFd,
    pub(super) is_directory: bool,
}

/// The opened sources of one start.
pub struct Sources {
    pub(super) root: OwnedFd,
    /// Per mount step what it binds, in order; empty for other steps.
    pub(super) mounts: Vec<Vec<Source>>,
    /// Per device what it binds.
    pub(super) devices: Vec<Option<Source>>,
    /// The host's verified null device, if something is to be masked.
    pub(super) null: Option<Source>,
    /// Namespaces to join: kind and descriptor.
    pub(super) namespaces: Vec<(u64, OwnedFd)>,
    /// The `tasks` files of the v1 control groups.
    pub(super) tasks: Vec<OwnedFd>,
    /// The cgroup2 directory.
    pub(super) cgroup: Option<OwnedFd>,
    pub(super) procfs: Procfs,
    /// Where the child waits for its start, if not for the caller.
    pub(super) gate: Option<OwnedFd>,
}

impl Sources {
    /// Opens everything that `plan` names; `root` is the root file system as a detached mount unless the plan names a path.
    /// `given`: the sources of binds, by the number of their step, that came as detached mounts and are not opened by name.
    pub fn open(plan: &StartPlan, root: Option<OwnedFd>, mut given: Vec<(u32, OwnedFd)>) -> Result<Self> {
        let root = match (&plan.root.path, root) {
            (Some(path), _) => mount::copy_path(path, Extent::Tree)
                .map_err(failure::setup(format!("error mounting {path:?} as root file system")))?,
            (None, Some(root)) => root,
            (None, None) => {
                return Err(failure::plain(
                    minke_spec::shim::ErrorCode::Setup,
                    "no root file system was given",
                ));
            }
        };
        make_private(&root).map_err(failure::setup("making the root file system private"))?;
        let procfs = Procfs::host().map_err(failure::setup("opening /proc"))?;
        let null = (!plan.masked_paths.is_empty()).then(open_null).transpose()?;
        Ok(Self {
            root,
            mounts: (0u32..)
                .zip(&plan.mounts)
                .map(|(number, step)| {
                    let at = given.iter().position(|(of, _)| *of == number);
                    open_mount(step, at.map(|at| given.swap_remove(at).1), &procfs)
                })
                .collect::<Result<_>>()?,
            devices: plan.devices.iter().map(|device| open_device(device, plan)).collect::<Result<_>>()?,
            null,
            namespaces: plan
                .namespaces
                .join
                .iter()
                .map(|(kind, path)| Ok((*kind, open_namespace(path)?)))
                .collect::<Result<_>>()?,
            tasks: open_tasks(&plan.cgroup.v1)?,
            cgroup: plan.cgroup.v2.as_deref().map(open_cgroup).transpose()?,
            procfs,
            gate: None,
        })
    }
}

impl Sources {
    /// Lets the child wait for a byte from `gate` instead of the caller's word.
    pub fn wait_at(&mut self, gate: OwnedFd) {
        self.gate = Some(gate);
    }

    /// Lets the child join a network namespace that was made for it, instead of making one.
    pub fn join_network(&mut self, namespace: OwnedFd, plan: &mut NamespacePlan) {
        let kind = u64::from(kernel::CLONE_NEWNET);
        plan.new &= !kind;
        plan.loopback_up = false;
        self.namespaces.push((kind, namespace));
    }

    /// The root file system.
    pub fn root_fd(&self) -> &OwnedFd {
        &self.root
    }
}

/// A copy of a shared mount is in its original's peer group until it is told otherwise.
fn make_private(mount: &OwnedFd) -> minke_sys::Result<()> {
    mount::change(mount, Change { propagation: mount::PRIVATE, recursive: true, ..Change::default() })
}

fn open_namespace(path: &str) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failure::setup(format!("error opening namespace {path:?}")))
}

/// Opens the `tasks` files of v1 control groups.
pub(super) fn open_tasks(directories: &[String]) -> Result<Vec<OwnedFd>> {
    let open = |path: &String| {
        rustix::fs::open(format!("{path}/tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failure::setup(format!("error opening control group {path:?}")))
    };
    directories.iter().map(open).collect()
}

/// Opens a cgroup2 directory to be born in.
pub(super) fn open_cgroup(path: &str) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failure::setup(format!("error opening control group {path:?}")))
}

fn open_mount(step: &MountStep, given: Option<OwnedFd>, procfs: &Procfs) -> Result<Vec<Source>> {
    match step {
        MountStep::Filesystem { .. } => Ok(Vec::new()),
        MountStep::Bind { source, target, recursive, .. } => {
            let words = || format!("error mounting {source:?} to rootfs at {target:?}");
            let extent = if *recursive { Extent::Tree } else { Extent::One };
            let opened = match given {
                Some(mount) => of_mount(mount),
                None => copy(source, extent),
            };
            let opened = opened.map_err(failure::setup(words()))?;
            change_bind(&opened.mount, step, procfs).map_err(failure::setup(words()))?;
            Ok(alloc::vec![opened])
        }
        MountStep::Cgroup { binds, target, .. } => {
            let open = |path: &String| {
                let words = || format!("error mounting {path:?} to rootfs at {target:?}");
                let opened = copy(path, Extent::One).map_err(failure::setup(words()))?;
                make_private(&opened.mount).map_err(failure::setup(words()))?;
                Ok(opened)
            };
            binds.iter().map(open).collect()
        }
    }
}

/// Gives a detached bind its attributes, owners and propagation while only the caller sees it.
fn change_bind(mount: &OwnedFd, step: &MountStep, procfs: &Procfs) -> minke_sys::Result<()> {
    let MountStep::Bind { set, clear, set_recursive, clear_recursive, propagation, id_map, .. } = step else {
        return Ok(());
    };
    if *set_recursive != 0 || *clear_recursive != 0 {
        let change =
            Change { set: *set_recursive, clear: *clear_recursive, recursive: true, ..Change::default() };
        mount::change(mount, change)?;
    }
    if *set != 0 || *clear != 0 {
        mount::change(mount, Change { set: *set, clear: *clear, ..Change::default() })?;
    }
    if let Some(map) = id_map {
        let namespace = super::user_namespace(procfs, &map.uid, &map.gid)?;
        mount::change(mount, Change { idmap: Some(namespace.as_fd()), ..Change::default() })?;
    }
    if *propagation != 0 {
        let recursive = propagation & mount::RECURSIVE != 0;
        let propagation = propagation & !mount::RECURSIVE;
        mount::change(mount, Change { propagation, recursive, ..Change::default() })?;
    }
    Ok(())
}

fn copy(path: &str, extent: Extent) -> minke_sys::Result<Source> {
    of_mount(mount::copy_path(path, extent)?)
}

fn of_mount(mount: OwnedFd) -> minke_sys::Result<Source> {
    let is_directory = rooted::kind(&mount)? == FileType::Directory;
    Ok(Source { mount, is_directory })
}

fn open_device(device: &DeviceNode, plan: &StartPlan) -> Result<Option<Source>> {
    let Some(path) = &device.bind else { return Ok(None) };
    let words = || format!("error mounting {path:?} to rootfs at {:?}", device.path);
    let opened = match copy(path, Extent::One) {
        Err(Errno::NOENT) => new_node(device, plan),
        result => result,
    };
    let opened = opened.map_err(failure::setup(words()))?;
    make_private(&opened.mount).map_err(failure::setup(words()))?;
    Ok(Some(opened))
}

/// A node that the host doesn't have, for a user namespace, in which none can be made: on a file system of its own, made out here.
fn new_node(device: &DeviceNode, plan: &StartPlan) -> minke_sys::Result<Source> {
    let outside = |map: &[(u32, u32, u32)], id: u32| {
        map.iter()
            .find(|(inside, _, count)| (*inside..inside.saturating_add(*count)).contains(&id))
            .map(|(inside, outside, _)| outside + (id - inside))
    };
    let uid = outside(&plan.namespaces.uid_map, device.uid).ok_or(Errno::INVAL)?;
    let gid = outside(&plan.namespaces.gid_map, device.gid).ok_or(Errno::INVAL)?;
    let context = mount::Context::new("tmpfs")?;
    context.create()?;
    let directory = context.mount(0)?;
    let kind = if device.kind == 'b' { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode);
    rustix::fs::mknodat(&directory, "node", kind, mode, number)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(&directory, "node", Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmodat(&directory, "node", mode, rustix::fs::AtFlags::empty())?;
    let node = rustix::fs::openat(&directory, "node", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // Kernels that don't copy what is attached nowhere refuse it, as if there were no such way.
    Ok(Source { mount: mount::copy_fd(&node, Extent::One)?, is_directory: false })
}

fn open_null() -> Result<Source> {
    let words = "error opening the host's /dev/null";
    let opened = copy("/dev/null", Extent::One).map_err(failure::setup(words))?;
    if !rooted::is_null_device(&opened.mount).map_err(failure::setup(words))? {
        return Err(failure::setup(words)(minke_sys::Errno::NODEV));
    }
    // It is the host's own node: seen through a read-only mount, a container's root can't change its mode or owner.
    let change = Change { set: mount::ATTR_RDONLY, propagation: mount::PRIVATE, ..Change::default() };
    mount::change(&opened.mount, change).map_err(failure::setup(words))?;
    Ok(opened)
}

/// Joins the v1 control groups: a process that writes 0 moves itself, which needs no waiting.
pub(super) fn join_v1(tasks: &[OwnedFd]) -> Result<()> {
    for file in tasks {
        rustix::io::write(file, b"0")
            .map_err(failure::setup("error joining the container's control groups"))?;
    }
    Ok(())
}

/// Joins namespaces, the user namespace first: it decides what is allowed in the others.
pub(super) fn join_namespaces(namespaces: &[(u64, OwnedFd)], skip: u64) -> Result<()> {
    let user = u64::from(kernel::CLONE_NEWUSER);
    let (first, rest): (Vec<_>, Vec<_>) = namespaces.iter().partition(|(kind, _)| *kind == user);
    for (kind, fd) in first.into_iter().chain(rest).filter(|(kind, _)| kind & skip == 0) {
        kernel::join_namespaces(fd, *kind).map_err(failure::setup("error joining a namespace"))?;
    }
    Ok(())
}
