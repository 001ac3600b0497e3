//! The mounts of a container: checked when they are asked for, made ready at a start, given back at the end of the run.
//! What is mounted where is decided by `point`; `claims` has what the container holds while it is there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_api::container::Mount;
use minke_model::mount::check_target;
use minke_model::{Context as _, Digest, Error, Result};
use minke_spec::docker::{BindMount, MountSettings, Writability};
use minke_store::Keep;
use minke_sys::mount::{self, Extent};
use minke_sys::mountinfo;
use minke_sys::rooted::Root;
use rustix::fs::{Mode, OFlags};

use super::claims::image_layer;
use super::point::{Kind, Point};
use super::record::Record;
use crate::engine::Shared;
use crate::volume::Run;

/// Refuses a mount that contradicts itself, in Docker's words.
pub fn check(mount: &Mount) -> Result<()> {
    let invalid = |reason: &str| {
        Err(Error::invalid(format!("invalid mount config for type \"{}\": {reason}", mount.kind)))
    };
    if mount.target.is_empty() {
        return invalid("field Target must not be empty");
    }
    if let Err(error) = check_target(&mount.target) {
        return invalid(error.message());
    }
    let options = [
        ("bind", "BindOptions", mount.bind_options.is_some()),
        ("volume", "VolumeOptions", mount.volume_options.is_some()),
        ("image", "ImageOptions", mount.image_options.is_some()),
        ("tmpfs", "TmpfsOptions", mount.tmpfs_options.is_some()),
    ];
    if !options.iter().any(|(kind, ..)| *kind == mount.kind) {
        return invalid("mount type unknown");
    }
    if let Some((_, field, _)) = options.iter().find(|(kind, _, given)| *given && *kind != mount.kind) {
        return invalid(&format!("field {field} must not be specified"));
    }
    let reason = match mount.kind.as_str() {
        "bind" => check_bind(mount),
        "volume" => check_volume(mount),
        "tmpfs" => check_tmpfs(mount),
        _ => check_image(mount),
    };
    reason.map_or(Ok(()), |reason| invalid(&reason))
}

fn check_bind(mount: &Mount) -> Option<String> {
    let options = mount.bind_options.clone().unwrap_or_default();
    let known = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared"];
    if mount.source.is_empty() {
        return Some("field Source must not be empty".into());
    }
    if !known.contains(&options.propagation.as_str()) {
        return Some(format!("invalid propagation mode: {}", options.propagation));
    }
    if !mount.source.starts_with('/') {
        return Some(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Some("mount options conflict: !ReadOnlyNonRecursive && !ReadOnlyForceRecursive".into());
    }
    if !options.create_mountpoint && !Path::new(&mount.source).exists() {
        return Some(format!("bind source path does not exist: {}", mount.source));
    }
    None
}

fn check_volume(mount: &Mount) -> Option<String> {
    let subpath = &mount.volume_options.as_ref()?.subpath;
    if !subpath.is_empty() && mount.source.is_empty() {
        return Some("must not set Subpath when using anonymous volumes".into());
    }
    check_subpath(subpath)
}

fn check_tmpfs(mount: &Mount) -> Option<String> {
    if !mount.source.is_empty() {
        return Some("field Source must not be specified".into());
    }
    mount.tmpfs_options.as_ref()?.options.iter().find_map(|option| match option.as_slice() {
        [name] | [name, _] if matches!(name.as_str(), "exec" | "noexec") => None,
        [name] | [name, _] => Some(format!("invalid option: {name}")),
        _ => Some("invalid option array length".into()),
    })
}

fn check_image(mount: &Mount) -> Option<String> {
    if mount.source.is_empty() {
        return Some("field Source must not be empty".into());
    }
    check_subpath(&mount.image_options.as_ref()?.subpath)
}

/// A path below the volume or image, by its letters.
fn check_subpath(path: &str) -> Option<String> {
    let mut depth = 0i32;
    let climbs = path.split('/').any(|part| {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    });
    (path.starts_with('/') || climbs).then(|| "subpath must be a relative path within the volume".into())
}

/// A mount that the shim gets as a descriptor, because a path could lead elsewhere by then.
pub struct Given {
    /// The source that stands in the plan.
    pub source: String,
    /// Where it goes.
    pub target: String,
    /// The mount, attached nowhere.
    pub mount: OwnedFd,
}

/// The mounts of one run.
#[derive(Default)]
pub struct Prepared {
    /// For the plan.
    pub settings: Vec<MountSettings>,
    /// Those of them that go as descriptors.
    pub given: Vec<Given>,
}

/// Makes everything ready that a run mounts. Blocks. On failure [`finish`] gives back what is held by then.
pub fn prepare(shared: &Shared, record: &Record, generation: u64) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    for (number, point) in record.points().iter().enumerate() {
        match point.kind {
            Kind::Bind => {
                let owner = shared.remap_of(record).map(|remap| remap.map().root());
                let source = bind_source(point, owner)?;
                label(shared, record, point, Path::new(&source))?;
                prepared.settings.push(bind_settings(point, source));
            }
            Kind::Tmpfs => prepared.settings.push(tmpfs_settings(&point.target, &point.options)),
            Kind::Volume => {
                let data = use_volume(shared, record, point, generation)?;
                label(shared, record, point, &data)?;
                if point.subpath.is_empty() {
                    prepared.settings.push(bind_settings(point, data.to_string_lossy().into_owned()));
                } else {
                    let mount = inside(&data, &point.subpath)?;
                    prepared.give(point, data.join(&point.subpath), mount);
                }
            }
            Kind::Image => {
                let mount = image_mount(shared, record, point, number)?;
                prepared.give(point, PathBuf::from(format!("/{}", point.source)), mount);
            }
        }
    }
    let tmpfs = record.host_config.tmpfs.iter();
    prepared.settings.extend(tmpfs.map(|(target, options)| tmpfs_settings(target, options)));
    prepared.settings.sort_by_key(|mount| target_of(mount).split('/').count());
    Ok(prepared)
}

/// Gives what is bound the container's SELinux label, where it is asked for.
fn label(shared: &Shared, record: &Record, point: &Point, source: &Path) -> Result<()> {
    match shared.selinux {
        Some(_) => crate::selinux::relabel_source(source, &point.mode, &record.mount_label),
        None => Ok(()),
    }
}

impl Prepared {
    fn give(&mut self, point: &Point, source: PathBuf, mount: OwnedFd) {
        let source = source.to_string_lossy().into_owned();
        self.settings.push(bind_settings(point, source.clone()));
        self.given.push(Given { source, target: point.target.clone(), mount });
    }
}

fn target_of(mount: &MountSettings) -> &str {
    match mount {
        MountSettings::Bind(bind) => &bind.target,
        MountSettings::Tmpfs { target, .. } => target,
    }
}

fn tmpfs_settings(target: &str, options: &str) -> MountSettings {
    MountSettings::Tmpfs { target: target.to_owned(), options: options.to_owned() }
}

fn bind_settings(point: &Point, source: String) -> MountSettings {
    let writability = match (point.read_only, point.read_only_non_recursive) {
        (false, _) => Writability::Writable,
        (true, false) => Writability::ReadOnly,
        (true, true) => Writability::ReadOnlyNonRecursive,
    };
    MountSettings::Bind(BindMount {
        source,
        target: point.target.clone(),
        writability,
        propagation: point.propagation.clone(),
        non_recursive: point.non_recursive,
    })
}

/// A bind's source, which is made if it may be, and which is passed on only if it can be.
fn bind_source(point: &Point, owner: Option<(u32, u32)>) -> Result<String> {
    let source = Path::new(&point.source);
    if point.create_source && !source.exists() {
        let failed = || format!("error while creating mount source path '{}'", point.source);
        let made: Vec<&Path> = source.ancestors().take_while(|path| !path.exists()).collect();
        std::fs::create_dir_all(source).with_context(failed)?;
        if let Some((uid, gid)) = owner {
            for path in made {
                std::os::unix::fs::lchown(path, Some(uid), Some(gid)).with_context(failed)?;
            }
        }
    }
    let (wants_shared, wants_slave) = match point.propagation.as_str() {
        "shared" | "rshared" => (true, false),
        "slave" | "rslave" => (false, true),
        _ => return Ok(point.source.clone()),
    };
    let path = source.canonicalize().with_context(|| format!("resolving {}", point.source))?;
    let entries = mountinfo::read().context("reading which file systems are mounted")?;
    let holder = mountinfo::holder(&entries, &path).cloned().unwrap_or_default();
    let what = match () {
        () if wants_shared && !holder.shared => "a shared mount",
        () if wants_slave && !holder.shared && !holder.slave => "a shared or slave mount",
        () => return Ok(point.source.clone()),
    };
    Err(Error::system(format!(
        "path {} is mounted on {} but it is not {what}",
        point.source,
        holder.place.display()
    )))
}

fn use_volume(shared: &Shared, record: &Record, point: &Point, generation: u64) -> Result<PathBuf> {
    let volume = shared
        .volumes
        .get(&point.name)
        .ok_or_else(|| Error::not_found(format!("get {}: no such volume", point.name)))?;
    let data = shared.volumes.mount(&volume, Run { container: &record.id, generation })?;
    let extra = [
        ("container", record.id.clone()),
        ("destination", point.target.clone()),
        ("propagation", point.propagation.clone()),
        ("read/write", (!point.read_only).to_string()),
    ];
    shared.tell_volume(&volume, "mount", &extra);
    Ok(data)
}

/// Gives back what a run has used of volumes, and tells of it. Waits for nothing.
pub fn finish(shared: &Arc<Shared>, record: &Arc<Record>, generation: u64) {
    if record.points().iter().all(|point| point.kind != Kind::Volume) {
        return;
    }
    let mut mounted = false;
    for point in record.points().iter().filter(|point| point.kind == Kind::Volume) {
        let Some(volume) = shared.volumes.get(&point.name) else { continue };
        shared.tell_volume(&volume, "unmount", &[("container", record.id.clone())]);
        mounted |= volume.options.is_some();
    }
    if !mounted {
        return;
    }
    let (shared, record) = (shared.clone(), record.clone());
    tokio::task::spawn_blocking(move || {
        for point in record.points().iter().filter(|point| point.kind == Kind::Volume) {
            shared.volumes.unmount(&point.name, Run { container: &record.id, generation });
        }
    });
}

/// A copy of the mount that a directory of the host is on, rooted at what `path` leads to inside it.
fn inside(directory: &Path, path: &str) -> Result<OwnedFd> {
    let failed = || format!("cannot access path {}", directory.join(path).display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty()).with_context(failed)?;
    let found = Root::new(opened).find(path).map_err(std::io::Error::from).with_context(failed)?;
    mount::copy_fd(&found, Extent::Tree).map_err(std::io::Error::from).with_context(failed)
}

/// An image's files, mounted nowhere.
fn image_mount(shared: &Shared, record: &Record, point: &Point, number: usize) -> Result<OwnedFd> {
    let layer = image_layer(&record.id, number);
    // It ends with the boot; after that it is made anew, if the image is still there.
    if shared.store.rootfs_layout(&layer).is_err() {
        let id = Digest::parse(&point.source)?;
        let image = shared.store.image_by_id(&id);
        let image = image.ok_or_else(|| Error::not_found(format!("No such image: {}", point.name)))?;
        shared.store.create_rw(&layer, &image, Keep::Boot)?;
    }
    let files = shared.store.rootfs(&layer)?;
    let whole = super::launch::mount_files(shared, record, files, mount::ATTR_RDONLY);
    let whole = whole.with_context(|| format!("mounting the image {}", point.name))?;
    if point.subpath.is_empty() {
        return Ok(whole);
    }
    // A part of a mount can be copied only while the mount is attached somewhere.
    let place = shared.paths(&record.id).runtime.join("image");
    let failed = || format!("mounting the image {}", point.name);
    match std::fs::create_dir(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(failed);
        }
        _ => {}
    }
    let text = place.to_string_lossy();
    mount::attach_at(&whole, &text).map_err(std::io::Error::from).with_context(failed)?;
    let part = inside(&place, &point.subpath);
    let detached = mount::detach_path(&text).map_err(std::io::Error::from).with_context(failed);
    let _ = std::fs::remove_dir(&place);
    detached.and(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_api::container::{BindOptions, ImageOptions, TmpfsOptions, VolumeOptions};

    #[test]
    fn a_mount_that_contradicts_itself_is_refused_in_dockers_words() {
        let mount = |kind: &str, source: &str| Mount {
            kind: kind.into(),
            source: source.into(),
            target: "/x".into(),
            ..Mount::default()
        };
        let sub = |subpath: &str| Some(VolumeOptions { subpath: subpath.into(), ..VolumeOptions::default() });
        let cases = [
            (mount("bind", ""), "field Source must not be empty"),
            (mount("bind", "x"), "invalid mount path: 'x' mount path must be absolute"),
            (mount("bind", "/is/not/there"), "bind source path does not exist: /is/not/there"),
            (mount("tmpfs", "x"), "field Source must not be specified"),
            (mount("image", ""), "field Source must not be empty"),
            (mount("npipe", "x"), "mount type unknown"),
            (
                Mount { bind_options: Some(BindOptions::default()), ..mount("volume", "x") },
                "field BindOptions must not be specified",
            ),
            (
                Mount {
                    bind_options: Some(BindOptions { propagation: "odd".into(), ..BindOptions::default() }),
                    ..mount("bind", "/")
                },
                "invalid propagation mode: odd",
            ),
            (
                Mount { volume_options: sub("a"), ..mount("volume", "") },
                "must not set Subpath when using anonymous volumes",
            ),
            (
                Mount { volume_options: sub("a/../../b"), ..mount("volume", "x") },
                "subpath must be a relative path within the volume",
            ),
            (
                Mount { image_options: Some(ImageOptions { subpath: "/a".into() }), ..mount("image", "x") },
                "subpath must be a relative path within the volume",
            ),
            (
                Mount {
                    tmpfs_options: Some(TmpfsOptions {
                        options: vec![vec!["uid".into(), "1".into()]],
                        ..TmpfsOptions::default()
                    }),
                    ..mount("tmpfs", "")
                },
                "invalid option: uid",
            ),
        ];
        for (mount, reason) in cases {
            let expected = format!("invalid mount config for type \"{}\": {reason}", mount.kind);
            assert_eq!(check(&mount).unwrap_err().message(), expected);
        }
        check(&Mount { volume_options: sub("a/../b"), ..mount("volume", "x") }).unwrap();
    }
}
