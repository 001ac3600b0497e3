//! `--runtime`: containers whose processes another OCI runtime starts, over a bundle. What a container can do doesn't depend on which.

use std::path::{Path, PathBuf};

use minke_e2e::{Client, Output, Rig, peers, process, within};
use serde_json::{Value, json};

/// A script below `scratch` that runs a program of the peers, which bring libraries of their own.
fn script(scratch: &Path, name: &str, peer: &str) -> PathBuf {
    let program = peers::program(name, peer);
    let libraries = std::fs::read_dir(peers::target().join("peers/usr/lib")).into_iter().flatten().flatten();
    let libraries: Vec<String> = libraries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .map(|path| path.display().to_string())
        .collect();
    // crun refuses a host whose cgroup2 tree has controllers beside version 1: it doesn't see that tree.
    let text = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH={libraries}\nunified=/sys/fs/cgroup/unified\n\
         grep -q . $unified/cgroup.controllers 2>/dev/null || exec {program} \"$@\"\n\
         exec unshare -m --propagation unchanged sh -c 'mount --make-private $0; umount $0; exec {program} \"$@\"' $unified \"$@\"\n",
        libraries = libraries.join(":"),
        program = program.display()
    );
    let script = scratch.join(name);
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    script
}

/// A folder that outlives the engine's own, with the runtimes: runc, crun, and ours by a link.
struct Runtimes {
    _folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Runtimes {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
        let ours = folder.path().join("ours").join("runc");
        std::fs::create_dir(ours.parent().expect("a parent")).expect("a folder");
        let program = peers::minke().canonicalize().expect("the program is built");
        std::os::unix::fs::symlink(program, &ours).expect("a link");
        let all = [
            ("the-runc", script(folder.path(), "runc", "runc")),
            ("crun", script(folder.path(), "crun", "crun")),
            ("ours", ours),
        ];
        let flags = all
            .iter()
            .flat_map(|(name, path)| ["--add-runtime".to_owned(), format!("{name}={}", path.display())]);
        Self { flags: flags.collect(), _folder: folder }
    }

    /// Runs a test for each.
    fn each(body: impl Fn(&Rig, &str)) {
        Self::each_with(&[], body);
    }

    /// The same with flags of the engine.
    fn each_with(more: &[&str], body: impl Fn(&Rig, &str)) {
        let runtimes = Self::new();
        for name in ["the-runc", "crun", "ours"] {
            let mut flags: Vec<&str> = runtimes.flags.iter().map(String::as_str).collect();
            flags.extend(["--default-runtime", name]);
            flags.extend(more);
            println!("by {name}");
            Rig::run(Client::Minke, &flags, |rig| body(rig, name));
        }
    }
}

fn pid(rig: &Rig, name: &str) -> i32 {
    rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32
}

fn shown(output: &Output) -> (i32, String) {
    (output.code, output.text())
}

#[test]
fn a_container_lives_and_ends_as_any_other() {
    Runtimes::each(|rig, name| {
        assert_eq!(rig.get("/info").json()["DefaultRuntime"], name);
        let run = rig.cli("run --rm -e A=1 -w /tmp busybox sh -c 'echo $A $PWD; echo e >&2; exit 5'");
        assert_eq!(shown(&run), (5, "1 /tmp".into()), "{run:?}");
        assert_eq!(run.stderr, "e\n");
        let piped = rig.with_input("run --rm -i busybox cat", b"through\n");
        assert_eq!(shown(&piped), (0, "through".into()), "{piped:?}");
        assert_eq!(rig.ok("run --rm --network none busybox sh -c 'ip -o link | grep -c UP'"), "1");
        assert_eq!(
            rig.ok("run --rm --network none busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
            "0"
        );
        rig.ok("run -d --name one --memory 64m --pids-limit 77 busybox sh -c 'echo up; exec sleep 1000'");
        rig.await_log("one", "up");
        assert_eq!(rig.inspect("one")["HostConfig"]["Runtime"], name);
        assert!(rig.ok("top one").contains("sleep 1000"));
        assert_eq!(rig.ok("stats --no-stream --format '{{.PIDs}}' one"), "1");
        assert_eq!(
            rig.ok("exec -e B=2 -w /bin one sh -c 'echo $B $PWD; hostname'"),
            format!("2 /bin\n{}", rig.ok("exec one hostname"))
        );
        assert_eq!(rig.cli("exec one sh -c 'exit 9'").code, 9);
        rig.ok("pause one");
        assert_eq!(rig.ok("ps --format '{{.Names}} {{.State}}'"), "one paused");
        rig.ok("unpause one");
        rig.ok("update --memory 96m --memory-swap 96m one");
        let limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null";
        assert_eq!(rig.cli(&format!("exec one sh -c '{limit}'")).text(), (96 << 20).to_string());
        rig.ok("restart -t 0 one");
        rig.ok("exec one touch /made");
        assert_eq!(rig.ok("diff one"), "A /made");
        rig.ok("cp one:/made -");
        assert_eq!(rig.ok("kill one"), "one");
        assert_eq!(rig.ok("wait one"), "137");
        rig.ok("start one");
        rig.ok("stop -t 0 one");
        rig.ok("rm one");
    });
}

#[test]
fn what_cannot_be_started_says_so_and_leaves_nothing() {
    Runtimes::each(|rig, _| {
        for (program, code, words) in
            [("nope", 127, "not found in $PATH"), ("/etc/passwd", 126, "permission denied")]
        {
            let run = rig.cli(&format!("run --rm busybox {program}"));
            assert_eq!(run.code, code, "{run:?}");
            let said = run
                .stderr
                .starts_with("minke: Error response from daemon: failed to create task for container: ");
            assert!(said && run.stderr.contains(words), "{run:?}");
        }
        rig.ok("run -d --name one busybox sleep 1000");
        let exec = rig.cli("exec one nope");
        assert_eq!(exec.code, 127, "{exec:?}");
        assert_eq!(rig.ok("ps -aq").lines().count(), 1);
    });
}

#[test]
fn terminals_inits_volumes_and_probes() {
    Runtimes::each(|rig, _| {
        let mut terminal = rig.terminal("run --rm -it --name tty busybox sh");
        terminal.send("stty size; echo got-$((40+2))\n");
        terminal.expect("got-42");
        terminal.resize(33, 99);
        terminal.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.05; done; echo resized\n");
        terminal.expect("resized");
        terminal.send("exit 4\n");
        assert_eq!(terminal.wait(), 4);
        rig.ok("volume create data");
        rig.ok("run --rm -v data:/d busybox sh -c 'mkdir /d/sub; echo kept >/d/sub/file'");
        let sub =
            rig.ok("run --rm --mount type=volume,src=data,dst=/s,volume-subpath=sub busybox cat /s/file");
        assert_eq!(sub, "kept");
        let file = rig.file("file", b"inside\n").display().to_string();
        assert_eq!(rig.ok(&format!("run --rm -v {file}:/new/file:ro busybox cat /new/file")), "inside");
        assert!(rig.ok("run --rm --init busybox ps").contains("docker-init"));
        assert_eq!(rig.cli("run --rm --init busybox sh -c 'exit 3'").code, 3);
        rig.ok("run -d --name well --health-cmd 'test -e /tmp' --health-interval 100ms busybox sleep 1000");
        within(30, "it is healthy", || {
            (rig.inspect("well")["State"]["Health"]["Status"] == "healthy").then_some(())
        });
        let mut exec = rig.terminal("exec -it well sh");
        exec.send("tty; exit 6\n");
        exec.expect("/dev/pts/0");
        assert_eq!(exec.wait(), 6);
    });
}

#[test]
fn the_engine_may_be_killed_meanwhile() {
    Runtimes::each(|rig, _| {
        rig.ok(
            "run -d --name one busybox sh -c 'trap \"exit 7\" TERM; echo up; while :; do sleep 0.05; done'",
        );
        rig.await_log("one", "up");
        let before = pid(rig, "one");
        rig.ok("run -d --name two busybox sleep 1000");
        let two = pid(rig, "two");
        rig.kill_engine();
        assert!(process::is_alive(before));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(two).expect("a pid"),
            rustix::process::Signal::KILL,
        )
        .expect("it is there");
        rig.start_engine();
        assert_eq!(pid(rig, "one"), before);
        assert_eq!(rig.ok("exec one echo again"), "again");
        assert_eq!(rig.ok("wait two"), "137");
        rig.ok("stop one");
        assert_eq!(rig.ok("wait one"), "7");
        rig.ok("start two");
    });
}

#[test]
fn a_runtime_has_to_be_known() {
    Rig::run(Client::Minke, &[], |rig| {
        rig.fails("create --runtime nope busybox", 1, "unknown or invalid runtime name: nope");
        let info = rig.get("/info").json();
        assert_eq!(info["DefaultRuntime"], "minke");
        assert_eq!(info["Runtimes"], json!({ "minke": { "path": "minke" } }));
        for own in ["runc", "io.containerd.runc.v2"] {
            assert_eq!(rig.ok(&format!("run --rm --runtime {own} busybox echo own")), "own");
        }
        let file =
            json!({ "runtimes": { "other": { "path": "/is/not/there", "runtimeArgs": ["--debug"] } } });
        let path = rig.file("daemon.json", file.to_string().as_bytes());
        rig.stop_engine();
        rig.start_engine_with(&["--config-file", path.to_str().expect("in ASCII")]);
        let runtimes: Value = rig.get("/info").json()["Runtimes"].clone();
        assert_eq!(runtimes["other"], json!({ "path": "/is/not/there", "runtimeArgs": ["--debug"] }));
        let run = rig.cli("run --name one --runtime other busybox true");
        assert_eq!(run.code, 125, "{run:?}");
        assert!(run.stderr.contains("running /is/not/there"), "{run:?}");
        rig.stop_engine();
        rig.start_engine_with(&[]);
        rig.fails("start one", 1, "unknown or invalid runtime name: other");
    });
}

#[test]
fn it_is_on_the_networks_that_it_asks_for() {
    Runtimes::each_with(&["networks"], |rig, _| {
        rig.ok("run -d --network bridge --name web busybox sleep 1000");
        let found = rig.inspect("web")["NetworkSettings"]["Networks"]["bridge"].clone();
        let (address, gateway) = (found["IPAddress"].as_str(), found["Gateway"].as_str());
        let shown = rig.ok("exec web ip addr show eth0");
        assert!(shown.contains(address.expect("an address")), "{shown}");
        rig.ok(&format!("exec web ping -c 1 -W 5 {}", gateway.expect("a gateway")));
        assert_eq!(rig.ok("exec web cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
    });
}
