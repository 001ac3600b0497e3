//! Running other programs: shown as they are started, and an error when they fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Returns the project's root folder.
pub fn project() -> &'static Path {
    minke_e2e::peers::project()
}

/// Returns the folder of build results.
pub fn target() -> PathBuf {
    minke_e2e::peers::target()
}

/// Returns the cargo that started this program.
pub fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string())
}

/// Runs cargo.
pub fn cargo(words: &[&str]) -> Result<()> {
    check(Command::new(cargo_program()).args(words))
}

/// Runs a command that has to succeed.
pub fn check(command: &mut Command) -> Result<()> {
    let line = show(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("can't start {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
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
    command.arg("--preserve-env=PATH,TMPDIR,CARGO_TARGET_DIR").arg("--").arg("env");
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("MINKE_E2E_")) {
        command.arg(format!("{name}={value}"));
    }
    command.arg(program);
    command
}

/// Tells whether this process is root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t0\t"))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
