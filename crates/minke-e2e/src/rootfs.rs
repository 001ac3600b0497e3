//! The test image: a root file system of busybox, made here so that no registry is needed.

use std::process::Command;
use std::sync::LazyLock;

use tar::{Builder, EntryType, Header};

use crate::peers;

/// Returns the root file system as a tar archive: busybox and a link per applet, users root, nobody and alice.
pub fn busybox_tar() -> &'static [u8] {
    static TAR: LazyLock<Vec<u8>> = LazyLock::new(build_busybox);
    &TAR
}

fn build_busybox() -> Vec<u8> {
    let program = std::fs::read(peers::busybox()).expect("busybox is readable");
    let applets = Command::new(peers::busybox()).arg("--list").output().expect("busybox runs").stdout;
    let applets = String::from_utf8(applets).expect("applets are named in ASCII");
    let mut tree = Tree::default();
    for folder in
        ["bin/", "dev/", "etc/", "home/", "home/alice/", "proc/", "root/", "sys/", "usr/", "usr/bin/", "var/"]
    {
        tree.folder(folder, 0o755);
    }
    tree.folder("tmp/", 0o1777);
    tree.file("bin/busybox", 0o755, &program);
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n\
                  nobody:x:65534:65534:nobody:/home:/bin/false\n";
    tree.file("etc/passwd", 0o644, passwd.as_bytes());
    tree.file(
        "etc/group",
        0o644,
        b"root:x:0:\nwheel:x:10:alice\naudio:x:29:alice,nobody\nalice:x:1000:\nnogroup:x:65534:\n",
    );
    tree.finish()
}

/// A tar archive in the making, with fixed times and owners.
pub struct Tree(Builder<Vec<u8>>);

impl Default for Tree {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Tree {
    /// Adds a folder; the path ends with a slash.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.append(EntryType::Directory, path, mode, None, &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.append(EntryType::Regular, path, mode, None, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.append(EntryType::Symlink, path, 0o777, Some(target), &[]);
    }

    /// Adds an entry with the path exactly as given, also `..` and absolute ones.
    pub fn append(&mut self, kind: EntryType, path: &str, mode: u32, target: Option<&str>, content: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_600_000_000);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, content).expect("a tar in memory can't fail");
    }

    /// Returns the archive.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("a tar in memory can't fail")
    }
}
