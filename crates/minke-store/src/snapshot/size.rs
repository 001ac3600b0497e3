//! The size of a tree on the host, as Docker counts a container's own layer: the bytes of regular files, each inode once.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Sums up the files below `root`. What disappears meanwhile doesn't count; no link is followed.
pub(crate) fn of_tree(root: &Path) -> u64 {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut left: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || seen.insert(metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_files_count_once_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/a"), [0; 100]).unwrap();
        fs::hard_link(path("d/a"), path("b")).unwrap();
        fs::write(path("c"), [0; 7]).unwrap();
        std::os::unix::fs::symlink("/", path("l")).unwrap();
        assert_eq!(of_tree(root.path()), 107);
    }
}
