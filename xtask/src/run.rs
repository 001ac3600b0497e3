//! Running other programs: shown as they are started, and an error when they fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

/// Returns the project's root folder.
pub fn project() -> &'static Path {
    minke_e2e::peers::project()
}

/// Returns the folder of build results.
pub fn target() -> PathBuf {
    minke_e2e::peers::target()
}

/// Returns the cargo that runs this, without what it has set about the package of this: build scripts that look at it would run
/// again, and with them what depends on them.
pub fn cargo_command() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string()));
    let about_this = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(about_this) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Runs cargo.
pub fn cargo(words: &[&str]) -> Result<()> {
    check(cargo_command().args(words))
}

/// Runs a command that has to succeed.
pub fn check(command: &mut Command) -> Result<()> {
    let line = show(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("can't start {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

static PASSED: AtomicUsize = AtomicUsize::new(0);

/// Returns how many tests have passed in what [`tests`] has run.
pub fn tests_passed() -> usize {
    PASSED.load(Ordering::Relaxed)
}

/// Runs a command that runs tests, shows its output, and counts what passed.
pub fn tests(command: &mut Command) -> Result<()> {
    let line = show(command);
    let (status, _) = tests_to_end(command)?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// The same, returning how the runner ended and the names of the tests that failed.
pub fn tests_to_end(command: &mut Command) -> Result<(ExitStatus, Vec<String>)> {
    let line = show(command);
    eprintln!("+ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {line}"))?;
    let errors = child.stderr.take().context("a pipe")?;
    let reader = std::thread::spawn(move || pass_on(errors, &mut std::io::stderr()));
    let failed = pass_on(child.stdout.take().context("a pipe")?, &mut std::io::stdout());
    let _ = reader.join();
    Ok((child.wait()?, failed))
}

/// Shows all lines, counts what passed, and returns the names of failed tests.
fn pass_on(source: impl Read, sink: &mut impl Write) -> Vec<String> {
    let mut failed = Vec::new();
    for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        PASSED.fetch_add(passed_in(&text), Ordering::Relaxed);
        failed.extend(failed_in(&text).map(str::to_string));
        let _ = writeln!(sink, "{text}");
    }
    failed
}

/// Reads a line of the test runner: `test NAME ... FAILED`.
fn failed_in(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Reads the closing line of the test runner or of nextest: `... 12 passed; ...` or `... 12 tests run: 12 passed, ...`.
fn passed_in(line: &str) -> usize {
    let line = line.trim_start();
    if !line.starts_with("test result:") && !line.starts_with("Summary") {
        return 0;
    }
    let words: Vec<&str> = line.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    let number = words.windows(2).find(|pair| pair[1] == "passed").map(|pair| pair[0].parse());
    number.and_then(Result::ok).unwrap_or(0)
}

/// Runs a command that has to succeed, and returns its output.
pub fn output(command: &mut Command) -> Result<String> {
    let line = show(command);
    let output = command.output().with_context(|| format!("can't start {line}"))?;
    ensure!(
        output.status.success(),
        "{line}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns a command that runs as root: by sudo unless this process is root already.
pub fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--preserve-env=TMPDIR,CARGO_TARGET_DIR").arg("--").arg("env").arg(path_of_root());
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("MINKE_E2E_")) {
        command.arg(format!("{name}={value}"));
    }
    command.arg(program);
    command
}

/// Returns the variable that has cargo run what it built as root, by sudo.
pub fn as_root_runner() -> Result<(String, String)> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok((
        format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")),
        format!("sudo --preserve-env -- env {}", path_of_root()),
    ))
}

/// The caller's PATH and root's folders behind it, as a word for `env`: sudo has a PATH of its own, whatever it is told to keep.
fn path_of_root() -> String {
    format!("PATH={}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Tells whether this process is root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t0\t"))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{failed_in, passed_in};

    #[test]
    fn passed_tests_are_counted_in_closing_lines_only() {
        assert_eq!(passed_in("test result: ok. 12 passed; 0 failed; 0 ignored"), 12);
        assert_eq!(passed_in("     Summary [   1.2s] 340 tests run: 338 passed, 2 failed, 0 skipped"), 338);
        assert_eq!(passed_in("they said 7 passed"), 0);
    }

    #[test]
    fn failed_tests_are_known_by_name() {
        assert_eq!(failed_in("test run::hello ... FAILED"), Some("run::hello"));
        assert_eq!(failed_in("test run::hello ... ok"), None);
        assert_eq!(failed_in("test result: FAILED. 1 passed; 1 failed"), None);
    }
}
