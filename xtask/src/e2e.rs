//! The end-to-end tests: built as the user, run as root, on this machine or in a virtual one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run;

/// The groups of tests that the virtual machine runs: what depends on cgroup v2, and a taste of the rest.
const IN_VM: &[&str] = &[
    "apparmor::",
    "limits::",
    "security::",
    "userns::the_containers_root",
    "exec::",
    "kill9::",
    "layer_size::",
    "lifecycle::a_restart_policy",
    "parents::",
    "run::the_exit_code",
    "runtimes::a_container",
    "soak::a_thousand_runs_in",
];

/// The groups that only our engine can pass: it is killed in them, or dockerd stands beside it.
const OURS: &[&str] = &[
    "differential::",
    "host::",
    "kill9::",
    "oci_engines::",
    "places::",
    "powercut::",
    "runtimes::",
    "systemd::",
];

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// In the virtual machine.
    pub vm: bool,
    /// In the virtual machine, with systemd as its first process.
    pub vm_systemd: bool,
    /// The engine, if not ours.
    pub engine: Option<String>,
    /// One client only.
    pub client: Option<String>,
    /// Words that a test's name contains; none: all tests.
    pub filters: Vec<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--vm" => options.vm = true,
                "--vm-systemd" => options.vm_systemd = true,
                "--engine" => {
                    options.engine = Some(words.next().context("--engine needs minke or dockerd")?.clone())
                }
                "--client" => {
                    options.client = Some(words.next().context("--client needs minke or docker")?.clone())
                }
                flag if flag.starts_with('-') => bail!("unknown option {flag}"),
                filter => options.filters.push(filter.to_string()),
            }
        }
        Ok(options)
    }
}

/// Builds the tests and, for our engine, the program; runs them.
pub fn run(options: &Options) -> Result<()> {
    if options.engine.as_deref() != Some("dockerd") {
        run::cargo(&["build", "--release", "--locked"])?;
    }
    let program = build()?;
    let peers = ["busybox", "docker", "podman", "registry", "runc", "debootstrap", "vm", "ufw", "firewalld"];
    run::check(run::as_root("tools/peers").arg("fetch").arg(run::target().join("peers")).args(peers))?;
    report_versions()?;
    let mut command = match (options.vm, options.vm_systemd) {
        (_, true) => {
            run::check(
                run::as_root("tools/peers").arg("fetch").arg(run::target().join("peers")).arg("systemd"),
            )?;
            in_vm(&["--systemd"])
        }
        (true, _) => in_vm(&[]),
        _ => run::as_root("env"),
    };
    for (name, value) in [("MINKE_E2E_ENGINE", &options.engine), ("MINKE_E2E_CLIENT", &options.client)] {
        if let Some(value) = value {
            command.arg(format!("{name}={value}"));
        }
    }
    command.arg(&program);
    let mut all = command_again(&command);
    // Fewer at a time where each costs more.
    let threads = if options.vm || options.vm_systemd || options.engine.is_some() { "2" } else { "4" };
    all.args(["--test-threads", threads]);
    if !options.filters.is_empty() {
        all.args(&options.filters);
    } else if options.vm_systemd {
        all.arg("systemd::");
    } else if options.vm {
        all.args(IN_VM);
    } else {
        let skipped =
            if options.engine.as_deref() == Some("dockerd") { OURS } else { &["powercut::", "systemd::"] };
        all.args(skipped.iter().flat_map(|group| ["--skip", group]));
    }
    let (status, failed) = run::tests_to_end(&mut all)?;
    if status.success() {
        return Ok(());
    }
    ensure!((1..=FEW).contains(&failed.len()), "the end-to-end tests: {status}; failed: {failed:?}");
    // What fails beside three others on a busy machine and passes alone is said, and does not end the run.
    println!("failed, and run once more alone: {}", failed.join(", "));
    run::tests(command_again(&command).args(["--test-threads", "1", "--exact"]).args(&failed))?;
    println!("passed alone, after failing beside others: {}", failed.join(", "));
    Ok(())
}

/// How many tests may be run once more.
const FEW: usize = 5;

/// The same command, to be run another time.
fn command_again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    again
}

/// Returns the start of a command that goes on in the virtual machine.
fn in_vm(options: &[&str]) -> Command {
    let mut command = run::as_root("tools/vm/run");
    command.args(options).arg("--from").arg(run::target().join("peers")).args([
        "--timeout",
        "1500",
        "--mem",
        "3072",
    ]);
    // As in a container, engines leave AppArmor alone, but for those of the tests that are about it.
    command.args(["--", "env", "MINKE_E2E_PATIENCE=20", "container=vm"]);
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        command.arg(format!("CARGO_TARGET_DIR={}", folder.display()));
    }
    command
}

/// Builds the tests' program and returns where it is.
fn build() -> Result<PathBuf> {
    let mut cargo = run::cargo_command();
    cargo.args([
        "test",
        "--package",
        "minke-e2e",
        "--test",
        "e2e",
        "--no-run",
        "--locked",
        "--message-format",
        "json",
    ]);
    let messages = run::output(cargo.stderr(std::process::Stdio::inherit()))?;
    let programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "e2e").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    let programs: Vec<PathBuf> = programs.collect();
    ensure!(programs.len() == 1, "cargo built {programs:?}");
    Ok(programs.into_iter().next().unwrap_or_default())
}

/// Says which versions the results hang on.
fn report_versions() -> Result<()> {
    let docker = run::output(Command::new(minke_e2e::peers::docker()).arg("--version"))?;
    let packages = run::output(Command::new("tools/peers").arg("versions").arg(run::target().join("peers")))?;
    let named = |line: &&str| {
        ["docker.io ", "podman ", "crun ", "runc ", "busybox"].iter().any(|name| line.starts_with(name))
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!(
        "client: {}; packages: {}; kernel {}",
        docker.trim(),
        packages.lines().filter(named).collect::<Vec<_>>().join(", "),
        kernel.trim()
    );
    Ok(())
}
