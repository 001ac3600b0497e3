//! Limits of memory, processors, processes, disks, devices: seen to hold, and to change, on cgroup v1 and v2.

use std::path::Path;
use std::time::{Duration, Instant};

use minke_e2e::{Client, EngineKind, Rig, case, clients, once, within};
use serde_json::Value;

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

/// Whether control groups are version 2.
pub fn v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The value of a file of a running container's group on the host: `v1` is `controller/file`.
pub fn group_file(rig: &Rig, container: &str, v1: &str, v2_file: &str) -> String {
    let text = group_file_if_there(rig, container, v1, v2_file);
    text.unwrap_or_else(|| panic!("{container} has no {v1} nor {v2_file}"))
}

/// The same where the kernel may not have the file.
pub fn group_file_if_there(rig: &Rig, container: &str, v1: &str, v2_file: &str) -> Option<String> {
    let pid = rig.inspect(container)["State"]["Pid"].as_i64().expect("a pid");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    let (controller, v1_file) = v1.split_once('/').expect("a controller");
    let row = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let wanted = if v2() { names.is_empty() } else { names.split(',').any(|name| name == controller) };
        wanted.then(|| path.to_owned())
    });
    let path = row.expect("its group");
    let file = if v2() {
        format!("/sys/fs/cgroup{path}/{v2_file}")
    } else {
        format!("/sys/fs/cgroup/{controller}{path}/{v1_file}")
    };
    Some(std::fs::read_to_string(&file).ok()?.trim().to_owned())
}

#[test]
fn a_container_keeps_to_its_processors() {
    case(|rig| {
        let line = "run --rm --cpuset-cpus 0 --cpuset-mems 0 busybox grep _allowed_list /proc/self/status";
        let words: Vec<String> = rig.ok(line).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["Cpus_allowed_list:", "0", "Mems_allowed_list:", "0"]);
    });
}

#[test]
fn limits_of_a_process_are_the_containers_or_the_engines() {
    Rig::run(Client::Minke, &["--default-ulimit", "nofile=88:99", "--default-ulimit", "core=0"], |rig| {
        let show = "sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'";
        assert_eq!(rig.ok(&format!("run --rm busybox {show}")), "88\n99\n0");
        rig.ok("run -d --name own --ulimit nofile=7:9 busybox sleep 1000");
        assert_eq!(rig.ok(&format!("exec own {show}")), "7\n9\n0");
        assert_eq!(rig.inspect("own")["HostConfig"]["Ulimits"][0]["Soft"], 7);
        // Standard streams and the directory take some of the seven.
        let output = rig.cli("exec own sh -c 'exec 3</bin 4</bin 5</bin 6</bin 7</bin'");
        assert!(output.code != 0, "{output:?}");
    });
}

#[test]
fn what_takes_a_capability_that_the_engine_lacks_is_refused_by_its_name() {
    once(|rig| {
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a mask");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
        if mask & (1 << 24) == 0 {
            rig.fails("run --rm --oom-score-adj -500 busybox true", 126, "CAP_SYS_RESOURCE");
        } else {
            let line = "run --rm --oom-score-adj -500 busybox cat /proc/self/oom_score_adj";
            assert_eq!(rig.ok(line), "-500");
        }
        rig.fails(
            "run --rm --ulimit nofile=2000000000 busybox true",
            125,
            "error setting rlimit type 7 (above the engine's own it takes CAP_SYS_RESOURCE",
        );
        assert_eq!(rig.ok("run --rm --oom-score-adj 300 busybox cat /proc/self/oom_score_adj"), "300");
    });
}

#[test]
fn kernel_parameters_are_the_containers_own() {
    case(|rig| {
        let output = rig.ok(
            "run --rm --sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=5000 busybox cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax",
        );
        assert_eq!(output, "77\n5000");
        let words = if rig.is_like(23) { "not allowed" } else { "not whitelisted" };
        rig.fails(
            "run --rm --sysctl kernel.foo=1 busybox true",
            125,
            &format!("sysctl 'kernel.foo=1' is {words}"),
        );
        let output = rig.cli("run --rm --sysctl net.ipv4.nope=1 busybox true");
        assert!(
            output.stderr.contains("open /proc/sys/net/ipv4/nope: no such file or directory"),
            "{output:?}"
        );
    });
}

#[test]
fn a_device_is_there_with_its_rights_and_no_other_is() {
    case(|rig| {
        // The kernel's log: it has a driver, and no container may use it.
        let node = rig.scratch().join("node");
        let number = rustix::fs::makedev(1, 11);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let made =
            rustix::fs::mknodat(rustix::fs::CWD, &node, rustix::fs::FileType::CharacterDevice, mode, number);
        made.expect("a node");
        let node = node.display();
        rig.ok(&format!("run --rm --device {node}:/dev/inside busybox sh -c ': >/dev/inside'"));
        rig.fails(
            &format!("run --rm --device {node}:/dev/inside:r busybox sh -c ': >/dev/inside'"),
            1,
            "Operation not permitted",
        );
        let make = "sh -c 'mknod /k c 1 11 && : >/k'";
        rig.fails(&format!("run --rm busybox {make}"), 1, "Operation not permitted");
        rig.ok(&format!("run --rm --device-cgroup-rule 'c 1:11 w' busybox {make}"));
        rig.fails(
            "run --rm --device /dev/nowhere busybox true",
            127,
            "error gathering device information while adding custom device \"/dev/nowhere\": no such file or directory",
        );
        rig.fails(
            "run --rm --device /etc/passwd busybox true",
            125,
            "error gathering device information while adding custom device \"/etc/passwd\": not a device node",
        );
    });
}

/// The disk that a path is on; none: it is in memory.
fn disk_of(path: &Path) -> Option<String> {
    let number = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).expect("it is there"));
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let link = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if link.join("partition").exists() { link.parent().expect("a disk") } else { &link };
    let event = std::fs::read_to_string(whole.join("uevent")).expect("the disk's words");
    let name = event.lines().find_map(|line| line.strip_prefix("DEVNAME=")).expect("the disk's name");
    Some(format!("/dev/{name}"))
}

#[test]
fn a_disk_is_written_no_faster_than_allowed() {
    // The engine's data are on a disk: what is temporary is in memory on some machines.
    let temporary = std::env::temp_dir();
    let on_disk = disk_of(&temporary).is_some();
    let data = tempfile::Builder::new().prefix("minke-e2e-").tempdir_in("/var/tmp").expect("a folder");
    let root = data.path().to_str().expect("a name in ASCII");
    let flags: &[&str] = if on_disk { &[] } else { &["--data-root", root] };
    Rig::run(clients()[0], flags, |rig| {
        let disk = disk_of(if on_disk { &temporary } else { data.path() }).expect("a disk");
        let write = "dd if=/dev/zero of=/file bs=512k count=4 oflag=direct";
        let start = Instant::now();
        rig.ok(&format!("run --rm --device-write-bps {disk}:1mb busybox {write}"));
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900), "two megabytes at one each second: {took:?}");
        rig.ok(&format!(
            "run -d --name limited --device-read-bps {disk}:3mb --device-read-iops {disk}:70 --device-write-iops {disk}:80 busybox sleep 1000"
        ));
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let shown = group_file(rig, "limited", "blkio/blkio.throttle.read_bps_device", "io.max");
        assert!(shown.contains("3145728"), "{shown}");
        let shown = group_file(rig, "limited", "blkio/blkio.throttle.read_iops_device", "io.max");
        assert!(shown.contains("70"), "{shown}");
        let shown = group_file(rig, "limited", "blkio/blkio.throttle.write_iops_device", "io.max");
        assert!(shown.contains("80"), "{shown}");
        rig.fails(
            "run --rm --device-read-bps /dev/nowhere:1mb busybox true",
            127,
            "stat /dev/nowhere: no such file or directory",
        );
    });
}

#[test]
fn what_the_host_cannot_enforce_is_told() {
    case(|rig| {
        let line = "create --name main --memory 64m --memory-swappiness 10 --oom-kill-disable --blkio-weight 300 busybox sleep 1000";
        let output = rig.cli(line);
        assert_eq!(output.code, 0, "{output:?}");
        let host = rig.inspect("main")["HostConfig"].clone();
        let told = |words: &str| output.stderr.contains(words);
        assert_eq!(told("memory swappiness capabilities"), v2(), "{output:?}");
        assert_eq!(told("does not support OomKillDisable"), v2(), "{output:?}");
        assert_eq!(host["MemorySwappiness"], if v2() { Value::Null } else { 10.into() }, "{host}");
        assert_eq!(told("Block I/O weight"), host["BlkioWeight"] == 0, "{output:?} {host}");
        if rig.kind() == EngineKind::Minke && !v2() {
            rig.ok("start main");
            assert_eq!(group_file(rig, "main", "memory/memory.swappiness", ""), "10");
            let shown = group_file(rig, "main", "memory/memory.oom_control", "");
            assert!(shown.starts_with("oom_kill_disable 1"), "{shown}");
        }
    });
}

#[test]
fn limits_that_make_no_sense_are_refused_in_dockers_words() {
    case(|rig| {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        let many = format!("--cpus {}", processors + 64);
        let rows: [(&str, &str); 16] = [
            ("--memory 1m", "Minimum memory limit allowed is 6MB"),
            ("--memory 50m --memory-swap 20m", "Minimum memoryswap limit should be larger than memory limit"),
            ("--memory-swap 20m", "You should always set the Memory limit when using Memoryswap limit"),
            ("--memory-reservation 1m", "Minimum memory reservation allowed is 6MB"),
            ("--memory-swappiness 101", "invalid value: 101. Valid memory swappiness range is 0-100"),
            ("--cpuset-cpus 700", "Requested CPUs are not available - requested 700, available: 0"),
            ("--cpuset-cpus x", "Invalid value x for cpuset cpus"),
            ("--cpuset-mems 300", "Requested memory nodes are not available - requested 300, available: 0"),
            (&many, "ange of CPUs is from 0.01 to"),
            ("--cpu-quota 10", "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            ("--cpu-period 10", "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s"),
            ("--oom-score-adj 1001", "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
            ("--ulimit nofile=10:5", "ulimit soft limit must be less than or equal to hard limit: 10 > 5"),
            ("--device-cgroup-rule x", "invalid device cgroup format 'x'"),
            (
                "--storage-opt size=10m",
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            ),
            ("--gpus all", "could not select device driver \"\" with capabilities: [[gpu]]"),
        ];
        for (flags, words) in rows {
            rig.fails(&format!("run --rm {flags} busybox true"), 125, words);
        }
    });
}

#[test]
fn limits_change_while_the_container_runs() {
    case(|rig| {
        rig.ok("run -d --name main --memory 64m --memory-swap 96m --cpu-shares 512 --pids-limit 50 busybox sleep 1000");
        let now = || rig.get("/info").json()["SystemTime"].as_str().expect("a time").to_owned();
        let since = now();
        assert_eq!(rig.ok("update --memory 128m --memory-swap 256m --cpus 0.5 --pids-limit 60 main"), "main");
        assert_eq!(rig.ok("update --memory 32m --memory-swap 48m --cpu-shares 2048 main"), "main");
        assert_eq!(rig.ok("update --restart on-failure:3 --cpuset-cpus 0 main"), "main");
        let host = rig.inspect("main")["HostConfig"].clone();
        assert_eq!(host["Memory"], 32 << 20);
        assert_eq!(host["NanoCpus"], 500_000_000);
        assert_eq!(host["RestartPolicy"]["MaximumRetryCount"], 3);
        let until = now();
        let events = rig.ok(&format!("events --since {since} --until {until} --filter event=update"));
        assert_eq!(events.lines().count(), 3, "{events}");
        let id = rig.inspect("main")["Id"].as_str().expect("an id").to_owned();
        for (flags, words) in [
            (
                "--cpu-period 50000",
                "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
            ),
            (
                "--memory 512m",
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap",
            ),
        ] {
            rig.fails(&format!("update {flags} main"), 1, &format!("Cannot update container {id}: {words}"));
        }
        rig.fails("update --memory 1m main", 1, "Minimum memory limit allowed is 6MB");
        rig.fails("update --cpuset-cpus 700 main", 1, "Requested CPUs are not available - requested 700");
        rig.fails("update --pids-limit 5 nobody", 1, "No such container: nobody");
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        assert_eq!(group_file(rig, "main", "memory/memory.limit_in_bytes", "memory.max"), "33554432");
        let weight = group_file(rig, "main", "cpu/cpu.shares", "cpu.weight");
        assert!(["2048", "174"].contains(&weight.as_str()), "{weight}");
        assert!(group_file(rig, "main", "cpu/cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
        assert_eq!(group_file(rig, "main", "pids/pids.max", "pids.max"), "60");
        assert_eq!(group_file(rig, "main", "cpuset/cpuset.cpus", "cpuset.cpus"), "0");
        rig.stop_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("main")["HostConfig"]["Memory"], 32 << 20);
        rig.ok("restart -t 0 main");
        assert_eq!(group_file(rig, "main", "pids/pids.max", "pids.max"), "60");
    });
}

#[test]
fn what_the_kernel_refuses_of_a_change_leaves_the_container_as_it_was() {
    once(|rig| {
        if v2() || rig.kind() == EngineKind::Dockerd {
            return; // version 2 takes every change
        }
        rig.ok("run -d --name main --memory 64m --memory-swap 64m --pids-limit 50 busybox sleep 1000");
        // Memory and swap below memory.
        let answer =
            rig.post("/containers/main/update", &serde_json::json!({"MemorySwap": 8 << 20, "PidsLimit": 60}));
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text().contains("memory.memsw.limit_in_bytes: invalid argument"), "{answer:?}");
        assert_eq!(rig.inspect("main")["HostConfig"]["PidsLimit"], 50);
        assert_eq!(group_file(rig, "main", "pids/pids.max", "pids.max"), "50");
        assert_eq!(group_file(rig, "main", "memory/memory.memsw.limit_in_bytes", ""), "67108864");
    });
}

#[test]
fn a_container_can_be_put_below_another_group() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let group = |name: &str| {
            let pid = rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid");
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
            let wanted = if v2() { "0::" } else { ":memory:" };
            let line = text.lines().find(|line| line.contains(wanted)).expect("a row");
            line.rsplit(':').next().unwrap_or_default().to_owned()
        };
        rig.ok("run -d --name usual busybox sleep 1000");
        let usual = group("usual");
        let parent = usual.rsplit_once('/').expect("a parent").0;
        rig.ok(&format!(
            "run -d --name below --cgroup-parent {parent}/own --pids-limit 7 busybox sleep 1000"
        ));
        let id = rig.inspect("below")["Id"].as_str().expect("an id").to_owned();
        assert_eq!(group("below"), format!("{parent}/own/{id}"));
        assert_eq!(group_file(rig, "below", "pids/pids.max", "pids.max"), "7");
    });
}

#[test]
fn shared_memory_has_the_size_that_container_or_engine_say() {
    Rig::run(Client::Minke, &["--default-shm-size", "8m"], |rig| {
        let size = "sh -c 'df -k /dev/shm | tail -1'";
        let of = |line: &str| rig.ok(line).split_whitespace().nth(1).map(str::to_owned);
        assert_eq!(of(&format!("run --rm busybox {size}")).as_deref(), Some("8192"));
        assert_eq!(of(&format!("run --rm --shm-size 4m busybox {size}")).as_deref(), Some("4096"));
    });
}

#[test]
fn devices_that_vendors_describe_bring_nodes_mounts_and_variables() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("host.txt"), "from the host").expect("a file");
    let description = serde_json::json!({
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/class",
        "containerEdits": {"env": ["VENDOR=yes"]},
        "devices": [
            {"name": "log", "containerEdits": {
                "deviceNodes": [{"path": "/dev/log-of-kernel", "type": "c", "major": 1, "minor": 11, "permissions": "w"}],
                "mounts": [{"hostPath": folder.path().join("host.txt"), "containerPath": "/vendor.txt", "options": ["ro", "bind"]}],
                "additionalGids": [77],
            }},
        ],
    });
    std::fs::write(folder.path().join("vendor.json"), description.to_string()).expect("a file");
    let yaml = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits:\n    env: [GPU=all]\n- name: \"1\"\n  containerEdits:\n    env: [GPU=one]\n";
    std::fs::write(folder.path().join("gpu.yaml"), yaml).expect("a file");
    let folder = folder.path().to_str().expect("a name in ASCII");
    for client in [Client::Minke, Client::Docker] {
        Rig::run(client, &["--cdi-spec-dir", folder], |rig| {
            if !rig.is_like(25) {
                return;
            }
            let line = "run --rm --device vendor.com/class=log busybox sh -c ': >/dev/log-of-kernel && cat /vendor.txt && echo \" $VENDOR\" && id -G'";
            assert_eq!(rig.ok(line).replace("$VENDOR", "yes"), "from the host yes\n0 77");
            rig.fails(
                "run --rm --device vendor.com/class=log busybox sh -c ': >/vendor.txt'",
                1,
                "Read-only",
            );
            rig.fails(
                "run --rm --device vendor.com/class=none busybox true",
                125,
                "CDI device injection failed: unresolvable CDI devices vendor.com/class=none",
            );
            assert_eq!(rig.ok("run --rm --gpus all busybox sh -c 'echo $GPU'"), "all");
            assert_eq!(rig.ok("run --rm --gpus device=1 busybox sh -c 'echo $GPU'"), "one");
            assert_eq!(rig.get("/info").json()["CDISpecDirs"], serde_json::json!([folder]));
        });
    }
}

#[test]
fn devices_that_vendors_describe_bring_hooks() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("a name in ASCII");
    let hook = |stage: &str, script: &str| {
        let script =
            format!("state=$(cat); echo $state >{out}/{stage}; echo {stage} >>{out}/order; {script}");
        serde_json::json!({"hookName": stage, "path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    // In the container's mount namespace the root is where the configuration says, and nothing of it is to be seen on the host.
    let made = r#"bundle=${state#*bundle\":\"}; bundle=${bundle%%\"*}; grep -q "$PWD\"" $bundle/config.json && echo made >made-by-hook"#;
    let started = serde_json::json!({
        "hookName": "startContainer", "path": "/bin/busybox", "args": ["sh", "-c", "echo $A >/started-by-hook"], "env": ["A=started"],
    });
    let failing = serde_json::json!({
        "hookName": "prestart", "path": "/bin/sh", "args": ["sh", "-c", "echo no such card >&2; exit 3"],
    });
    let slow = serde_json::json!({"hookName": "createContainer", "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1});
    let hooks = serde_json::json!([
        hook("createRuntime", ""),
        hook("createContainer", made),
        started,
        hook("poststart", ""),
        hook("poststop", "exit 1"),
    ]);
    let absent = serde_json::json!({"hookName": "poststart", "path": "/does/not/exist"});
    let description = serde_json::json!({
        "cdiVersion": "0.7.0",
        "kind": "vendor.com/card",
        "devices": [
            {"name": "hooked", "containerEdits": {"intelRdt": {"closID": "x"}, "hooks": hooks}},
            {"name": "failing", "containerEdits": {"hooks": [failing, hook("poststop", "")]}},
            {"name": "slow", "containerEdits": {"hooks": [slow]}},
            {"name": "absent", "containerEdits": {"hooks": [absent]}},
        ],
    });
    std::fs::write(folder.path().join("vendor.json"), description.to_string()).expect("a file");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    for client in [Client::Minke, Client::Docker] {
        Rig::run(client, &["--cdi-spec-dir", out], |rig| {
            if !rig.client_is_like(25) {
                return; // the client knows no such devices
            }
            let _ = std::fs::remove_file(folder.path().join("order"));
            let line =
                "run --name one --device vendor.com/card=hooked busybox cat /made-by-hook /started-by-hook";
            assert_eq!(rig.ok(line), "made\nstarted");
            assert_eq!(
                read("order").split_whitespace().collect::<Vec<_>>(),
                ["createRuntime", "createContainer", "poststart", "poststop"]
            );
            let id = rig.inspect("one")["Id"].as_str().expect("an id").to_owned();
            for (stage, status) in [
                ("createRuntime", "creating"),
                ("createContainer", "creating"),
                ("poststart", "running"),
                ("poststop", "stopped"),
            ] {
                let state: serde_json::Value = serde_json::from_str(&read(stage)).expect("a state");
                assert_eq!(
                    (&state["id"], &state["status"]),
                    (&id.as_str().into(), &status.into()),
                    "{stage}"
                );
                assert_eq!(state["pid"].as_i64().is_some(), stage != "poststop");
            }
            assert_eq!(rig.ok("start -a one"), "made\nstarted", "at every start");
            let failed = "error running prestart hook #0: exit status 3, output: no such card";
            rig.fails("run --rm --device vendor.com/card=failing busybox true", 125, failed);
            rig.fails(
                "run --rm --device vendor.com/card=slow busybox true",
                125,
                "/bin/sleep took longer than 1 s",
            );
            let absent = "error running poststart hook #0: exit status 127, output: /does/not/exist: no such file or directory";
            rig.fails("run --rm --device vendor.com/card=absent busybox sleep 1000", 127, absent);
        });
    }
}
