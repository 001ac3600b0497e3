//! Running the hooks of a configuration (runtime specification: config.md "POSIX-platform Hooks"): a program that gets the state
//! on its standard input.

use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use minke_sys::process as kernel;
use oci_spec::runtime::Hook;

use super::Failure;

/// Runs one list of hooks in order; the first that fails ends it.
///
/// `kind` is the list's name, `state` what each reads; without `directory` they run in the caller's.
pub fn run_all(kind: &str, hooks: &[Hook], state: &str, directory: Option<&Path>) -> Result<(), Failure> {
    for (number, hook) in hooks.iter().enumerate() {
        run(hook, state, directory)
            .map_err(|failure| Failure::new(format!("error running hook #{number} of {kind}: {failure}")))?;
    }
    Ok(())
}

fn run(hook: &Hook, state: &str, directory: Option<&Path>) -> Result<(), Failure> {
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    // Without a list of its own a hook has the runtime's environment.
    if let Some(variables) = hook.env() {
        command.env_clear().envs(variables.iter().filter_map(|entry| entry.split_once('=')));
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::piped());
    let words = |error: std::io::Error| Failure::new(format!("{}: {error}", hook.path().display()));
    let mut child = command.spawn().map_err(words)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it.
        let _ = input.write_all(state.as_bytes());
    }
    let timeout = hook
        .timeout()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    match wait(&mut child, timeout).map_err(words)? {
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Failure::new(format!(
                "hook ran past specified timeout of {:.1}s",
                timeout.unwrap_or_default().as_secs_f64()
            )))
        }
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Failure::new(match status.code() {
            Some(code) => format!("exit status {code}"),
            None => format!("signal: {}", signal_words(status.signal().unwrap_or(0))),
        })),
    }
}

fn signal_words(number: i32) -> String {
    match number {
        6 => "aborted".into(),
        9 => "killed".into(),
        11 => "segmentation fault".into(),
        15 => "terminated".into(),
        31 => "bad system call".into(),
        other => format!("signal {other}"),
    }
}

/// Waits for a child's end; `None` when it takes longer than allowed.
fn wait(child: &mut Child, timeout: Option<Duration>) -> std::io::Result<Option<std::process::ExitStatus>> {
    let Some(timeout) = timeout else { return child.wait().map(Some) };
    let end = Instant::now() + timeout;
    let pidfd = kernel::pidfd_open(i32::try_from(child.id()).unwrap_or(0))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        minke_sys::signal::wait_readable_for(&pidfd, left)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: serde_json::Value) -> Hook {
        serde_json::from_value(json).expect("a hook")
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_variables() {
        let script = "read -r state; test \"$state\" = STATE && test \"$A\" = 1 && test -z \"$HOME\"";
        let good = hook(serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=1"]}));
        run_all("prestart", &[good], "STATE\n", None).expect("it succeeds");
    }

    #[test]
    fn a_hook_that_fails_or_takes_too_long_is_an_error_that_names_it() {
        let fine = hook(serde_json::json!({"path": "/bin/true"}));
        let bad = hook(serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}));
        let error = run_all("createRuntime", &[fine, bad], "", None).expect_err("it fails");
        assert_eq!(error.to_string(), "error running hook #1 of createRuntime: exit status 3");
        let slow = hook(serde_json::json!({"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}));
        let error = run_all("poststop", &[slow], "", None).expect_err("it fails");
        assert_eq!(
            error.to_string(),
            "error running hook #0 of poststop: hook ran past specified timeout of 1.0s"
        );
    }
}
