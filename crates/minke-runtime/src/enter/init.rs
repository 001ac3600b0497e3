//! The reaper that is pid 1 of a container started with `--init`: it passes signals on to the program, reaps what is orphaned, and
//! ends with the program's exit code.
//!
//! It is the forked shim itself, as the container's user, with the container's capabilities and filter: what it executes is a sealed memory
//! file and its memory is its own, so a container has nothing to write to.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::ProcessPlan;
use minke_sys::process::{Clone, Cloned};
use minke_sys::procfs::Procfs;
use minke_sys::{credentials, descriptor, process as kernel, pty, signal};

use super::lookup::Program;
use super::{Report, Reporter};

/// Signals that are about the reaper itself, not for the program.
const OWN: signal::Set =
    signal::only(signal::CHILD) | signal::only(signal::TTY_IN) | signal::only(signal::TTY_OUT);

/// What the shim's own program is called where another runtime starts the container: there it is bound into it.
const NAME: &str = "docker-init";

/// Becomes the reaper of the program that the words after the first `--` name, with the caller's environment.
/// Returns only where there is none: the exit code.
pub fn alone() -> i32 {
    let strings = |file: &str| -> Vec<String> {
        let bytes = Procfs::host().and_then(|procfs| procfs.read(file)).unwrap_or_default();
        let texts = bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        let mut texts: Vec<String> = texts.collect();
        texts.pop();
        texts
    };
    let words = strings("self/cmdline").into_iter().skip_while(|word| word != "--").skip(1);
    let process =
        ProcessPlan { args: words.collect(), env: strings("self/environ"), ..ProcessPlan::default() };
    let program = match Program::find(&process, &[]) {
        Ok(program) => program,
        Err(error) => {
            let line = format!("{NAME}: {}\n", error.message);
            let _ = descriptor::write(descriptor::standard(2), line.as_bytes());
            return 127;
        }
    };
    let _ = signal::block_exactly(signal::ALL);
    match kernel::clone(Clone::default()) {
        Ok(Cloned::Child) => {
            take_foreground();
            let _ = signal::block_exactly(0);
            program.execute()
        }
        Ok(Cloned::Parent(pid, _)) => watch(pid),
        Err(_) => 255,
    }
}

/// Whether the program was called by that name.
pub fn is_called() -> bool {
    let line = Procfs::host().and_then(|procfs| procfs.read("self/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).next().is_some_and(|name| name.ends_with(NAME.as_bytes()))
}

/// Becomes the reaper.
pub(super) fn run(process: &ProcessPlan, program: &Program, reporter: Reporter) -> ! {
    // Blocked signals wait for pid 1 although it has no handlers.
    let _ = signal::block_exactly(signal::ALL);
    reporter.send(&Report::Executing);
    match kernel::clone(Clone::default()) {
        Ok(Cloned::Child) => {
            take_foreground();
            let _ = signal::block_exactly(0);
            program.execute()
        }
        Ok(Cloned::Parent(pid, pidfd)) => {
            kernel::set_name(c"minke-init");
            drop_what_execution_drops(process);
            // These values are left behind with everything else that the shim had open.
            core::mem::forget((pidfd, reporter));
            let _ = kernel::close_range(3, u32::MAX);
            watch(pid)
        }
        Err(_) => kernel::exit(255),
    }
}

/// The program gets a process group of its own, the terminal's foreground one.
fn take_foreground() {
    let _ = kernel::new_group();
    let _ = signal::ignore(signal::TTY_OUT);
    let _ = pty::become_foreground(descriptor::standard(0));
    let _ = signal::default(signal::TTY_OUT);
}

/// The program loses by being executed what another user than root may not have; the reaper executes nothing.
fn drop_what_execution_drops(process: &ProcessPlan) {
    if process.uid != 0 {
        let kept = process.capabilities.ambient;
        let _ = credentials::set_capabilities(kept, kept, process.capabilities.inheritable);
    }
}

fn watch(program: i32) -> ! {
    loop {
        let arrived = signal::wait(signal::ALL);
        if arrived > 0 && OWN & signal::only(arrived) == 0 {
            let _ = kernel::kill(program, arrived);
        }
        while let Ok(Some(ended)) = kernel::reap(false) {
            if ended.pid == program {
                kernel::exit(ended.code);
            }
        }
    }
}
