//! The contract of snapshots, run against both kinds: what a container sees equals unpacking in order.
//! Needs root: overlay is mounted for real, in a directory of the test's own.

use super::{RootFs, SnapshotKind};
use crate::db::Keep;
use crate::testing::{TestStore, docker_archive, tar_of, tree_of};
use crate::{LoadOptions, Store};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};
use std::path::{Path, PathBuf};

const KINDS: [SnapshotKind; 2] = [SnapshotKind::Overlay, SnapshotKind::Copy];

/// A root as a container would have it, unmounted when dropped.
struct Mounted {
    path: PathBuf,
    is_mount: bool,
}

impl Mounted {
    fn new(rootfs: RootFs, at: &Path) -> Self {
        let RootFs::Overlay { lowers, upper, work, .. } = rootfs else {
            let RootFs::Directory(path) = rootfs else { unreachable!("two kinds") };
            return Self { path, is_mount: false };
        };
        std::fs::create_dir_all(at).unwrap();
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::empty()).unwrap();
        for lower in lowers {
            rustix::mount::fsconfig_set_string(&context, "lowerdir+", lower).unwrap();
        }
        rustix::mount::fsconfig_set_string(&context, "upperdir", upper).unwrap();
        rustix::mount::fsconfig_set_string(&context, "workdir", work).unwrap();
        rustix::mount::fsconfig_create(&context).unwrap();
        let mount = rustix::mount::fsmount(&context, FsMountFlags::empty(), MountAttrFlags::empty()).unwrap();
        rustix::mount::move_mount(&mount, "", rustix::fs::CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .unwrap();
        Self { path: at.to_owned(), is_mount: true }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mount {
            rustix::mount::unmount(&self.path, UnmountFlags::DETACH).unwrap();
        }
    }
}

fn load(store: &Store, layers: &[&[&str]]) -> minke_model::Digest {
    let layers: Vec<Vec<u8>> = layers.iter().map(|lines| tar_of(lines)).collect();
    let archive = docker_archive(&layers, &["x:latest"]);
    let loaded = store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {}).unwrap();
    loaded.images[0].0.clone()
}

/// The path of a line, without a directory's slash.
fn bare(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default().trim_end_matches('/')
}

fn check(layers: &[&[&str]], expected: &[&str]) {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    for kind in KINDS {
        let test = TestStore::with_kind(Some(kind));
        let id = load(&test.store, layers);
        test.store.create_rw("c", &test.store.image_by_id(&id).unwrap(), Keep::Boot).unwrap();
        let root = Mounted::new(test.store.rootfs("c").unwrap(), &test.directory.path().join("mnt"));
        assert_eq!(tree_of(&root.path), expected, "{kind:?}");
        // What is not listed is not there by name either.
        for lines in layers {
            for name in lines.iter().map(|line| bare(line)).filter(|name| *name != ".") {
                let listed = expected.iter().any(|line| bare(line) == bare(name));
                assert_eq!(
                    std::fs::symlink_metadata(root.path.join(name)).is_ok(),
                    listed,
                    "{kind:?} {name}"
                );
            }
        }
    }
}

#[test]
fn layers_lie_over_each_other() {
    check(&[&["./", "a/", "a/x =1", "a/y"], &["a/", "a/x =2"]], &["a/", "a/x =2", "a/y"]);
    check(&[&["a/", "a/x"], &["a =file"]], &["a =file"]);
    check(&[&["a"], &["a/", "a/x"]], &["a/", "a/x"]);
    check(&[&["a/", "a/x"], &["a -> b", "b/"]], &["a -> b", "b/"]);
}

#[test]
fn a_whiteout_hides_what_is_below() {
    check(&[&["a/", "a/x", "a/y"], &["a/", "a/.wh.x"]], &["a/", "a/y"]);
    check(&[&["a/", "a/x"], &[".wh.a"]], &[]);
    check(&[&["a/", "a/x"], &[".wh.a"], &["a/", "a/y"]], &["a/", "a/y"]);
}

#[test]
fn a_whiteout_without_target_is_not_seen() {
    check(&[&["b"], &["a/", "a/.wh.x", "a/y", ".wh.z"]], &["a/", "a/y", "b"]);
    check(&[&["b"], &["a/", "a/d/", "a/d/.wh.x"]], &["a/", "a/d/", "b"]);
    check(&[&["a/", "a/.wh.x", "a/y"]], &["a/", "a/y"]);
}

#[test]
fn a_whiteout_beside_its_directory_hides_only_what_is_below() {
    check(&[&["x/ :700", "x/old"], &[".wh.x", "x/", "x/new"]], &["x/", "x/new"]);
    check(&[&["x/", "x/old"], &["x/", "x/new", ".wh.x"]], &["x/", "x/new"]);
    check(&[&["x/ :700", "x/old"], &["x/new", ".wh.x"]], &["x/", "x/new"]);
    check(&[&["x/", "x/old"], &["x =file", ".wh.x"]], &["x =file"]);
}

#[test]
fn an_opaque_marker_counts_wherever_it_stands() {
    check(&[&["a/", "a/x"], &["a/", "a/y", "a/.wh..wh..opq"]], &["a/", "a/y"]);
    check(&[&["a/", "a/x"], &["a/.wh..wh..opq", "a/", "a/y", "a/.wh.z"]], &["a/", "a/y"]);
    check(&[&["a/ :700", "a/x"], &["a/.wh..wh..opq", "a/y"]], &["a/ :700", "a/y"]);
    check(&[&["a/", "b"], &[".wh..wh..opq", "c"], &["d"]], &["c", "d"]);
}

#[test]
fn directories_that_an_upper_layer_leaves_out_keep_owner_and_mode() {
    check(&[&["a/ :700 @5", "a/b/ :711"], &["a/b/c"]], &["a/ :700 @5", "a/b/ :711", "a/b/c"]);
    check(&[&["a/ :700"], &["a/x"], &["a/ :750"], &["a/y"]], &["a/ :750", "a/x", "a/y"]);
    check(&[&["a/ :700"], &[".wh.a"], &["a/x"]], &["a/", "a/x"]);
}

#[test]
fn marks_that_only_overlay_may_set_do_not_come_from_a_tar() {
    check(&[&["a/", "a/x"], &["a/ +trusted.overlay.opaque=y", "a/y"]], &["a/", "a/x", "a/y"]);
}

#[test]
fn hard_links_stay_links() {
    check(&[&["a =t", "b => a"], &["c"]], &["a =t", "b =t", "c"]);
}

#[test]
fn what_a_container_writes_is_its_own_and_goes_with_it() {
    for kind in KINDS {
        let test = TestStore::with_kind(Some(kind));
        let id = load(&test.store, &[&["./ :711", "a/", "a/x"]]);
        let image = test.store.image_by_id(&id).unwrap();
        for name in ["one", "two"] {
            test.store.create_rw(name, &image, Keep::Durable).unwrap();
        }
        {
            let root = Mounted::new(test.store.rootfs("one").unwrap(), &test.directory.path().join("mnt"));
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&root.path).unwrap());
            assert_eq!(mode & 0o7777, 0o755, "as Docker's, whatever the archive says");
            std::fs::write(root.path.join("a/x"), b"mine").unwrap();
            std::fs::remove_dir_all(root.path.join("a")).unwrap();
        }
        let root = Mounted::new(test.store.rootfs("two").unwrap(), &test.directory.path().join("mnt2"));
        assert_eq!(tree_of(&root.path), ["a/", "a/x"]);
        drop(root);
        assert!(test.store.create_rw("one", &image, Keep::Boot).is_err());
        for name in ["one", "two", "one"] {
            test.store.remove_rw(name).unwrap();
        }
        test.store.settle().unwrap();
        assert!(test.store.rw_ids().is_empty());
        assert_eq!(std::fs::read_dir(test.data_root().join("rw")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(test.data_root().join("trash")).unwrap().count(), 0);
    }
}

#[test]
fn an_image_without_layers_has_an_empty_root() {
    check(&[], &[]);
}

#[test]
fn a_power_cut_that_took_the_directories_is_made_good() {
    let test = TestStore::with_kind(Some(SnapshotKind::Overlay));
    let id = load(&test.store, &[&["a/"]]);
    test.store.create_rw("c", &test.store.image_by_id(&id).unwrap(), Keep::Durable).unwrap();
    test.store.put_container("c", b"{}", Keep::Durable).unwrap();
    let test = test.reopen(|data| {
        std::fs::remove_dir_all(data.join("rw/c")).unwrap();
    });
    assert_eq!(test.store.rw_ids(), ["c"]);
    let RootFs::Overlay { upper, volatile, .. } = test.store.rootfs("c").unwrap() else { panic!("overlay") };
    assert!(upper.is_dir() && !volatile);
}
