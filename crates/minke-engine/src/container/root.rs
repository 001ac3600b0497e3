//! How a container's files are reached: by the root that its shim holds while it runs, else by a mount of our own, which
//! nobody else makes meanwhile: two overlay mounts never stand over one upper directory.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use minke_api::container::MountPoint;
use minke_model::idmap::IdMap;
use minke_model::{Context as _, Error, Result};
use minke_spec::shim::{Reply, Request};
use minke_store::Tree;
use minke_sys::mount::{self, Change, Extent};
use minke_sys::process;
use minke_sys::rooted::Root;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::handle::{Command, Container, View};
use super::launch;
use super::record::Record;
use crate::engine::Shared;
use crate::shim::connection::ShimConnection;

/// `CLONE_FS`.
const CLONE_FS: u64 = 0x200;

/// The right to use a container's root; its next start waits until it is given back.
#[derive(Debug)]
pub enum RootAccess {
    /// It runs: the root that it sees itself, with all that is mounted in it.
    Running {
        /// The root.
        root: OwnedFd,
        /// Its shim.
        shim: ShimConnection,
        /// Held for as long as the root is used.
        hold: OwnedRwLockReadGuard<()>,
    },
    /// It does not run; nothing of it is mounted.
    AtRest(OwnedRwLockWriteGuard<()>),
    /// It is just ending: ask again when it has.
    Ending,
}

/// Asks for the root of a container.
pub async fn open(container: &Arc<Container>) -> Result<(Arc<View>, RootAccess)> {
    loop {
        let access = container.ask_for(Command::Root).await?;
        match access {
            RootAccess::Ending => drop(container.wait_for(|view| !view.is_running()).await),
            access => return Ok((container.view(), access)),
        }
    }
}

/// Runs `work` on the container's files as it sees them: with its volumes, and with what the engine keeps of `/etc` where
/// `path` leads there.
pub fn with_tree<T: Send>(
    shared: &Shared,
    record: &Record,
    access: &RootAccess,
    path: &str,
    work: impl FnOnce(&Tree) -> T + Send,
) -> Result<T> {
    let Some(remap) = shared.remap_of(record) else {
        return with_own_tree(shared, record, access, path, None, work);
    };
    // Where ids are mapped, only who is mapped can make files.
    remap.as_root(|| with_own_tree(shared, record, access, path, Some(remap.map().clone()), work))
}

fn with_own_tree<T: Send>(
    shared: &Shared,
    record: &Record,
    access: &RootAccess,
    path: &str,
    ids: Option<IdMap>,
    work: impl FnOnce(&Tree) -> T + Send,
) -> Result<T> {
    if let RootAccess::Running { root, .. } = access {
        let root = root.try_clone().context("opening the container's root")?;
        return Ok(work(&Tree::new(root).with_ids(ids)));
    }
    let root = at_rest(shared, record)?;
    let mounts = mounts_at_rest(shared, record, path);
    if mounts.is_empty() {
        return Ok(work(&Tree::new(root).with_ids(ids)));
    }
    let place = shared.paths(&record.id).data;
    std::fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    // Mounts below one another must stand in a namespace; this one ends with its thread.
    let outcome = std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            enter_own_namespace().context("making a mount namespace")?;
            attach_all(&root, &place, &mounts)?;
            Ok(work(&Tree::new(root).with_ids(ids)))
        });
        inside.join()
    });
    outcome.unwrap_or_else(|_| Err(Error::system("the work on the container's files has failed")))
}

/// The container's own root alone, without anything that is mounted in it.
pub async fn alone(shared: &Arc<Shared>, record: &Arc<Record>, access: &RootAccess) -> Result<OwnedFd> {
    let (shared, record) = (shared.clone(), record.clone());
    let RootAccess::Running { root, shim, .. } = access else {
        let work = move || at_rest(&shared, &record);
        return tokio::task::spawn_blocking(work).await.context("mounting the container's root")?;
    };
    let root = root.try_clone().context("opening the container's root")?;
    let pidfd = match shim.request(&Request::Status, &[]).await {
        Ok((Reply::Status(_), mut descriptors)) => descriptors.pop(),
        _ => None,
    };
    let pidfd = pidfd.ok_or_else(|| Error::conflict(format!("container {} is not running", record.id)))?;
    // Only in its own namespace can a mount be copied.
    let copying = std::thread::spawn(move || {
        process::unshare(CLONE_FS)?;
        process::join_namespaces(&pidfd, u64::from(process::CLONE_NEWNS))?;
        mount::copy_fd(&root, Extent::One)
    });
    let copied = tokio::task::spawn_blocking(move || copying.join()).await;
    let copied = copied.ok().and_then(std::result::Result::ok).unwrap_or(Err(minke_sys::Errno::IO));
    copied.map_err(std::io::Error::from).context("copying the mount of the container's root")
}

fn at_rest(shared: &Shared, record: &Record) -> Result<OwnedFd> {
    let root = launch::mount_root(shared, record)?;
    if record.host_config.readonly_rootfs {
        mount::change(&root, Change { set: mount::ATTR_RDONLY, ..Change::default() })
            .map_err(std::io::Error::from)
            .context("making the root read-only")?;
    }
    Ok(root)
}

/// What is to be mounted in the root of a container that doesn't run, outermost first.
fn mounts_at_rest(shared: &Shared, record: &Record, path: &str) -> Vec<MountPoint> {
    let of_host =
        |point: &&MountPoint| matches!(point.kind.as_str(), "bind" | "volume") && !point.source.is_empty();
    let mut mounts: Vec<MountPoint> = record.mounts.iter().filter(of_host).cloned().collect();
    if path.trim_matches(['/', '.']).is_empty() || path.trim_start_matches('/').starts_with("etc") {
        let paths = shared.paths(&record.id);
        let files = [
            (paths.resolv_conf, "/etc/resolv.conf"),
            (paths.hostname, "/etc/hostname"),
            (paths.hosts, "/etc/hosts"),
        ];
        let files = files.into_iter().filter(|(source, _)| source.exists());
        mounts.extend(files.map(|(source, target)| MountPoint {
            source: source.to_string_lossy().into_owned(),
            destination: target.into(),
            rw: true,
            ..MountPoint::default()
        }));
    }
    mounts.sort_by_key(|point| point.destination.split('/').count());
    mounts
}

fn enter_own_namespace() -> std::io::Result<()> {
    process::unshare(CLONE_FS | u64::from(process::CLONE_NEWNS))?;
    // Nothing of it may reach the host.
    Ok(mount::set_propagation("/", mount::PRIVATE | mount::RECURSIVE)?)
}

fn attach_all(root: &OwnedFd, place: &Path, mounts: &[MountPoint]) -> Result<()> {
    let failed = |point: &MountPoint| format!("mounting {} at {}", point.source, point.destination);
    let mut copies = Vec::new();
    for point in mounts {
        let directory = Path::new(&point.source).is_dir();
        let copy = mount::copy_path(&point.source, Extent::Tree).map_err(std::io::Error::from);
        copies.push((point, directory, copy.with_context(|| failed(point))?));
    }
    mount::attach_at(root, &place.to_string_lossy())
        .map_err(std::io::Error::from)
        .context("attaching the container's root")?;
    let inside = Root::new(root.as_fd().try_clone_to_owned().context("opening the container's root")?);
    for (point, directory, copy) in copies {
        let attach = || {
            if !point.rw {
                mount::change(
                    &copy,
                    Change { set: mount::ATTR_RDONLY, recursive: true, ..Change::default() },
                )?;
            }
            let target = match directory {
                true => inside.make_directories(&point.destination, 0o755)?,
                false => inside.make_file(&point.destination, 0o644)?,
            };
            mount::attach(&copy, &target)
        };
        attach().map_err(std::io::Error::from).with_context(|| failed(point))?;
    }
    Ok(())
}
