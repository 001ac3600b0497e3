//! The files of a container's root, reached by a descriptor of it: looked at, packed into an archive, written from one.
//!
//! Must never resolve a path by name on the host: everything goes through openat2 below the descriptor, follows no magic
//! link, and stays out of the kernel's own file systems (`/proc` and its like), which are no files of the container's.

mod extract;
pub(crate) mod owner;
pub(crate) mod pack;
mod resolve;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minke_model::idmap::IdMap;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

pub use extract::{Extract, ExtractError};
pub use pack::ChunkSink;

/// How often a resolution is repeated that a rename has disturbed.
const ATTEMPTS: u32 = 40;

/// File systems in which nothing is a container's own: proc, sysfs, both control group ones, devpts, mqueue, securityfs,
/// debugfs, tracefs, bpf.
const KERNEL_FILESYSTEMS: [u64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x27_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x7363_6673,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
];

/// A directory that is `/` for every path given to it.
pub struct Tree {
    root: OwnedFd,
    ids: Option<IdMap>,
}

/// What a path names, the last link not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// The last name of the path.
    pub name: String,
    /// In bytes.
    pub size: i64,
    /// As the kernel has it, the file's type included.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Where a symbolic link ends, inside the root; empty for everything else.
    pub link_target: String,
}

impl Tree {
    /// Takes a root.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, ids: None }
    }

    /// The same, with files that belong to the host's ids while archives have those of a container.
    pub fn with_ids(self, ids: Option<IdMap>) -> Self {
        Self { ids, ..self }
    }

    /// The root itself.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Looks at what `path` names. A link at its end is followed only where a slash stands after it.
    pub fn stat(&self, path: &str) -> Result<FileStat, Errno> {
        let path = absolute(path);
        let found = self.find(&path)?;
        let stat = rustix::fs::fstat(&found)?;
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        Ok(FileStat {
            name: base_name(&path).to_owned(),
            size: stat.st_size,
            mode: stat.st_mode,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            link_target: if link { resolve::follow(self, &path)? } else { String::new() },
        })
    }

    /// Packs what `path` names into a tar, as Docker does: under its last name, or under `.` where it ends so.
    pub fn pack(&self, path: &str, sink: &mut ChunkSink<'_>) -> minke_model::Result<()> {
        pack::path(self, path, sink)
    }

    /// Packs everything below the root, without the root itself.
    pub fn pack_all(&self, sink: &mut ChunkSink<'_>) -> minke_model::Result<()> {
        pack::all(self, sink)
    }

    /// Whether `path` is on another mount than the root.
    pub fn is_on_other_mount(&self, path: &str) -> Result<bool, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let found = self.open(&absolute(path), flags)?;
        Ok(mount_id(found.as_fd())? != mount_id(self.root.as_fd())?)
    }

    /// Whether what `path` names can't be written to because its mount is read-only.
    pub fn is_read_only(&self, path: &str) -> Result<bool, Errno> {
        let found = self.open(&absolute(path), OFlags::PATH)?;
        Ok(rustix::fs::fstatvfs(&found)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    fn owners(&self) -> owner::Owners<'_> {
        owner::Owners(self.ids.as_ref())
    }

    fn find(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Opens a path below the root, never on one of the kernel's own file systems.
    fn open(&self, path: impl rustix::path::Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(found) if is_kernels(found.as_fd())? => return Err(Errno::NOENT),
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }
}

fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

/// Whether a descriptor is on a file system of the kernel's.
pub(crate) fn is_kernels(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(KERNEL_FILESYSTEMS.contains(&(rustix::fs::fstatfs(fd)?.f_type as u64)))
}

/// The path from the root, without `.`, `..` and double slashes; a `/` or `/.` at its end stays.
pub(crate) fn absolute(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with("/.") || path == "." {
        clean.push_str(if clean == "/" { "." } else { "/." });
    } else if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

/// The last name of an absolute path, as Go's `filepath.Base`.
fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((_, base)) => base,
        None => "/",
    }
}

/// The directory and the last name of an absolute path, both as they stand.
fn split_at_last(path: &str) -> (&str, &str) {
    match path.rfind('/') {
        Some(slash) => (&path[..=slash], &path[slash + 1..]),
        None => ("/", path),
    }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::write(root.join("d/f"), "abc").unwrap();
        std::fs::write(folder.path().join("secret"), "").unwrap();
        symlink("../../../../secret", root.join("d/out")).unwrap();
        symlink("/d", root.join("l")).unwrap();
        symlink("a", root.join("circle")).unwrap();
        symlink("circle", root.join("a")).unwrap();
        let fd = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (folder, Tree::new(fd))
    }

    #[test]
    fn a_link_is_followed_only_before_a_slash_and_never_out_of_the_root() {
        let (_folder, tree) = tree();
        let stat = tree.stat("l").unwrap();
        assert_eq!((stat.name.as_str(), stat.link_target.as_str()), ("l", "/d"));
        assert_eq!(kind_of(&rustix::fs::fstat(tree.find("/l/").unwrap()).unwrap()), FileType::Directory);
        assert_eq!(tree.stat("/d/out").unwrap().link_target, "/secret");
        assert_eq!(tree.stat("/d/out/").unwrap_err(), Errno::NOENT);
        assert_eq!(tree.stat("/l/f").unwrap().size, 3);
        assert_eq!(tree.stat("/circle").unwrap_err(), Errno::LOOP);
        assert_eq!(tree.stat("/d/f/").unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn paths_keep_what_their_end_says() {
        for (given, expected) in [
            ("a/../b", "/b"),
            ("/a/", "/a/"),
            ("a/.", "/a/."),
            ("/", "/"),
            ("/.", "/."),
            ("../x", "/x"),
            (".", "/."),
        ] {
            assert_eq!(absolute(given), expected, "{given}");
        }
        assert_eq!((base_name("/"), base_name("/a/"), base_name("/a/.")), ("/", "a", "."));
    }

    #[test]
    fn what_is_packed_is_named_as_docker_names_it() {
        let (_folder, tree) = tree();
        let names = |path: &str| {
            let mut bytes = Vec::new();
            tree.pack(path, &mut |chunk| {
                bytes.extend(chunk);
                Ok(())
            })
            .unwrap();
            let limits = crate::Limits::default();
            let mut reader = crate::archive::reader::TarReader::new(&bytes[..], &limits);
            let mut names = Vec::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                names.push(String::from_utf8(entry.path).unwrap());
            }
            names
        };
        assert_eq!(names("/d"), ["d/", "d/e/", "d/f", "d/out"]);
        assert_eq!(names("/d/."), ["./", "./e/", "./f", "./out"]);
        assert_eq!(names("/d/f"), ["f"]);
        assert_eq!(names("/l"), ["l"]);
        assert_eq!(names("/l/"), ["l/", "l/e/", "l/f", "l/out"]);
    }

    fn extract(
        tree: &Tree,
        path: &str,
        build: impl FnOnce(&mut tar::Builder<Vec<u8>>),
    ) -> Result<(), ExtractError> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let bytes = builder.into_inner().unwrap();
        tree.extract(
            &Extract { path, keep_kind: true, owner: None, limits: &crate::Limits::default() },
            &mut &bytes[..],
        )
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn an_archive_never_writes_outside_of_the_root() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let (folder, tree) = tree();
        let result = extract(&tree, "/l", |builder| {
            add(builder, Symlink, "s", "../../../../../..", b"");
            add(builder, Regular, "s/escaped", "", b"x");
            add(builder, Symlink, "abs", folder.path().to_str().unwrap(), b"");
            add(builder, Directory, "new/deep/", "", b"");
            add(builder, Regular, "out", "", b"y");
        });
        result.unwrap();
        let root = folder.path().join("root");
        assert_eq!(std::fs::read_to_string(root.join("escaped")).unwrap(), "x");
        assert!(root.join("d/new/deep").is_dir());
        assert_eq!(std::fs::read_to_string(root.join("d/out")).unwrap(), "y");
        assert_eq!(std::fs::read_to_string(folder.path().join("secret")).unwrap(), "");
        assert!(extract(&tree, "/d", |builder| add(builder, Regular, "../x", "", b"")).is_err());
        assert!(extract(&tree, "/d", |builder| add(builder, Link, "h", "../../secret", b"")).is_err());
        assert!(!folder.path().join("escaped").exists());
    }

    #[test]
    fn a_directory_is_not_replaced_by_a_file_nor_a_file_by_a_directory() {
        use tar::EntryType::{Directory, Regular};
        let (_folder, tree) = tree();
        let words = |result: Result<(), ExtractError>| match result {
            Err(ExtractError::Archive(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let file = extract(&tree, "/d", |builder| add(builder, Regular, "e", "", b""));
        assert_eq!(words(file), "cannot overwrite directory \"/d/e\" with non-directory \"/d\"");
        let directory = extract(&tree, "/d", |builder| add(builder, Directory, "f/", "", b""));
        assert_eq!(words(directory), "cannot overwrite non-directory \"/d/f\" with directory \"/d\"");
        assert!(matches!(extract(&tree, "/d/f", |_| ()), Err(ExtractError::NoDirectory)));
        assert!(matches!(extract(&tree, "/nope", |_| ()), Err(ExtractError::Path(Errno::NOENT))));
    }
}
