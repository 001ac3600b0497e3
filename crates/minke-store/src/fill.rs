//! Filling an empty directory with what another holds: a volume with the files that its image has at the volume's place.
//! Both are given by descriptors, and no link in either is followed.

use crate::layer::chain::DirectoryFacts;
use crate::layer::name::{join, split};
use crate::layer::root::open_directory;
use crate::snapshot::copy::copy_entry;
use minke_model::{Context, Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// More directories than this below one another are no image's.
const MAX_DEPTH: usize = 512;

/// Copies everything in the directory `from` into the directory `to`, with owners, modes, times, extended attributes and hard
/// links, and gives `to` the owner, mode and attributes of `from`.
///
/// # Errors
/// The disk's; something of it may be there then.
pub fn fill_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    // By a list instead of by recursion, so that depth costs no stack.
    let mut left: Vec<Vec<u8>> = vec![Vec::new()];
    let mut done = Vec::new();
    while let Some(path) = left.pop() {
        let failed = || format!("cannot copy {}", shown(&path));
        if path.iter().filter(|byte| **byte == b'/').count() > MAX_DEPTH {
            return Err(Error::system(format!("cannot copy {}: too deep", shown(&path))));
        }
        let source = File::from(open_directory(from, &path, OFlags::RDONLY).with_context(failed)?);
        let target = open_directory(to, &path, OFlags::PATH).with_context(failed)?;
        for entry in Dir::read_from(&source).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let inner = join(&path, name);
            let failed = || format!("cannot copy {}", shown(&inner));
            let stat = rustix::fs::statat(&source, name, AtFlags::SYMLINK_NOFOLLOW).with_context(failed)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                rustix::fs::mkdirat(&target, name, Mode::from_raw_mode(0o700)).with_context(failed)?;
                left.push(inner);
                continue;
            }
            if stat.st_nlink > 1 {
                if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
                    let (parent, base) = split(first);
                    let parent = open_directory(to, parent, OFlags::PATH).with_context(failed)?;
                    rustix::fs::linkat(&parent, base, &target, name, AtFlags::empty())
                        .with_context(failed)?;
                    continue;
                }
                links.insert((stat.st_dev, stat.st_ino), inner.clone());
            }
            copy_entry(&source, name, &target, &stat).with_context(failed)?;
        }
        done.push((path, DirectoryFacts::read(&source)?));
    }
    // The innermost first: what is made in a directory changes its times.
    for (path, facts) in done.iter().rev() {
        let failed = || format!("cannot copy {}", shown(path));
        let target = open_directory(to, path, OFlags::RDONLY).with_context(failed)?;
        facts.apply(&File::from(target))?;
    }
    Ok(())
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn everything_is_copied_and_no_link_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("from/d/e")).unwrap();
        std::fs::create_dir(path("to")).unwrap();
        std::fs::write(path("outside"), "secret").unwrap();
        std::fs::write(path("from/d/f"), "text").unwrap();
        std::fs::hard_link(path("from/d/f"), path("from/g")).unwrap();
        symlink(path("outside"), path("from/link")).unwrap();
        symlink("/", path("from/d/root")).unwrap();
        std::fs::set_permissions(path("from"), std::fs::Permissions::from_mode(0o1750)).unwrap();
        std::fs::set_permissions(path("from/d/e"), std::fs::Permissions::from_mode(0o2711)).unwrap();
        std::os::unix::fs::chown(path("from"), Some(5), Some(6)).unwrap();
        let open = |name: &str| File::open(path(name)).unwrap();
        fill_directory(open("from").as_fd(), open("to").as_fd()).unwrap();
        let to = std::fs::metadata(path("to")).unwrap();
        assert_eq!((to.mode() & 0o7777, to.uid(), to.gid()), (0o1750, 5, 6));
        assert_eq!(std::fs::metadata(path("to/d/e")).unwrap().mode() & 0o7777, 0o2711);
        assert_eq!(std::fs::read_to_string(path("to/d/f")).unwrap(), "text");
        let inode = |name: &str| std::fs::metadata(path(name)).unwrap().ino();
        assert_eq!(inode("to/d/f"), inode("to/g"));
        assert_eq!(std::fs::read_link(path("to/link")).unwrap(), path("outside"));
        assert_eq!(std::fs::read_link(path("to/d/root")).unwrap(), std::path::Path::new("/"));
    }

    #[test]
    fn a_link_where_a_directory_should_be_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("from/d")).unwrap();
        std::fs::write(path("from/d/f"), "text").unwrap();
        std::fs::create_dir_all(path("outside")).unwrap();
        std::fs::create_dir(path("to")).unwrap();
        symlink(path("outside"), path("to/d")).unwrap();
        let open = |name: &str| File::open(path(name)).unwrap();
        assert!(fill_directory(open("from").as_fd(), open("to").as_fd()).is_err());
        assert!(!path("outside/f").exists());
    }
}
