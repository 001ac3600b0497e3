//! The project's own commands: `cargo xtask ci | tidy | e2e | bench | parity | dist`.
//!
//! Owns: the order of the checks, and the checks that no other tool makes. Never: is needed to build the product.

mod bench;
mod bench_more;
mod bench_network;
mod bench_registry;
mod bench_rows;
mod ci;
mod e2e;
mod parity;
mod run;
mod tidy;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask ci                       all checks: format, lints, tests, release build, tidy, end-to-end tests, cgroup v2
cargo xtask tidy                     the rules of the project that no other tool checks
cargo xtask e2e [OPTION]... [FILTER] the end-to-end tests, as root (by sudo where needed)
    --vm                             in a virtual machine with cgroup v2 alone
    --vm-systemd                     the same with systemd as its first process
    --engine minke|dockerd           the engine to test (minke)
    --client minke|docker            one command line only
cargo xtask bench [ROW]...           our figures beside docker's, podman's and crun's; writes docs/bench.md where all rows run
cargo xtask parity [PROGRAM]         what of Docker's flags and endpoints is there; writes docs/parity.md
cargo xtask dist                     the program as it is shipped, in target/dist";

fn main() -> std::process::ExitCode {
    match command() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rest = words.get(1..).unwrap_or_default();
    std::env::set_current_dir(run::project())?;
    match words.first().map(String::as_str) {
        Some("ci") => ci::all(),
        Some("tidy") => tidy::check(),
        Some("e2e") => e2e::run(&e2e::Options::parse(rest)?),
        Some("bench") => bench::run(rest),
        Some("parity") => parity::run(rest),
        Some("dist") => run::cargo(&["build", "--profile", "dist", "--locked"]),
        Some("help" | "-h" | "--help") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}
