//! Images and containers that try to reach the host: each class of known holes of container runtimes, tried out.

use std::os::unix::fs::PermissionsExt as _;

use minke_e2e::rootfs::Tree;
use minke_e2e::{EngineKind, case, once, peers};
use tar::EntryType;

/// A root file system with busybox, to which `change` adds what is hostile.
fn image(change: impl Fn(&mut Tree)) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.folder("bin/", 0o755);
    tree.folder("etc/", 0o755);
    tree.folder("tmp/", 0o1777);
    tree.file("bin/busybox", 0o755, &std::fs::read(peers::busybox()).expect("busybox is readable"));
    for applet in ["sh", "cat", "id", "ls", "wc", "true"] {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    change(&mut tree);
    tree.finish()
}

/// CVE-2025-31133: what hides a path is the null device, and the container has no way through it to the host's node.
#[test]
fn what_hides_a_path_can_not_be_changed() {
    once(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let before = std::fs::metadata("/dev/null").expect("the host has a null device");
        for path in ["/proc/keys", "/proc/timer_list"] {
            assert_eq!(rig.ok(&format!("exec main cat {path}")), "");
            for change in ["chmod 666", "chown 0:0", "touch"] {
                let output = rig.cli(&format!("exec main {change} {path}"));
                assert!(output.stderr.contains("Read-only file system"), "{change} {path}: {output:?}");
            }
        }
        let after = std::fs::metadata("/dev/null").expect("the host has a null device");
        assert_eq!(before.modified().ok(), after.modified().ok());
    });
}

#[test]
fn a_removed_null_device_is_not_replaced_by_the_host_s() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // its streams are pipes
        }
        rig.ok("run -d --name main busybox sleep 1000");
        let script = "rm /dev/null; ln -s /etc/passwd /dev/null";
        rig.ok(&format!("exec main sh -c '{script}'"));
        rig.ok("exec main sh -c 'chmod 640 /proc/self/fd/0; cat <&0'");
        let mode = std::fs::metadata("/dev/null").expect("the host has a null device").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    });
}

/// CVE-2024-21626: the working directory is inside, whatever descriptors the runtime has open.
#[test]
fn a_working_directory_is_never_outside() {
    once(|rig| {
        rig.ok("run -d --name main busybox sh -c 'ln -s /proc/self/fd /open; echo made; sleep 1000'");
        rig.await_log("main", "made");
        for number in 3..20 {
            assert_ne!(rig.cli(&format!("run --rm -w /proc/self/fd/{number} busybox true")).code, 0);
            assert_ne!(rig.cli(&format!("exec -w /proc/self/fd/{number} main true")).code, 0);
            assert_ne!(rig.cli(&format!("exec -w /open/{number} main true")).code, 0);
        }
        assert_eq!(rig.ok("exec -w /tmp/../../.. main pwd"), "/");
        assert_eq!(rig.ok("run --rm -w /../../.. busybox pwd"), "/");
    });
}

/// CVE-2019-5736: what started the container can't be overwritten through `/proc/<pid>/exe`.
#[test]
fn the_program_that_starts_it_can_not_be_overwritten() {
    once(|rig| {
        let write = |path: &str| format!("if (echo x >>{path}) 2>/dev/null; then echo written; fi");
        let one = write("/proc/1/exe");
        assert_eq!(rig.ok(&format!("run --rm --init busybox sh -c '{one}'")), "");
        assert_eq!(rig.ok(&format!("run --rm --init --cap-add SYS_PTRACE busybox sh -c '{one}'")), "");
        if rig.kind() == EngineKind::Minke {
            // Executed anew, by name and as an interpreter, it is the sealed shim.
            let greeting = rig.ok("run --rm busybox /proc/self/exe");
            assert!(greeting.contains("minke"), "{greeting}");
            rig.ok("run -d --name main busybox sh -c 'echo \"#!/proc/self/exe\" >/s; chmod +x /s; echo made; sleep 1000'");
            rig.await_log("main", "made");
            assert!(rig.ok("exec main /s").contains("minke"));
        }
        assert!(peers::minke().metadata().is_ok_and(|file| file.len() > 0));
    });
}

#[test]
fn pid_1_of_the_engine_tells_a_container_nothing() {
    once(|rig| {
        for file in ["environ", "maps", "mem", "fd/0", "root/", "cwd/"] {
            let output =
                rig.cli(&format!("run --rm --init busybox sh -c 'ls /proc/1/{file} && cat /proc/1/{file}'"));
            assert_ne!(output.code, 0, "{file}: {output:?}");
        }
    });
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579: links where file systems and devices are put.
#[test]
fn links_at_the_places_of_mounts_end_inside_or_fail() {
    once(|rig| {
        let up = "../../../../../../..";
        let aim = rig.scratch().join("aim");
        let outside = format!("{up}{}", aim.display());
        std::fs::create_dir(&aim).expect("the scratch folder takes a folder");
        let script = "echo x >/proc/sys/kernel/domainname && echo written; cat /proc/keys";
        for (number, (path, target)) in [
            ("proc", "/etc"),
            ("sys", "/proc"),
            ("dev", "/"),
            ("dev", "/proc"),
            ("dev", "/proc/sys"),
            ("dev", "/proc/self/root"),
            ("dev", outside.as_str()),
            ("etc/hosts", "/proc/self/exe"),
            ("etc/hosts", "/proc/self/fd/5"),
            ("etc/hosts", "/proc/sys/kernel/core_pattern"),
            ("etc/resolv.conf", "/proc/sysrq-trigger"),
            ("etc/hostname", outside.as_str()),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("links{number}");
            rig.import(&name, &image(|tree| tree.link(path, target)), &["ENV PATH=/bin"]);
            for flags in ["--rm", "--rm -t"] {
                let output = rig.cli(&format!("run {flags} {name} sh -c '{script}'"));
                assert!(!output.text().contains("written"), "{path} -> {target}: {output:?}");
            }
            assert_eq!(std::fs::read_dir(&aim).expect("it is there").count(), 0, "{path} -> {target}");
        }
    });
}

#[test]
fn a_passwd_that_is_no_file_is_not_opened() {
    once(|rig| {
        // Whoever opens the pipe waits, and opening a device can do something already.
        let pipe = image(|tree| tree.append(EntryType::Fifo, "etc/passwd", 0o644, None, &[]));
        let device = image(|tree| tree.link("etc/passwd", "/dev/console"));
        for (name, tar) in [("pipe", pipe), ("device", device)] {
            rig.import(name, &tar, &["ENV PATH=/bin"]);
            rig.ok(&format!("run --rm {name} true"));
            rig.ok(&format!("run --rm -u 5:6 {name} true"));
            rig.fails(&format!("run --rm -u alice {name} true"), 125, "unable to find user alice");
        }
        rig.import(
            "long",
            &image(|tree| tree.file("etc/passwd", 0o644, &vec![b'x'; 9 << 20])),
            &["ENV PATH=/bin"],
        );
        rig.fails("run --rm -u 5 long true", 125, "longer than");
    });
}

/// CVE-2026-30892: a user is never another one than was said.
#[test]
fn a_user_that_is_not_understood_is_refused() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        for user in
            ["0x10", "-1", "4294967295", "4294967296", "2147483648", "a:b:c", "1:2:3", "1000:-1", "0:nobodys"]
        {
            let output = rig.cli(&format!("exec -u {user} main id -u"));
            assert_ne!(output.code, 0, "{user}: {output:?}");
            assert_ne!(output.text(), "0", "{user}: {output:?}");
        }
        for (user, expected) in
            [("1000", "1000"), ("1000:", "1000"), ("1000:5", "1000"), (":5", "0"), ("alice", "1000")]
        {
            assert_eq!(rig.ok(&format!("exec -u {user} main id -u")), expected, "{user}");
        }
        let status = rig.ok("exec -u 1000 main cat /proc/self/status");
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line} in {status}");
        }
    });
}

#[test]
fn other_users_of_the_host_see_nothing_of_a_container() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        rig.ok("run -d --rm --name main -e SECRET=hunter2 busybox sleep 1000");
        std::fs::set_permissions(rig.scratch(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let search = format!("grep -rs hunter2 {}; true", rig.scratch().display());
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", &search]);
        let output = command.output().expect("setpriv is there");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        // Names in the exec root can be guessed, so what holds records must not be searched.
        for folder in walk(rig.scratch()) {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name == "records" {
                let mode = folder.metadata().expect("it is there").permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}", folder.display());
            }
        }
        let mode = rig.socket().metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    });
}

/// The folders two levels below one.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let below = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    below(folder).iter().flat_map(|inner| below(inner)).collect()
}
