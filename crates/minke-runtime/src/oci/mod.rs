//! `minke oci`: the command line of an OCI runtime over a bundle, for those who bring their own engine (`podman --runtime`,
//! `dockerd --add-runtime`), with runc's commands, flags and words. The same start code as the shim's, in this one process.
//!
//! It must run before anything in the process has started a thread: it forks.

mod arguments;
mod attendant;
mod bundle;
mod console;
mod create;
mod delete;
mod events;
mod exec;
mod flags;
mod freeze;
mod help;
mod hooks;
mod host;
mod launching;
mod list;
mod listener;
mod logger;
mod own_program;
mod scope;
mod spec;
mod state;
mod stats;
mod terminal;
mod update;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use arguments::{Command, Given, Global};

/// The exit code of `exec` where no program was run.
const EXEC_FAILED: i32 = 255;
/// The exit code for a command that isn't there.
const UNKNOWN: i32 = 3;

/// Runs the command line; `name` is what the program is called in its messages, `arguments` begin after it. Returns the exit code.
pub fn main(name: &str, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> i32 {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    if scope::hold(&arguments) {
        return 0;
    }
    let arguments: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    let Ok(arguments) = arguments else {
        eprintln!("{name}: the arguments must be UTF-8");
        return 1;
    };
    let (global, command) = arguments::parse(name, default_root(), &arguments);
    match command {
        Err(problem) => {
            logger::error(&global, &problem);
            if arguments.iter().any(|word| word == "exec") { EXEC_FAILED } else { 1 }
        }
        Ok(Command::Version) => {
            println!("{}", help::versions(name));
            0
        }
        Ok(Command::Help(verb)) => {
            print!("{}", help::render(name, verb));
            0
        }
        Ok(Command::Unknown(word)) => {
            eprintln!("No help topic for '{word}'");
            UNKNOWN
        }
        Ok(Command::Verb(verb, given)) => match run(&global, verb.name, &given) {
            Ok(code) => code,
            Err(failure) => {
                logger::error(&global, &failure.to_string());
                if verb.name == "exec" { EXEC_FAILED } else { 1 }
            }
        },
    }
}

/// Where states are kept: a place that ends with the boot, the user's own without privileges.
fn default_root() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(place) if !rustix::process::geteuid().is_root() => PathBuf::from(place).join("minke/oci"),
        _ => PathBuf::from("/run/minke/oci"),
    }
}

fn run(global: &Global, verb: &str, given: &Given) -> Result<i32, Failure> {
    if matches!(verb, "run" | "create" | "exec") {
        own_program::protect()?;
    }
    let done = |result: Result<(), Failure>| result.map(|()| 0);
    match verb {
        "run" => create::run(global, given),
        "exec" => exec::exec(global, given),
        "create" => done(create::create(global, given)),
        "start" => done(create::start(global, given)),
        "state" => done(list::print_state(global, given)),
        "kill" => done(delete::kill(global, given)),
        "delete" => done(delete::delete_all(global, given)),
        "list" => done(list::list(global, given)),
        "ps" => done(list::processes(global, given)),
        "pause" => done(freeze::pause(global, given)),
        "resume" => done(freeze::resume(global, given)),
        "update" => done(update::update(global, given)),
        "events" => done(events::events(global, given)),
        "spec" => done(spec::write(given)),
        "features" => done(spec::features()),
        // Processes and their memory can't be written down without CRIU, which is a program of the host.
        other => Err(Failure::new(format!("{other} is not supported by this runtime"))),
    }
}

/// Why a command failed, in words.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<minke_spec::shim::ShimError> for Failure {
    fn from(error: minke_spec::shim::ShimError) -> Self {
        Self(error.message)
    }
}

impl From<minke_model::Error> for Failure {
    fn from(error: minke_model::Error) -> Self {
        Self(error.to_string())
    }
}

/// Makes the failure of an action on a file or the like.
fn failed<E: fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{}: {error}", what.into()))
}
