//! What tests of this crate share: archives from words, trees as words, stores in temporary directories.

use crate::{Options, SnapshotKind, Store};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// A tar from lines: `path/` a directory, `path` a file that holds its own path, `path -> target` a symbolic link,
/// `path => target` a hard link, `path !c1,3` a device. `:750` sets a mode, `@5` an owner, `=text` what a file holds.
pub(crate) fn tar_of(lines: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines {
        append(&mut builder, line);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, line: &str) {
    let mut words = line.split_whitespace();
    let path = words.next().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mtime(1000);
    let is_directory = path.ends_with('/');
    header.set_entry_type(if is_directory { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(if is_directory { 0o755 } else { 0o644 });
    let mut data = if is_directory { Vec::new() } else { path.as_bytes().to_vec() };
    while let Some(word) = words.next() {
        if word == "->" || word == "=>" {
            let kind = if word == "->" { tar::EntryType::Symlink } else { tar::EntryType::Link };
            header.set_entry_type(kind);
            header.as_gnu_mut().unwrap().linkname = [0; 100];
            let target = words.next().unwrap();
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
            data.clear();
        } else if let Some(device) = word.strip_prefix("!c") {
            let (major, minor) = device.split_once(',').unwrap();
            header.set_entry_type(tar::EntryType::Char);
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
            data.clear();
        } else if let Some(mode) = word.strip_prefix(':') {
            header.set_mode(u32::from_str_radix(mode, 8).unwrap());
        } else if let Some(owner) = word.strip_prefix('@') {
            header.set_uid(owner.parse().unwrap());
            header.set_gid(owner.parse().unwrap());
        } else if let Some(text) = word.strip_prefix('=') {
            data = text.as_bytes().to_vec();
        } else if let Some((name, value)) = word.strip_prefix('+').and_then(|pair| pair.split_once('=')) {
            let key = format!("SCHILY.xattr.{name}");
            builder.append_pax_extensions([(key.as_str(), value.as_bytes())]).unwrap();
        }
    }
    // Written as it stands: the builder would refuse hostile names.
    let bytes = path.as_bytes();
    assert!(bytes.len() <= 100);
    header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
    header.set_size(data.len() as u64);
    header.set_cksum();
    builder.append(&header, &data[..]).unwrap();
}

/// Every path below `root`, sorted, in the words of [`tar_of`]; file contents that are their path are left out.
pub(crate) fn tree_of(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines
}

fn walk(root: &Path, directory: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        let mut line = shown.clone();
        if kind.is_dir() {
            line.push('/');
            walk(root, &path, lines);
        } else if kind.is_symlink() {
            line.push_str(&format!(" -> {}", std::fs::read_link(&path).unwrap().display()));
        } else if kind.is_char_device() {
            let device = stat.rdev();
            line.push_str(&format!(" !c{},{}", rustix::fs::major(device), rustix::fs::minor(device)));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            if text != shown {
                line.push_str(&format!(" ={text}"));
            }
        }
        let mode = stat.permissions().mode() & 0o7777;
        let usual = if kind.is_dir() { 0o755 } else { 0o644 };
        if mode != usual && (kind.is_dir() || kind.is_file()) {
            line.push_str(&format!(" :{mode:o}"));
        }
        if stat.uid() != 0 {
            line.push_str(&format!(" @{}", stat.uid()));
        }
        lines.push(line);
    }
}

/// A data root and its store; both go when this is dropped.
pub(crate) struct TestStore {
    pub store: Store,
    pub directory: tempfile::TempDir,
    kind: Option<SnapshotKind>,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self::with_kind(None)
    }

    pub(crate) fn with_kind(kind: Option<SnapshotKind>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), kind);
        Self { store, directory, kind }
    }

    /// Closes the store, lets `between` change the data root, and opens it again.
    pub(crate) fn reopen(self, between: impl FnOnce(&Path)) -> Self {
        let Self { store, directory, kind } = self;
        drop(store);
        between(&directory.path().join("data"));
        Self { store: open(directory.path(), kind), directory, kind }
    }

    pub(crate) fn data_root(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }
}

fn open(directory: &Path, kind: Option<SnapshotKind>) -> Store {
    let options = Options { snapshot: kind, ..Options::new(directory.join("exec")) };
    Store::open(&directory.join("data"), options).unwrap()
}

/// A docker archive of one image with these layers, bottom first.
pub(crate) fn docker_archive(layers: &[Vec<u8>], tags: &[&str]) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let hex = |bytes: &[u8]| hex_of(&Sha256::digest(bytes));
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "created": "2026-01-02T03:04:05Z",
        "history": layers.iter().map(|_| serde_json::json!({"created_by": "step"})).collect::<Vec<_>>(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "unknown": {"kept": true},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = serde_json::json!([{
        "Config": format!("{}.json", hex(&config)),
        "RepoTags": tags,
        "Layers": layers.iter().map(|layer| format!("{}/layer.tar", hex(layer))).collect::<Vec<_>>(),
    }]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: String, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, data).unwrap();
    };
    for layer in layers {
        add(format!("{}/layer.tar", hex(layer)), layer);
    }
    add(format!("{}.json", hex(&config)), &config);
    add("manifest.json".to_owned(), &serde_json::to_vec(&manifest).unwrap());
    builder.into_inner().unwrap()
}

pub(crate) fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
