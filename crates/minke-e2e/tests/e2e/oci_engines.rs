//! Others' engines with our runtime: dockerd with its bridge (which comes by a hook), and podman.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minke_e2e::{Dockerd, Engine, Output, Session, deadline, peers};

/// A link by the name of the field's runtime: how it is called decides what the program is.
fn link(scratch: &Path) -> PathBuf {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let link = scratch.join("runc");
    let program = peers::minke().canonicalize().expect("the program is built");
    std::os::unix::fs::symlink(program, &link).expect("a link");
    link
}

fn finish(mut command: Command, line: &str) -> Output {
    command.stdin(Stdio::null());
    Session::start(command, line).finish(deadline::seconds(60))
}

/// The reference engine, ended with the test.
struct Reference(Dockerd);

impl Drop for Reference {
    fn drop(&mut self) {
        self.0.sweep();
    }
}

#[test]
fn dockerd_runs_containers_on_its_bridge_by_our_runtime() {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let runtime = format!("ours={}", link(scratch.path()).display());
    let mut reference = Reference(Dockerd::new(scratch.path()));
    reference.0.start(&["--add-runtime", &runtime, "--default-runtime", "ours"]);
    let host = format!("unix://{}", reference.0.socket().display());
    let docker = |words: &[&str]| {
        let mut command = Command::new(peers::docker());
        command.arg("-H").arg(&host).args(words);
        finish(command, &words.join(" "))
    };
    let archive = scratch.path().join("image.tar");
    std::fs::write(&archive, minke_e2e::rootfs::busybox_tar()).expect("an archive");
    let image = docker(&["import", archive.to_str().expect("in ASCII"), "box"]);
    assert_eq!(image.code, 0, "{image:?}");
    let run =
        docker(&["run", "--rm", "box", "sh", "-c", "cat /proc/net/dev | grep -c eth0; echo $HOME; exit 5"]);
    assert_eq!((run.code, run.text().as_str()), (5, "1\n/root"), "{run:?}");
    let missing = docker(&["run", "--rm", "box", "no-such-program"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{missing:?}");
    let started = docker(&["run", "-d", "--name", "one", "box", "sleep", "1000"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(docker(&["exec", "one", "echo", "hi"]).text(), "hi");
    assert_eq!(docker(&["exec", "-t", "one", "tty"]).text().trim(), "/dev/pts/0");
    let state = || docker(&["inspect", "-f", "{{.State.Status}} {{.HostConfig.Memory}}", "one"]).text();
    assert_eq!(docker(&["pause", "one"]).code, 0);
    assert_eq!(state(), "paused 0");
    assert_eq!(docker(&["unpause", "one"]).code, 0);
    let update = docker(&["update", "--memory", "64m", "--memory-swap", "128m", "one"]);
    assert_eq!((update.code, state().as_str()), (0, "running 67108864"), "{update:?}");
    assert_eq!(docker(&["restart", "-t", "0", "one"]).code, 0);
    assert_eq!(state(), "running 67108864");
    assert_eq!(docker(&["rm", "-f", "one"]).code, 0);
}

#[test]
fn podman_runs_containers_by_our_runtime() {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let runtime = link(scratch.path());
    let root = scratch.path().join("rootfs");
    tar::Archive::new(minke_e2e::rootfs::busybox_tar()).unpack(&root).expect("the image unpacks");
    let script = format!(
        "podman() {{ command podman --log-level error --runtime {} \"$@\"; }}; run='--network none --rootfs {}'; set -e\n\
         podman run --rm $run sh -c 'echo $HOME; exit 5' || echo \"code $?\"\n\
         podman run -d --name one $run sleep 1000 >/dev/null; podman exec one echo hi; podman exec -t one tty\n\
         podman pause one >/dev/null; podman inspect -f '{{{{.State.Status}}}}' one; podman unpause one >/dev/null\n\
         podman stop -t 0 one >/dev/null; podman start one >/dev/null; podman exec one echo again\n\
         podman rm -f -t 0 one >/dev/null; podman ps -aq; podman run --rm $run no-such-program || echo \"code $?\"\n",
        runtime.display(),
        root.display()
    );
    let mut command = Command::new(peers::script());
    command
        .arg("enter")
        .arg(peers::folder("podman"))
        .arg(scratch.path().join("peer"))
        .args(["bash", "-c", &script]);
    let output = finish(command, "podman");
    let expected = "/root\ncode 5\nhi\n/dev/pts/0\r\npaused\nagain\ncode 127";
    assert_eq!(output.text(), expected, "{}", output.stderr);
}
