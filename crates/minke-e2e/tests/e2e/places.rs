//! Surroundings that an engine meets: other namespaces, mounts that don't propagate, file systems that overlay can't stack on.

use std::process::Command;

use minke_e2e::{Client, Rig};

/// What has to work everywhere.
fn works(rig: &Rig) {
    assert_eq!(rig.with_input("run --rm -i busybox cat", b"hello").text(), "hello");
    rig.ok("run -d --name one busybox sh -c 'echo kept >/file; sleep 100000'");
    let read = "exec one sh -c 'while [ ! -s /file ]; do sleep 0.01; done; cat /file'";
    assert_eq!(rig.ok(read), "kept");
    rig.kill_engine();
    rig.start_engine();
    assert_eq!(rig.ok("exec one cat /file"), "kept");
    // Which writes it anew.
    rig.ok("restart -t 0 one");
    assert_eq!(rig.ok(read), "kept");
    rig.ok("rm -f one");
}

fn inside(command: &[&str], check: impl Fn(&Rig)) {
    assert_ne!(
        std::env::var("MINKE_E2E_ENGINE").as_deref(),
        Ok("dockerd"),
        "the surroundings are made for our engine"
    );
    Rig::run_inside(Client::Minke, command, &[], check);
}

#[test]
fn a_root_mount_that_is_private() {
    inside(&["unshare", "--mount", "--propagation", "private"], works);
}

#[test]
fn a_root_mount_that_is_a_slave() {
    inside(&["unshare", "--mount", "--propagation", "slave"], works);
}

#[test]
fn a_network_namespace_of_its_own() {
    inside(&["unshare", "--net"], works);
}

#[test]
fn a_cgroup_namespace_of_its_own() {
    inside(&["unshare", "--cgroup"], works);
}

#[test]
fn v1_hierarchies_without_a_v2_tree_beside_them() {
    let script = "mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec \"$@\"";
    inside(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"], works);
}

#[test]
fn a_chroot_whose_root_is_no_mount() {
    let script = r#"mount -t tmpfs tmpfs /mnt && mkdir /mnt/root && for d in /*; do
        if [ -L "$d" ]; then cp -a "$d" /mnt/root/
        elif [ -d "$d" ] && [ "$d" != /mnt ]; then mkdir "/mnt/root$d" && mount --rbind "$d" "/mnt/root$d"
        fi
    done; exec chroot /mnt/root "$@""#;
    inside(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"], works);
}

#[test]
fn a_data_root_on_an_overlay_is_served_by_copies() {
    let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    let path = folder.path().display();
    let options = format!("lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work");
    let mounted = Command::new("mount")
        .args(["-t", "overlay", "-o", &options, "overlay"])
        .arg(folder.path().join("merged"))
        .status();
    assert!(mounted.expect("mount runs").success());
    let data = folder.path().join("merged/data").display().to_string();
    let outcome = std::panic::catch_unwind(|| {
        Rig::run(Client::Minke, &["--data-root", &data], |rig| {
            assert_ne!(rig.get("/info").json()["Driver"], "overlay2");
            works(rig);
        });
    });
    let unmounted = Command::new("umount").arg(folder.path().join("merged")).status();
    assert!(unmounted.expect("umount runs").success());
    if let Err(cause) = outcome {
        std::panic::resume_unwind(cause);
    }
}

#[test]
fn the_systemd_driver_is_refused_where_systemd_does_not_run() {
    let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
    let hidden = "[ ! -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", hidden, "sh"])
        .arg(minke_e2e::peers::minke())
        .args(["daemon", "--exec-opt", "native.cgroupdriver=systemd"])
        .arg("--data-root")
        .arg(folder.path().join("data"))
        .arg("--exec-root")
        .arg(folder.path().join("exec"))
        .arg("--pidfile")
        .arg(folder.path().join("pid"))
        .arg("-H")
        .arg(format!("unix://{}", folder.path().join("socket").display()))
        .output()
        .expect("unshare runs");
    let words = "systemd not running on this host, cannot use systemd cgroups manager";
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains(words), "{output:?}");
}

#[test]
fn settings_come_from_a_file() {
    let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
    let file = folder.path().join("daemon.json");
    std::fs::write(&file, r#"{"log-opts": {"max-size": "1m", "max-file": "7"}, "labels": ["a=b"]}"#)
        .expect("a file");
    Rig::run(Client::Minke, &["--config-file", &file.display().to_string()], |rig| {
        rig.ok("create --name one busybox");
        assert_eq!(rig.inspect("one")["HostConfig"]["LogConfig"]["Config"]["max-file"], "7");
        assert_eq!(rig.get("/info").json()["Labels"][0], "a=b");
    });
}

#[test]
fn a_container_may_open_as_many_files_as_the_engines_caller() {
    let few = "ulimit -Sn 600; ulimit -Hn 3000; exec \"$@\"";
    Rig::run_inside(Client::Minke, &["sh", "-c", few, "sh"], &[], |rig| {
        assert_eq!(rig.ok("run --rm busybox sh -c 'ulimit -Sn; ulimit -Hn'"), "3000\n3000");
    });
}
