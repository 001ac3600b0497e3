//! Limits of memory, processor time and processes: seen to hold, on cgroup v1 and v2.

use std::time::{Duration, Instant};

use minke_e2e::{EngineKind, case, once, within};

#[test]
fn a_container_over_its_memory_is_killed_and_says_so() {
    case(|rig| {
        // tail keeps a line without an end in memory.
        let output = rig.cli("run --name big --memory 16m --memory-swap 16m busybox sh -c 'head -c 64m /dev/zero | tail -c 64m >/dev/null'");
        let state = rig.inspect("big")["State"].clone();
        assert_ne!(output.code, 0, "{output:?}");
        assert_eq!(state["OOMKilled"], true, "{state}");
        rig.ok("run -d --name main --memory 64m --memory-swap 64m busybox tail -c 200m /dev/zero");
        let state = rig.await_status("main", "exited")["State"].clone();
        assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()), "{state}");
        rig.ok("run --name small --memory 64m busybox true");
        assert_eq!(rig.inspect("small")["State"]["OOMKilled"], false);
    });
}

#[test]
fn half_a_processor_is_half_a_processor() {
    once(|rig| {
        rig.ok("run -d --name half --cpus 0.5 busybox sh -c 'while :; do :; done'");
        let used = || -> f64 {
            // Fields 14 and 15 of the first process: ticks of 10 ms.
            let stat = rig.ok("exec half cat /proc/1/stat");
            let fields: Vec<&str> = stat.split(' ').collect();
            fields[13..15].iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
        };
        // A long way, because the other tests take processor time as well: it is the upper bound that counts.
        let (start, before) = (Instant::now(), used());
        std::thread::sleep(Duration::from_secs(4));
        let share = (used() - before) / start.elapsed().as_secs_f64();
        assert!(share < 0.58, "{share}");
        assert!(share > 0.1, "{share}");
    });
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    case(|rig| {
        rig.ok("run -d --name bomb --pids-limit 20 busybox sh -c 'while :; do sleep 1000 & done'");
        let pids = || std::fs::read_dir("/proc").map(|entries| entries.count()).unwrap_or(0);
        rig.await_log("bomb", "can't fork");
        assert!(pids() < 20_000);
        let count = || rig.get("/containers/bomb/json").json()["State"]["Status"].clone();
        assert!(["running", "exited"].contains(&count().as_str().unwrap_or_default()));
        rig.ok("rm -f bomb");
    });
}

#[test]
fn the_limits_are_those_of_the_cgroup() {
    case(|rig| {
        let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let files = if v2 {
            "memory.max memory.swap.max cpu.max pids.max"
        } else {
            "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max"
        };
        let swap = std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
        let files: Vec<&str> = files.split(' ').filter(|file| swap || !file.contains("memsw")).collect();
        let line = format!(
            "run --rm --memory 32m --memory-swap 48m --cpus 1.5 --pids-limit 77 busybox sh -c 'cd /sys/fs/cgroup; cat {}'",
            files.join(" ")
        );
        let expected = match (v2, swap) {
            (true, _) => "33554432\n16777216\n150000 100000\n77",
            (false, true) => "33554432\n50331648\n150000\n77",
            (false, false) => "33554432\n150000\n77",
        };
        assert_eq!(rig.ok(&line), expected);
        let mounts = rig.ok("run --rm busybox sh -c 'grep cgroup /proc/mounts'");
        assert!(
            mounts.lines().all(|line| line.contains(" ro,") || line.contains("/sys/fs/cgroup tmpfs")),
            "{mounts}"
        );
    });
}

#[test]
fn a_process_is_born_in_its_cgroup() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // runc moves it
        }
        rig.ok("run -d --name main --pids-limit 5 busybox sleep 1000");
        let exec = rig.spawn("exec main sh -c 'echo in; sleep 1000'");
        exec.expect("in");
        let of = |pid: i64| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let main = rig.inspect("main")["State"]["Pid"].as_i64().expect("a pid");
        let groups = of(main);
        let others: Vec<i64> =
            rig.marks().processes().into_iter().map(i64::from).filter(|pid| of(*pid) == groups).collect();
        assert!(others.len() >= 2, "the init and the exec are in one cgroup: {others:?}");
        within(10, "too many are refused", || {
            let output = rig.cli("exec main sh -c 'for i in 1 2 3 4 5 6; do sleep 1000 & done'");
            (output.code != 0 || output.stderr.contains("can't fork")).then_some(())
        });
    });
}
