//! The engine that the command line starts by itself, at the places of an installed minke.
//!
//! `/run` and `/var/lib` are empty file systems of a private mount namespace, its bridge is in a network namespace, and a pid
//! namespace ends all with the test.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use minke_e2e::{Output, Session, deadline, peers};

/// Makes the private world, then runs the script in it with `$minke` as the program.
const WORLD: &str = r#"
mount -t tmpfs -o mode=755 test /run
mount -t tmpfs -o mode=755 test /var/lib
[ ! -d /etc/minke ] || mount -t tmpfs -o mode=755 test /etc/minke
cd /tmp
engines() {
  for process in /proc/[0-9]*; do
    tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q '^[^ ]*minke daemon' && echo "${process#/proc/}"
  done
}
"#;

/// These engines share the cgroup of an installed one, so they run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn world(script: &str) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let taken = std::os::unix::net::UnixStream::connect("/run/minke/minke.sock").is_ok();
    assert!(!taken, "an engine runs at the places of this test: stop it with `minke daemon stop`");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
        "bash",
        "-uc",
    ]);
    command.arg(format!("minke={}\n{WORLD}\n{script}", peers::minke().display()));
    for variable in ["MINKE_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "MINKE_CONTEXT"] {
        command.env_remove(variable);
    }
    command.env("HOME", "/run").stdin(Stdio::null());
    let output = Session::start(command, script).finish(deadline::seconds(60));
    minke_e2e::within(20, "the cgroups can be removed", || {
        let names = ["minke", "minke-shims", "minke-netd"];
        names.iter().all(|name| minke_e2e::census::remove_cgroups(name)).then_some(())
    });
    output
}

#[test]
fn the_first_command_starts_the_engine_and_says_so() {
    let output = world(
        "$minke run --rm minke/hello || exit 1; echo ---; $minke run --rm minke/hello; engines | wc -l",
    );
    assert_eq!(output.code, 0, "{output:?}");
    let text = output.text();
    let (first, second) = text.split_once("---\n").expect("both have run");
    assert!(first.to_lowercase().contains("hello"), "{first}");
    let told = output.stderr.lines().filter(|line| line.contains("Starting")).count();
    assert_eq!(told, 1, "the first says that it starts the engine: {}", output.stderr);
    assert_eq!(
        second.trim_end(),
        format!("{}\n1", first.trim_end()),
        "the second does the same, and there is one engine"
    );
}

#[test]
fn two_first_commands_start_one_engine() {
    let output = world(
        "$minke version >/dev/null & $minke run --rm minke/hello >/dev/null & $minke ps >/dev/null & wait; engines | wc -l",
    );
    assert_eq!((output.code, output.text().as_str()), (0, "1"), "{}", output.stderr);
}

#[test]
fn the_engine_leaves_the_caller_s_session() {
    let script = "$minke ps >/dev/null; engine=$(engines); readlink /proc/$engine/cwd; cut -d' ' -f6,7 /proc/$engine/stat; \
         cut -d' ' -f6 /proc/$$/stat; for n in 0 1 2; do readlink /proc/$engine/fd/$n; done";
    let output = world(script);
    let text = output.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{output:?}");
    assert_eq!(lines[0], "/", "it keeps no directory busy");
    let (session, terminal) = lines[1].split_once(' ').expect("two numbers");
    assert_ne!(session, lines[2], "it has a session of its own");
    assert_eq!(terminal, "0", "it has no terminal");
    assert_eq!(lines[3], "/dev/null");
}

#[test]
fn stop_ends_the_engine_and_only_the_engine() {
    let script = "$minke run -d --name one --network none minke/hello >/dev/null; $minke daemon stop; echo code $?; engines | wc -l; \
         ls /run/minke/minke.sock 2>/dev/null; $minke daemon stop; echo code $?";
    let output = world(script);
    let text = output.text();
    assert!(text.contains("code 0\n0\n"), "{output:?}");
    assert!(!text.contains("minke.sock"), "{text}");
}

#[test]
fn who_may_not_start_one_is_told_the_command() {
    let output = world("setpriv --reuid 65534 --regid 65534 --clear-groups $minke ps");
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("sudo "), "{}", output.stderr);
    assert!(output.stderr.trim_end().lines().count() <= 2, "one sentence: {}", output.stderr);
}

#[test]
fn a_host_that_is_set_is_never_replaced_by_an_own_engine() {
    let script = "MINKE_HOST=unix:///run/other.sock $minke ps; echo code $?; DOCKER_HOST=unix:///run/other.sock $minke ps; echo code $?; \
         $minke -H unix:///run/other.sock ps; echo code $?; engines | wc -l";
    let output = world(script);
    assert_eq!(output.text(), "code 1\ncode 1\ncode 1\n0", "{}", output.stderr);
    assert!(output.stderr.contains("/run/other.sock"), "{}", output.stderr);
}
