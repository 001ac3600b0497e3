//! Room on the disk while an archive unfolds: a small one can hold more than any disk does. It ends before the last space is
//! taken, which records, logs and containers need. Never decides how large an archive may be: [`super::limits`] does.

use rustix::fs::StatVfs;
use std::io;
use std::path::{Path, PathBuf};

/// After so many bytes it is looked again.
const STEP_BYTES: u64 = 64 << 20;
/// What stays free: so much, or on a small file system a twentieth.
const RESERVE_BYTES: u64 = 1 << 30;
const RESERVE_SHARE: u64 = 20;

/// Watches the file system of one folder.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    until_look: u64,
}

impl Room {
    /// Watches the file system that `folder` is on.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), until_look: STEP_BYTES }
    }

    /// Counts bytes that are about to be written; every 64 MiB it is looked whether there is room for more.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is not.
    pub(crate) fn take(&mut self, bytes: u64) -> io::Result<()> {
        self.until_look = self.until_look.saturating_sub(bytes);
        if self.until_look > 0 {
            return Ok(());
        }
        self.until_look = STEP_BYTES;
        match lack(&rustix::fs::statvfs(&self.folder)?) {
            Some(words) => Err(io::Error::new(io::ErrorKind::StorageFull, words)),
            None => Ok(()),
        }
    }
}

/// Says what is about to run out.
fn lack(facts: &StatVfs) -> Option<String> {
    let (free, all) =
        (facts.f_bavail.saturating_mul(facts.f_frsize), facts.f_blocks.saturating_mul(facts.f_frsize));
    let reserve = RESERVE_BYTES.min(all / RESERVE_SHARE);
    if free < reserve {
        return Some(format!("no space left on device: {free} bytes are free, of which {reserve} are kept"));
    }
    // Some file systems have no fixed number of them, and say 0.
    let kept = facts.f_files / RESERVE_SHARE;
    (facts.f_favail < kept).then(|| {
        format!("no space left on device: {} inodes are free, of which {kept} are kept", facts.f_favail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(free: u64, all: u64, free_inodes: u64, inodes: u64) -> StatVfs {
        let mut facts = rustix::fs::statvfs("/").unwrap();
        (facts.f_frsize, facts.f_bavail, facts.f_blocks) = (4096, free / 4096, all / 4096);
        (facts.f_favail, facts.f_files) = (free_inodes, inodes);
        facts
    }

    #[test]
    fn a_gigabyte_or_a_twentieth_stays_free() {
        const GIB: u64 = 1 << 30;
        for (free, all, fits) in [
            (2 * GIB, 100 * GIB, true),
            (GIB - 4096, 100 * GIB, false),
            (GIB / 10, GIB, true),
            (GIB / 32, GIB, false),
            (0, 0, true),
        ] {
            assert_eq!(lack(&facts(free, all, 0, 0)).is_none(), fits, "{free} of {all}");
        }
    }

    #[test]
    fn so_do_inodes_where_they_are_counted() {
        let of = |free, all| lack(&facts(1 << 40, 1 << 40, free, all));
        assert_eq!((of(0, 0), of(600, 10_000)), (None, None));
        assert!(of(499, 10_000).unwrap().contains("inodes"));
    }

    #[test]
    fn it_is_looked_once_in_a_while_only() {
        let mut room = Room::of(Path::new("/nowhere/at/all"));
        assert!(room.take(STEP_BYTES - 1).is_ok());
        assert!(room.take(1).is_err());
        assert!(room.take(1).is_ok());
    }
}
