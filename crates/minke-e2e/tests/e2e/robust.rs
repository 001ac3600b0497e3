//! What goes wrong at the worst moment: a shim that doesn't listen yet or never again, a start that failed while no engine was there, shims
//! and records of another build, another engine's end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_e2e::{Client, Rig, peers, process, within};
use rustix::process::Signal;

/// Runs a test that only our engine can pass, with our command line.
fn ours(body: impl Fn(&Rig)) {
    assert_ne!(
        std::env::var("MINKE_E2E_ENGINE").as_deref(),
        Ok("dockerd"),
        "this is about our engine's shims"
    );
    Rig::run(Client::Minke, &[], body);
}

fn pid(rig: &Rig, name: &str) -> i32 {
    rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32
}

/// The shim of a container: the parent of its first process.
fn shim(rig: &Rig, name: &str) -> i32 {
    process::parent(pid(rig, name)).expect("the container's process has a parent")
}

/// Where a container's socket and records are.
fn runtime(rig: &Rig, name: &str) -> PathBuf {
    let id = rig.inspect(name)["Id"].as_str().expect("an id").to_string();
    rig.marks().exec_root.join("containers").join(id)
}

/// Does something a little later, beside the test.
fn later<T: Send + 'static>(
    milliseconds: u64,
    act: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(milliseconds));
        act()
    })
}

#[test]
fn a_shim_that_does_not_listen_yet_is_waited_for() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        let before = pid(rig, "one");
        let socket = runtime(rig, "one").join("shim.sock");
        let aside = socket.with_extension("aside");
        rig.kill_engine();
        fs::rename(&socket, &aside).expect("the socket is moved");
        let listening = later(700, move || fs::rename(&aside, &socket).expect("the socket is moved"));
        rig.start_engine();
        listening.join().expect("the socket is there");
        assert_eq!(pid(rig, "one"), before);
        assert_eq!(rig.ok("exec one echo up"), "up");
    });
}

#[test]
fn a_shim_that_hangs_does_not_run_beside_the_next_start() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        let (one, shim) = (pid(rig, "one"), shim(rig, "one"));
        rig.kill_engine();
        process::signal(shim, Signal::STOP);
        rig.start_engine();
        minke_e2e::census::gone(one);
        minke_e2e::census::gone(shim);
        let state = rig.await_status("one", "exited")["State"].clone();
        assert_ne!(state["Error"], "", "{state}");
        rig.ok("start one");
        assert_eq!(rig.ok("exec one echo up"), "up");
    });
}

/// Stops the first process that appears in the group of shims beside those in `known`, as early as can be.
fn stop_next_shim(group: &Path, known: &[i32]) -> i32 {
    within(20, "a shim is started", || {
        // Without the pause of `within`: the moment is a short one.
        (0..20_000).find_map(|_| {
            let pid = shims(group).into_iter().find(|pid| !known.contains(pid))?;
            process::signal(pid, Signal::STOP);
            Some(pid)
        })
    })
}

fn shims(group: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The engine dies in the middle of a start, whose shim stands still wherever it happened to be, and goes on later.
#[test]
fn a_start_goes_on_though_its_engine_died_in_the_middle() {
    ours(|rig| {
        rig.ok("run -d --name other busybox sleep 1000");
        let found = rig.marks().cgroups().into_iter().next().expect("the engine has a group");
        let name = format!("{}-shims", found.file_name().expect("a name").to_string_lossy());
        let group = found.with_file_name(name);
        for (round, command) in
            ["sleep 1000", "/nosuch", "true", "sleep 1000", "sleep 1000", "/nosuch"].iter().enumerate()
        {
            let container = format!("c{round}");
            rig.ok(&format!("create --name {container} busybox {command}"));
            let known = shims(&group);
            let hunted = group.clone();
            let hunter = std::thread::spawn(move || stop_next_shim(&hunted, &known));
            let start = rig.spawn(&format!("start {container}"));
            let shim = hunter.join().expect("a shim was stopped");
            rig.kill_engine();
            drop(start);
            let on = later(300, move || process::signal(shim, Signal::CONT));
            rig.start_engine();
            on.join().expect("it goes on");
            let state = rig.inspect(&container)["State"].clone();
            eprintln!("round {round}, {command}: {}", state["Status"]);
            match (*command, state["Status"].as_str().unwrap_or_default()) {
                // Stopped before it was told anything.
                (_, "created") if state["ExitCode"] == 0 => minke_e2e::census::gone(shim),
                ("/nosuch", status) => {
                    assert_eq!((status, &state["ExitCode"]), ("created", &127.into()), "{state}");
                    assert!(state["Error"].as_str().is_some_and(|error| error.contains("nosuch")), "{state}");
                }
                ("true", _) => assert_eq!(rig.await_status(&container, "exited")["State"]["ExitCode"], 0),
                (_, status) => {
                    assert_eq!(status, "running", "{state}");
                    assert_eq!(
                        process::parent(pid(rig, &container)),
                        Some(shim),
                        "no second one was started"
                    );
                }
            }
            rig.ok(&format!("rm -f {container}"));
            minke_e2e::census::gone(shim);
        }
        assert_eq!(shims(&group).len(), 1);
    });
}

#[test]
fn a_start_that_failed_while_no_engine_was_there_is_a_failed_start() {
    ours(|rig| {
        rig.ok("create --name never busybox /nosuch");
        rig.fails("run --name ran busybox sh -c 'exit 3'", 3, "");
        let folders = [(runtime(rig, "never"), 1), (runtime(rig, "ran"), 2)];
        rig.kill_engine();
        for (folder, generation) in &folders {
            fs::create_dir_all(folder).expect("a folder");
            let exit = format!(
                r#"{{"version":1,"container_id":"x","generation":{generation},"code":127,"finished_at_ns":1700000000000000000,"error":"exec: \"/nosuch\": no"}}"#
            );
            fs::write(folder.join("exit"), exit).expect("a record");
        }
        rig.start_engine();
        for (name, status) in [("never", "created"), ("ran", "exited")] {
            let state = within(20, "the failure is known", || {
                let state = rig.inspect(name)["State"].clone();
                (state["ExitCode"] == 127).then_some(state)
            });
            assert_eq!(state["Status"], status, "{name}: {state}");
            assert_eq!(
                state["Error"],
                "failed to create task for container: unable to start container process: exec: \"/nosuch\": no"
            );
        }
        assert_eq!(rig.inspect("never")["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    });
}

#[test]
fn a_run_that_began_and_ended_unseen_has_its_times() {
    ours(|rig| {
        rig.ok("create --name one busybox true");
        let folder = runtime(rig, "one");
        rig.kill_engine();
        fs::create_dir_all(&folder).expect("a folder");
        let state = r#"{"version":1,"container_id":"x","generation":1,"shim_pid":1,"pid":2,"pid_start_ticks":3,"started_at_ns":1700000000000000000}"#;
        let exit = r#"{"version":1,"container_id":"x","generation":1,"code":4,"finished_at_ns":1700000005000000000,"error":null}"#;
        fs::write(folder.join("state"), state).expect("a record");
        fs::write(folder.join("exit"), exit).expect("a record");
        rig.start_engine();
        let state = rig.await_status("one", "exited")["State"].clone();
        assert_eq!((&state["ExitCode"], &state["Error"]), (&4.into(), &"".into()));
        assert_eq!(state["StartedAt"], "2023-11-14T22:13:20Z");
        assert_eq!(state["FinishedAt"], "2023-11-14T22:13:25Z");
    });
}

/// A build that isn't the tested one, if there is one.
fn another_build() -> PathBuf {
    let others = ["release/minke", "debug/minke"].map(|name| peers::target().join(name));
    let tested = peers::minke();
    let same = |path: &Path| path.canonicalize().ok() == tested.canonicalize().ok();
    others.into_iter().find(|path| path.is_file() && !same(path)).unwrap_or(tested)
}

#[test]
fn containers_of_another_build_are_taken_over() {
    let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
    let choice = folder.path().join("program");
    let inside = format!("shift; exec \"$(cat {})\" \"$@\"", choice.display());
    let other = another_build();
    eprintln!("the other build: {}", other.display());
    fs::write(&choice, other.as_os_str().as_encoded_bytes()).expect("a file");
    Rig::run_inside(Client::Minke, &["sh", "-c", &inside, "sh"], &[], |rig| {
        rig.ok("run -d --name one busybox sh -c 'echo up; echo kept >/file; while :; do echo on; sleep 0.05; done'");
        rig.ok("run -d --name again --restart always busybox sleep 1000");
        rig.ok("create --name made --label a=b busybox echo made");
        rig.await_log("one", "up");
        let ended = rig.cli("run --name ended busybox sh -c 'exit 5'");
        assert_eq!(ended.code, 5);
        let attached = rig.spawn("attach --sig-proxy=false one");
        attached.expect("on");
        let before = (pid(rig, "one"), pid(rig, "again"));
        rig.kill_engine();
        fs::write(&choice, peers::minke().as_os_str().as_encoded_bytes()).expect("a file");
        rig.start_engine();
        assert_eq!((pid(rig, "one"), pid(rig, "again")), before);
        assert_eq!(rig.ok("exec one cat /file"), "kept");
        assert!(rig.ok("logs one").starts_with("up\non\n"));
        assert_eq!(rig.inspect("ended")["State"]["ExitCode"], 5);
        assert_eq!(rig.ok("start -a made"), "made");
        process::signal(before.1, Signal::KILL);
        within(30, "the policy acts", || {
            let state = rig.inspect("again")["State"].clone();
            (state["Running"] == true && state["Pid"] != 0 && state["Pid"] != before.1).then_some(())
        });
        rig.ok("stop -t 0 one");
        let attached = attached.wait();
        assert_eq!(attached.code, 137, "{}", attached.stderr);
        rig.ok("start one");
        assert_eq!(rig.ok("exec one cat /file"), "kept");
    });
}

#[test]
fn an_engine_s_end_is_nothing_to_its_neighbour() {
    ours(|one| {
        Rig::run(Client::Minke, &[], |two| {
            for rig in [one, two] {
                rig.ok("run -d --name same --restart always busybox sleep 1000");
                rig.ok("run -d --name limited --memory 64m busybox sleep 1000");
            }
            let look = || (two.marks().cgroups(), two.inspect("same"), two.inspect("limited"));
            let before = look();
            let shims = (shim(one, "same"), shim(one, "limited"));
            process::signal(shims.0, Signal::KILL);
            one.kill_engine();
            process::signal(shims.1, Signal::KILL);
            one.start_engine();
            one.await_status("limited", "exited");
            one.await_status("same", "running");
            one.ok("rm -f same limited");
            one.stop_engine();
            assert_eq!(look(), before);
            one.start_engine();
            assert_eq!(look(), before);
            assert_eq!(two.ok("exec limited echo up"), "up");
        });
    });
}

#[test]
fn a_shim_is_charged_to_nobody_and_the_last_to_be_killed() {
    ours(|rig| {
        rig.ok("run -d --name one --memory 64m busybox sleep 1000");
        let worse = serde_json::json!({
            "Image": "busybox",
            "Cmd": ["sleep", "1000"],
            "HostConfig": {"OomScoreAdj": 300, "NetworkMode": "none"},
        });
        assert_eq!(rig.post("/containers/create?name=worse", &worse).status, 201);
        rig.ok("start worse");
        let id = rig.inspect("one")["Id"].as_str().expect("an id").to_string();
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", shim(rig, "one"))).expect("groups");
        assert!(!groups.contains(&id), "{groups}");
        let score = |pid: i32| {
            let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
            text.trim().parse::<i32>().expect("a number")
        };
        let engine = rig.engine_pid();
        let status = fs::read_to_string(format!("/proc/{engine}/status")).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
        let may = u64::from_str_radix(line.trim(), 16).expect("a number") & (1 << 24) != 0;
        let wanted = if may { -999 } else { score(engine) };
        assert_eq!(score(shim(rig, "one")), wanted);
        assert_eq!((score(pid(rig, "one")), score(pid(rig, "worse"))), (0, 300));
    });
}
