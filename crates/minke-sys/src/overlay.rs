//! Overlay mounts that are attached nowhere: no entry in the host's mount table, nothing to leak, gone with the last descriptor.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::mount::{Context, Extent};
use crate::{Errno, Result, descriptor};

/// What is put together.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Read-only layers, the uppermost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Where changes go, and the empty directory beside it that the kernel works in; without it the mount is read-only.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Never wait for the disk: after a crash of the host the upper directory must be thrown away.
    pub volatile: bool,
    /// `MOUNT_ATTR_*` bits of the mount.
    pub attributes: u64,
}

/// The ways to make one, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every layer given by its descriptor (Linux 6.13).
    Descriptors,
    /// Every layer given by its name in a parameter of its own (Linux 6.7).
    Names,
    /// mount(2) in a thread with a mount namespace of its own.
    MountCall,
}

/// Every method, in the order in which they are tried.
pub const METHODS: [Method; 3] = [Method::Descriptors, Method::Names, Method::MountCall];

/// Makes the mount by the newest method that the kernel knows.
pub fn mount(overlay: &Overlay) -> io::Result<OwnedFd> {
    let mut first = None;
    for method in METHODS {
        match mount_by(overlay, method) {
            Ok(mount) => return Ok(mount),
            Err(error) => {
                let unknown = matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EBADF)
                );
                let error = first.get_or_insert(error);
                if !unknown {
                    return Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)));
                }
            }
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// Makes the mount by one method.
pub fn mount_by(overlay: &Overlay, method: Method) -> io::Result<OwnedFd> {
    let layers = Layers::open(overlay)?;
    let mount = match method {
        Method::Descriptors => by_descriptors(overlay, &layers)?,
        Method::Names => by_names(overlay, &layers)?,
        Method::MountCall => by_mount_call(overlay, &layers)?,
    };
    Ok(mount)
}

struct Layers {
    lower: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
}

impl Layers {
    fn open(overlay: &Overlay) -> Result<Self> {
        if overlay.lower.is_empty() {
            return Err(Errno::INVAL);
        }
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let lower = overlay.lower.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let upper =
            overlay.upper.as_ref().map(|(upper, work)| Ok((open(upper)?, open(work)?))).transpose()?;
        Ok(Self { lower, upper })
    }
}

/// What every overlay of ours is mounted with, whatever the kernel's own defaults.
const OPTIONS: [(&str, &str); 4] =
    [("index", "off"), ("metacopy", "off"), ("redirect_dir", "off"), ("xino", "auto")];

fn finish(overlay: &Overlay, context: &Context) -> Result<OwnedFd> {
    for (key, value) in OPTIONS {
        context.set(key, Some(value))?;
    }
    if overlay.volatile && overlay.upper.is_some() {
        context.set("volatile", None)?;
    }
    context.create()?;
    context.mount(overlay.attributes)
}

fn by_descriptors(overlay: &Overlay, layers: &Layers) -> Result<OwnedFd> {
    let context = Context::new("overlay")?;
    context.set("source", Some("overlay"))?;
    for layer in &layers.lower {
        context.set_descriptor("lowerdir+", layer)?;
    }
    if let Some((upper, work)) = &layers.upper {
        context.set_descriptor("upperdir", upper)?;
        context.set_descriptor("workdir", work)?;
    }
    finish(overlay, &context)
}

/// A parameter's value may have 255 bytes: longer names go by way of the open descriptor.
fn name_of(path: &Path, fd: impl AsFd) -> String {
    match path.to_str() {
        Some(text) if text.len() < 256 && text.starts_with('/') => text.to_owned(),
        _ => descriptor::magic_path(fd),
    }
}

fn by_names(overlay: &Overlay, layers: &Layers) -> Result<OwnedFd> {
    let context = Context::new("overlay")?;
    context.set("source", Some("overlay"))?;
    for (path, layer) in overlay.lower.iter().zip(&layers.lower) {
        context.set("lowerdir+", Some(&name_of(path, layer)))?;
    }
    if let (Some(paths), Some(opened)) = (&overlay.upper, &layers.upper) {
        context.set("upperdir", Some(&name_of(&paths.0, &opened.0)))?;
        context.set("workdir", Some(&name_of(&paths.1, &opened.1)))?;
    }
    finish(overlay, &context)
}

/// The options of mount(2), which must fit into one page: every layer by its descriptor's short path.
fn mount_options(overlay: &Overlay, layers: &Layers) -> String {
    let lower: Vec<String> = layers.lower.iter().map(descriptor::magic_path).collect();
    let mut options = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = &layers.upper {
        options +=
            &format!(",upperdir={},workdir={}", descriptor::magic_path(upper), descriptor::magic_path(work));
    }
    for (key, value) in OPTIONS {
        options += &format!(",{key}={value}");
    }
    if overlay.volatile && overlay.upper.is_some() {
        options += ",volatile";
    }
    options
}

fn by_mount_call(overlay: &Overlay, layers: &Layers) -> Result<OwnedFd> {
    let options = mount_options(overlay, layers);
    if options.len() >= 4096 {
        return Err(Errno::TOOBIG);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    // Covered by the mount, in the thread's own namespace only.
    let target = descriptor::magic_path(&layers.lower[0]);
    let attributes = overlay.attributes;
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            const CLONE_FS: u64 = 0x200;
            crate::process::unshare(CLONE_FS | u64::from(crate::process::CLONE_NEWNS))?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)?;
            rustix::mount::mount(
                "overlay",
                target.as_str(),
                "overlay",
                MountFlags::empty(),
                options.as_c_str(),
            )?;
            // The descriptor still names what is below; the same file found by its name is what covers it.
            let name = rustix::fs::readlink(target.as_str(), Vec::new())?;
            let name = name.into_string().map_err(|_| Errno::INVAL)?;
            let mount = crate::mount::copy_path(&name, Extent::One)?;
            if attributes != 0 {
                crate::mount::change(&mount, crate::mount::Change { set: attributes, ..Default::default() })?;
            }
            Ok(mount)
        });
        worker.join().unwrap_or(Err(Errno::IO))
    })
}

/// Removes the mark that a volatile mount has left, so that its upper directory can be mounted again after a clean end.
pub fn clear_volatile_mark(work: &Path) -> io::Result<()> {
    for name in ["work/incompat/volatile", "work/incompat"] {
        match std::fs::remove_dir(work.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
