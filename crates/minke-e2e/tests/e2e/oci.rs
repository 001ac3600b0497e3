//! `minke oci`: the runtime's own command line over a bundle. With `MINKE_E2E_ENGINE=dockerd`, runc takes its place.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minke_e2e::{Output, Session, deadline, peers, within};
use serde_json::{Value, json};

/// A bundle of the test image, and where the runtime keeps its state.
struct Bundle {
    scratch: tempfile::TempDir,
    reference: bool,
}

impl Bundle {
    fn new(args: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
        let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
        let reference = std::env::var("MINKE_E2E_ENGINE").as_deref() == Ok("dockerd");
        let bundle = Self { scratch, reference };
        tar::Archive::new(minke_e2e::rootfs::busybox_tar())
            .unpack(bundle.path("bundle/rootfs"))
            .expect("the image unpacks");
        bundle.configure(args, |_| ());
        bundle
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn configure(&self, args: &[&str], change: impl Fn(&mut Value)) {
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}},
            "root": {"path": "rootfs"},
            "hostname": "bundled",
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
                "cgroupsPath": format!("/{}", self.cgroup()),
                "resources": {"pids": {"limit": 50}, "devices": [{"allow": false, "access": "rwm"}]}},
        });
        change(&mut config);
        std::fs::write(self.path("bundle/config.json"), config.to_string())
            .expect("the configuration is written");
    }

    fn cgroup(&self) -> String {
        self.scratch.path().file_name().map(|name| format!("{}-oci", name.to_string_lossy())).expect("a name")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = if self.reference {
            // runc as the distribution links it, which takes the distribution's libraries.
            let folder = peers::folder("runc");
            let mut command = Command::new("env");
            command.arg(format!("LD_LIBRARY_PATH={}", folder.join("usr/lib/x86_64-linux-gnu").display()));
            command.arg(folder.join("usr/sbin/runc"));
            command
        } else {
            let mut command = Command::new(peers::minke());
            command.arg("oci");
            command
        };
        command.arg("--root").arg(self.path("state")).args(words).current_dir(self.path("bundle"));
        command
    }

    fn oci(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::null());
        Session::start(command, &words.join(" ")).finish(deadline::seconds(30))
    }

    /// Runs it in a network namespace of its own that a script has made ready.
    fn in_network(&self, script: &str, words: &[&str]) -> Output {
        let inner = self.command(words);
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &format!("set -e; {script}; exec \"$@\""), "sh"]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(self.path("bundle"));
        command.stdin(Stdio::null());
        Session::start(command, &words.join(" ")).finish(deadline::seconds(30))
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.oci(words);
        assert_eq!(output.code, 0, "{words:?}: {output:?}");
        output.text()
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).expect("JSON")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        minke_e2e::census::remove_cgroups(&self.cgroup());
    }
}

/// Panics if anything of a bundle's container is left.
fn census(bundle: &Bundle) {
    let folder = bundle.scratch.path().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
    assert!(!mounts.contains(&folder), "a mount is left");
    for hierarchy in minke_e2e::census::hierarchies() {
        assert!(
            !hierarchy.join(bundle.cgroup()).exists(),
            "{} is left",
            hierarchy.join(bundle.cgroup()).display()
        );
    }
    let states: Vec<_> = std::fs::read_dir(bundle.path("state"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(states.is_empty(), "{states:?}");
}

#[test]
fn run_returns_the_code_and_leaves_nothing() {
    let bundle = Bundle::new(&["sh", "-c", "hostname; echo $$; grep CapEff /proc/self/status; exit 7"]);
    let output = bundle.oci(&["run", "one"]);
    assert_eq!(
        (output.code, output.text().as_str()),
        (7, "bundled\n1\nCapEff:\t0000000000000020"),
        "{}",
        output.stderr
    );
    census(&bundle);
    bundle.configure(&["sh", "-c", "kill -9 $$; exit 3"], |_| ());
    assert_eq!(bundle.oci(&["run", "two"]).code, 3);
    bundle.configure(&["no-such-program"], |_| ());
    assert_ne!(bundle.oci(&["run", "three"]).code, 0);
    census(&bundle);
}

#[test]
fn a_container_goes_through_its_states() {
    let bundle = Bundle::new(&["sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done"]);
    let folder = bundle.path("bundle");
    let words = ["create", "--bundle", folder.to_str().expect("in ASCII"), "--pid-file", "pid", "one"];
    // The container keeps the streams of `create`.
    let mut create = bundle.command(&words);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().expect("it starts").success());
    let state = bundle.state("one");
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!("one")));
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    assert_eq!(state["bundle"], json!(folder));
    let pid: i32 = std::fs::read_to_string(folder.join("pid"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .expect("a pid");
    assert_eq!(state["pid"], pid);
    assert_ne!(bundle.oci(&["create", "one"]).code, 0, "the id is taken");
    bundle.ok(&["start", "one"]);
    assert_eq!(bundle.state("one")["status"], "running");
    assert_ne!(bundle.oci(&["start", "one"]).code, 0);
    assert_ne!(bundle.oci(&["delete", "one"]).code, 0, "it runs");
    bundle.ok(&["kill", "one", "TERM"]);
    within(20, "it is stopped", || (bundle.state("one")["status"] == "stopped").then_some(()));
    bundle.ok(&["delete", "one"]);
    assert_ne!(bundle.oci(&["state", "one"]).code, 0);
    census(&bundle);
}

#[test]
fn delete_by_force_ends_it() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let mut create = bundle.command(&["create", "one"]);
    assert!(
        create
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("it starts")
            .success()
    );
    bundle.ok(&["start", "one"]);
    bundle.ok(&["delete", "--force", "one"]);
    census(&bundle);
}

#[test]
fn what_is_wrong_is_said() {
    let bundle = Bundle::new(&["true"]);
    let missing = |words: &[&str]| {
        let output = bundle.oci(words);
        assert_ne!(output.code, 0, "{words:?}");
        assert!(!output.stderr.trim().is_empty(), "{words:?}");
    };
    missing(&["state", "missing"]);
    missing(&["start", "missing"]);
    missing(&["kill", "missing", "KILL"]);
    missing(&["run", "--bundle", "/no/such/folder", "one"]);
    std::fs::write(bundle.path("bundle/config.json"), "{}").expect("a file");
    missing(&["run", "one"]);
    std::fs::write(bundle.path("bundle/config.json"), "no json").expect("a file");
    missing(&["run", "one"]);
    assert!(Path::new(&bundle.path("bundle/rootfs/bin")).is_dir());
    census(&bundle);
}

#[test]
fn hooks_run_in_their_order_with_the_state() {
    let bundle = Bundle::new(&["sh", "-c", "echo program >>/log"]);
    let log = bundle.path("log");
    let outside = |name: &str| {
        let script = format!("echo {name} $(sed 's/.*\"status\":\"\\([a-z]*\\).*/\\1/') >>{}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 20}])
    };
    bundle.configure(&["sh", "-c", "echo program >>/log"], |config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"destination": "/log", "source": log, "options": ["bind"]}));
        config["hooks"] = json!({
            "prestart": outside("prestart"), "createRuntime": outside("createRuntime"),
            "createContainer": outside("createContainer"), "poststart": outside("poststart"),
            "poststop": outside("poststop"),
            "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >>/log"]}]
        });
    });
    std::fs::write(&log, "").expect("a file");
    bundle.ok(&["run", "one"]);
    let text = std::fs::read_to_string(&log).expect("a log");
    let before: Vec<&str> = text.lines().take(4).collect();
    let expected =
        ["prestart creating", "createRuntime creating", "createContainer creating", "startContainer"];
    assert_eq!(before, expected, "{text}");
    // The program and the hook after its start run side by side.
    assert!(text.contains("program") && text.contains("poststart running"), "{text}");
    assert_eq!(text.lines().last(), Some("poststop stopped"), "{text}");
    bundle
        .configure(&["true"], |config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}));
    let failed = bundle.oci(&["run", "two"]);
    assert!(failed.code == 1 && failed.stderr.contains("error running hook"), "{failed:?}");
    census(&bundle);
}

#[test]
fn interfaces_of_the_host_are_moved_in() {
    let bundle = Bundle::new(&["true"]);
    if bundle.reference {
        return; // runc 1.1 has none of it
    }
    let ip = peers::program("ip", "docker");
    let cards = format!(
        "ip() {{ LD_LIBRARY_PATH={} {} \"$@\"; }}; ip link add card0 type veth peer name card1; ip link set card0 up; ip link set card1 up; \
         ip addr add 10.221.0.1/24 dev card0; ip addr add fd00:221::1/64 nodad dev card0",
        peers::libraries(&ip).unwrap_or_default().display(),
        ip.display()
    );
    let devices = |devices: Value, change: &dyn Fn(&mut Value)| {
        bundle.configure(&["ip", "addr"], |config| {
            config["ociVersion"] = "1.3.0".into();
            config["linux"]["netDevices"] = devices.clone();
            change(config);
        });
        bundle.in_network(&cards, &["run", "one"])
    };
    let both = json!({"card0": {"name": "net0"}, "card1": {}});
    let users = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        }
    };
    let as_it_is = |_: &mut Value| ();
    let changes: [&dyn Fn(&mut Value); 2] = [&as_it_is, &users];
    for change in changes {
        let output = devices(both.clone(), change);
        let found = output.text();
        assert_eq!(output.code, 0, "{output:?}");
        for expected in [" lo: <LOOPBACK,UP", " net0@", " card1@", "10.221.0.1/24", "fd00:221::1/64"] {
            assert!(found.contains(expected), "{expected}: {found}");
        }
        assert!(!found.contains("state DOWN"), "{found}");
    }
    // Another's pid namespace is joined first, and the network's is new all the same.
    let pids = |config: &mut Value| {
        let own = json!({"type": "pid", "path": "/proc/self/ns/pid"});
        config["linux"]["namespaces"][0] = own;
    };
    let output = devices(both.clone(), &pids);
    assert!(output.code == 0 && output.text().contains("10.221.0.1/24"), "{output:?}");
    let shared = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().expect("a list").retain(|one| one["type"] != "network");
    };
    for (asked, change, words) in [
        (json!({"card7": {}}), &as_it_is as &dyn Fn(&mut Value), "link not found for interface card7"),
        (json!({"card0": {"name": "lo"}}), &as_it_is, "card0 to network namespace: file exists"),
        (json!({"card0": {"name": "a b"}}), &as_it_is, "invalid network device name \"a b\""),
        (both, &shared, "unable to move network devices without a private NET namespace"),
    ] {
        let output = devices(asked, change);
        assert!(output.code == 1 && output.stderr.contains(words), "{output:?}");
    }
    assert!(bundle.ok(&["features"]).replace([' ', '\n'], "").contains("\"netDevices\":{\"enabled\":true}"));
    census(&bundle);
}

#[test]
fn more_processes_pause_update_and_lists() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let mut create = bundle.command(&["run", "--detach", "one"]);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().expect("it starts").success());
    assert_eq!(
        bundle.ok(&["exec", "--env", "A=1", "--cwd", "/bin", "one", "sh", "-c", "echo $A; pwd"]),
        "1\n/bin"
    );
    assert_eq!(bundle.oci(&["exec", "one", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(bundle.oci(&["exec", "one", "no-such-program"]).code, 255);
    bundle.ok(&["pause", "one"]);
    assert_eq!(bundle.state("one")["status"], "paused");
    assert_eq!(bundle.oci(&["exec", "one", "true"]).code, 255);
    bundle.ok(&["resume", "one"]);
    bundle.ok(&["update", "--pids-limit", "77", "one"]);
    let limits: Vec<String> = minke_e2e::census::hierarchies()
        .iter()
        .filter_map(|mount| std::fs::read_to_string(mount.join(bundle.cgroup()).join("pids.max")).ok())
        .collect();
    assert_eq!(limits, ["77\n"]);
    let listed: Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).expect("JSON");
    assert_eq!((&listed[0]["id"], &listed[0]["status"]), (&json!("one"), &json!("running")));
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", "one"])).expect("JSON");
    assert_eq!(json!(pids), json!([bundle.state("one")["pid"]]));
    let event: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", "one"])).expect("JSON");
    assert_eq!((&event["type"], &event["data"]["pids"]["limit"]), (&json!("stats"), &json!(77)));
    bundle.ok(&["delete", "--force", "one"]);
    census(&bundle);
}
