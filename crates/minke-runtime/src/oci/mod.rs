//! `minke oci`: the command line of an OCI runtime over a bundle, for those who bring their own engine (`podman --runtime`,
//! `dockerd --add-runtime`). The same start code as the shim's, in this one process.
//!
//! It must run before anything in the process has started a thread: it forks.

mod arguments;
mod bundle;
mod commands;
mod console;
mod host;
mod logger;
mod own_program;
mod state;

use std::ffi::OsString;
use std::fmt;

use arguments::{Command, Parsed};

/// Runs the command line; `arguments` begin after the words `minke oci`. Returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> i32 {
    let arguments: Result<Vec<String>, OsString> =
        arguments.into_iter().map(|word| word.into().into_string()).collect();
    let Ok(arguments) = arguments else {
        eprintln!("minke oci: the arguments must be UTF-8");
        return 1;
    };
    let parsed = match arguments::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(problem) => {
            eprintln!("minke oci: {problem}\n{}", arguments::USAGE);
            return 1;
        }
    };
    match run(&parsed) {
        Ok(code) => code,
        Err(failure) => {
            logger::report(&parsed.global, &failure.to_string());
            eprintln!("minke oci: {failure}");
            1
        }
    }
}

fn run(parsed: &Parsed) -> Result<i32, Failure> {
    let global = &parsed.global;
    if matches!(parsed.command, Command::Run(_) | Command::Create(_)) {
        own_program::protect()?;
    }
    match &parsed.command {
        Command::Run(create) => commands::run(global, create),
        Command::Create(create) => commands::create(global, create).map(|()| 0),
        Command::Start { id } => commands::start(global, id).map(|()| 0),
        Command::State { id } => commands::print_state(global, id).map(|()| 0),
        Command::Kill { id, signal, all } => commands::kill(global, id, signal, *all).map(|()| 0),
        Command::Delete { id, force } => commands::delete(global, id, *force).map(|()| 0),
        Command::Version => {
            println!("minke oci version {}\nspec: {}", env!("CARGO_PKG_VERSION"), state::OCI_VERSION);
            Ok(0)
        }
        Command::Help => {
            println!("{}", arguments::USAGE);
            Ok(0)
        }
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
