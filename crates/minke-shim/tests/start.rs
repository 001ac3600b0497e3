//! What a container's world looks like from inside, and how starts fail. Needs root.

mod support;

use minke_spec::shim::ErrorCode;
use support::*;

#[test]
fn a_program_runs_and_its_exit_code_is_recorded() {
    let mut container = Container::new(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    container.start().unwrap();
    assert!(container.record("state").contains("\"pid\":"));
    assert_eq!(container.wait(), 3);
    assert!(container.record("exit").contains("\"code\":3"));
    assert_eq!(
        (container.logged("stdout").as_str(), container.logged("stderr").as_str()),
        ("out\n", "err\n")
    );
    container.census();
}

fn output(script: &str) -> String {
    let mut container = Container::new(&["sh", "-c", script]);
    container.start().unwrap();
    assert_eq!(container.wait(), 0, "{}", container.logged("stderr"));
    let text = container.logged("stdout");
    container.census();
    text
}

#[test]
fn it_is_pid_1_in_its_own_namespaces_and_control_groups() {
    let text = output(
        "echo $$; hostname; cat /proc/self/cgroup | cut -d: -f3 | sort -u; ls /sys/fs/cgroup/memory | grep -c tasks",
    );
    assert_eq!(text, "1\nbox\n/\n1\n");
}

#[test]
fn loopback_is_up_and_nothing_else_is_there() {
    assert_eq!(output("cat /sys/class/net/lo/flags; ls /sys/class/net"), "0x9\nlo\n");
}

#[test]
fn a_network_namespace_that_was_made_ahead_is_the_containers_own() {
    let script = "cat /sys/class/net/lo/flags; ls /sys/class/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
                  readlink /proc/self/ns/net";
    let mut container = Container::new(&["sh", "-c", script]);
    container.plan.sysctls = vec![("net/ipv4/ip_unprivileged_port_start".into(), "77".into())];
    let made = std::thread::spawn(|| minke_sys::link::enter_new_network().unwrap());
    let namespace = made.join().unwrap();
    let inode = rustix::fs::fstat(&namespace).unwrap().st_ino;
    container.network = Some(namespace);
    container.start().unwrap();
    assert_eq!(container.wait(), 0, "{}", container.logged("stderr"));
    assert_eq!(container.logged("stdout"), format!("0x9\nlo\n77\nnet:[{inode}]\n"));
    container.census();
}

#[test]
fn masked_paths_are_empty_and_readonly_ones_refuse_writing() {
    let text = output(
        "wc -c < /proc/keys; ls /sys/firmware | wc -l; (echo 1 > /proc/sys/kernel/printk) 2>&1 | grep -c 'Read-only'; \
         stat -c %t:%T /proc/keys; grep -c ' / / ' /proc/self/mountinfo",
    );
    assert_eq!(text, "0\n0\n1\n1:3\n1\n");
}

#[test]
fn capabilities_are_exactly_those_of_the_plan() {
    let text = output("grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status | tr -d '\\t '");
    assert_eq!(
        text,
        "Groups:\nCapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0\n"
    );
}

#[test]
fn no_descriptor_of_the_shim_reaches_the_program() {
    assert_eq!(output("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    let text = output("grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\t '");
    assert_eq!(text, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n");
}

fn failure(args: &[&str], change: impl FnOnce(&mut Container)) -> (ErrorCode, String) {
    let mut container = Container::new(args);
    change(&mut container);
    let error = container.start().unwrap_err();
    assert!(container.record("exit").contains("\"error\":\""), "{:?}", container.record("exit"));
    container.census();
    (error.code, error.message)
}

#[test]
fn a_program_that_is_not_there_is_reported_in_dockers_words() {
    let (code, message) = failure(&["nope"], |_| {});
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::ProgramNotFound, "exec: \"nope\": executable file not found in $PATH")
    );
    let (code, message) = failure(&["/nope"], |_| {});
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::ProgramNotFound, "exec: \"/nope\": stat /nope: no such file or directory")
    );
}

#[test]
fn what_cannot_be_executed_is_reported_in_dockers_words() {
    let (code, message) = failure(&["/etc"], |_| {});
    assert_eq!((code, message.as_str()), (ErrorCode::ProgramNotExecutable, "exec: \"/etc\": is a directory"));
    let (code, message) = failure(&["/file"], |container| {
        std::fs::write(container.directory.path().join("upper/file"), "").unwrap();
    });
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::ProgramNotExecutable, "exec: \"/file\": permission denied")
    );
}

#[test]
fn a_working_directory_that_is_not_there_is_an_error_unless_it_is_made() {
    let (code, message) = failure(&["true"], |container| container.plan.process.cwd = "/no/where".into());
    assert_eq!(
        (code, message.as_str()),
        (
            ErrorCode::WorkingDirectory,
            "chdir to cwd (\"/no/where\") set in config.json failed: no such file or directory"
        )
    );
    let mut container = Container::new(&["pwd"]);
    (container.plan.process.cwd, container.plan.process.create_cwd) = ("/no/where".into(), true);
    container.start().unwrap();
    assert_eq!((container.wait(), container.logged("stdout").as_str()), (0, "/no/where\n"));
    container.census();
}

/// Forbids `mkdir` (with `EPERM`) and allows everything else.
fn filter_without_mkdir() -> Vec<u64> {
    let instruction = |code: u64, jt: u64, jf: u64, k: u64| code | jt << 16 | jf << 24 | k << 32;
    let mkdir = if cfg!(target_arch = "x86_64") { 83 } else { 34 };
    vec![
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, mkdir),
        instruction(0x06, 0, 0, 0x0005_0001),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ]
}

#[test]
fn a_filter_applies_with_and_without_no_new_privileges() {
    for no_new_privileges in [false, true] {
        let script = "mkdir /x 2>&1 | grep -c 'not permitted'; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2";
        let mut container = Container::new(&["sh", "-c", script]);
        container.plan.process.seccomp = filter_without_mkdir();
        container.plan.process.no_new_privileges = no_new_privileges;
        container.start().unwrap();
        assert_eq!(container.wait(), 0);
        let expected = format!("1\n{}\n2\n", u8::from(no_new_privileges));
        assert_eq!(container.logged("stdout"), expected);
        container.census();
    }
}

#[test]
fn another_user_has_its_groups_no_capabilities_and_its_own_standard_output() {
    let script = "id -u; id -g; id -G; grep CapEff /proc/self/status | cut -f2; echo again > /dev/stdout";
    let mut container = Container::new(&["sh", "-c", script]);
    let process = &mut container.plan.process;
    (process.uid, process.gid, process.groups) = (1000, 1001, vec![7, 8]);
    container.start().unwrap();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.logged("stdout"), "1000\n1001\n1001 7 8\n0000000000000000\nagain\n");
    container.census();
}

#[test]
fn a_user_namespace_maps_root_to_an_unprivileged_user() {
    let script = "id -u; cat /proc/self/uid_map | tr -s ' '; touch /x; stat -c %u /x; (echo 1 > /proc/sys/kernel/printk) 2>/dev/null || echo no";
    let mut container = Container::new(&["sh", "-c", script]);
    container.plan.namespaces.new |= u64::from(minke_sys::process::CLONE_NEWUSER);
    container.plan.namespaces.uid_map = vec![(0, 100_000, 65536)];
    container.plan.namespaces.gid_map = vec![(0, 100_000, 65536)];
    container.plan.process.oom_score_adj = Some(300);
    // Device nodes can't be made inside; the upper directory must belong to the container's root.
    container.plan.devices.iter_mut().for_each(|device| device.bind = Some(device.path.clone()));
    std::os::unix::fs::chown(container.directory.path().join("upper"), Some(100_000), Some(100_000)).unwrap();
    container.start().unwrap();
    assert_eq!(container.wait(), 0, "{}", container.logged("stderr"));
    assert_eq!(container.logged("stdout"), "0\n 0 100000 65536\n0\nno\n");
    container.census();
}

fn bind(source: &std::path::Path, target: &str, set: u64) -> minke_spec::plan::MountStep {
    minke_spec::plan::MountStep::Bind {
        source: source.to_str().unwrap().into(),
        target: target.into(),
        recursive: true,
        set,
        clear: 0,
        set_recursive: 0,
        clear_recursive: 0,
        propagation: 1 << 18 | 1 << 14,
        id_map: None,
    }
}

#[test]
fn directories_and_files_are_bound_read_only_or_not() {
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("file"), "content").unwrap();
    let script = "cat /etc/bound /data/file; echo x > /etc/bound || echo refused; echo new > /data/new";
    let mut container = Container::new(&["sh", "-c", script]);
    container.plan.mounts.push(bind(&shared.path().join("file"), "/etc/bound", 1));
    container.plan.mounts.push(bind(shared.path(), "/data", 0));
    container.start().unwrap();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.logged("stdout"), "contentcontentrefused\n");
    assert_eq!(std::fs::read_to_string(shared.path().join("new")).unwrap(), "new\n");
    container.census();
}

#[test]
fn a_bind_whose_source_is_missing_is_named_in_the_error() {
    let (code, message) = failure(&["true"], |container| {
        container.plan.mounts.push(bind(std::path::Path::new("/no/such"), "/data", 0));
    });
    let words = "error mounting \"/no/such\" to rootfs at \"/data\": no such file or directory";
    assert_eq!((code, message.as_str()), (ErrorCode::Setup, words));
}

#[test]
fn links_of_the_image_do_not_lead_mounts_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    let mut container = Container::new(&["sh", "-c", "cat /data/file; ls -d /link"]);
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("file"), "content\n").unwrap();
    let upper = container.directory.path().join("upper");
    std::os::unix::fs::symlink(&target, upper.join("data")).unwrap();
    std::os::unix::fs::symlink("/../../../../../etc", upper.join("link")).unwrap();
    container.plan.mounts.push(bind(shared.path(), "/data", 0));
    container.plan.mounts.push(bind(shared.path(), "/link/inside", 0));
    container.start().unwrap();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.logged("stdout"), "content\n/link\n");
    assert!(!target.exists() && !std::path::Path::new("/etc/inside").exists());
    assert!(upper.join("etc/inside").is_dir());
    container.census();
}

#[test]
fn proc_is_never_mounted_where_a_link_of_the_image_leads() {
    let (code, message) = failure(&["true"], |container| {
        if let minke_spec::plan::MountStep::Filesystem { target, .. } = &mut container.plan.mounts[0] {
            *target = "/link".into();
        }
        let upper = container.directory.path().join("upper");
        std::os::unix::fs::symlink("/tmp", upper.join("link")).unwrap();
    });
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::Setup, "\"/link\" must be mounted on ordinary directory: not a directory")
    );
}

#[test]
fn a_read_only_root_refuses_writing_but_not_in_its_mounts() {
    let mut container =
        Container::new(&["sh", "-c", "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo fine"]);
    container.plan.root.readonly = true;
    container.start().unwrap();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.logged("stdout"), "refused\nfine\n");
    container.census();
}

#[test]
fn what_the_kernel_refuses_to_execute_ends_with_255_and_says_so_inside() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut container = Container::new(&["/bad"]);
    let path = container.directory.path().join("upper/bad");
    std::fs::write(&path, "\u{1}garbage").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    container.start().unwrap();
    assert_eq!(container.wait(), 255);
    assert_eq!(container.logged("stderr"), "exec /bad: exec format error\n");
    container.census();
}

#[test]
fn a_hundred_short_ones_leave_nothing_and_lose_no_exit_code() {
    for number in 0..100 {
        let mut container = Container::new(&["sh", "-c", &format!("echo {number}; exit {number}")]);
        container.start().unwrap();
        assert_eq!((container.wait(), container.logged("stdout")), (number, format!("{number}\n")));
        container.census();
    }
}
