//! Overlay mounts that are attached nowhere: no entry in the host's mount table, nothing to leak, gone with the last descriptor.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::mount::{Change, Context, Extent};
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
    /// The SELinux label of all files.
    pub label: Option<String>,
    /// The map that applies to every layer (Linux 5.19): what is root's on the disk is its root's in the mount.
    pub id_map: Option<LayerMap>,
}

/// A map of ids for layers.
#[derive(Clone, Debug)]
pub struct LayerMap {
    /// A user namespace with the map.
    pub namespace: Arc<OwnedFd>,
    /// Its root's user and group outside.
    pub root: (u32, u32),
}

/// The ways to make one, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every layer given by its descriptor (Linux 6.13).
    Descriptors,
    /// Every layer given by its name in a parameter of its own (Linux 6.7). Knows no maps of ids.
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
    let Some(LayerMap { root: (uid, gid), .. }) = overlay.id_map else { return mount_now(overlay, method) };
    // The file system makes files of its own in its layers for as long as it is mounted, as who has mounted it; and layers with
    // a map take files only from who is in the map.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            crate::credentials::make_files_as(uid, gid)?;
            mount_now(overlay, method)
        });
        worker.join().unwrap_or_else(|_| Err(Errno::IO.into()))
    })
}

fn mount_now(overlay: &Overlay, method: Method) -> io::Result<OwnedFd> {
    let mount = match method {
        Method::Descriptors => {
            let layers = match &overlay.id_map {
                Some(map) => Layers::open_mapped(overlay, &map.namespace)?,
                None => Layers::open(overlay)?,
            };
            by_descriptors(overlay, &layers)?
        }
        // What is attached nowhere has no name.
        Method::Names if overlay.id_map.is_some() => return Err(Errno::INVAL.into()),
        Method::Names => by_names(overlay, &Layers::open(overlay)?)?,
        Method::MountCall => by_mount_call(overlay)?,
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
        Self::each(overlay, open)
    }

    /// The layers as mounts of their own, attached nowhere, with the map of ids.
    fn open_mapped(overlay: &Overlay, namespace: &OwnedFd) -> Result<Self> {
        let mut upper_mount = None;
        let open = |path: &Path| {
            let Some((_, work)) =
                overlay.upper.as_ref().filter(|(upper, work)| path == upper || path == work)
            else {
                return mapped(path, namespace);
            };
            // Upper and work must be on one mount.
            let mount = match &upper_mount {
                Some(mount) => mount,
                None => upper_mount.insert(mapped(work.parent().ok_or(Errno::INVAL)?, namespace)?),
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(mount, path.file_name().ok_or(Errno::INVAL)?, flags, Mode::empty())
        };
        Self::each(overlay, open)
    }

    fn each(overlay: &Overlay, mut open: impl FnMut(&Path) -> Result<OwnedFd>) -> Result<Self> {
        let lower = overlay.lower.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let upper =
            overlay.upper.as_ref().map(|(upper, work)| Ok((open(upper)?, open(work)?))).transpose()?;
        Ok(Self { lower, upper })
    }
}

/// A copy of the mount at a directory, rooted there, with a map of ids.
pub fn mapped(path: &Path, namespace: &OwnedFd) -> Result<OwnedFd> {
    let mount = crate::mount::copy_path(path.to_str().ok_or(Errno::INVAL)?, Extent::One)?;
    crate::mount::change(&mount, Change { idmap: Some(namespace.as_fd()), ..Change::default() })?;
    Ok(mount)
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
    if let Some(label) = &overlay.label {
        context.set("context", Some(label))?;
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
    if let Some(label) = &overlay.label {
        // A level has a comma.
        options += &format!(",context=\"{label}\"");
    }
    options
}

fn by_mount_call(overlay: &Overlay) -> Result<OwnedFd> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            const CLONE_FS: u64 = 0x200;
            crate::process::unshare(CLONE_FS | u64::from(crate::process::CLONE_NEWNS))?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)?;
            if let Some(map) = &overlay.id_map {
                cover_with_mapped(overlay, &map.namespace)?;
            }
            mount_here(overlay)
        });
        worker.join().unwrap_or(Err(Errno::IO))
    })
}

/// Puts each layer with its map over itself, where a kernel before 6.15 takes only layers that are attached somewhere.
fn cover_with_mapped(overlay: &Overlay, namespace: &OwnedFd) -> Result<()> {
    let above = match &overlay.upper {
        Some((upper, work)) if upper.parent() == work.parent() => work.parent(),
        Some(_) => return Err(Errno::INVAL),
        None => None,
    };
    for path in overlay.lower.iter().map(PathBuf::as_path).chain(above) {
        let mount = mapped(path, namespace)?;
        crate::mount::attach_at(&mount, path.to_str().ok_or(Errno::INVAL)?)?;
    }
    Ok(())
}

/// Mounts over the first layer, in a mount namespace that nobody else sees, and takes a copy of the mount.
fn mount_here(overlay: &Overlay) -> Result<OwnedFd> {
    // Opened here: a layer must be in the namespace of whoever mounts.
    let layers = Layers::open(overlay)?;
    let options = mount_options(overlay, &layers);
    if options.len() >= 4096 {
        return Err(Errno::TOOBIG);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let target = descriptor::magic_path(&layers.lower[0]);
    // The descriptor goes on naming what is below; found by its name, it is what covers it.
    let name = rustix::fs::readlink(target.as_str(), Vec::new())?;
    let name = name.into_string().map_err(|_| Errno::INVAL)?;
    rustix::mount::mount("overlay", target.as_str(), "overlay", MountFlags::empty(), options.as_c_str())?;
    let mount = crate::mount::copy_path(&name, Extent::One)?;
    if overlay.attributes != 0 {
        crate::mount::change(&mount, Change { set: overlay.attributes, ..Change::default() })?;
    }
    Ok(mount)
}

/// Removes the mark that a volatile mount has left, so that its upper directory can be mounted again after a clean end.
pub fn clear_volatile_mark(work: &Path) -> io::Result<()> {
    match std::fs::remove_file(work.join("work/incompat/volatile/dirty")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for name in ["work/incompat/volatile", "work/incompat"] {
        match std::fs::remove_dir(work.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooted::Root;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("minke-overlay-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            for (directory, file) in [("top", "a"), ("bottom", "b"), ("upper", ""), ("work", "")] {
                std::fs::create_dir_all(path.join(directory)).unwrap();
                if !file.is_empty() {
                    std::fs::write(path.join(directory).join(file), directory).unwrap();
                }
            }
            std::fs::write(path.join("bottom/a"), "hidden").unwrap();
            Self(path)
        }

        fn overlay(&self, volatile: bool) -> Overlay {
            Overlay {
                lower: vec![self.0.join("top"), self.0.join("bottom")],
                upper: Some((self.0.join("upper"), self.0.join("work"))),
                volatile,
                ..Overlay::default()
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(root: &Root, path: &str) -> String {
        let file = root.open(path, OFlags::RDONLY, Mode::empty()).unwrap();
        std::io::read_to_string(std::fs::File::from(file)).unwrap()
    }

    fn check(method: Method) {
        let scratch = Scratch::new(&format!("{method:?}"));
        let root = Root::new(mount_by(&scratch.overlay(false), method).unwrap());
        assert_eq!((read(&root, "/a").as_str(), read(&root, "/b").as_str()), ("top", "bottom"));
        root.make_directories("/new/deep", 0o755).unwrap();
        assert!(scratch.0.join("upper/new/deep").is_dir());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(scratch.0.to_str().unwrap()), "the mount must be attached nowhere");
        drop(root);
        let readonly = Overlay { upper: None, ..scratch.overlay(false) };
        let root = Root::new(mount_by(&readonly, method).unwrap());
        assert_eq!(read(&root, "/a"), "top");
        assert_eq!(root.make_directories("/x", 0o755).unwrap_err(), Errno::ROFS);
    }

    #[test]
    fn layers_given_by_descriptor_are_stacked_uppermost_first() {
        check(Method::Descriptors);
    }

    #[test]
    fn layers_given_by_name_are_stacked_uppermost_first() {
        check(Method::Names);
    }

    #[test]
    fn layers_given_to_mount_are_stacked_uppermost_first() {
        check(Method::MountCall);
    }

    #[test]
    fn a_hundred_layers_can_be_stacked_by_every_method() {
        let scratch = Scratch::new("many");
        let lower: Vec<PathBuf> =
            (0..100).map(|number| scratch.0.join(format!("layer-{number:064}"))).collect();
        lower.iter().for_each(|path| std::fs::create_dir(path).unwrap());
        for method in METHODS {
            mount_by(&Overlay { lower: lower.clone(), ..scratch.overlay(false) }, method).unwrap();
        }
    }

    #[test]
    fn a_volatile_mark_is_cleared_before_the_next_mount() {
        let scratch = Scratch::new("volatile");
        drop(mount(&scratch.overlay(true)).unwrap());
        clear_volatile_mark(&scratch.0.join("work")).unwrap();
        clear_volatile_mark(&scratch.0.join("work")).unwrap();
        drop(mount(&scratch.overlay(false)).unwrap());
    }
}
