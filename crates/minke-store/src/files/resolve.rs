//! Where a symbolic link ends inside a root, also where what it names is not there: Docker tells clients so.

use std::collections::VecDeque;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::{Tree, kind_of};

const MAX_LINKS: u32 = 255;

/// The absolute path that `path` leads to; what is missing is taken as it stands.
pub(super) fn follow(tree: &Tree, path: &str) -> Result<String, Errno> {
    let mut pending: VecDeque<String> = names(path).collect();
    let mut here: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        let reached = format!("/{}", here.join("/"));
        let found = match tree.open(reached.as_str(), OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno),
        };
        if kind_of(&rustix::fs::fstat(&found)?) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
        let target = target.to_string_lossy().into_owned();
        if target.starts_with('/') {
            here.clear();
        } else {
            here.pop();
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            pending.push_front(name);
        }
    }
    Ok(format!("/{}", here.join("/")))
}

fn names(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned)
}
