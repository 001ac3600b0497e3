//! The power cut: a virtual machine is killed in the midst of `load`, `create` and `run`, and booted again on its disk.
//!
//! What was acknowledged is there and whole; what was not may be there, but then it is whole as well.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use minke_e2e::rootfs::{Tree, busybox_tar};
use minke_e2e::{Session, peers, process};
use serde_json::json;
use sha2::{Digest, Sha256};

/// How many images are loaded in turn.
const IMAGES: u8 = 12;

/// What both boots begin with: an engine whose data is on the disk that is kept.
const START: &str = r#"
set -u
m() { "$MINKE" -H unix:///run/engine.sock "$@"; }
mkfifo /run/ready
"$MINKE" daemon --data-root /scratch/data --exec-root /run/engine --pidfile /run/engine.pid -H unix:///run/engine.sock \
    --ready-fd 3 3>/run/ready 2>/scratch/engine.log </dev/null &
head -c 1 /run/ready >/dev/null
"#;

/// The first boot: says what has been acknowledged, until the power goes.
const WORK: &str = r#"
i=0
while [ $i -lt 12 ]; do
  m load -q -i $ARCHIVES/$i.tar >/dev/null && echo "load $i."
  m create --network none --name c$i image:$i true >/dev/null && echo "create $i."
  m run -d --network none --name r$i --restart always image:$i sleep 100000 >/dev/null && echo "run $i."
  m run -d --network none --name n$i image:$i sleep 100000 >/dev/null && echo "once $i."
  i=$((i + 1))
done
echo "all done."
sleep 1000
"#;

/// The second boot: says what is there, and reads every byte of it.
const LOOK: &str = r#"
for tag in $(m images --format '{{.Repository}}:{{.Tag}}'); do
  echo "image $tag $(m run --rm --network none $tag sha256sum /payload | cut -d' ' -f1)."
done
m ps -a --no-trunc --format '{{.Names}} {{.State}}' | while read -r line; do echo "container $line."; done
for name in $(m ps -a --format '{{.Names}}'); do
  echo "code $name $(m inspect --format '{{.State.ExitCode}} {{.State.Running}} {{.RestartCount}}' $name)."
done
echo "all seen."
"#;

/// Makes the archive of an image with a payload of its own, and returns the payload's hash.
fn archive(folder: &Path, number: u8) -> String {
    let payload: Vec<u8> =
        (0..1_500_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number).collect();
    let mut layer = Tree::default();
    layer.file("payload", 0o644, &payload);
    let layers = [busybox_tar().to_vec(), layer.finish()];
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hash(layer))).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string();
    let manifest = json!([{"Config": "config.json", "RepoTags": [format!("image:{number}")], "Layers": ["0.tar", "1.tar"]}]).to_string();
    let mut tree = Tree::default();
    tree.file("config.json", 0o644, config.as_bytes());
    tree.file("0.tar", 0o644, &layers[0]);
    tree.file("1.tar", 0o644, &layers[1]);
    tree.file("manifest.json", 0o644, manifest.as_bytes());
    std::fs::write(folder.join(format!("{number}.tar")), tree.finish()).expect("an archive");
    hash(&payload)
}

fn boot(folder: &Path, script: &str) -> Session {
    let mut command = Command::new(peers::project().join("tools/vm/run"));
    command.arg("--from").arg(peers::folder("vm")).arg("--disk").arg(folder.join("disk"));
    command.arg("--pidfile").arg(folder.join("pid")).args(["--timeout", "300"]);
    command.arg("--env").arg(format!("MINKE={}", peers::minke().display()));
    command.arg("--env").arg(format!("ARCHIVES={}", folder.display()));
    command.args(["--", "bash", "-c"]).arg(format!("{START}\n{script}")).stdin(Stdio::null());
    Session::start(command, "the virtual machine")
}

/// Returns what follows `word` in lines that are whole: they end with a full stop.
fn told(text: &str, word: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix('.'));
    lines.map(str::to_string).collect()
}

fn cut_and_look(cut_after: &str, delay: Duration) {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let folder = scratch.path();
    let hashes: Vec<String> = (0..IMAGES).map(|number| archive(folder, number)).collect();

    let machine = boot(folder, WORK);
    machine.expect(cut_after);
    std::thread::sleep(delay);
    let pid = std::fs::read_to_string(folder.join("pid"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .expect("QEMU's pid");
    process::signal(pid, process::Signal::KILL);
    let before = machine.wait().text();

    let after = boot(folder, LOOK).finish(Duration::from_secs(200));
    let seen = after.text();
    assert!(seen.contains("all seen."), "{seen}\n{}", after.stderr);
    let images = told(&seen, "image");
    for image in &images {
        let (tag, hash) = image.split_once(' ').expect("a tag and a hash");
        let number: usize = tag.trim_start_matches("image:").parse().expect("our own tag");
        assert_eq!(hash, hashes[number], "{tag} is listed, so it is whole");
    }
    for number in told(&before, "load") {
        assert!(
            images.iter().any(|image| image.starts_with(&format!("image:{number} "))),
            "image {number} was acknowledged\n{seen}"
        );
    }
    let (containers, codes) = (told(&seen, "container"), told(&seen, "code"));
    for number in told(&before, "create") {
        assert!(containers.contains(&format!("c{number} created")), "c{number} was acknowledged\n{seen}");
    }
    for number in told(&before, "run") {
        assert!(
            containers.contains(&format!("r{number} running")),
            "r{number} is started again by its policy\n{seen}"
        );
    }
    for number in told(&before, "once") {
        assert!(containers.contains(&format!("n{number} exited")), "n{number} has ended\n{seen}");
        assert!(
            codes.iter().any(|code| code.starts_with(&format!("n{number} 255 "))),
            "its code isn't known\n{seen}"
        );
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    for (cut_after, delay_ms) in [("run 0.", 10), ("load 2.", 150), ("create 4.", 60), ("once 5.", 333)] {
        cut_and_look(cut_after, Duration::from_millis(delay_ms));
    }
}
