//! Health checks: what probes say of a container, when they are run, what is shown and told of them.

use minke_e2e::{Client, Rig, by_docker, case, once, process, within};
use serde_json::{Value, json};

/// Waits until a container's health is `status`, and returns what `inspect` says of it then.
fn await_health(rig: &Rig, name: &str, status: &str) -> Value {
    let mut last = Value::Null;
    within(30, &format!("{name} is {status}"), || {
        last = rig.inspect(name)["State"]["Health"].clone();
        (last["Status"] == status).then_some(())
    });
    last
}

/// The actions that have been told of a container, in order.
fn actions(rig: &Rig, name: &str) -> Vec<String> {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs_f64();
    let filters = minke_e2e::escape(&json!({"container": [name]}).to_string());
    let answer = rig.get(&format!("/events?since=1&until={now:.6}&filters={filters}")).text();
    let action =
        |line: &str| serde_json::from_str::<Value>(line).ok()?["Action"].as_str().map(str::to_string);
    answer.lines().filter_map(action).collect()
}

#[test]
fn a_container_is_starting_then_healthy_then_unhealthy() {
    case(|rig| {
        let times = if rig.is_like(25) { "--health-start-interval 50ms" } else { "" };
        rig.ok(&format!("run -d --name one --health-cmd 'echo looked; test -e /tmp/ok' --health-interval 50ms --health-retries 2 --health-start-period 1h {times} busybox sleep 1000"));
        let health = await_health(rig, "one", "starting");
        assert_eq!(health["FailingStreak"], 0, "{health}");
        assert!(rig.ok("ps").contains("(health: starting)"));
        rig.ok("exec one touch /tmp/ok");
        let health = await_health(rig, "one", "healthy");
        let last = health["Log"].as_array().and_then(|log| log.last()).expect("a probe").clone();
        assert_eq!((&last["ExitCode"], &last["Output"]), (&json!(0), &json!("looked\n")), "{health}");
        assert!(last["Start"].as_str() <= last["End"].as_str());
        assert!(rig.ok("ps").contains("(healthy)"));
        assert_eq!(rig.ok("ps -q --filter health=healthy").lines().count(), 1);
        assert_eq!(rig.ok("ps -q --filter health=starting"), "");
        rig.ok("exec one rm /tmp/ok");
        let health = await_health(rig, "one", "unhealthy");
        assert!(health["FailingStreak"].as_i64() >= Some(2), "{health}");
        within(20, "the log is full", || {
            let log = rig.inspect("one")["State"]["Health"]["Log"].clone();
            let last =
                |code: i64| log.as_array().is_some_and(|log| log.len() == 5 && log[4]["ExitCode"] == code);
            last(1).then_some(())
        });
        rig.ok("exec one touch /tmp/ok");
        await_health(rig, "one", "healthy");
        let told: Vec<String> =
            actions(rig, "one").into_iter().filter(|action| action.starts_with("health_status")).collect();
        assert_eq!(told, ["health_status: healthy", "health_status: unhealthy", "health_status: healthy"]);
        rig.ok("stop -t 0 one");
        assert_eq!(rig.inspect("one")["State"]["Health"]["Status"], "unhealthy", "nobody looks any more");
    });
}

#[test]
fn probes_are_execs_of_the_container() {
    once(|rig| {
        rig.ok("run -d --name one -u alice -w /tmp --health-cmd 'id -un; pwd; exit 3' --health-interval 50ms --health-retries 1 busybox sleep 1000");
        let health = await_health(rig, "one", "unhealthy");
        assert_eq!(health["Log"][0]["ExitCode"], 3, "{health}");
        assert_eq!(health["Log"][0]["Output"], "alice\n/tmp\n", "{health}");
        for action in [
            "exec_create: /bin/sh -c id -un; pwd; exit 3",
            "exec_start: /bin/sh -c id -un; pwd; exit 3",
            "exec_die",
        ] {
            within(10, action, || actions(rig, "one").iter().any(|told| told == action).then_some(()));
        }
    });
}

#[test]
fn a_probe_that_takes_too_long_is_killed_and_long_output_is_cut() {
    once(|rig| {
        rig.ok("run -d --name slow --health-cmd 'echo begun; exec sleep 1001' --health-interval 50ms --health-timeout 300ms --health-retries 1 busybox sleep 1000");
        let health = await_health(rig, "slow", "unhealthy");
        assert_eq!(health["Log"][0]["ExitCode"], -1, "{health}");
        let words = if rig.is_like(23) {
            "Health check exceeded timeout (300ms): begun\n"
        } else {
            "Health check exceeded timeout (300ms)"
        };
        assert!(
            health["Log"][0]["Output"].as_str().is_some_and(|output| output.starts_with(words)),
            "{health}"
        );
        rig.ok("pause slow");
        rig.ok("unpause slow");
        rig.ok(
            "run -d --name long --health-cmd 'yes | head -c 10000' --health-interval 50ms busybox sleep 1000",
        );
        let health = await_health(rig, "long", "healthy");
        let output = health["Log"][0]["Output"].as_str().expect("an output");
        assert_eq!((output.len(), output.ends_with("...")), (4099, true));
        rig.ok("run -d --name missing --health-interval 50ms --health-retries 1 --health-cmd x busybox sleep 1000");
        let body = json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"},
            "Healthcheck": {"Test": ["CMD", "/no/such/program"], "Interval": 50_000_000, "Retries": 1},
        });
        assert_eq!(rig.post("/containers/create?name=gone", &body).status, 201);
        rig.ok("start gone");
        let health = await_health(rig, "gone", "unhealthy");
        let log = &health["Log"][0];
        assert!(
            log["ExitCode"] == -1 && log["Output"].as_str().is_some_and(|text| text.contains("no such file")),
            "{health}"
        );
    });
}

#[test]
fn an_images_probe_is_taken_and_can_be_refused() {
    case(|rig| {
        rig.import(
            "probed",
            minke_e2e::rootfs::busybox_tar(),
            &[
                "CMD [\"sleep\", \"1000\"]",
                "ENV PATH=/bin",
                "HEALTHCHECK --interval=1h --retries=7 CMD test -e /tmp/ok",
            ],
        );
        rig.ok("create --name own --health-interval 50ms probed");
        let probe = rig.inspect("own")["Config"]["Healthcheck"].clone();
        assert_eq!(
            probe,
            json!({"Test": ["CMD-SHELL", "test -e /tmp/ok"], "Interval": 50_000_000, "Retries": 7})
        );
        rig.ok("run -d --name none --no-healthcheck probed");
        assert_eq!(rig.inspect("none")["Config"]["Healthcheck"]["Test"], json!(["NONE"]));
        assert_eq!(rig.inspect("none")["State"]["Health"], Value::Null);
        assert_eq!(rig.ok("ps -aq --filter health=none").lines().count(), 2, "one never ran");
        rig.fails(
            "create --no-healthcheck --health-cmd x probed",
            125,
            "--no-healthcheck conflicts with --health-* options",
        );
        rig.fails(
            "create --health-retries -1 --health-cmd x probed",
            125,
            "--health-retries cannot be negative",
        );
        rig.fails(
            "run --health-interval 1us --health-cmd x probed",
            125,
            "Interval in Healthcheck cannot be less than 1ms",
        );
    });
}

#[test]
fn probing_goes_on_after_the_engine_was_killed() {
    Rig::run(Client::Minke, &[], |rig| {
        rig.ok("run -d --name one --health-cmd 'test -e /tmp/ok' --health-interval 50ms --health-retries 1 busybox sleep 1000");
        rig.ok("run -d --name stuck --health-cmd 'exec sleep 4242' --health-interval 50ms --health-timeout 1h busybox sleep 1000");
        await_health(rig, "one", "unhealthy");
        let probes = || rig.ok("exec stuck sh -c 'ps | grep -c \"sleep [4]242\" || true'");
        within(20, "the probe runs", || (probes() == "1").then_some(()));
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("one")["State"]["Health"]["Status"], "unhealthy", "it is known what was");
        rig.ok("exec one touch /tmp/ok");
        await_health(rig, "one", "healthy");
        within(20, "the next engine's probe is the only one", || {
            rig.inspect("stuck")["ExecIDs"].as_array().is_some_and(|ids| ids.len() == 1).then_some(())
        });
        assert_eq!(probes(), "1");
        assert!(process::is_alive(rig.engine_pid()));
    });
}

#[test]
fn the_docker_client_shows_it() {
    by_docker(|rig| {
        rig.ok("run -d --name one --health-cmd true --health-interval 50ms busybox sleep 1000");
        await_health(rig, "one", "healthy");
        assert_eq!(rig.ok("inspect --format '{{.State.Health.Status}}' one"), "healthy");
    });
}
