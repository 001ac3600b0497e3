//! `events`: what is told of a container's and an image's life, and what the filters let through. `inspect` has its shape.

use std::time::{SystemTime, UNIX_EPOCH};

use minke_e2e::{Rig, case, escape, once};
use serde_json::{Value, json};

/// What has been told so far and fits these filters, in order.
fn told(rig: &Rig, filters: Value) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs_f64();
    let answer = rig.get(&format!("/events?since=1&until={now:.6}&filters={}", escape(&filters.to_string())));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

fn actions(rig: &Rig, filters: Value) -> Vec<String> {
    told(rig, filters).iter().map(|event| event["Action"].as_str().unwrap_or_default().to_string()).collect()
}

fn attribute(event: &Value, name: &str) -> String {
    event["Actor"]["Attributes"][name].as_str().unwrap_or_default().to_string()
}

#[test]
fn a_container_s_life_is_told_in_docker_s_words() {
    case(|rig| {
        rig.ok("create --name one --label tier=front busybox sh -c 'trap \"exit 4\" TERM; while :; do sleep 0.02; done'");
        rig.ok("start one");
        rig.ok("exec one true");
        rig.ok("pause one");
        rig.ok("unpause one");
        rig.ok("restart -t 20 one");
        rig.ok("rename one two");
        rig.ok("stop -t 20 two");
        rig.ok("rm two");
        let seen = actions(rig, json!({"type": ["container"]}));
        let exec: Vec<&String> = seen.iter().filter(|action| action.starts_with("exec_")).collect();
        assert_eq!(exec, ["exec_create: true ", "exec_start: true ", "exec_die"]);
        let others: Vec<&String> = seen.iter().filter(|action| !action.starts_with("exec_")).collect();
        assert_eq!(
            others,
            [
                "create", "start", "pause", "unpause", "kill", "die", "stop", "start", "restart", "rename",
                "kill", "die", "stop", "destroy"
            ]
        );
        let kill = told(rig, json!({"event": ["kill"]}));
        assert_eq!((kill.len(), attribute(&kill[0], "signal").as_str()), (2, "15"));
        let rename = told(rig, json!({"event": ["rename"]}));
        assert_eq!(
            (attribute(&rename[0], "oldName"), attribute(&rename[0], "name")),
            ("/one".into(), "two".into())
        );
        let exec_die = told(rig, json!({"event": ["exec_die"]}));
        assert_eq!(
            (attribute(&exec_die[0], "exitCode").as_str(), attribute(&exec_die[0], "execID").len()),
            ("0", 64)
        );
        assert_eq!(attribute(&exec_die[0], "tier"), "front");
    });
}

#[test]
fn filters_choose() {
    once(|rig| {
        let id = rig.ok("run -d --name web --label tier=front busybox sleep 1000");
        rig.ok("run -d --name db --label tier=back busybox true");
        rig.ok("wait db");
        rig.ok("exec web true");
        for (filters, expected) in [
            (json!({"container": ["web"], "event": ["start"]}), vec!["start"]),
            (json!({"container": [&id[..12]], "event": ["start"]}), vec!["start"]),
            (json!({"container": ["we"], "event": ["start"]}), vec!["start"]),
            (json!({"container": ["web", "db"], "event": ["start", "die"]}), vec!["start", "start", "die"]),
            (json!({"label": ["tier=back"], "event": ["create"]}), vec!["create"]),
            (json!({"label": ["tier"], "event": ["create"]}), vec!["create", "create"]),
            (json!({"label": ["tier=front", "tier=back"]}), vec![]),
            (json!({"image": ["busybox"], "event": ["die"]}), vec!["die"]),
            (json!({"image": ["busybox"], "type": ["container"], "event": ["die"]}), vec!["die"]),
            (json!({"image": ["other"]}), vec![]),
            (json!({"event": ["exec_create"]}), vec!["exec_create: true "]),
            (json!({"scope": ["local"], "event": ["exec_die"]}), vec!["exec_die"]),
            (json!({"scope": ["swarm"]}), vec![]),
            (json!({"type": ["image"], "event": ["import"]}), vec!["import"]),
            (json!({"volume": ["x"]}), vec![]),
            (json!({"network": ["no-such-network"]}), vec![]),
            (json!({"daemon": ["no-such-daemon"]}), vec![]),
        ] {
            assert_eq!(actions(rig, filters.clone()), expected, "{filters}");
        }
        let refused = rig.get(&format!("/events?until=1&filters={}", escape("{\"colour\":[\"red\"]}")));
        assert!(refused.status == 400 || !rig.is_like(25), "{refused:?}");
        rig.fails("events --since 2024-01-02 --until 2024-01-01", 1, "cannot be after `until` time");
    });
}

#[test]
fn an_image_s_events_have_its_labels() {
    once(|rig| {
        rig.import("labelled", minke_e2e::rootfs::busybox_tar(), &["LABEL colour=red"]);
        rig.ok("tag labelled again");
        rig.ok("rmi again");
        let seen = told(rig, json!({"type": ["image"], "label": ["colour=red"]}));
        let actions: Vec<&str> = seen.iter().filter_map(|event| event["Action"].as_str()).collect();
        assert_eq!(actions, ["tag", "import", "tag", "untag"]);
        rig.ok("rmi labelled");
        assert!(told(rig, json!({"type": ["image"]})).iter().any(|event| event["Action"] == "delete"));
    });
}
