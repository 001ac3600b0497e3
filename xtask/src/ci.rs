//! All checks, in the order that finds a mistake soonest.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{e2e, run, tidy};

/// Runs all checks. The last line counts the tests, the one before it says how long each step took.
pub fn all() -> Result<()> {
    let start = Instant::now();
    let mut steps = Steps::default();
    steps.run("format", || optional("fmt", &["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::check)?;
    steps.run("release build", || run::cargo(&["build", "--release", "--locked"]))?;
    steps.run("lints", || {
        optional("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    })?;
    steps.run("dependencies", || {
        optional("deny", &["deny", "--offline", "check", "licenses", "bans", "sources"])
    })?;
    steps.run("unit tests", unit_tests)?;
    steps.run("end-to-end tests", || e2e::run(&e2e::Options::default()))?;
    steps.run("power cuts", || {
        e2e::run(&e2e::Options { filters: vec!["powercut::".into()], ..e2e::Options::default() })
    })?;
    steps.run("cgroup v2", || e2e::run(&e2e::Options { vm: true, ..e2e::Options::default() }))?;
    steps.run("systemd", || e2e::run(&e2e::Options { vm_systemd: true, ..e2e::Options::default() }))?;
    println!("all checks passed: {}", steps.times.join(", "));
    println!(
        "test result: ok. {} passed; 0 failed; finished in {} s",
        run::tests_passed(),
        start.elapsed().as_secs()
    );
    Ok(())
}

/// The steps so far, with the time that each took.
#[derive(Default)]
struct Steps {
    times: Vec<String>,
}

impl Steps {
    fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        work().with_context(|| format!("test result: FAILED. in the step: {name}"))?;
        self.times.push(format!("{name} {} s", start.elapsed().as_secs()));
        Ok(())
    }
}

/// The tests of every crate but the end-to-end ones: by nextest where it is installed. Some mount, make namespaces and give
/// files away, so all run as root; what is built is built as the caller.
fn unit_tests() -> Result<()> {
    let words = ["--workspace", "--exclude", "minke-e2e", "--locked"];
    let runner: &[&str] =
        if has("nextest") { &["nextest", "run", "--no-fail-fast", "--retries", "1"] } else { &["test"] };
    let mut command = run::cargo_command();
    command.args(runner).args(words);
    if !run::is_root() {
        let (name, value) = run::as_root_runner()?;
        command.env(name, value);
    }
    run::tests(&mut command)
}

/// Runs a part of cargo that a machine may lack, and says so where it does.
fn optional(part: &str, words: &[&str]) -> Result<()> {
    if has(part) {
        return run::cargo(words);
    }
    println!("cargo {part} isn't installed: this check is left out");
    Ok(())
}

fn has(part: &str) -> bool {
    let mut command = run::cargo_command();
    command.args([part, "--version"]).output().is_ok_and(|output| output.status.success())
}
