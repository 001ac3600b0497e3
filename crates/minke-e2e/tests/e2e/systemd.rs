//! Under systemd, in the virtual machine that boots it (`cargo xtask e2e --vm-systemd`): the packaged units, what a session's
//! end and the service manager's own work do to containers, and its driver of control groups. Each test but the driver's uses
//! the engine's default places.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use minke_e2e::{Client, Output, Rig, Session, Terminal, deadline, peers, process, within};
use serde_json::Value;

const GROUP: &str = "/sys/fs/cgroup";
const HOME: &str = "/sys/fs/cgroup/system.slice/minke-containers.scope";
const LIMITS: &str = "--memory 64m --cpus 0.5 --pids-limit 50 --cpu-shares 512";
/// A device that exists on every host and that containers may not use.
const FORBIDDEN: &str = "[ -e /dev/full2 ] || mknod /dev/full2 c 10 200; cat /dev/full2";

/// One test at a time has the default places.
fn alone() -> MutexGuard<'static, ()> {
    static PLACES: Mutex<()> = Mutex::new(());
    assert!(Path::new("/run/systemd/system").is_dir(), "systemd runs: cargo xtask e2e --vm-systemd");
    let guard = PLACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !Path::new("/usr/bin/minke").exists() {
        std::os::unix::fs::symlink(peers::minke(), "/usr/bin/minke").expect("the program is installed");
    }
    guard
}

fn shell(script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    Session::start(command, script).finish(deadline::seconds(60))
}

fn ok(script: &str) -> String {
    let output = shell(script);
    assert_eq!(output.code, 0, "{script}\nstdout: {}\nstderr: {}", output.text(), output.stderr);
    output.text()
}

fn import() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("image.tar");
    std::fs::write(&file, minke_e2e::rootfs::busybox_tar()).expect("an image");
    ok(&format!("minke import -c 'ENV PATH=/bin' {} busybox", file.display()));
}

fn install() {
    for unit in ["minke.service", "minke.socket"] {
        let from = peers::project().join("packaging/systemd").join(unit);
        std::fs::copy(from, Path::new("/etc/systemd/system").join(unit)).expect("the unit is installed");
    }
    ok("systemctl daemon-reload && systemctl start minke.socket");
}

/// Ends everything and looks at what is left.
fn uninstall() {
    ok("ids=$(minke ps -aq); [ -z \"$ids\" ] || minke rm -f $ids >/dev/null");
    ok(
        "systemctl stop minke.socket minke.service; rm -f /etc/systemd/system/minke.*; systemctl daemon-reload",
    );
    within(20, "the unit of containers ends", || (!Path::new(HOME).exists()).then_some(()));
    assert_eq!(ok("find /sys/fs/cgroup -name 'minke*'"), "");
}

fn inspect(container: &str) -> Value {
    let found: Value = serde_json::from_str(&ok(&format!("minke inspect {container}"))).expect("JSON");
    found[0].clone()
}

fn pid(container: &str) -> i32 {
    inspect(container)["State"]["Pid"].as_i64().expect("a pid") as i32
}

fn group(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process runs");
    text.trim().strip_prefix("0::").expect("cgroup v2 alone").to_owned()
}

fn limits(group: &str) -> String {
    let read = |file: &str| {
        let path = format!("{GROUP}{group}/{file}");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    };
    ["memory.max", "cpu.max", "cpu.weight", "pids.max"].map(read).join(" | ")
}

fn refused_device(output: &Output) {
    assert!(output.code != 0 && output.stderr.contains("not permitted"), "{output:?}");
}

fn other_units_come_and_go() {
    let unit = "[Service]\nExecStart=/bin/sleep 100000\nCPUWeight=50\n";
    std::fs::write("/run/systemd/system/other.service", unit).expect("a unit");
    ok("systemctl daemon-reload && systemctl start other && systemctl restart other && systemctl stop other");
    ok("systemctl daemon-reload; systemctl daemon-reexec");
}

#[test]
fn the_packaged_unit_ends_and_starts_and_containers_go_on() {
    let _alone = alone();
    install();
    assert_eq!(shell("systemctl is-active minke.service").text(), "inactive");
    import(); // by its socket
    assert_eq!(ok("systemctl is-active minke.service"), "active");
    ok(&format!("minke run -d --name one {LIMITS} busybox sleep 100000"));
    let (pid, id) = (pid("one"), inspect("one")["Id"].as_str().expect("an id").to_owned());
    assert_eq!(group(pid), format!("/system.slice/minke-containers.scope/minke/{id}"));
    let expected = "67108864 | 50000 100000 | 59 | 50";
    assert_eq!(limits(&group(pid)), expected);
    refused_device(&shell(&format!("minke exec one sh -c '{FORBIDDEN}'")));

    other_units_come_and_go();
    assert_eq!(limits(&group(pid)), expected);
    refused_device(&shell(&format!("minke exec one sh -c '{FORBIDDEN}'")));

    for script in ["systemctl stop minke.socket minke.service", "systemctl kill --signal KILL minke.service"]
    {
        let engine = ok("systemctl show -P MainPID minke.service");
        ok(script);
        let engine: i32 = engine.parse().expect("a pid");
        within(30, "the engine ends", || (!process::is_alive(engine)).then_some(()));
        assert!(process::is_alive(pid), "{script}");
        ok("systemctl start minke.socket");
        assert_eq!(ok("minke exec one echo back"), "back");
        assert_eq!(self::pid("one"), pid, "{script}");
    }
    ok("systemctl restart minke.service");
    assert_eq!(ok("minke exec one echo again"), "again");
    ok("minke run --rm busybox true");
    assert_eq!(limits(&group(pid)), expected);
    uninstall();
}

/// A session of the login manager that runs a script and stays; PAM makes it, as for a user who logs in.
fn log_in(script: &str) {
    let folder = Path::new("/etc/systemd/logind.conf.d");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("kill.conf"), "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n")
        .expect("a file");
    let stack = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_systemd.so type=tty class=user\n";
    std::fs::write("/etc/pam.d/minke-test", stack).expect("a file");
    let file = "/run/session.sh";
    std::fs::write(file, script).expect("a file");
    ok("systemctl start systemd-logind"); // without it PAM makes no session
    ok(&format!(
        "systemd-run --quiet --unit login -p PAMName=minke-test -p User=root sh -c 'cat /proc/self/cgroup >/run/session.group; sh {file} >/run/session.log 2>&1; exec sleep 100000'"
    ));
}

#[test]
fn an_engine_that_a_session_started_outlives_it() {
    let _alone = alone();
    let _ = std::fs::remove_file("/run/session.done");
    let image = tempfile::tempdir().expect("a folder");
    let file = image.path().join("image.tar");
    std::fs::write(&file, minke_e2e::rootfs::busybox_tar()).expect("an image");
    log_in(&format!(
        "minke import -c 'ENV PATH=/bin' {} busybox && minke run -d --name two busybox sleep 100000; touch /run/session.done",
        file.display()
    ));
    within(60, "the session's script ends", || Path::new("/run/session.done").exists().then_some(()));
    let session = std::fs::read_to_string("/run/session.group").expect("a group");
    assert!(session.contains("/session-"), "it isn't the login manager's: {session}");
    let pid = pid("two");
    assert!(group(pid).starts_with("/system.slice/minke-containers.scope/minke/"), "{}", group(pid));
    let name = session.split("/session-").nth(1).and_then(|rest| rest.split('.').next()).expect("a name");
    ok(&format!("loginctl terminate-session {name}"));
    let gone = format!("{GROUP}{}", session.trim().trim_start_matches("0::"));
    within(60, "the session ends", || (!Path::new(&gone).exists()).then_some(()));
    assert!(process::is_alive(pid));
    assert_eq!(ok("minke exec two echo here"), "here");
    assert_eq!(ok("systemctl is-active minke.service"), "active");
    uninstall();
}

#[test]
fn a_terminal_that_started_the_engine_interrupts_only_its_own() {
    let _alone = alone();
    let mut command = Command::new("sh");
    command.args(["-c", "minke ps; echo listed; minke run --name loop minke/hello; exec sleep 100000"]);
    let mut terminal = Terminal::start(&command, "a shell");
    terminal.expect("listed");
    let engine = ok("systemctl show -P MainPID minke.service");
    import();
    ok("minke run -d --name three busybox sleep 100000");
    let pid = pid("three");
    terminal.send("\x03");
    terminal.hang_up();
    terminal.wait();
    assert_eq!(ok("minke exec three echo here"), "here");
    assert!(process::is_alive(pid));
    assert_eq!(ok("systemctl show -P MainPID minke.service"), engine);
    uninstall();
}

fn with_driver(body: impl Fn(&Rig)) {
    let _alone = alone();
    Rig::run(Client::Minke, &["--exec-opt", "native.cgroupdriver=systemd"], body);
}

fn shown(unit: &str, properties: &str) -> String {
    let script = properties.split(' ').map(|name| format!("systemctl show -P {name} {unit}"));
    script.map(|line| ok(&line)).collect::<Vec<_>>().join(" | ")
}

#[test]
fn its_driver_makes_a_unit_for_each_container() {
    with_driver(|rig| {
        let info = rig.get("/info").json();
        assert_eq!(
            (info["CgroupDriver"].as_str(), info["CgroupVersion"].as_str()),
            (Some("systemd"), Some("2"))
        );
        rig.ok(&format!("run -d --name one --cpuset-cpus 0 {LIMITS} busybox sleep 100000"));
        let pid = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32;
        let path = group(pid);
        let unit = path.strip_prefix("/system.slice/").expect("it is in the system's slice").to_owned();
        let id = rig.inspect("one")["Id"].as_str().expect("an id").to_owned();
        assert!(unit.starts_with("minke-") && unit.ends_with(&format!("{id}.scope")), "{unit}");
        let all = "MemoryMax TasksMax CPUWeight CPUQuotaPerSecUSec AllowedCPUs Delegate Slice DevicePolicy";
        let expected = "67108864 | 50 | 59 | 500ms | 0 | yes | system.slice | strict";
        assert_eq!(shown(&unit, all), expected);
        assert_eq!(limits(&path), "67108864 | 50000 100000 | 59 | 50");
        assert!(rig.ok("top one").contains("sleep"));
        refused_device(&rig.cli(&format!("exec one sh -c '{FORBIDDEN}'")));
        rig.ok("exec one sh -c 'echo >/dev/null; head -c 1 /dev/zero'");

        rig.ok("update --memory 96m --memory-swap 96m --pids-limit 60 one");
        other_units_come_and_go();
        assert_eq!(shown(&unit, "MemoryMax TasksMax"), "100663296 | 60");
        assert_eq!(limits(&path), "100663296 | 50000 100000 | 59 | 60");
        refused_device(&rig.cli(&format!("exec one sh -c '{FORBIDDEN}'")));
        rig.ok("exec one sh -c 'echo >/dev/null'");

        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.ok("exec one echo back"), "back");
        rig.ok("pause one");
        rig.ok("unpause one");
        rig.ok("restart -t 0 one");
        let after = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32;
        assert_eq!(shown(group(after).rsplit('/').next().expect("a name"), "MemoryMax"), "100663296");
        rig.ok("rm -f one");
        within(20, "its units end", || {
            ok("systemctl list-units --no-legend 'minke-*.scope'")
                .lines()
                .all(|line| line.contains("-containers.scope"))
                .then_some(())
        });
    });
}

#[test]
fn its_driver_takes_slices_and_tells_of_memory_that_ran_out() {
    with_driver(|rig| {
        let words = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
        rig.fails("run --cgroup-parent /a busybox true", 125, words);
        rig.ok("run -d --name one --cgroup-parent minke-test.slice busybox sleep 100000");
        let pid = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32;
        assert!(group(pid).starts_with("/minke.slice/minke-test.slice/minke-"), "{}", group(pid));
        rig.ok("rm -f one");
        rig.ok("run -d --name greedy --memory 16m busybox sh -c 'x=x; while :; do x=$x$x; done'");
        rig.await_status("greedy", "exited");
        assert_eq!(rig.inspect("greedy")["State"]["OOMKilled"], true);
        rig.ok("run --rm --privileged busybox sh -c 'cat </dev/null'");
        rig.fails("run busybox no-such-program", 127, "no-such-program");
        rig.remove_all();
        ok("systemctl stop minke.slice");
    });
}

#[test]
fn containers_of_one_driver_are_taken_over_by_the_other() {
    with_driver(|rig| {
        rig.ok("run -d --name one --memory 64m busybox sleep 100000");
        let before = group(rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32);
        rig.stop_engine();
        rig.start_engine_with(&[]);
        assert_eq!(rig.get("/info").json()["CgroupDriver"], "cgroupfs");
        assert_eq!(rig.ok("exec one echo back"), "back");
        rig.ok("update --memory 80m --memory-swap 80m one");
        assert!(limits(&before).starts_with("83886080 "), "{}", limits(&before));
        assert_eq!(shown(before.rsplit('/').next().expect("a name"), "MemoryMax"), "83886080");
        rig.ok("rm -f one");
    });
}

#[test]
fn a_bundle_is_put_into_a_unit() {
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder");
    let path = folder.path();
    tar::Archive::new(minke_e2e::rootfs::busybox_tar())
        .unpack(path.join("rootfs"))
        .expect("the image unpacks");
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["sleep", "100000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "annotations": {"org.systemd.property.TimeoutStopUSec": "uint64 3000000"},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}],
            "cgroupsPath": "minke-oci.slice:bundle:one",
            "resources": {"memory": {"limit": 33554432}, "devices": [{"allow": false, "access": "rwm"}]}},
    });
    std::fs::write(path.join("config.json"), config.to_string()).expect("a file");
    let oci = format!("cd {0} && minke oci --root {0}/state --systemd-cgroup", path.display());
    // Once by systemd's own socket, once by the message bus.
    let without_socket =
        "unshare --mount sh -c 'mount --bind /dev/null /run/systemd/private && exec \"$@\"' sh";
    for around in ["", without_socket] {
        ok(&format!(
            "{} {around} minke oci --root {}/state --systemd-cgroup run -d one </dev/null >/dev/null 2>&1",
            format_args!("cd {} &&", path.display()),
            path.display()
        ));
        let unit = "bundle-one.scope";
        assert_eq!(
            shown(unit, "ActiveState Slice MemoryMax TimeoutStopUSec Delegate"),
            "active | minke-oci.slice | 33554432 | 3s | yes"
        );
        assert_eq!(ok(&format!("cat {GROUP}/minke.slice/minke-oci.slice/{unit}/memory.max")), "33554432");
        assert_eq!(ok(&format!("wc -l <{GROUP}/minke.slice/minke-oci.slice/{unit}/cgroup.procs")), "1");
        ok(&format!("{oci} update --memory 48m --memory-swap 48m one"));
        assert_eq!(shown(unit, "MemoryMax"), "50331648");
        ok(&format!("{oci} delete -f one"));
        within(20, "its unit ends", || {
            (shell(&format!("systemctl is-active {unit}")).text() == "inactive").then_some(())
        });
    }
    ok("systemctl stop minke.slice");
}
