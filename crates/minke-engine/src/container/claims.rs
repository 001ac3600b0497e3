//! What a container holds of volumes and images while it is there: claimed before it is written down, filled with the image's
//! files, given up when it is removed.

use std::os::fd::AsFd as _;
use std::path::Path;

use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_store::Keep;
use minke_sys::Errno;
use minke_sys::rooted::{self, Root};
use rustix::fs::FileType;

use super::launch;
use super::owner::Found;
use super::point::{Kind, Planned, Point};
use super::record::Record;
use crate::engine::Shared;
use crate::volume::{Run, Wanted};

/// What a creation has claimed; given back if the creation fails.
pub struct Claimed<'a> {
    shared: &'a Shared,
    container: String,
    /// The mounts, complete.
    pub points: Vec<Point>,
    made: Vec<String>,
    kept: bool,
}

/// Obtains the volumes of a container that is being made, and finds its images. Blocks.
///
/// # Errors
/// Docker's words for a volume that can't be had, or an image that isn't there; nothing is claimed then.
pub fn claim<'a>(
    shared: &'a Shared,
    container: &str,
    planned: Vec<Planned>,
    keep: Keep,
) -> Result<Claimed<'a>> {
    let container = container.to_owned();
    let mut claimed = Claimed { shared, container, points: Vec::new(), made: Vec::new(), kept: false };
    for (number, Planned { mut point, volume }) in planned.into_iter().enumerate() {
        if let Some(wanted) = volume {
            point.name = claimed.volume(wanted, point.anonymous, keep)?;
        }
        if point.kind == Kind::Image {
            let image = shared.store.image(&point.name)?;
            point.source = image.id.to_string();
            shared.store.create_rw(&image_layer(&claimed.container, number), &image, Keep::Boot)?;
        }
        claimed.points.push(point);
    }
    Ok(claimed)
}

impl Claimed<'_> {
    fn volume(&mut self, wanted: Wanted, anonymous: bool, keep: Keep) -> Result<String> {
        // What goes with a container that ends with the boot needs no disk; what has a name is somebody's.
        let keep = if anonymous { keep } else { Keep::Durable };
        let obtained = self.shared.volumes.obtain(wanted, Some(&self.container), keep)?;
        let name = obtained.record.name.clone();
        if obtained.is_new {
            self.shared.tell_volume(&obtained.record, "create", &[]);
            if anonymous {
                self.made.push(name.clone());
            }
        }
        Ok(name)
    }

    /// The container is written down: what it has claimed is its own.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        release(self.shared, &self.container, &self.points);
        for name in &self.made {
            self.shared.volumes.release(name, &self.container);
            // A prune may have been faster.
            if let Err(error) = self.shared.remove_volume(name)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(volume = name, %error, "a volume of a container that was not made stays");
            }
        }
    }
}

/// The layer that holds an image which a container mounts.
pub fn image_layer(container: &str, number: usize) -> String {
    format!("{container}.{number}")
}

/// Gives up what a container that is gone has claimed.
fn release(shared: &Shared, container: &str, points: &[Point]) {
    for (number, point) in points.iter().enumerate() {
        match point.kind {
            Kind::Volume => shared.volumes.release(&point.name, container),
            Kind::Image => {
                if let Err(error) = shared.store.remove_rw(&image_layer(container, number)) {
                    tracing::warn!(%container, %error, "the layer of a mounted image stays");
                }
            }
            Kind::Bind | Kind::Tmpfs => {}
        }
    }
}

/// Gives up what a removed container has claimed; with `volumes`, its anonymous volumes go too, unless others use them. Blocks.
pub fn give_back(shared: &Shared, record: &Record, volumes: bool) {
    if let Some(selinux) = &shared.selinux {
        selinux.give_back(record);
    }
    let points = record.points();
    release(shared, &record.id, &points);
    for point in points.iter().filter(|point| volumes && point.kind == Kind::Volume && point.anonymous) {
        if !shared.volumes.users(&point.name).is_empty() {
            continue;
        }
        match shared.remove_volume(&point.name) {
            Err(error) if error.kind() == ErrorKind::System => {
                tracing::error!(volume = point.name, %error, "an anonymous volume could not be removed");
            }
            _ => {}
        }
    }
}

/// Copies what the image has at the places of empty volumes into them. Blocks; costs nothing where there is none.
///
/// # Errors
/// A volume over what is no directory; the disk's.
pub fn fill(shared: &Shared, record: &Record) -> Result<()> {
    let points = record.points();
    let mut root = None;
    for point in
        points.iter().filter(|point| point.kind == Kind::Volume && !point.no_copy && point.subpath.is_empty())
    {
        let Some(volume) = shared.volumes.get(&point.name) else { continue };
        let run = Run { container: &record.id, generation: 0 };
        let data = shared.volumes.mount(&volume, run)?;
        let filled = fill_one(shared, record, &mut root, point, &data);
        shared.volumes.unmount(&point.name, run);
        filled?;
    }
    Ok(())
}

fn fill_one(
    shared: &Shared,
    record: &Record,
    root: &mut Option<Root>,
    point: &Point,
    data: &Path,
) -> Result<()> {
    let is_empty =
        std::fs::read_dir(data).with_context(|| format!("reading {}", data.display()))?.next().is_none();
    if !is_empty {
        return Ok(());
    }
    let root = match root {
        Some(root) => root,
        None => root.insert(Root::new(launch::mount_root(shared, record)?)),
    };
    let failed = || format!("copying the image's files into the volume {}", point.name);
    let from = match root.find(&point.target) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(std::io::Error::from).with_context(failed)?,
    };
    if rooted::kind(&from).map_err(std::io::Error::from).with_context(failed)? != FileType::Directory {
        return Err(Error::system(format!(
            "cannot mount volume over existing file, file exists {}",
            point.target
        )));
    }
    let to = std::fs::File::open(data).with_context(failed)?;
    minke_store::fill_directory(from.as_fd(), to.as_fd()).with_context(failed)
}

/// Notes what the containers that an engine finds at its start refer to, and which of them run; unmounts the rest. Blocks.
pub fn take_over(shared: &Shared, found: &[Found]) {
    for Found { record, lifecycle, .. } in found {
        if let Some(selinux) = &shared.selinux {
            selinux.note(record);
        }
        for point in record.points().iter().filter(|point| point.kind == Kind::Volume) {
            shared.volumes.refer(&point.name, &record.id);
            if lifecycle.run().is_some() {
                let run = Run { container: &record.id, generation: lifecycle.generation };
                shared.volumes.note_mounted(&point.name, run);
            }
        }
    }
    shared.volumes.unmount_unused();
}
