//! Images between engines, by way of Debian's registry: what podman, buildah and skopeo have pushed runs here, what we have
//! pushed runs there and with dockerd; ids and layers are the same everywhere, and so are digests of what is pushed again.
//!
//! The others have a network of their own, so each has its own registry process, one after the other, over the same files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use minke_e2e::cli::Cli;
use minke_e2e::registry::DockerRegistry;
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Dockerd, Engine, Rig, escape, peers};
use serde_json::Value;

/// Where the registry is in the others' world.
const THERE: &str = "127.0.0.1:5000";

/// Runs a script in the others' world, with the registry over `files`; gives its lines `key=value`.
fn elsewhere(scratch: &Path, files: &Path, script: &str) -> HashMap<String, String> {
    for peer in ["podman", "skopeo", "buildah", "registry"] {
        peers::folder(peer);
    }
    let config = scratch.join("elsewhere.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {THERE}\n",
        files.join("data").display()
    );
    fs::write(&config, text).expect("a file");
    let script = format!(
        "set -e\n/usr/bin/docker-registry serve {} >/dev/null 2>&1 &\nuntil (: </dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.05; done\n{script}",
        config.display()
    );
    let mut command = Command::new(peers::script());
    command.arg("enter").arg(peers::folder("podman")).arg(scratch.join("world"));
    let output = command.args(["bash", "-c", &script]).output().expect("it starts");
    let (said, words) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{words}");
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

fn image(rig: &Rig, name: &str) -> Value {
    let answer = rig.get(&format!("/images/{}/json", escape(name)));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// An id as all write it.
fn id(text: &str) -> String {
    if text.starts_with("sha256:") { text.to_owned() } else { format!("sha256:{text}") }
}

/// Pushes from the others: podman in both formats, buildah with a layer more, skopeo with zstd.
const PUSH: &str = r#"
pushed() { podman push -q --tls-verify=false "$@"; }
podman import -q -c 'CMD ["sh"]' -c 'ENV PATH=/bin' "$TAR" localhost/box >/dev/null
pushed --format v2s2 localhost/box docker://127.0.0.1:5000/podman/docker:1
pushed --format oci localhost/box docker://127.0.0.1:5000/podman/oci:1
echo "podman=$(podman images --no-trunc -q localhost/box)"
echo "podman_layers=$(podman image inspect --format '{{json .RootFS.Layers}}' localhost/box)"
made=$(buildah from localhost/box)
echo here > "$HOME/new"
buildah copy -q "$made" "$HOME/new" /new >/dev/null
buildah config --label made=buildah "$made"
buildah commit -q "$made" localhost/built >/dev/null
buildah push -q --tls-verify=false localhost/built docker://127.0.0.1:5000/buildah/box:1
echo "buildah=$(podman images --no-trunc -q localhost/built)"
skopeo copy -q --src-tls-verify=false --dest-tls-verify=false --dest-compress-format zstd --format oci \
  docker://127.0.0.1:5000/buildah/box:1 docker://127.0.0.1:5000/skopeo/zstd:1
"#;

/// Pulls what we have pushed.
const PULL: &str = r#"
podman pull -q --tls-verify=false 127.0.0.1:5000/minke/made:1 >/dev/null
echo "id=$(podman images --no-trunc -q 127.0.0.1:5000/minke/made)"
echo "layers=$(podman image inspect --format '{{json .RootFS.Layers}}' 127.0.0.1:5000/minke/made:1)"
echo "ran=$(podman run --rm --network none 127.0.0.1:5000/minke/made:1 cat /new)"
echo "raw=$(skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5000/minke/made:1 | sha256sum | cut -d' ' -f1)"
for name in podman/docker podman/oci buildah/box skopeo/zstd; do
  for name in "$name" "again/$name"; do
    echo "$name=$(skopeo inspect --raw --tls-verify=false "docker://127.0.0.1:5000/$name:1" | sha256sum | cut -d' ' -f1)"
  done
done
"#;

#[test]
fn images_of_podman_buildah_and_skopeo_run_here_and_ours_there() {
    Rig::run(Client::Minke, &[], |rig| {
        let files = rig.scratch().join("registry");
        fs::create_dir_all(files.join("data")).expect("a folder");
        let tar = rig.file("busybox.tar", busybox_tar());
        let theirs = elsewhere(rig.scratch(), &files, &format!("TAR={}\n{PUSH}", tar.display()));
        let registry = DockerRegistry::start(&files, "");
        for name in ["podman/docker", "podman/oci", "buildah/box", "skopeo/zstd"] {
            let from = registry.name(&format!("{name}:1"));
            rig.ok(&format!("pull -q {from}"));
            assert_eq!(rig.ok(&format!("run --rm {from} echo runs")), "runs", "{name}");
            let again = registry.name(&format!("again/{name}:1"));
            rig.ok(&format!("tag {from} {again}"));
            rig.ok(&format!("push -q {again}"));
            assert_eq!(
                registry.manifest(&format!("again/{name}"), "1"),
                registry.manifest(name, "1"),
                "{name}"
            );
        }
        assert_eq!(image(rig, &registry.name("podman/oci:1"))["Id"], id(&theirs["podman"]));
        let layers = image(rig, &registry.name("podman/docker:1"))["RootFS"]["Layers"].to_string();
        assert_eq!(layers, theirs["podman_layers"]);
        assert_eq!(image(rig, &registry.name("buildah/box:1"))["Id"], id(&theirs["buildah"]));
        assert_eq!(rig.ok(&format!("run --rm {} cat /new", registry.name("skopeo/zstd:1"))), "here");
        let made = registry.name("minke/made:1");
        rig.ok("run --name changed busybox sh -c 'echo ours > /new'");
        rig.ok(&format!("commit changed {made}"));
        rig.ok("rm changed");
        rig.ok(&format!("push -q {made}"));
        let (digest, _) = registry.manifest("minke/made", "1");
        let own = image(rig, &made);
        drop(registry);
        let seen = elsewhere(rig.scratch(), &files, PULL);
        assert_eq!(id(&seen["id"]), own["Id"].as_str().unwrap_or_default());
        assert_eq!(seen["layers"], own["RootFS"]["Layers"].to_string());
        assert_eq!(seen["ran"], "ours");
        assert_eq!(id(&seen["raw"]), digest);
        for name in ["podman/docker", "podman/oci", "buildah/box", "skopeo/zstd"] {
            assert_eq!(seen[name], seen[&format!("again/{name}")], "{name}");
        }
        runs_with_dockerd(rig, &files, &own);
    });
}

/// The same image with dockerd: the same ids, and it runs.
fn runs_with_dockerd(rig: &Rig, files: &Path, own: &Value) {
    let folder = rig.scratch().join("dockerd");
    fs::create_dir_all(&folder).expect("a folder");
    let mut dockerd = Dockerd::new(&folder);
    dockerd.start(&[]);
    let registry = DockerRegistry::start_beside(files, "", dockerd.pid());
    let docker = Cli::new(Client::Docker, dockerd.socket(), &folder);
    let name = registry.name("minke/made:1");
    let said = |line: &str| {
        let output = docker.run(line, &[], 60);
        assert_eq!(output.code, 0, "{line}: {}", output.stderr);
        output.text()
    };
    said(&format!("pull -q {name}"));
    assert_eq!(said(&format!("images -q --no-trunc {name}")), own["Id"].as_str().unwrap_or_default());
    assert_eq!(
        said(&format!("image inspect --format '{{{{json .RootFS.Layers}}}}' {name}")),
        own["RootFS"]["Layers"].to_string()
    );
    assert_eq!(said(&format!("run --rm {name} cat /new")), "ours");
    drop(registry);
    dockerd.sweep();
}
