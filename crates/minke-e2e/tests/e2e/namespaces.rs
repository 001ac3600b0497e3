//! Security options, and namespaces that containers share with the host or with one another.

use minke_e2e::{EngineKind, Rig, case, once};

fn link(rig: &Rig, container: &str, kind: &str) -> String {
    rig.ok(&format!("exec {container} readlink /proc/self/ns/{kind}"))
}

fn own(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

#[test]
fn a_container_joins_another_one_s_namespaces_while_that_runs() {
    case(|rig| {
        rig.ok("run -d --name donor --hostname mine --ipc shareable busybox sh -c 'echo x > /dev/shm/seen; sleep 1000'");
        rig.ok("run -d --name pid --pid container:donor busybox sleep 1000");
        rig.ok("run -d --name ipc --ipc container:donor busybox sleep 1000");
        for (container, kind) in [("pid", "pid"), ("ipc", "ipc")] {
            assert_eq!(link(rig, container, kind), link(rig, "donor", kind), "{kind}");
            assert_ne!(link(rig, container, "net"), link(rig, "donor", "net"));
        }
        assert!(rig.ok("exec pid ps").contains("sleep 1000"));
        assert_eq!(rig.ok("exec ipc cat /dev/shm/seen"), "x");
        let id = rig.inspect("donor")["Id"].as_str().unwrap().to_owned();
        assert_eq!(rig.inspect("pid")["HostConfig"]["PidMode"], format!("container:{id}"));
        rig.ok("run -d --name alone busybox sleep 1000");
        rig.fails("run --rm --ipc container:alone busybox true", 125, "non-shareable IPC");
        rig.fails("run --rm --pid container:nobody busybox true", 125, "No such container: nobody");
        rig.ok("stop -t 0 alone");
        rig.fails("run --rm --pid container:alone busybox true", 125, "is not running");
        rig.fails("run --rm --pid nonsense busybox true", 125, "invalid PID mode");
    });
}

#[test]
fn a_container_s_network_is_shared_with_its_files() {
    case(|rig| {
        rig.ok("run -d --name donor --network none --hostname mine busybox sleep 1000");
        rig.ok("run -d --name user --network container:donor busybox sleep 1000");
        assert_eq!(link(rig, "user", "net"), link(rig, "donor", "net"));
        assert_eq!(rig.ok("exec user hostname"), "mine");
        rig.ok("exec donor sh -c 'echo 10.9.8.7 other >> /etc/hosts'");
        assert!(rig.ok("exec user cat /etc/hosts").contains("10.9.8.7"));
        rig.fails(
            "run --rm --network container:donor --hostname x busybox true",
            125,
            "conflicting options: hostname and the network mode",
        );
        rig.ok("stop -t 0 donor");
        rig.ok("create --name late --network container:donor busybox true");
        rig.fails("start late", 1, "cannot join network of a non running container");
    });
}

#[test]
fn the_host_s_namespaces_are_shared_where_asked() {
    case(|rig| {
        for (flag, kind) in [
            ("--pid host", "pid"),
            ("--ipc host", "ipc"),
            ("--uts host", "uts"),
            ("--network host", "net"),
            ("--cgroupns host", "cgroup"),
        ] {
            assert_eq!(
                rig.ok(&format!("run --rm {flag} busybox readlink /proc/self/ns/{kind}")),
                own(kind),
                "{flag}"
            );
        }
        assert_ne!(
            rig.ok("run --rm --cgroupns private busybox readlink /proc/self/ns/cgroup"),
            own("cgroup")
        );
        rig.fails("run --rm --uts host --hostname x busybox true", 125, "hostname and the UTS mode");
    });
}

#[test]
fn security_options_do_what_they_say() {
    case(|rig| {
        let status = |flags: &str, key: &str| {
            let text = rig.ok(&format!("run --rm {flags} busybox cat /proc/self/status"));
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_whitespace().last().unwrap_or_default().to_owned()
        };
        assert_eq!(status("", "NoNewPrivs"), "0");
        assert_eq!(status("--security-opt no-new-privileges", "NoNewPrivs"), "1");
        assert_eq!(status("--security-opt no-new-privileges:false", "NoNewPrivs"), "0");
        assert_eq!(status("", "Seccomp:"), "2");
        assert_eq!(status("--security-opt seccomp=unconfined", "Seccomp:"), "0");
        assert_eq!(status("--privileged", "Seccomp:"), "0");
        assert_eq!(
            status("--security-opt apparmor=unconfined --security-opt label=disable", "Seccomp:"),
            "2"
        );
        let profile = rig.file("profile.json", br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#);
        let flag = format!("--security-opt seccomp={}", profile.display());
        let output = rig.cli(&format!("run --rm {flag} busybox mkdir /x"));
        assert!(output.code == 1 && output.stderr.contains("Operation not permitted"), "{}", output.stderr);
        assert_eq!(rig.cli("run --rm --security-opt systempaths=unconfined busybox sh -c 'grep -c \" /proc/\" /proc/self/mountinfo'").text(), "0");
        rig.fails(
            "run --rm --security-opt nonsense busybox true",
            125,
            "Invalid --security-opt: \"nonsense\"",
        );
        rig.fails(
            "run --rm --security-opt nonsense=1 busybox true",
            125,
            "invalid --security-opt 2: \"nonsense=1\"",
        );
        rig.fails(
            "run --rm --security-opt seccomp=/nope busybox true",
            125,
            "opening seccomp profile (/nope) failed",
        );
    });
}

#[test]
fn the_daemon_s_defaults_stand_where_a_container_says_nothing() {
    once(|rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        let flags =
            ["--seccomp-profile", "unconfined", "--default-ipc-mode", "shareable", "--no-new-privileges"];
        Rig::run(rig.client(), &flags, |rig| {
            let text = rig.ok("run --rm busybox grep -E 'Seccomp:|NoNewPrivs' /proc/self/status");
            assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["NoNewPrivs:", "1", "Seccomp:", "0"]);
            rig.ok("run -d --name donor busybox sleep 1000");
            assert_eq!(rig.inspect("donor")["HostConfig"]["IpcMode"], "shareable");
            rig.ok("run --rm --ipc container:donor busybox true");
            assert_eq!(
                rig.ok("run --rm --security-opt seccomp=builtin busybox grep Seccomp: /proc/self/status")
                    .split_whitespace()
                    .last(),
                Some("2")
            );
        });
    });
}

#[test]
fn each_container_has_a_network_of_its_own_with_nothing_but_loopback() {
    once(|rig| {
        // So many in a row that what was made ahead is used up, filled again, and one is made at the start.
        let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
        for name in &names {
            let sysctl = "--sysctl net.ipv4.ip_unprivileged_port_start=77";
            rig.ok(&format!("run -d --name {name} --network none {sysctl} busybox sleep 1000"));
        }
        let mut seen = vec![own("net")];
        let script =
            "ls /sys/class/net; cat /sys/class/net/lo/flags /proc/sys/net/ipv4/ip_unprivileged_port_start";
        for name in &names {
            seen.push(link(rig, name, "net"));
            assert_eq!(rig.ok(&format!("exec {name} sh -c '{script}'")), "lo\n0x9\n77", "{name}");
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len() + 1, "{seen:?}");
    });
}
