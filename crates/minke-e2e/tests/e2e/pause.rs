//! `pause` and `unpause`: what stands still, what is refused meanwhile, what ends it.

use minke_e2e::{Client, Rig, case, once, within};
use serde_json::json;

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done'");
        rig.await_log("one", "5\n");
        assert_eq!(rig.ok("pause one"), "one");
        let state = rig.inspect("one")["State"].clone();
        assert_eq!(
            (&state["Status"], &state["Running"], &state["Paused"]),
            (&json!("paused"), &json!(true), &json!(true))
        );
        assert!(rig.ok("ps").contains("(Paused)"));
        assert_eq!(rig.ok("ps -q --filter status=paused").lines().count(), 1);
        assert_eq!(rig.get("/info").json()["ContainersPaused"], 1);
        let before = rig.ok("logs one");
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(rig.ok("logs one"), before);
        rig.fails("pause one", 1, "is already paused");
        rig.fails("exec one true", 1, "is paused, unpause the container before exec");
        rig.fails("start one", 1, "cannot start a paused container, try unpause instead");
        rig.fails("attach one", 1, "annot attach to a paused container, unpause it first");
        rig.fails(
            "rm one",
            1,
            if rig.engine_is_like(26) {
                "container is paused and must be unpaused first"
            } else {
                "paused container"
            },
        );
        assert_eq!(rig.ok("unpause one"), "one");
        assert_eq!(rig.inspect("one")["State"]["Paused"], false);
        within(20, "it goes on", || (rig.ok("logs one").len() > before.len()).then_some(()));
        rig.fails("unpause one", 1, "is not paused");
        rig.ok("kill one");
        rig.ok("wait one");
        rig.fails("pause one", 1, "is not running");
        rig.fails("pause missing", 1, "No such container: missing");
        rig.fails("unpause one", 1, "is not paused");
    });
}

#[test]
fn what_ends_a_container_lets_it_go_on_first() {
    case(|rig| {
        let trap = "busybox sh -c 'trap \"exit 4\" TERM; echo up; while :; do sleep 0.02; done'";
        rig.ok(&format!("run -d --name stopped {trap}"));
        rig.await_log("stopped", "up");
        rig.ok("pause stopped");
        rig.ok("stop -t 30 stopped");
        assert_eq!(rig.inspect("stopped")["State"]["ExitCode"], 4);
        rig.ok("run -d --name killed busybox sleep 1000");
        rig.ok("pause killed");
        rig.ok("kill killed");
        assert_eq!(rig.ok("wait killed"), "137");
        rig.ok("run -d --name removed busybox sleep 1000");
        rig.ok("pause removed");
        rig.ok("rm -f removed");
        rig.ok("run -d --name again busybox sleep 1000");
        let first = rig.inspect("again")["State"]["Pid"].clone();
        rig.ok("pause again");
        rig.ok("restart -t 0 again");
        let state = rig.inspect("again")["State"].clone();
        assert!(state["Running"] == true && state["Paused"] == false && state["Pid"] != first, "{state}");
    });
}

#[test]
fn pausing_is_told() {
    once(|rig| {
        let id = rig.ok("run -d --name one busybox sleep 1000");
        assert_eq!(rig.post("/containers/one/pause", &json!(null)).status, 204);
        assert_eq!(rig.post("/containers/one/unpause", &json!(null)).status, 204);
        let filters =
            minke_e2e::escape(&json!({"container": [id], "event": ["pause", "unpause"]}).to_string());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
        let path = format!("/events?since=1&until={:.6}&filters={filters}", now.as_secs_f64());
        let told = rig.get(&path).text();
        let actions: Vec<&str> =
            told.lines().map(|line| if line.contains("\"unpause\"") { "unpause" } else { "pause" }).collect();
        assert_eq!(actions, ["pause", "unpause"], "{told}");
    });
}

#[test]
fn a_paused_container_is_paused_for_the_next_engine() {
    Rig::run(Client::Minke, &[], |rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        rig.ok("run -d --name other busybox sleep 1000");
        rig.ok("pause one");
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("one")["State"]["Status"], "paused");
        assert_eq!(rig.inspect("other")["State"]["Status"], "running");
        rig.ok("unpause one");
        assert_eq!(rig.ok("exec one echo up"), "up");
    });
}
