//! Images: import, load, save, tag, list, inspect, history, remove.

use std::collections::BTreeMap;
use std::io::Read;

use minke_e2e::rootfs::{Tree, busybox_tar};
use minke_e2e::{Rig, case, once};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Returns the files of a tar archive in memory.
fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    let files = entries.map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("the content");
        (entry.path().expect("a path").display().to_string(), content)
    });
    files.collect()
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Makes the archive that `docker save` made before OCI layouts: a manifest, a configuration, layers.
pub(crate) fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hash(layer))).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "created": "2020-01-02T03:04:05Z",
        "config": {"Cmd": ["cat", "/file"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": "2020-01-02T03:04:05Z", "created_by": "test"})).collect::<Vec<_>>(),
    })
    .to_string();
    let config_name = format!("{}.json", hash(config.as_bytes()));
    let layer_names: Vec<String> =
        (0..layers.len()).map(|number| format!("layer{number}/layer.tar")).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]).to_string();
    let mut tree = Tree::default();
    tree.file(&config_name[..64 + 5], 0o644, config.as_bytes());
    for (path, layer) in layer_names.iter().zip(layers) {
        tree.file(path, 0o644, layer);
    }
    tree.file("manifest.json", 0o644, manifest.as_bytes());
    tree.finish()
}

fn load(rig: &Rig, archive: &[u8]) -> String {
    let output = rig.with_input("load", archive);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.text()
}

#[test]
fn an_imported_root_file_system_is_an_image() {
    case(|rig| {
        let tar = rig.file("root.tar", busybox_tar());
        let id = rig.ok(&format!(
            "import -c 'CMD [\"echo\", \"hello\"]' -c 'ENV PATH=/bin' -m why {} mine:1",
            tar.display()
        ));
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(rig.ok("run --rm mine:1"), "hello");
        let output = rig.with_input("import - piped", busybox_tar());
        assert_eq!(output.code, 0, "{}", output.stderr);
        let image = rig.get("/images/mine:1/json").json();
        assert_eq!(image["Id"], id.as_str());
        assert_eq!(image["RepoTags"], json!(["mine:1"]));
        assert_eq!(image["Comment"], "why");
        assert_eq!(image["RootFS"]["Layers"], json!([format!("sha256:{}", hash(busybox_tar()))]));
        assert_eq!(image["Config"]["Cmd"], json!(["echo", "hello"]));
        assert_eq!(image["Os"], "linux");
    });
}

#[test]
fn a_saved_image_can_be_loaded_and_is_the_same() {
    case(|rig| {
        let archive = rig.cli("save busybox").stdout;
        let before = rig.get("/images/busybox/json").json();
        assert!(
            files(&archive).values().any(|content| hash(content) == hash(busybox_tar())),
            "the layer's bytes are kept"
        );
        rig.ok("rmi busybox");
        assert_eq!(rig.get("/images/busybox/json").status, 404);
        assert!(load(rig, &archive).contains("Loaded image: busybox:latest"));
        let after = rig.get("/images/busybox/json").json();
        assert_eq!((&before["Id"], &before["RootFS"]), (&after["Id"], &after["RootFS"]));
        assert_eq!(rig.ok("run --rm busybox echo works"), "works");
        let file = rig.scratch().join("saved.tar");
        rig.ok(&format!("save -o {} busybox", file.display()));
        assert!(rig.ok(&format!("load -i {}", file.display())).contains("busybox:latest"));
        assert_eq!(rig.ok(&format!("load -q -i {}", file.display())), "Loaded image: busybox:latest");
    });
}

#[test]
fn a_docker_archive_of_several_layers_is_loaded_in_order() {
    case(|rig| {
        let mut second = Tree::default();
        second.file("file", 0o644, b"second\n");
        second.file("etc/.wh.group", 0o644, b"");
        let mut third = Tree::default();
        third.file("file", 0o644, b"third\n");
        third.folder("root/", 0o700);
        third.file("root/.wh..wh..opq", 0o644, b"");
        let archive = docker_archive("layered:1", &[busybox_tar().to_vec(), second.finish(), third.finish()]);
        assert!(load(rig, &archive).contains("Loaded image: layered:1"));
        assert_eq!(rig.ok("run --rm layered:1"), "third");
        assert_eq!(
            rig.ok("run --rm layered:1 sh -c 'ls /etc; ls -A /root; stat -c %a /root'"),
            "hostname\nhosts\nmtab\npasswd\nresolv.conf\n700".replace(
                "mtab\n",
                if rig.ok("run --rm layered:1 ls /etc").contains("mtab") { "mtab\n" } else { "" }
            )
        );
        let image = rig.get("/images/layered:1/json").json();
        assert_eq!(image["Config"]["Labels"], json!({"a": "b"}));
        assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(3));
        assert_eq!(image["Created"], "2020-01-02T03:04:05Z");
    });
}

#[test]
fn an_oci_layout_is_loaded() {
    case(|rig| {
        if rig.kind() == minke_e2e::EngineKind::Dockerd {
            return; // 20.10 loads its own format only
        }
        let layer = busybox_tar();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["echo", "from oci"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hash(layer))]}}).to_string();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{}", hash(config.as_bytes())), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{}", hash(layer)), "size": layer.len()}]}).to_string();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", hash(manifest.as_bytes())), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": "docker.io/library/fromoci:1", "org.opencontainers.image.ref.name": "1"}}]}).to_string();
        let mut tree = Tree::default();
        tree.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        tree.file("index.json", 0o644, index.as_bytes());
        for blob in [config.as_bytes(), manifest.as_bytes(), layer] {
            tree.file(&format!("blobs/sha256/{}", hash(blob)), 0o644, blob);
        }
        assert!(load(rig, &tree.finish()).contains("fromoci:1"));
        assert_eq!(rig.ok("run --rm fromoci:1"), "from oci");
        assert_eq!(
            rig.get("/images/fromoci:1/json").json()["Id"],
            format!("sha256:{}", hash(config.as_bytes()))
        );
    });
}

#[test]
fn an_archive_that_lies_is_refused_and_leaves_nothing() {
    once(|rig| {
        let count = || rig.get("/images/json?all=1").json().as_array().map(Vec::len);
        let before = count();
        let mut other = Tree::default(); // a layer that the store does not have yet
        other.file("big", 0o644, &[b'x'; 200_000]);
        let good = docker_archive("lie:1", &[busybox_tar().to_vec(), other.finish()]);
        let mut broken = good.clone();
        let position = broken.windows(8).position(|part| part == b"xxxxxxxx").expect("the file is in it");
        broken[position + 1000] ^= 1;
        for (what, archive) in [
            ("a changed byte", &broken[..]),
            ("its half", &good[..good.len() / 2]),
            ("text", b"no tar at all"),
        ] {
            let output = rig.with_input("load", archive);
            assert_ne!(output.code, 0, "{what}: {}", output.text());
            assert_eq!(rig.get("/images/lie:1/json").status, 404, "{what}");
        }
        assert_eq!(count(), before);
        load(rig, &good);
        assert_eq!(rig.ok("run --rm lie:1 echo fine"), "fine");
    });
}

#[test]
fn a_hostile_layer_reaches_nothing_outside_its_root() {
    once(|rig| {
        let outside = rig.scratch().join("outside");
        std::fs::create_dir(&outside).expect("a folder");
        let target = outside.display().to_string();
        let up = "../".repeat(12) + &target[1..];
        let mut trees: Vec<(&str, Tree)> = Vec::new();
        let mut tree = Tree::default();
        tree.file(&format!("{up}/dots"), 0o644, b"x");
        trees.push(("a path with ..", tree));
        let mut tree = Tree::default();
        tree.file(&format!("{target}/absolute"), 0o644, b"x");
        trees.push(("an absolute path", tree));
        let mut tree = Tree::default();
        tree.link("way", &target);
        tree.file("way/symlink", 0o644, b"x");
        trees.push(("a path through a link", tree));
        let mut tree = Tree::default();
        tree.append(tar::EntryType::Link, "hard", 0o644, Some(&format!("{up}/secret")), &[]);
        trees.push(("a hard link outside", tree));
        std::fs::write(outside.join("secret"), "secret").expect("a file");
        for (what, tree) in trees {
            let archive = docker_archive("hostile:1", &[busybox_tar().to_vec(), tree.finish()]);
            let output = rig.with_input("load", &archive);
            if output.code == 0 {
                rig.cli("run --rm hostile:1 true");
                rig.cli("rmi -f hostile:1");
            }
            let names: Vec<_> = std::fs::read_dir(&outside)
                .expect("a folder")
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            assert_eq!(names, ["secret"], "{what}");
            let links = std::os::unix::fs::MetadataExt::nlink(
                &std::fs::metadata(outside.join("secret")).expect("a file"),
            );
            assert_eq!(links, 1, "{what}");
        }
    });
}

#[test]
fn tags_come_and_go_and_the_last_removes_the_image() {
    case(|rig| {
        let id = rig.get("/images/busybox/json").json()["Id"].as_str().expect("an id").to_string();
        rig.ok("tag busybox other/name:v2");
        rig.ok(&format!("tag {} localhost:5000/x", &id[7..19]));
        let listed = rig.ok("images --format '{{.Repository}}:{{.Tag}} {{.ID}}'");
        let mut lines: Vec<&str> = listed.lines().collect();
        lines.sort_unstable();
        let short = &id[7..19];
        assert_eq!(
            lines,
            [
                format!("busybox:latest {short}"),
                format!("localhost:5000/x:latest {short}"),
                format!("other/name:v2 {short}")
            ]
        );
        assert_eq!(rig.ok("rmi other/name:v2"), "Untagged: other/name:v2");
        rig.fails(&format!("rmi {short}"), 1, "image is referenced in multiple repositories");
        rig.ok("rmi localhost:5000/x");
        rig.ok("create --name user busybox");
        rig.fails("rmi busybox", 1, "is using its referenced image");
        rig.ok("rm user");
        let removed = rig.ok("rmi busybox");
        assert!(
            removed.starts_with("Untagged: busybox:latest\n") && removed.contains(&format!("Deleted: {id}")),
            "{removed}"
        );
        assert_eq!(rig.ok("images -q"), "");
        rig.fails("tag x UPPER", 1, "repository name");
    });
}

#[test]
fn history_and_list_tell_of_the_image() {
    case(|rig| {
        rig.import("told", busybox_tar(), &["LABEL a=b", "EXPOSE 80", "USER alice", "WORKDIR /tmp"]);
        let image = rig.get("/images/told/json").json();
        assert_eq!(image["Config"]["User"], "alice");
        assert_eq!(image["Config"]["WorkingDir"], "/tmp");
        assert_eq!(image["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
        assert_eq!(rig.ok("run --rm told /bin/sh -c '/bin/pwd; /bin/id -un'"), "/tmp\nalice");
        let history = rig.get("/images/told/history").json();
        assert_eq!(history.as_array().map(Vec::len), Some(1));
        assert_eq!(history[0]["Tags"], json!(["told:latest"]));
        assert!(rig.ok("history told").contains("Imported from -"));
        assert_eq!(rig.ok("images --filter reference=to* --format '{{.Repository}}'"), "told");
        assert_eq!(rig.ok("images --filter label=a=b -q --no-trunc"), image["Id"]);
        let row =
            rig.get("/images/json?filters=%7B%22reference%22%3A%7B%22told%22%3Atrue%7D%7D").json()[0].clone();
        assert_eq!(row["RepoTags"], json!(["told:latest"]));
        assert_eq!(row["Labels"], json!({"a": "b"}));
        assert!(row["Size"].as_i64().is_some_and(|size| size > 500_000));
        assert_eq!(row["ParentId"], "");
        assert_ne!(row["Created"], Value::Null);
    });
}
