//! start, stop, kill, restart, wait, rm, rename, and what a restart policy does.

use std::time::Instant;

use minke_e2e::{case, once, within};
use serde_json::json;

#[test]
fn a_container_is_created_started_stopped_and_removed() {
    case(|rig| {
        let id =
            rig.ok("create --name one busybox sh -c 'trap \"exit 4\" TERM; while :; do sleep 0.05; done'");
        assert_eq!(rig.inspect("one")["State"]["Status"], "created");
        assert_eq!(rig.ok("start one"), "one");
        let state = rig.inspect("one")["State"].clone();
        assert_eq!(
            (&state["Status"], &state["Running"], &state["ExitCode"]),
            (&json!("running"), &json!(true), &json!(0))
        );
        assert!(state["Pid"].as_i64().is_some_and(|pid| pid > 0));
        assert_eq!(rig.ok("start one"), "one", "a second start is no error");
        rig.fails(
            "rm one",
            1,
            if rig.engine_is_like(26) { "container is running" } else { "cannot remove a running container" },
        );
        assert_eq!(rig.ok("stop one"), "one");
        let state = rig.inspect("one")["State"].clone();
        assert_eq!(
            (&state["Status"], &state["ExitCode"], &state["Pid"]),
            (&json!("exited"), &json!(4), &json!(0))
        );
        assert_eq!(rig.ok("stop one"), "one", "a second stop is no error");
        assert_eq!(rig.ok("rm one"), "one");
        assert_eq!(rig.get(&format!("/containers/{id}/json")).status, 404);
    });
}

#[test]
fn stop_kills_what_does_not_heed_it() {
    case(|rig| {
        rig.ok("run -d --name deaf busybox sleep 1000");
        let start = Instant::now();
        rig.ok("stop -t 1 deaf");
        assert!(start.elapsed().as_millis() >= 1000);
        assert_eq!(rig.inspect("deaf")["State"]["ExitCode"], 137);
        rig.ok("run -d --name heeds --stop-signal USR1 busybox sh -c 'trap \"exit 7\" USR1; while :; do sleep 0.05; done'");
        rig.await_status("heeds", "running");
        rig.ok("stop -t 20 heeds");
        assert_eq!(rig.inspect("heeds")["State"]["ExitCode"], 7);
        rig.ok("run -d --name short --stop-timeout 0 busybox sleep 1000");
        rig.ok("stop short");
        assert_eq!(rig.inspect("short")["State"]["ExitCode"], 137);
    });
}

#[test]
fn kill_sends_the_signal_named() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'trap \"echo usr\" USR1; trap \"exit 3\" INT; echo up; while :; do sleep 0.05; done'");
        rig.await_log("one", "up");
        assert_eq!(rig.ok("kill -s USR1 one"), "one");
        rig.await_log("one", "usr");
        rig.ok("kill --signal 2 one");
        assert_eq!(rig.ok("wait one"), "3");
        rig.fails("kill one", 1, "is not running");
        rig.fails("kill -s NOPE one", 1, "nvalid signal: NOPE");
        rig.fails("kill missing", 1, "No such container: missing");
    });
}

#[test]
fn wait_prints_the_code_when_the_container_ends() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'sleep 0.3; exit 12'");
        assert_eq!(rig.ok("wait one"), "12");
        assert_eq!(rig.ok("wait one"), "12", "also afterwards");
        rig.ok("run -d --name two busybox sleep 1000");
        let wait = rig.spawn("wait two one");
        rig.ok("kill two");
        assert_eq!(wait.wait().text(), "137\n12");
    });
}

#[test]
fn wait_knows_its_conditions() {
    once(|rig| {
        rig.ok("create --name one busybox sh -c 'exit 5'");
        let socket = rig.socket().to_path_buf();
        let next = std::thread::spawn(move || {
            minke_e2e::http::request(&socket, "POST", "/containers/one/wait?condition=next-exit", "", &[])
                .expect("an answer")
        });
        // The wait has to be there before the container ends; its answer's head tells that, but only once it is all there.
        std::thread::sleep(minke_e2e::deadline::seconds(1) / 2);
        rig.ok("start one");
        assert_eq!(next.join().expect("the thread ends").json()["StatusCode"], 5);
        let socket = rig.socket().to_path_buf();
        let removed = std::thread::spawn(move || {
            minke_e2e::http::request(&socket, "POST", "/containers/one/wait?condition=removed", "", &[])
                .expect("an answer")
        });
        std::thread::sleep(minke_e2e::deadline::seconds(1) / 2);
        rig.ok("rm one");
        assert_eq!(removed.join().expect("the thread ends").json()["StatusCode"], 5);
        assert_eq!(rig.post("/containers/gone/wait", &json!(null)).status, 404);
        rig.ok("create --name two busybox");
        assert!(
            !rig.is_like(23) || rig.post("/containers/two/wait?condition=never", &json!(null)).status == 400
        );
    });
}

#[test]
fn restart_gives_a_new_process() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'echo up; exec sleep 1000'");
        let first = rig.inspect("one")["State"]["Pid"].clone();
        assert_eq!(rig.ok("restart -t 0 one"), "one");
        let state = rig.inspect("one");
        assert_ne!(state["State"]["Pid"], first);
        assert_eq!(state["State"]["Running"], true);
        assert_eq!(state["RestartCount"], 0, "only the policy's restarts are counted");
        within(20, "both starts are in the log", || (rig.ok("logs one") == "up\nup").then_some(()));
        rig.ok("kill one");
        rig.ok("wait one");
        rig.ok("restart -t 0 one");
        assert_eq!(rig.inspect("one")["State"]["Running"], true, "restart starts what has ended");
    });
}

#[test]
fn rm_force_ends_a_running_container() {
    case(|rig| {
        let id = rig.ok("run -d --name one busybox sleep 1000");
        let pid = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid");
        assert_eq!(rig.ok("rm -f one"), "one");
        assert_eq!(rig.get(&format!("/containers/{id}/json")).status, 404);
        if rig.kind() == minke_e2e::EngineKind::Minke {
            minke_e2e::census::gone(pid as i32);
        }
        rig.fails("rm missing", 1, "No such container: missing");
        rig.ok("rm -f missing");
    });
}

#[test]
fn a_container_is_found_by_name_id_and_prefix() {
    case(|rig| {
        let id = rig.ok("create --name one busybox");
        for name in ["one", "/one", &id, &id[..12], &id[..4]] {
            assert_eq!(rig.ok(&format!("inspect --format '{{{{.Id}}}}' {name}")), id);
        }
        rig.ok("rename one two");
        assert_eq!(rig.inspect("two")["Name"], "/two");
        assert_eq!(rig.get("/containers/one/json").status, 404);
        rig.ok("create --name one busybox");
        rig.fails("rename one two", 1, "Conflict. The container name \"/two\" is already in use");
        rig.fails("rename one two/three", 1, "Invalid container name");
    });
}

/// A stop that comes while the container is being started waits for the start, and then for the end.
#[test]
fn a_stop_beside_a_start_is_over_when_the_container_is() {
    case(|rig| {
        rig.ok("create --name one busybox sh -c 'trap \"\" TERM; sleep 1000'");
        for _ in 0..5 {
            let stopped = std::thread::scope(|scope| {
                let start = scope.spawn(|| rig.post("/containers/one/start", &json!(null)).status);
                let stopped = rig.post("/containers/one/stop?t=1", &json!(null)).status == 204;
                let running = rig.inspect("one")["State"]["Running"].clone();
                assert!(!stopped || running == false, "{running}");
                start.join().expect("a status");
                stopped
            });
            if !stopped {
                rig.ok("stop -t 0 one");
            }
        }
        rig.ok("rm one");
        rig.ok("run -d --name two --restart always busybox false");
        rig.await_status("two", "restarting");
        rig.ok("kill two");
        rig.await_status("two", "exited");
    });
}

#[test]
fn a_restart_policy_restarts() {
    case(|rig| {
        rig.ok("run -d --name always --restart always busybox sh -c 'echo up; sleep 0.1'");
        within(60, "the container is restarted twice", || {
            rig.inspect("always")["RestartCount"].as_i64().is_some_and(|count| count >= 2).then_some(())
        });
        rig.ok("stop -t 0 always");
        assert_eq!(rig.inspect("always")["State"]["Status"], "exited", "a stop by hand holds");
        rig.ok("run -d --name twice --restart on-failure:2 busybox sh -c 'echo up; exit 3'");
        within(60, "the attempts are used up", || {
            let state = rig.inspect("twice");
            (state["State"]["Status"] == "exited" && state["RestartCount"] == 2).then_some(())
        });
        assert_eq!(rig.ok("logs twice"), "up\nup\nup");
        rig.ok("run -d --name once --restart on-failure busybox true");
        assert_eq!(rig.await_status("once", "exited")["RestartCount"], 0);
        rig.fails("run -d --rm --restart always busybox true", 125, "onflicting options: ");
        rig.fails("run -d --restart sometimes busybox true", 125, "invalid restart policy");
    });
}

#[test]
fn start_attached_returns_output_and_code() {
    case(|rig| {
        rig.ok("create -i --name one busybox sh -c 'cat; exit 8'");
        let mut start = rig.spawn("start -a -i one");
        start.write(b"hello\n");
        start.expect("hello");
        let output = start.wait();
        assert_eq!((output.code, output.text().as_str()), (8, "hello"));
    });
}
