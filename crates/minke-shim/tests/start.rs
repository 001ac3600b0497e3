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
