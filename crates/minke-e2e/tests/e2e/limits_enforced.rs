//! Limits that few kernels have: real-time scheduling of groups, containers without a killer, weights of disks. Each test says what the
//! kernel at hand has to do.

use std::path::Path;
use std::process::Command;

use minke_e2e::{Client, EngineKind, Rig, once, within};

use crate::limits::{group_file, group_file_if_there, v2};

#[test]
fn real_time_is_given_where_the_kernel_has_it_for_groups() {
    let path = Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us");
    if v2() || !path.exists() {
        once(|rig| {
            let words = "Your kernel does not support CPU real-time scheduler";
            rig.fails("run --rm --cpu-rt-runtime 5000 busybox true", 125, words);
        });
        return;
    }
    // The parents have to have what a container is given.
    Rig::run(Client::Minke, &["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "20000"], |rig| {
        rig.ok("run -d --name rt --cpu-rt-period 500000 --cpu-rt-runtime 4000 busybox sleep 1000");
        assert_eq!(group_file(rig, "rt", "cpu/cpu.rt_period_us", ""), "500000");
        assert_eq!(group_file(rig, "rt", "cpu/cpu.rt_runtime_us", ""), "4000");
        // Whoever is in the group may be scheduled so, and nobody in one without.
        rig.ok("run -d --name other busybox sleep 1000");
        let is_taken = |name: &str| {
            let pid = rig.inspect(name)["State"]["Pid"].to_string();
            let output =
                Command::new("chrt").args(["--fifo", "--pid", "5", &pid]).output().expect("chrt is there");
            output.status.success()
        };
        assert_eq!((is_taken("rt"), is_taken("other")), (true, false));
        rig.ok("update --cpu-rt-runtime 8000 rt");
        assert_eq!(group_file(rig, "rt", "cpu/cpu.rt_runtime_us", ""), "8000");
        rig.fails(
            "run --rm --cpu-rt-period 1000 --cpu-rt-runtime 2000 busybox true",
            125,
            "cpu real-time runtime cannot be higher than cpu real-time period",
        );
    });
}

/// Without a killer a container over its limit stands still, and goes on once there is room.
#[test]
fn without_its_killer_a_container_waits_for_memory() {
    once(|rig| {
        if v2() || rig.kind() == EngineKind::Dockerd {
            return; // version 2 has no such switch: what_the_host_cannot_enforce_is_told
        }
        // It must be the program itself that touches new memory: a read by the kernel for it fails instead.
        let grow =
            "x=0123456789abcdef; while [ ${#x} -lt 33554432 ]; do x=$x$x; done; echo went on; sleep 1000";
        rig.ok(&format!(
            "run -d --name main --memory 16m --memory-swap 16m --oom-kill-disable busybox sh -c '{grow}'"
        ));
        within(30, "it waits", || {
            group_file(rig, "main", "memory/memory.oom_control", "").contains("under_oom 1").then_some(())
        });
        let state = rig.inspect("main")["State"].clone();
        assert_eq!((&state["Running"], &state["OOMKilled"]), (&true.into(), &false.into()), "{state}");
        rig.ok("update --memory 512m --memory-swap 512m main");
        rig.await_log("main", "went on");
        rig.ok("rm -f main");
    });
}

#[test]
fn a_weight_of_disks_is_in_the_file_that_the_kernel_reads() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let answer = rig.post(
            "/containers/create?name=main",
            &serde_json::json!({
                "Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"BlkioWeight": 300},
            }),
        );
        let info = rig.get("/info").json()["Warnings"].to_string();
        let is_told = answer.text().contains("Block I/O weight");
        if v2() {
            assert_eq!(info.contains("No io.weight support"), is_told, "{info} {answer:?}");
        }
        rig.ok("start main");
        if is_told {
            assert_eq!(rig.inspect("main")["HostConfig"]["BlkioWeight"], 0);
            return;
        }
        assert_eq!(rig.inspect("main")["HostConfig"]["BlkioWeight"], 300);
        let found: Vec<String> = [
            group_file_if_there(rig, "main", "blkio/blkio.bfq.weight", "io.bfq.weight"),
            group_file_if_there(rig, "main", "blkio/blkio.weight", "io.weight"),
        ]
        .into_iter()
        .flatten()
        .collect();
        // `io.weight` has another scale: 300 of 10 to 1000 is 2930 of 1 to 10000.
        let fits = |text: &String| ["300", "default 300", "default 2930"].contains(&text.as_str());
        assert!(found.iter().any(fits), "{found:?}");
    });
}
