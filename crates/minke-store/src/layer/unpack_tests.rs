//! One layer from hostile and ordinary archives. Needs root: owners, devices and overlay's marks are real.

use super::limits::Limits;
use super::meta::LayerMeta;
use super::unpack::{Form, Unpacked, unpack};
use crate::testing::{tar_of, tree_of};
use minke_model::Result;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

fn unpack_lines(lines: &[&str]) -> (tempfile::TempDir, Result<Unpacked>) {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("outside"), b"untouched").unwrap();
    let root = directory.path().join("fs");
    std::fs::create_dir(&root).unwrap();
    let unpacked = unpack(&tar_of(lines)[..], &root, Form::Overlay, &Limits::default());
    assert_eq!(std::fs::read(directory.path().join("outside")).unwrap(), b"untouched");
    (directory, unpacked)
}

fn check(lines: &[&str], expected: &[&str]) -> LayerMeta {
    let (directory, unpacked) = unpack_lines(lines);
    let unpacked = unpacked.unwrap();
    assert_eq!(tree_of(&directory.path().join("fs")), expected);
    unpacked.meta
}

fn refused(lines: &[&str], words: &str) {
    let (_directory, unpacked) = unpack_lines(lines);
    let error = unpacked.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

fn set(paths: &[&str]) -> BTreeSet<Vec<u8>> {
    paths.iter().map(|path| path.as_bytes().to_vec()).collect()
}

/// What an unpacker does that takes names as they are: the traps below are traps.
#[test]
fn names_taken_as_they_are_lead_out() {
    let by_name = |lines: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("fs");
        std::fs::create_dir(&root).unwrap();
        for entry in tar::Archive::new(&tar_of(lines)[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let place = root.join(&*entry.path().unwrap());
            match entry.link_name().unwrap() {
                Some(target) => std::os::unix::fs::symlink(&*target, place).unwrap(),
                None => drop(std::io::copy(&mut entry, &mut std::fs::File::create(place).unwrap()).unwrap()),
            }
        }
        std::fs::read_to_string(directory.path().join("outside")).ok()
    };
    for lines in [&["../outside =x"][..], &["way -> ..", "way/outside =x"], &["way -> ../outside", "way =x"]]
    {
        assert_eq!(by_name(lines).as_deref(), Some("x"), "{lines:?}");
        // The same by ours: `unpack_lines` looks at what is outside.
        let _ = unpack_lines(lines);
    }
}

#[test]
fn folders_that_only_names_make_are_counted_as_entries() {
    let limits = Limits { entries: 100, ..Limits::default() };
    let deep = |entries: usize| -> Vec<String> {
        (0..entries).map(|n| format!("{n}/{}x =", "d/".repeat(40))).collect()
    };
    for (entries, fits) in [(2, true), (3, false)] {
        let directory = tempfile::tempdir().unwrap();
        let lines = deep(entries);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let unpacked = unpack(&tar_of(&lines)[..], directory.path(), Form::Overlay, &limits);
        assert_eq!(unpacked.is_ok(), fits, "{entries}");
    }
}

#[test]
fn a_path_through_links_through_links_comes_to_an_end() {
    let mut builder = tar::Builder::new(Vec::new());
    // Written as it stands: the builder would shorten it.
    let mut add = |kind: tar::EntryType, name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o777);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    for number in 0..30 {
        let before = if number == 0 { ".".to_owned() } else { (number - 1).to_string() };
        let target = format!("{}{before}\0", "./".repeat(900));
        add(tar::EntryType::GNULongLink, "././@LongLink", target.as_bytes());
        add(tar::EntryType::Symlink, &number.to_string(), b"");
    }
    add(tar::EntryType::Regular, "29/x", b"");
    let directory = tempfile::tempdir().unwrap();
    let bytes = builder.into_inner().unwrap();
    let error = unpack(&bytes[..], directory.path(), Form::Overlay, &Limits::default()).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("too many directories and links"), "{words}");
}

#[test]
fn entries_come_out_with_owner_mode_and_time() {
    let (directory, unpacked) =
        unpack_lines(&["d/ :750 @7", "d/f :4755 @8 =text", "l -> d/f", "h => d/f", "n !c1,3"]);
    assert_eq!(unpacked.unwrap().size, 4 + 3);
    let root = directory.path().join("fs");
    assert_eq!(
        tree_of(&root),
        ["d/ :750 @7", "d/f =text :4755 @8", "h =text :4755 @8", "l -> d/f", "n !c1,3"]
    );
    for name in ["d", "d/f", "l", "n"] {
        assert_eq!(std::fs::symlink_metadata(root.join(name)).unwrap().mtime(), 1000, "{name}");
    }
    assert_eq!(std::fs::metadata(root.join("h")).unwrap().nlink(), 2);
}

#[test]
fn absolute_names_are_below_the_root_and_parent_names_must_stay_there() {
    check(&["/etc/", "/etc/x", "./a/../b"], &["b =./a/../b", "etc/", "etc/x =/etc/x"]);
    refused(&["../outside"], "outside of its root");
    refused(&["a/../../outside"], "outside of its root");
    refused(&["x => ../outside"], "outside of its root");
}

#[test]
fn links_lead_no_entry_out_of_the_root() {
    check(&["l -> ..", "l/outside =evil"], &["l -> ..", "outside =evil"]);
    check(&["l -> /", "l/x =1"], &["l -> /", "x =1"]);
    check(&["l -> /../../../etc", "l/outside =evil"], &["etc/", "etc/outside =evil", "l -> /../../../etc"]);
    check(&["f -> ../outside", "f =evil"], &["f =evil"]);
    refused(&["h => outside"], "not in the same layer");
    refused(&["l -> ..", "h => l/outside"], "not in the same layer");
    refused(&["l -> l", "l/x"], "too many symbolic links");
}

#[test]
fn an_entry_replaces_what_stands_there_unless_both_are_directories() {
    check(&["a/", "a/x", "a =file"], &["a =file"]);
    check(&["a", "a/", "a/x"], &["a/", "a/x"]);
    check(&["a/ :700", "a/x", "a/ :750"], &["a/ :750", "a/x"]);
    check(&["d/", "l -> d", "l/x =1", "l/", "l/y =2"], &["d/", "d/x =1", "l/", "l/y =2"]);
    refused(&["a", "a/x"], "not a directory");
}

#[test]
fn directories_that_the_archive_leaves_out_are_made_and_remembered() {
    let meta = check(&["a/b/c"], &["a/", "a/b/", "a/b/c"]);
    assert_eq!(meta.implicit, set(&["", "a", "a/b"]));
    let meta = check(&["./", "a/b/c", "a/ :700"], &["a/ :700", "a/b/", "a/b/c"]);
    assert_eq!(meta.implicit, set(&["a/b"]));
}

#[test]
fn whiteouts_become_overlays_own_wherever_they_stand() {
    let meta = check(&["a/", "a/.wh.x", ".wh.y"], &["a/", "a/x !c0,0", "y !c0,0"]);
    assert_eq!(meta.whiteouts, set(&["a/x", "y"]));
    for lines in [["x/", "x/f", ".wh.x"], [".wh.x", "x/", "x/f"]] {
        let meta = check(&lines, &["x/", "x/f"]);
        assert_eq!((meta.replaced, meta.whiteouts), (set(&["x"]), set(&[])));
    }
    let meta = check(&["x =new", ".wh.x"], &["x =new"]);
    assert_eq!(meta.whiteouts, set(&[]));
    let meta = check(&["a/", "a/x", "a/.wh..wh..opq", "a/.wh.y"], &["a/", "a/x"]);
    assert_eq!((meta.opaque, meta.whiteouts), (set(&["a"]), set(&[])));
    check(&[".wh..wh.plnk/", ".wh..wh.plnk/1", "a/.wh..wh.aufs"], &[]);
    refused(&[".wh..."], "invalid whiteout");
}

#[test]
fn an_opaque_directory_carries_overlays_mark() {
    let (directory, unpacked) = unpack_lines(&["a/", "a/.wh..wh..opq"]);
    unpacked.unwrap();
    let mut value = [0; 8];
    let path = directory.path().join("fs/a");
    let length = rustix::fs::getxattr(&path, super::unpack::OPAQUE_XATTR, &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn an_archive_cannot_set_overlays_own_marks() {
    let (directory, unpacked) = unpack_lines(&[
        "a/ +trusted.overlay.opaque=y +trusted.other=kept",
        "b/ +user.overlay.opaque=y +user.k=kept",
    ]);
    unpacked.unwrap();
    let root = directory.path().join("fs");
    let read = |name: &str, key: &str| {
        let mut value = [0; 16];
        rustix::fs::getxattr(root.join(name), key, &mut value).map(|length| value[..length].to_vec())
    };
    assert!(read("a", "trusted.overlay.opaque").is_err());
    assert!(read("b", "user.overlay.opaque").is_err());
    assert_eq!(read("a", "trusted.other").unwrap(), b"kept");
    assert_eq!(read("b", "user.k").unwrap(), b"kept");
    refused(&["w !c0,0"], "would be a whiteout");
}

#[test]
fn a_hard_link_into_another_layer_is_a_clear_error() {
    refused(&["h => lower/file"], "hard link to lower/file, which is not in the same layer");
    refused(&["d/", "d/f", "d => d/f"], "not in the same layer");
}

#[test]
fn any_bytes_unpack_or_fail_and_touch_nothing_outside() {
    let lines = ["d/ :750", "d/f =text", "l -> ../d", "l/x =1", "h => d/f", ".wh.q", "d/.wh..wh..opq"];
    let good = tar_of(&lines);
    let mut state = 7_u32;
    for _ in 0..400 {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("outside"), b"untouched").unwrap();
        let root = directory.path().join("fs");
        std::fs::create_dir(&root).unwrap();
        let mut bytes = good.clone();
        let block = (state as usize >> 3) % (bytes.len() / 512) * 512;
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = block + (state as usize >> 8) % 157;
            bytes[index] = b"./a0lwh\0"[(state >> 28) as usize % 8];
        }
        let sum: u32 =
            (0..512).map(|i| if (148..156).contains(&i) { 32 } else { u32::from(bytes[block + i]) }).sum();
        bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let _ = unpack(&bytes[..], &root, Form::Overlay, &Limits::default());
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["fs", "outside"]);
        assert_eq!(std::fs::read(directory.path().join("outside")).unwrap(), b"untouched");
    }
}
