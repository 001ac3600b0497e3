//! Whole trees by descriptor: removal that no name, link or depth in the tree can lead astray.

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Below this depth a directory is first moved up beside the tree, so that depth costs no stack.
const MAX_DEPTH: usize = 64;

/// Removes `name` in `parent` and everything in it. Directories deeper than a bound are moved into `parent`
/// under names that begin with `deep.` and removed from there.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let mut moved = Vec::new();
    remove_below(parent, parent, name, &mut moved, 0)?;
    let mut next = 0;
    while next < moved.len() {
        let name = moved[next].clone();
        remove_below(parent, parent, &name, &mut moved, 0)?;
        next += 1;
    }
    Ok(())
}

fn remove_below(
    top: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &[u8],
    moved: &mut Vec<Vec<u8>>,
    depth: usize,
) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    if depth > MAX_DEPTH {
        let aside = format!("deep.{}.{}", rustix::process::getpid().as_raw_nonzero(), unique()).into_bytes();
        rustix::fs::renameat(parent, name, top, &*aside)?;
        moved.push(aside);
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove_below(top, directory.as_fd(), child, moved, depth + 1)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_any_depth_is_removed_and_links_out_of_it_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("outside"), b"x").unwrap();
        let tree = directory.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(directory.path(), tree.join("link")).unwrap();
        let top = std::fs::File::open(directory.path()).unwrap();
        let mut here = std::fs::File::open(&tree).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, "deeper", Mode::from_raw_mode(0o755)).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            here = rustix::fs::openat(&here, "deeper", flags, Mode::empty()).unwrap().into();
        }
        remove(top.as_fd(), b"tree").unwrap();
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["outside"]);
    }
}
