//! The command line: flags in, text out. Docker's grammar, formats and exit codes over the Engine API's client.
//! One file per command; exit codes in `exit.rs`, errors to text in `error.rs`. Must never reach into engine or runtime crates:
//! what it knows of containers it asks over the API.

use std::ffi::OsString;
use std::path::Path;

use crate::commands::Found;
use crate::error::{Failure, Outcome};
use crate::globals::Globals;
use crate::grammar::Parsed;
use crate::session::Session;

pub mod commands;
pub mod error;
pub mod exit;
pub mod format;
pub mod globals;
pub mod grammar;
mod registries;
pub mod session;

mod attached;
mod cmd;
mod detach;
mod help;
mod places;
mod start;
mod stdio;
mod stop;
mod suggest;
mod terminal;

pub use start::SESSION_WORD;
pub use stop::daemon_stop;

/// What `--log-level` takes; ours says the same at each of them.
const LOG_LEVELS: [&str; 8] = ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];

/// Runs the command line, `args[0]` being the program's name, and gives the exit code.
pub fn main(args: Vec<OsString>) -> i32 {
    let program = program_name(args.first());
    let words = args.get(1..).unwrap_or_default();
    if words.first().is_some_and(|word| word == SESSION_WORD) {
        return start::enter_session(words[1..].to_vec());
    }
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Plain(format!("{program}: {error}")));
    let outcome = outcome.and_then(|runtime| {
        let outcome = runtime.block_on(dispatch(&program, words));
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            use std::io::Write as _;
            let _ = std::io::stderr().write_all(failure.render(&program).as_bytes());
            failure.code()
        }
    }
}

fn program_name(argument: Option<&OsString>) -> String {
    let name =
        argument.and_then(|path| Path::new(path).file_name()).map(|name| name.to_string_lossy().into_owned());
    if name.as_deref() == Some("docker") { "docker".into() } else { "minke".into() }
}

async fn dispatch(program: &str, words: &[OsString]) -> Outcome {
    let (globals, rest) = match grammar::parse::<Globals>(program, "", words)? {
        Parsed::Help(_) => (Globals { log_level: "info".into(), ..Globals::default() }, vec!["help".into()]),
        Parsed::Run(globals, rest) => (globals, rest),
    };
    if globals.version {
        let name = if program == "docker" { "Docker" } else { "minke" };
        let text =
            format!("{name} version {}, build {}\n", env!("CARGO_PKG_VERSION"), cmd::system::version::BUILD);
        return Session::new(program, "", globals)?.print(text).map(|()| exit::SUCCESS);
    }
    if !LOG_LEVELS.contains(&globals.log_level.as_str()) {
        return Err(Failure::Plain(format!("Unable to parse logging level: {}", globals.log_level)));
    }
    match commands::find(program, &rest)? {
        Found::Missing(text) => {
            eprint!("{text}");
            Ok(exit::SUCCESS)
        }
        Found::Help(text) => Session::new(program, "", globals)?.print(text).map(|()| exit::SUCCESS),
        Found::Command(row, form, words) => {
            let session = Session::new(program, &form, globals)?;
            row.run(&session, words.iter().map(OsString::from).collect()).await
        }
    }
}
