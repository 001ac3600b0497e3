//! Images through the store's own interface: archives in and out, names, removal, and what survives a crash.

use crate::testing::{TestStore, docker_archive, gzip, tar_of, tree_of};
use crate::{
    ContainerUse, ImportOptions, Keep, LoadEvent, LoadOptions, RemoveOptions, Removed, parse_changes,
};
use minke_model::{Digest, ErrorKind, Reference};

fn load(test: &TestStore, archive: &[u8]) -> (Vec<Digest>, Vec<LoadEvent>) {
    let mut events = Vec::new();
    let loaded = test.store.load(&mut &archive[..], &LoadOptions::default(), &mut |event| events.push(event));
    (loaded.unwrap().images.into_iter().map(|(id, _)| id).collect(), events)
}

fn small(tags: &[&str]) -> Vec<u8> {
    docker_archive(&[tar_of(&["a/", "a/x"]), tar_of(&["a/", "a/.wh.x", "b =text"])], tags)
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn directories(test: &TestStore) -> usize {
    std::fs::read_dir(test.data_root().join("layers")).unwrap().count() - 1
}

#[test]
fn a_docker_archive_is_loaded_and_its_id_is_the_digest_of_its_configuration() {
    use sha2::{Digest as _, Sha256};
    let test = TestStore::new();
    let (ids, events) = load(&test, &small(&["x:1", "y/z:2"]));
    let image = test.store.image("x:1").unwrap();
    assert_eq!(ids.first(), Some(&image.id));
    assert_eq!(Digest::sha256(&Sha256::digest(&image.config_bytes)), image.id);
    assert!(String::from_utf8_lossy(&image.config_bytes).contains("unknown"));
    let names: Vec<_> = image.tags.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["x:1", "y/z:2"]);
    assert_eq!(image.size, 3 + 4);
    let streams: Vec<_> = events.iter().filter(|event| matches!(event, LoadEvent::Stream(_))).collect();
    let expected =
        ["Loaded image: x:1\n", "Loaded image: y/z:2\n"].map(|text| LoadEvent::Stream(text.to_owned()));
    assert_eq!(streams, expected.iter().collect::<Vec<_>>());
    assert!(
        events
            .iter()
            .any(|event| matches!(event, LoadEvent::Layer { current, total, .. } if current == total))
    );
}

#[test]
fn every_compression_is_loaded() {
    let test = TestStore::new();
    let plain = small(&["x:1"]);
    for archive in [gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
        load(&test, &archive);
        test.store.remove_image("x:1", RemoveOptions::default(), &[]).unwrap();
    }
}

/// The sync of what was loaded goes on while it is removed and loaded again.
#[test]
fn a_layer_that_is_removed_while_it_is_brought_to_disk_does_not_come_back() {
    let test = TestStore::new();
    let archive = small(&["x:1"]);
    for _ in 0..50 {
        load(&test, &archive);
        test.store.remove_image("x:1", RemoveOptions::default(), &[]).unwrap();
    }
    test.store.settle().unwrap();
    let (layers, chains) = test.store.inner.layers.all();
    assert_eq!((layers.len(), chains.len()), (0, 0));
}

#[test]
fn what_is_saved_is_loaded_elsewhere_with_the_same_digests() {
    let test = TestStore::new();
    let (ids, _) = load(&test, &small(&["x:1", "x:2"]));
    let mut archive = Vec::new();
    test.store.save(&["x".to_owned()], None, &mut archive).unwrap();
    let other = TestStore::new();
    let (there, _) = load(&other, &archive);
    assert_eq!(there, ids);
    let (here, there) = (test.store.image("x:1").unwrap(), other.store.image("x:2").unwrap());
    assert_eq!((&here.layers, &here.config_bytes), (&there.layers, &there.config_bytes));
    let mut again = Vec::new();
    other.store.save(&["x".to_owned()], None, &mut again).unwrap();
    assert!(archive == again, "saving what was loaded gives the same bytes");
    let missing = other.store.save(&["nope".to_owned()], None, &mut Vec::new()).unwrap_err();
    assert_eq!(missing.to_string(), "No such image: nope");
}

#[test]
fn an_oci_layout_without_manifest_json_is_loaded() {
    let test = TestStore::new();
    load(&test, &small(&["x:1"]));
    let mut archive = Vec::new();
    test.store.save(&["x:1".to_owned()], None, &mut archive).unwrap();
    let mut layout = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if !["manifest.json", "repositories"].contains(&path.to_str().unwrap()) {
            let header = entry.header().clone();
            layout.append(&header, &mut entry).unwrap();
        }
    }
    let other = TestStore::new();
    let (ids, _) = load(&other, &layout.into_inner().unwrap());
    assert_eq!(ids, [test.store.image("x:1").unwrap().id.clone()]);
    assert_eq!(other.store.image("x:1").unwrap().id, ids[0]);
}

#[test]
fn a_torn_or_false_archive_leaves_no_image_and_no_layer() {
    let test = TestStore::new();
    let archive = small(&["x:1"]);
    let load = |bytes: &[u8]| test.store.load(&mut &bytes[..], &LoadOptions::default(), &mut |_| {});
    assert!(load(&archive[..archive.len() / 2]).is_err());
    assert!(load(b"not an archive at all").is_err());
    let mut changed = archive.clone();
    let position = changed.windows(3).position(|window| window == b"a/x").unwrap() + 512;
    changed[position] ^= 1;
    let error = load(&changed).unwrap_err();
    assert!(error.to_string().contains("invalid diffID"), "{error}");
    test.store.settle().unwrap();
    assert!(test.store.images().is_empty());
    assert_eq!(directories(&test), 0);
    assert!(test.store.content().list().unwrap().is_empty());
}

#[test]
fn an_import_is_one_layer_with_its_changes() {
    let test = TestStore::new();
    for (tar, name) in [(tar_of(&["bin/", "bin/sh"]), "a"), (gzip(&tar_of(&["bin/", "bin/sh"])), "b")] {
        let options = ImportOptions {
            reference: Some(reference(name)),
            changes: parse_changes(&["CMD [\"sh\"]".to_owned()]).unwrap(),
            ..ImportOptions::default()
        };
        let (id, events) = test.store.import(&mut &tar[..], &options).unwrap();
        assert_eq!(events.len(), 2);
        let image = test.store.image(name).unwrap();
        assert_eq!(image.id, id);
        assert_eq!(image.config.config.as_ref().unwrap().cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert_eq!(image.config.comment, "Imported from -");
    }
    assert_eq!(test.store.image("a").unwrap().layers, test.store.image("b").unwrap().layers);
    let history = test.store.history("a").unwrap();
    assert_eq!((history.len(), history[0].tags.clone()), (1, vec!["a:latest".to_owned()]));
}

#[test]
fn a_name_an_id_and_its_beginning_find_an_image() {
    let test = TestStore::new();
    let (ids, _) = load(&test, &small(&["x:latest"]));
    let hex = ids[0].hex();
    for name in [
        "x",
        "x:latest",
        "docker.io/library/x",
        ids[0].as_str(),
        hex,
        &hex[..12],
        &format!("sha256:{}", &hex[..5]),
    ] {
        assert_eq!(test.store.image(name).unwrap().id, ids[0], "{name}");
    }
    let error = |name: &str| test.store.image(name).unwrap_err();
    assert_eq!(error("nope").to_string(), "No such image: nope:latest");
    assert_eq!(error("nope").kind(), ErrorKind::NotFound);
    assert_eq!(error("X").kind(), ErrorKind::InvalidParameter);
    let unknown = format!("sha256:{}", "0".repeat(64));
    assert_eq!(error(&unknown).to_string(), format!("No such image: {unknown}"));
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let test = TestStore::new();
    let (ids, _) = load(&test, &small(&["x:1"]));
    test.store.tag("x:1", &reference("y")).unwrap();
    let remove =
        |name: &str| test.store.remove_image(name, RemoveOptions::default(), &[]).map(|done| done.removed);
    let conflict = remove(ids[0].hex()).unwrap_err();
    let short = ids[0].short();
    assert_eq!(
        conflict.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    assert_eq!(remove("x:1").unwrap(), [Removed::Untagged("x:1".to_owned())]);
    let removed = remove("y").unwrap();
    assert_eq!(removed[..2], [Removed::Untagged("y:latest".to_owned()), Removed::Deleted(ids[0].clone())]);
    assert_eq!(removed.len(), 4, "two chain IDs follow");
    test.store.settle().unwrap();
    assert_eq!((directories(&test), test.store.content().list().unwrap().len()), (0, 0));
}

#[test]
fn an_image_in_use_stays_and_its_layers_outlive_it_under_a_container() {
    let test = TestStore::new();
    let (ids, _) = load(&test, &small(&["x:1"]));
    let image = test.store.image("x:1").unwrap();
    test.store.create_rw("0123456789abcdef", &image, Keep::Boot).unwrap();
    let container =
        |running| [ContainerUse { id: "0123456789abcdef".into(), image: ids[0].clone(), running }];
    let remove = |name: &str, force, running| {
        let options = RemoveOptions { force, ..RemoveOptions::default() };
        test.store.remove_image(name, options, &container(running))
    };
    let short = ids[0].short();
    for (name, force, running, message) in [
        (
            "x:1",
            false,
            true,
            format!(
                "conflict: unable to remove repository reference \"x:1\" (must force) - container 0123456789ab is using its referenced image {short}"
            ),
        ),
        (
            ids[0].hex(),
            false,
            true,
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
            ),
        ),
        (
            ids[0].hex(),
            false,
            false,
            format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
            ),
        ),
        (
            ids[0].hex(),
            true,
            true,
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
            ),
        ),
    ] {
        let error = remove(name, force, running).unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (message, ErrorKind::Conflict));
    }
    remove("x:1", true, false).unwrap();
    assert!(test.store.images().is_empty());
    assert_eq!(directories(&test), 2);
    test.store.rootfs("0123456789abcdef").unwrap();
    test.store.remove_rw("0123456789abcdef").unwrap();
    assert_eq!(directories(&test), 0);
}

#[test]
fn a_tag_moves_and_leaves_the_other_image_without_a_name() {
    let test = TestStore::new();
    let (first, _) = load(&test, &small(&["x:1"]));
    let (second, events) = load(&test, &docker_archive(&[tar_of(&["c"])], &["x:1"]));
    let told =
        format!("The image x:1 already exists, renaming the old one with ID {} to empty string\n", first[0]);
    assert!(events.contains(&LoadEvent::Stream(told)));
    assert_eq!(test.store.image("x:1").unwrap().id, second[0]);
    assert!(test.store.image_by_id(&first[0]).unwrap().is_dangling());
}

#[test]
fn everything_is_there_after_the_process_ends() {
    let test = TestStore::new();
    let (ids, _) = load(&test, &small(&["x:1"]));
    let test = test.reopen(|_| {});
    assert_eq!(test.store.image("x:1").unwrap().id, ids[0]);
    assert_eq!(directories(&test), 2);
}

#[test]
fn a_layer_that_a_power_cut_tore_is_unpacked_again_from_its_blob() {
    let test = TestStore::new();
    load(&test, &small(&["x:1"]));
    let image = test.store.image("x:1").unwrap();
    let before = tree_of(&test.store.inner.layers.directory(&image.layers[1]));
    test.store.settle().unwrap();
    for layer in &image.layers {
        let mut record = test.store.inner.layers.record(layer).unwrap();
        assert_eq!(record.staged, None);
        record.staged = Some("an earlier boot".to_owned());
        let bytes = crate::record::encode(&record);
        test.store.put(crate::Table::Layers, layer.as_str(), &bytes, Keep::Durable).unwrap();
    }
    let hex = image.layers[1].hex().to_owned();
    let test = test.reopen(|data| {
        let directory = data.join("layers").join(&hex).join("fs");
        std::fs::write(directory.join("b"), b"").unwrap();
        std::fs::remove_dir_all(data.join("layers").join(image.layers[0].hex())).unwrap();
    });
    assert_eq!(tree_of(&test.store.inner.layers.directory(&image.layers[1])), before);
    assert!(test.store.inner.layers.directory(&image.layers[0]).join("a/x").exists());
    assert_eq!(test.store.inner.layers.record(&image.layers[0]).unwrap().staged, None);
}

#[test]
fn leftovers_of_a_crash_are_dropped_at_open() {
    let test = TestStore::new();
    load(&test, &small(&["x:1"]));
    let test = test.reopen(|data| {
        for left in [&format!("layers/{}", "f".repeat(64)), "staging/3/fs", "rw/unknown/upper", "trash/9/x"] {
            std::fs::create_dir_all(data.join(left)).unwrap();
        }
        std::fs::write(data.join("ingest/7"), b"half").unwrap();
    });
    test.store.settle().unwrap();
    assert_eq!(directories(&test), 2);
    for empty in ["staging", "rw", "trash", "ingest"] {
        assert_eq!(std::fs::read_dir(test.data_root().join(empty)).unwrap().count(), 0, "{empty}");
    }
}

/// An archive whose large files are unpacked while it is read: layers, and what only looks like one by its size.
fn large(layers: &[Vec<u8>], beside: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(beside.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "notes", beside).unwrap();
    let mut archive = builder.into_inner().unwrap();
    archive.truncate(archive.len() - 1024); // its end; the other's entries follow
    archive.extend(docker_archive(layers, &["large:1"]));
    archive
}

/// A layer that can't be taken for a small file, of bytes that don't compress.
fn large_layer(name: &str) -> Vec<u8> {
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    });
    tar_of(&[&format!("{name} ={}", noise.take(300_000).collect::<String>())])
}

#[test]
fn large_files_are_unpacked_while_the_archive_is_read() {
    let test = TestStore::new();
    let layers = [large_layer("one"), large_layer("two"), large_layer("three")];
    let (_, events) = load(&test, &large(&layers[..1], &[b'x'; 200_000]));
    assert!(events.iter().any(|event| matches!(event, LoadEvent::Layer { .. })));
    assert_eq!(directories(&test), 1, "the notes are no layer");
    // What is here already is neither unpacked nor told again.
    let (_, events) = load(&test, &large(&layers, b"short"));
    let told = events.iter().filter(|event| matches!(event, LoadEvent::Layer { .. })).count();
    assert_eq!((told, directories(&test)), (2, 3));
    assert_eq!(std::fs::read_dir(test.data_root().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_large_layer_that_cannot_be_unpacked_is_named_and_leaves_nothing() {
    let test = TestStore::new();
    let mut torn = large_layer("torn");
    torn.truncate(torn.len() - 100_000);
    let archive = docker_archive(&[large_layer("whole"), torn], &["large:1"]);
    let error =
        test.store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {}).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cannot load layer 1"), "{error}");
    test.store.settle().unwrap();
    assert_eq!((directories(&test), test.store.images().len()), (0, 0));
}
