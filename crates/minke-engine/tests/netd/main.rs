//! netd as a process under its engine's hold: real questions over real sockets in network namespaces that this makes, ports of a
//! host that is a namespace too, and both of them killed. Needs root. The program is netd's and the containers' as well, by its first
//! word; so it has no harness, and takes filters as one does.

mod answers;
mod endings;
mod ports;
mod stand;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A test.
type Test = (&'static str, fn());

const TESTS: &[&[Test]] = &[answers::TESTS, ports::TESTS, endings::TESTS];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let word = arguments.first().and_then(|word| word.to_str()).unwrap_or_default();
    match word {
        "netd" => return ExitCode::from(minke_network::netd::main(&arguments[1..]) as u8),
        "sandbox" => return stand::sandbox(),
        _ => {}
    }
    let filters: Vec<&str> =
        arguments.iter().filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-')).collect();
    let all = || TESTS.iter().flat_map(|tests| tests.iter());
    let has = |flag: &str| arguments.iter().any(|word| word == flag);
    if has("--list") {
        // Who asks for those that are left out gets none.
        all().filter(|_| !has("--ignored")).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // They play the engine, which may open as many files as the system lets it.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("as many as are allowed");
    // The host of these tests: a namespace with nothing but a loopback in it.
    let _host = minke_sys::link::enter_new_network().expect("these tests need root");
    let mut failed = 0;
    for (name, test) in all() {
        let wanted = |filter: &&str| if has("--exact") { name == filter } else { name.contains(filter) };
        if !filters.is_empty() && !filters.iter().any(wanted) {
            continue;
        }
        let began = std::time::Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        failed += i32::from(!passed);
        println!("test {name} ... {} ({:?})", if passed { "ok" } else { "FAILED" }, began.elapsed());
    }
    ExitCode::from(u8::from(failed > 0))
}
