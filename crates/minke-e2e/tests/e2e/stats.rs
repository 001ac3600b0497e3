//! `stats` and `top`: what containers use, and their processes.

use std::path::Path;

use minke_e2e::{Client, EngineKind, case, once};

#[test]
fn what_a_container_uses_is_told_in_dockers_form() {
    once(|rig| {
        rig.ok("run -d --name busy --memory 64m --pids-limit 50 busybox sh -c 'while :; do :; done'");
        let first = rig.get("/containers/busy/stats?stream=0&one-shot=1").json();
        assert_eq!(first["name"], "/busy");
        assert_eq!(first["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(first["precpu_stats"]["cpu_usage"]["total_usage"], 0);
        assert_eq!(first["precpu_stats"].get("system_cpu_usage"), None);
        assert_eq!(first["memory_stats"]["limit"], 64 << 20);
        assert!(first["memory_stats"]["usage"].as_u64().is_some_and(|bytes| bytes < 64 << 20), "{first}");
        assert!(first["pids_stats"]["current"].as_u64().is_some_and(|count| count >= 1), "{first}");
        assert!(first["blkio_stats"]["io_service_bytes_recursive"].is_array(), "{first}");
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(first["blkio_stats"]["io_queue_recursive"].is_null(), v2, "{first}");
        assert_eq!(first["cpu_stats"]["cpu_usage"]["percpu_usage"].is_array(), !v2, "{first}");
        let file = if v2 { "inactive_file" } else { "total_inactive_file" };
        assert!(first["memory_stats"]["stats"][file].is_u64(), "{first}");
        assert_eq!(first.get("networks"), None, "it has no network: {first}");

        let second = rig.get("/containers/busy/stats?stream=0").json();
        let cpu = |part: &str| second[part]["cpu_usage"]["total_usage"].as_u64().unwrap_or(0);
        assert!(cpu("cpu_stats") > cpu("precpu_stats") && cpu("precpu_stats") > 0, "{second}");
        let all = |part: &str| second[part]["system_cpu_usage"].as_u64().unwrap_or(0);
        assert!(all("cpu_stats") > all("precpu_stats"), "{second}");

        rig.ok("create --name idle busybox true");
        let idle = rig.get("/containers/idle/stats?stream=0").json();
        assert_eq!(idle["read"], "0001-01-01T00:00:00Z");
        assert_eq!(idle["memory_stats"], serde_json::json!({}));
        assert_eq!(idle["pids_stats"], serde_json::json!({}));
        assert!(idle["blkio_stats"]["io_service_bytes_recursive"].is_null(), "{idle}");
        assert_eq!(rig.get("/containers/nobody/stats?stream=0").status, 404);
    });
}

#[test]
fn stats_shows_each_container_once_or_as_it_changes() {
    case(|rig| {
        rig.ok("run -d --name half --cpus 0.5 busybox sh -c 'while :; do :; done'");
        rig.ok("create --name idle busybox true");
        let line = "stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.PIDs}}'";
        let shown = rig.ok(line);
        let share = shown.strip_prefix("half ").and_then(|rest| rest.strip_suffix("% 1"));
        let share: f64 = share.and_then(|share| share.parse().ok()).unwrap_or_else(|| panic!("{shown}"));
        // Beside other tests it may get less, and in one second more; the docker client counts ticks, which an emulated
        // machine loses.
        let most = if rig.client() == Client::Minke { 90.0 } else { 99.0 };
        assert!((5.0..most).contains(&share), "{shown}");
        let shown = rig.ok("stats --no-stream --all --no-trunc half idle");
        let id = rig.inspect("half")["Id"].as_str().expect("an id").to_owned();
        assert!(shown.starts_with("CONTAINER ID") && shown.contains(&id), "{shown}");
        let idle: Vec<&str> =
            shown.lines().find(|line| line.contains("idle")).expect("a row").split("  ").collect();
        let idle: Vec<&str> = idle.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(idle[1..], ["idle", "0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]);
        let stream = rig.spawn("stats --format '{{.Name}}={{.PIDs}}' half");
        stream.expect("half=1");
        rig.fails("stats --no-stream nobody", 1, "No such container: nobody");
    });
}

#[test]
fn top_lists_the_processes_as_ps_does() {
    case(|rig| {
        rig.ok("run -d --name main busybox sh -c 'sleep 1000 & sleep 2000; true'");
        minke_e2e::within(10, "both sleep", || rig.ok("top main").contains("sleep 2000").then_some(()));
        let shown = rig.ok("top main");
        let titles: Vec<&str> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(shown.lines().count(), 4, "{shown}");
        assert!(shown.contains("sleep 1000") && shown.contains("root"), "{shown}");
        let table = rig.get("/containers/main/top?ps_args=-o%20pid,comm").json();
        assert_eq!(table["Titles"], serde_json::json!(["PID", "COMMAND"]));
        assert_eq!(table["Processes"].as_array().map(Vec::len), Some(3), "{table}");
        let table = rig.get("/containers/main/top?ps_args=aux").json();
        assert_eq!(
            table["Titles"],
            serde_json::json!([
                "USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"
            ])
        );
        rig.fails("top main -o comm", 1, "Couldn't find PID field in ps output");
        rig.fails("top main -zz", 1, "ps: error: unsupported");
        rig.ok("create --name idle busybox true");
        let answer = rig.get("/containers/idle/top");
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains("is not running"), "{answer:?}");
        if rig.kind() == EngineKind::Minke {
            let pid = rig.inspect("main")["State"]["Pid"].to_string();
            assert!(shown.lines().any(|line| line.split_whitespace().nth(1) == Some(&pid)), "{shown}");
        }
    });
}
