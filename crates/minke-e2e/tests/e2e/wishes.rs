//! The engine dies in the middle of a stop, a restart, a kill or a removal: the client never gets its answer, but what it asked for is done.

use minke_e2e::{Client, Rig, process, within};
use rustix::process::Signal;

/// A container that takes note of SIGTERM and lives on until the file `gate` is there.
const DEAF: &str =
    "busybox sh -c 'trap \"touch /s/asked\" TERM; echo up; while [ ! -e /s/gate ]; do sleep 0.02; done'";

fn ours(body: impl Fn(&Rig)) {
    assert_ne!(
        std::env::var("MINKE_E2E_ENGINE").as_deref(),
        Ok("dockerd"),
        "this is about an engine that containers outlive"
    );
    Rig::run(Client::Minke, &[], body);
}

fn pid(rig: &Rig, name: &str) -> i32 {
    rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32
}

/// Starts a deaf container, asks `line` of it, and kills the engine when the container has been asked to end.
fn interrupted(rig: &Rig, policy: &str, line: &str) -> i32 {
    let scratch = rig.scratch().display().to_string();
    rig.ok(&format!("run -d --name one --restart {policy} -v {scratch}:/s {DEAF}"));
    rig.await_log("one", "up");
    let before = pid(rig, "one");
    let asked = rig.spawn(line);
    within(20, "the container has been asked", || rig.scratch().join("asked").exists().then_some(()));
    rig.kill_engine();
    drop(asked);
    before
}

#[test]
fn a_stop_goes_on_and_its_patience_with_it() {
    ours(|rig| {
        let before = interrupted(rig, "always", "stop -t 2 one");
        assert!(process::is_alive(before));
        rig.start_engine();
        let state = rig.await_status("one", "exited")["State"].clone();
        assert_eq!(state["ExitCode"], 137, "{state}");
    });
}

#[test]
fn a_stopped_container_that_ended_meanwhile_is_not_restarted() {
    ours(|rig| {
        let before = interrupted(rig, "always", "stop -t 1000 one");
        std::fs::write(rig.scratch().join("gate"), "").expect("a file");
        minke_e2e::census::gone(before);
        rig.start_engine();
        let state = rig.inspect("one");
        assert_eq!(
            (&state["State"]["Status"], &state["RestartCount"]),
            (&"exited".into(), &0.into()),
            "{state}"
        );
    });
}

#[test]
fn a_restart_is_carried_out() {
    ours(|rig| {
        let before = interrupted(rig, "no", "restart -t 1 one");
        rig.start_engine();
        within(30, "a new process runs", || {
            let state = rig.inspect("one")["State"].clone();
            (state["Running"] == true && state["Pid"] != before).then_some(())
        });
    });
}

#[test]
fn a_removal_and_a_kill_are_carried_out_though_the_shim_was_slow() {
    ours(|rig| {
        for (name, line) in [("removed", "rm -f removed"), ("killed", "kill killed")] {
            rig.ok(&format!("run -d --name {name} --restart always busybox sleep 1000"));
            let before = pid(rig, name);
            let shim = process::parent(before).expect("a shim");
            // The engine waits for an answer when it is killed.
            process::signal(shim, Signal::STOP);
            let id = rig.inspect(name)["Id"].as_str().expect("an id").to_string();
            let wish = rig.marks().exec_root.join("containers").join(id).join("wish");
            let asked = rig.spawn(line);
            within(20, "the wish is written down", || wish.exists().then_some(()));
            rig.kill_engine();
            drop(asked);
            process::signal(shim, Signal::CONT);
            rig.start_engine();
            minke_e2e::census::gone(before);
        }
        within(30, "one is removed", || (rig.get("/containers/removed/json").status == 404).then_some(()));
        let state = rig.await_status("killed", "exited");
        assert_eq!(state["RestartCount"], 0, "{state}");
    });
}
