//! How much a container may write into its own layer (`--storage-opt size`): each layer that is limited is a project of the file
//! system, whose usage the kernel counts. Nothing of this happens for containers without a limit.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::PoisonError;

use minke_model::{Context, Error, Result};
use minke_sys::quota;
use sha2::{Digest as _, Sha256};

use super::{SnapshotKind, Snapshots};

/// Docker's words.
const NOT_HERE: &str = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
/// How many projects an engine has of its own.
const PROJECTS: u32 = 1 << 16;

impl Snapshots {
    pub(super) fn can_limit(&self) -> bool {
        self.kind == SnapshotKind::Overlay && File::open(&self.directory).is_ok_and(quota::is_enforced)
    }

    pub(super) fn limit(&self, id: &str, bytes: u64) -> Result<()> {
        if !self.can_limit() {
            return Err(Error::invalid(NOT_HERE));
        }
        let mut last = self.last_project.lock().unwrap_or_else(PoisonError::into_inner);
        let project = next(self.first_project(), *last, &self.projects()?);
        let place = self.place(id)?;
        let failed = || format!("limiting the size of {}", place.display());
        for directory in [place.clone(), place.join("upper"), place.join("work")] {
            let opened = File::open(directory).with_context(failed)?;
            quota::set_project(&opened, project).map_err(std::io::Error::from).with_context(failed)?;
            quota::set_limit(&opened, project, bytes).map_err(std::io::Error::from).with_context(failed)?;
        }
        *last = project;
        Ok(())
    }

    /// The first of this engine's projects: others on the same file system have others.
    fn first_project(&self) -> u32 {
        let sum = Sha256::digest(self.directory.as_os_str().as_encoded_bytes());
        let slot = u32::from(u16::from_be_bytes([sum[0], sum[1]]) & 0x3fff);
        0x4000_0000 | (slot * PROJECTS)
    }

    /// The projects of the containers that are there.
    fn projects(&self) -> Result<BTreeSet<u32>> {
        let entries = fs::read_dir(&self.directory)
            .with_context(|| format!("cannot list {}", self.directory.display()))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| quota::project(File::open(entry.path()).ok()?).ok())
            .collect())
    }
}

/// The next project: never one that was just used, since what it had may still be unlinked.
fn next(first: u32, last: u32, used: &BTreeSet<u32>) -> u32 {
    let own = first..first + PROJECTS;
    let highest = used.range(own.clone()).next_back().copied();
    let after = highest.unwrap_or(first).max(last) + 1;
    match own.contains(&after) {
        true => after,
        false => own.skip(1).find(|project| !used.contains(project)).unwrap_or(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_nobody_elses() {
        let used = BTreeSet::from([7, 100, 103, 70000]);
        assert_eq!(next(100, 0, &used), 104);
        assert_eq!(next(100, 108, &used), 109);
        assert_eq!(next(100, 0, &BTreeSet::from([7])), 101);
        assert_eq!(next(100, 0, &BTreeSet::from([101, 100 + PROJECTS - 1])), 102, "the numbers begin again");
    }
}
