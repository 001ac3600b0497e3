//! Volumes that are more than a directory: their file system is mounted with the first running container that uses them, and
//! unmounted with the last. Owns the order of these; what is mounted is decided by `minke_model::volume`.

use std::collections::{BTreeSet, HashMap};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};

use minke_model::volume::DeviceMount;
use minke_model::{Context as _, Error, Result};
use minke_store::VolumeRecord;
use minke_sys::{Errno, mount, mountinfo};

use super::{Volumes, lock};

/// The runs (container and generation) that use each volume that is mounted.
#[derive(Default)]
pub struct Mounted {
    runs: HashMap<String, BTreeSet<(String, u64)>>,
}

/// One run of a container.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The container.
    pub container: &'a str,
    /// Which of its runs.
    pub generation: u64,
}

impl Run<'_> {
    fn key(self) -> (String, u64) {
        (self.container.to_owned(), self.generation)
    }
}

impl Volumes {
    /// The directory of a volume's files, ready to be used by a run. Blocks.
    ///
    /// # Errors
    /// What the kernel says of the volume's file system, in Docker's words.
    pub fn mount(&self, record: &VolumeRecord, run: Run<'_>) -> Result<PathBuf> {
        let was_there = self.data(&record.name).is_dir();
        let data = self.store.restore_volume_data(&record.name)?;
        if !was_there {
            self.give(&record.name)?;
        }
        let Some(wanted) = device_mount(record) else { return Ok(data) };
        let mut mounted = lock(&self.mounted);
        let runs = mounted.runs.entry(record.name.clone()).or_default();
        if runs.is_empty() && !is_mounted(&data)? {
            apply(&wanted, &data).map_err(|error| {
                Error::new(error.kind(), format!("error while mounting volume '{}': {error}", data.display()))
            })?;
        }
        runs.insert(run.key());
        Ok(data)
    }

    /// A run uses a volume no more. Blocks.
    pub fn unmount(&self, name: &str, run: Run<'_>) {
        let mut mounted = lock(&self.mounted);
        let Some(runs) = mounted.runs.get_mut(name) else { return };
        runs.remove(&run.key());
        if runs.is_empty() {
            mounted.runs.remove(name);
            let data = self.store.volume_data(name);
            if let Err(error) = detach(&data) {
                tracing::error!(volume = name, %error, "the volume's file system could not be unmounted");
            }
        }
    }

    /// Notes that a run found at the engine's start uses a volume.
    pub fn note_mounted(&self, name: &str, run: Run<'_>) {
        if self.get(name).is_some_and(|record| device_mount(&record).is_some()) {
            lock(&self.mounted).runs.entry(name.to_owned()).or_default().insert(run.key());
        }
    }

    /// Unmounts what an earlier engine has mounted and no container uses any more; call it when all runs are noted.
    pub fn unmount_unused(&self) {
        for record in self.all() {
            if device_mount(&record).is_none() || lock(&self.mounted).runs.contains_key(&record.name) {
                continue;
            }
            let data = self.store.volume_data(&record.name);
            if let Err(error) = detach(&data) {
                tracing::error!(volume = record.name, %error, "the volume's file system could not be unmounted");
            }
        }
    }
}

fn device_mount(record: &VolumeRecord) -> Option<DeviceMount> {
    DeviceMount::of(record.options.as_ref()?)
}

fn apply(wanted: &DeviceMount, data: &Path) -> Result<()> {
    if wanted.device.is_empty() {
        return Err(Error::system("missing device in volume options"));
    }
    let wanted = match wanted.host() {
        None => wanted.clone(),
        Some(host) => {
            let found = (host, 0).to_socket_addrs().map(|mut addresses| addresses.next());
            let address = found.context("error resolving passed in network volume address")?;
            let address = address.ok_or_else(|| {
                Error::system("error resolving passed in network volume address: no address")
            })?;
            wanted.clone().with_address(address.ip())
        }
    };
    let target = data.to_string_lossy();
    let failed = |errno: Errno| Error::system(wanted.failure(&target, &words(errno)));
    const BIND: u64 = 1 << 12;
    const READ_ONLY: u64 = 1;
    const REMOUNT: u64 = 1 << 5;
    mount::mount_at(&wanted.device, &target, &wanted.fstype, wanted.flags, &wanted.data).map_err(failed)?;
    let finished = (|| {
        for change in &wanted.propagation {
            mount::set_propagation(&target, *change)?;
        }
        // A bind takes its other flags only the second time.
        if wanted.flags & BIND != 0 && wanted.flags & READ_ONLY != 0 {
            mount::mount_at("", &target, "", wanted.flags | REMOUNT, &wanted.data)?;
        }
        Ok(())
    })();
    finished.map_err(|errno| {
        let _ = mount::detach_path(&target);
        failed(errno)
    })
}

/// The C library's words, as Go prints them.
fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn is_mounted(path: &Path) -> Result<bool> {
    let entries = mountinfo::read().context("reading which file systems are mounted")?;
    Ok(entries.iter().any(|entry| entry.place == path))
}

/// Unmounts everything at a place; what is in use goes when its last user does.
fn detach(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    while is_mounted(path)? {
        if mount::unmount_path(&text).is_err() {
            mount::detach_path(&text)
                .map_err(std::io::Error::from)
                .with_context(|| format!("unmounting {text}"))?;
        }
    }
    Ok(())
}

/// Makes sure that removing a volume's directory removes nothing but the volume: what the engine has mounted there is unmounted,
/// what somebody else has mounted is a reason not to.
pub(super) fn clear(data: &Path, is_ours: bool) -> Result<()> {
    if is_ours {
        detach(data)?;
    }
    let entries = mountinfo::read().context("reading which file systems are mounted")?;
    match entries.iter().find(|entry| entry.place.starts_with(data)) {
        Some(entry) => Err(Error::conflict(format!("something is mounted at {}", entry.place.display()))),
        None => Ok(()),
    }
}
