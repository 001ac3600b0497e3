//! What a container may not do: capabilities, system calls, devices, hidden and read-only paths.

use minke_e2e::{EngineKind, by_docker, case, once};

/// Reads a line of /proc/self/status in a container.
fn status(rig: &minke_e2e::Rig, flags: &str, key: &str) -> String {
    let text = rig.ok(&format!("run --rm {flags} busybox cat /proc/self/status"));
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap_or_default().trim().to_string()
}

#[test]
fn capabilities_are_docker_s_and_the_flags() {
    case(|rig| {
        assert_eq!(status(rig, "", "CapEff"), "00000000a80425fb");
        assert_eq!(status(rig, "", "CapBnd"), "00000000a80425fb");
        assert_eq!(status(rig, "", "CapAmb"), "0000000000000000");
        if rig.is_like(23) {
            assert_eq!(status(rig, "", "CapInh"), "0000000000000000");
        }
        assert_eq!(status(rig, "--cap-drop ALL", "CapEff"), "0000000000000000");
        assert_eq!(status(rig, "--cap-drop ALL --cap-add NET_ADMIN", "CapEff"), "0000000000001000");
        assert_eq!(status(rig, "--cap-add CAP_SYS_TIME --cap-drop chown", "CapEff"), "00000000aa0425fa");
        assert_eq!(status(rig, "-u alice", "CapEff"), "0000000000000000");
        assert_eq!(status(rig, "-u alice", "CapBnd"), "00000000a80425fb");
        rig.fails("run --rm --cap-add NO_SUCH busybox true", 125, "NO_SUCH");
    });
}

#[test]
fn the_seccomp_profile_is_loaded() {
    case(|rig| {
        assert_eq!(status(rig, "", "Seccomp"), "2");
        assert_eq!(status(rig, "", "NoNewPrivs"), "0");
        rig.fails("run --rm busybox unshare -m true", 1, "Operation not permitted");
        rig.fails("run --rm --cap-add NET_ADMIN busybox mount -t tmpfs none /tmp", 1, "permission denied");
        rig.ok("run --rm --cap-add SYS_ADMIN busybox mount -t tmpfs none /tmp");
        // The filter is loaded whether or not the capability to load one is left.
        assert_eq!(status(rig, "--cap-drop ALL", "Seccomp"), "2");
    });
}

#[test]
fn no_new_privileges_and_no_filter_are_to_be_asked_for() {
    // By the docker client: ours does not offer the flag yet.
    by_docker(|rig| {
        assert_eq!(status(rig, "--security-opt no-new-privileges", "NoNewPrivs"), "1");
        assert_eq!(status(rig, "--security-opt seccomp=unconfined", "Seccomp"), "0");
        assert_eq!(status(rig, "-u alice --security-opt no-new-privileges", "Seccomp"), "2");
        assert_eq!(status(rig, "--cap-drop ALL --security-opt no-new-privileges", "Seccomp"), "2");
    });
}

#[test]
fn an_exec_is_held_by_the_same_rules() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let status = rig.ok("exec main cat /proc/self/status");
        for line in [
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "CapAmb:\t0000000000000000",
            "Seccomp:\t2",
            "NoNewPrivs:\t0",
        ] {
            assert!(status.contains(line), "{line} in {status}");
        }
        rig.fails("exec main unshare -m true", 1, "Operation not permitted");
        if rig.kind() == EngineKind::Minke {
            assert!(rig.ok("exec --privileged main cat /proc/self/status").contains("CapEff:\t000001f"));
        }
    });
}

#[test]
fn the_host_s_disk_can_be_made_but_not_opened() {
    case(|rig| {
        // Any block device will do; its node is made inside, where MKNOD is a default capability.
        let disks = std::fs::read_to_string("/proc/partitions").expect("partitions are listed");
        let disk = disks.lines().nth(2).expect("the host has a disk");
        let fields: Vec<&str> = disk.split_whitespace().collect();
        let (major, minor) = (fields[0], fields[1]);
        let script = format!("mknod /disk b {major} {minor} && echo made; head -c 1 /disk");
        let output = rig.cli(&format!("run --rm busybox sh -c '{script}'"));
        assert_eq!(output.text(), "made");
        assert!(output.stderr.contains("Operation not permitted"), "{}", output.stderr);
        let allowed = "mknod /n c 1 3 && echo x >/n && mknod /z c 1 5 && head -c 1 /z | wc -c && mknod /mem c 1 1 && head -c 1 /mem";
        let output = rig.cli(&format!("run --rm busybox sh -c '{allowed}'"));
        assert_eq!(output.text(), "1");
        assert!(output.stderr.contains("Operation not permitted"), "{}", output.stderr);
    });
}

#[test]
fn kernel_files_are_hidden_or_read_only() {
    case(|rig| {
        // Docker's list; a path that this kernel lacks is no matter.
        let masked = "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats \
             /proc/sched_debug /proc/scsi /sys/firmware";
        let script =
            "for path in $0; do if [ -d $path ]; then ls $path; elif [ -e $path ]; then cat $path; fi; done";
        assert_eq!(rig.ok(&format!("run --rm busybox sh -c '{script}' '{masked}'")), "");
        for path in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"] {
            let output =
                rig.cli(&format!("run --rm busybox sh -c 'test -e {path} || exit 9; echo x >{path}'"));
            assert!(
                output.code == 9 || output.stderr.contains("Read-only file system"),
                "{path}: {output:?}"
            );
        }
        let output = rig.cli("run --rm busybox sh -c 'echo 0 >/sys/kernel/mm/ksm/run || mkdir /sys/x'");
        assert_ne!(output.code, 0);
    });
}

#[test]
fn a_privileged_container_sees_it_all() {
    case(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // it fails where the host has no CAP_SYS_RESOURCE to give
        }
        let own = std::fs::read_to_string("/proc/self/status").expect("a status");
        let own =
            own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default().trim().to_string();
        assert_eq!(status(rig, "--privileged", "CapEff"), own);
        assert_eq!(status(rig, "--privileged", "Seccomp"), "0");
        assert_eq!(rig.ok("run --rm --privileged busybox sh -c 'mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt; echo done'"), "done");
        assert!(
            rig.ok("run --rm --privileged busybox sh -c 'ls /dev | wc -l'")
                .parse::<u32>()
                .is_ok_and(|count| count > 15)
        );
    });
}

#[test]
fn no_descriptor_of_the_engine_is_open_inside() {
    once(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        assert_eq!(rig.ok("exec main ls /proc/1/fd"), "0\n1\n2");
        assert_eq!(rig.ok("exec main sh -c 'ls /proc/$$/fd; true'"), "0\n1\n2");
    });
}

#[test]
fn the_image_s_paths_lead_nowhere_else() {
    once(|rig| {
        let secret = rig.file("secret", b"of the host");
        let mut tree = minke_e2e::rootfs::Tree::default();
        tree.folder("bin/", 0o755);
        tree.file("bin/busybox", 0o755, &std::fs::read(minke_e2e::peers::busybox()).expect("busybox"));
        for applet in ["sh", "cat", "ls", "id", "sleep"] {
            tree.link(&format!("bin/{applet}"), "busybox");
        }
        // Each of these is a place where an engine mounts or reads something.
        let up = "../../../../../../../..";
        tree.folder("etc/", 0o755);
        tree.link("etc/passwd", &format!("{up}{}", secret.display()));
        tree.link("etc/hosts", &format!("{up}{}", secret.display()));
        tree.link("dev", &format!("{up}/tmp"));
        tree.link("sys", "proc");
        rig.import("links", &tree.finish(), &["ENV PATH=/bin"]);
        let output = rig.cli("run --rm links cat /etc/hosts");
        assert!(!output.text().contains("of the host"), "{output:?}");
        let output = rig.cli("run --rm -u of links id");
        assert!(!output.text().contains("of the host"), "{output:?}");
        assert_eq!(
            std::fs::read(&secret).expect("the file is there"),
            b"of the host",
            "nothing was written through a link"
        );
        assert!(!std::path::Path::new("/tmp/null").exists());
    });
}

/// A container that may trace sees a process that joins it before that executes its program: none may have more rights than it will keep.
#[test]
fn a_joining_process_has_no_rights_to_be_stolen() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const ALLOWED: u64 = 0xa80c_25fb;
    once(|rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        rig.ok("run -d --name one --cap-add SYS_PTRACE busybox sleep 1000");
        let pid = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32;
        let shim = minke_e2e::process::parent(pid).expect("a shim");
        let over = AtomicBool::new(false);
        let (seen, rights) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let (mut seen, mut rights) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let path = format!("/proc/{shim}/task/{shim}/children");
                    let children = std::fs::read_to_string(path).unwrap_or_default();
                    for child in children.split_whitespace().filter(|child| child.parse() != Ok(pid)) {
                        let text =
                            std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
                        let row = |key: &str| {
                            text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default()
                        };
                        // It has a pid inside: it is one of the container's.
                        if row("NSpid:").split_whitespace().count() > 1 {
                            seen += 1;
                            rights |= u64::from_str_radix(row("CapPrm:").trim(), 16).unwrap_or(0);
                        }
                    }
                }
                (seen, rights)
            });
            for _ in 0..40 {
                rig.ok("exec one true");
            }
            assert_eq!(rig.ok("exec -u alice -w /tmp one sh -c 'id -un; pwd'"), "alice\n/tmp");
            over.store(true, Ordering::Relaxed);
            watching.join().expect("the watcher ends")
        });
        assert!(seen > 0, "joining processes are seen");
        assert_eq!(rights & !ALLOWED, 0, "{rights:x}");
        let mut terminal = rig.terminal("exec -it one sh");
        terminal.expect("# ");
        terminal.send("sh -c 'tty; exec sleep 1000'\n");
        terminal.expect("/dev/pts/");
        terminal.send("\u{3}");
        terminal.send("echo $?-after\n");
        terminal.expect("130-after");
        terminal.send("exit 5\n");
        assert_eq!(terminal.wait(), 5);
    });
}

#[test]
fn a_runtime_is_known_by_docker_s_names() {
    case(|rig| {
        for name in ["runc", "io.containerd.runc.v2"] {
            assert_eq!(rig.ok(&format!("run --rm --runtime {name} busybox echo up")), "up");
        }
        rig.fails("run --rm --runtime nosuch busybox true", 125, "unknown or invalid runtime name: nosuch");
        let wish = serde_json::json!({"Image": "busybox", "HostConfig": {"Runtime": "nosuch"}});
        let answer = rig.post("/containers/create", &wish);
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (400, "unknown or invalid runtime name: nosuch")
        );
    });
}
