//! All checks, in the order that finds a mistake soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::{e2e, run, tidy};

/// Runs all checks. The last line says how long each took.
pub fn all() -> Result<()> {
    let mut times = Vec::new();
    let mut step = |name: &'static str, work: &dyn Fn() -> Result<()>| -> Result<()> {
        let start = Instant::now();
        work()?;
        times.push(format!("{name} {} s", start.elapsed().as_secs()));
        Ok(())
    };
    step("format", &|| run::cargo(&["fmt", "--all", "--check"]))?;
    step("tidy", &tidy::check)?;
    step("release build", &|| run::cargo(&["build", "--release", "--locked"]))?;
    step("lints", &|| {
        run::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    })?;
    step("dependencies", &dependencies)?;
    step("tests", &unit_tests)?;
    step("end to end", &|| e2e::run(&e2e::Options::default()))?;
    step("cgroup v2", &|| e2e::run(&e2e::Options { vm: true, ..e2e::Options::default() }))?;
    println!("all checks passed: {}", times.join(", "));
    Ok(())
}

/// The tests of every crate but the end-to-end ones: by nextest where it is installed.
fn unit_tests() -> Result<()> {
    let words = ["--workspace", "--exclude", "minke-e2e", "--locked"];
    if !has("nextest") {
        return run::cargo(&[&["test"], &words[..]].concat());
    }
    run::cargo(&[&["nextest", "run", "--no-fail-fast"], &words[..]].concat())
}

/// Licences and sources of the dependencies, where cargo-deny is installed.
fn dependencies() -> Result<()> {
    if !has("deny") {
        eprintln!("cargo-deny isn't installed: deny.toml is not checked");
        return Ok(());
    }
    run::cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])
}

fn has(subcommand: &str) -> bool {
    let mut command = Command::new(run::cargo_program());
    command.args([subcommand, "--version"]).output().is_ok_and(|output| output.status.success())
}
