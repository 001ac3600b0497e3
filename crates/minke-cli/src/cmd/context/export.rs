//! `context export`: writes a context to an archive.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use clap::Args;
use minke_client::context::{DEFAULT, check_name};
use minke_model::{Context as _, Error};

use super::archive;
use crate::cmd::container::create::reason;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// `context export` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Export {}

impl Verb for Export {
    const SUMMARY: &'static str = "Write a context to an archive";
    const USAGE: &'static str = "[OPTIONS] CONTEXT [FILE|-]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let name = &arguments[0];
        if name != DEFAULT {
            check_name(name)?;
        }
        let context = super::find(session, name)?;
        let files = if name == DEFAULT { Vec::new() } else { super::store(session).tls_files(name)? };
        let meta = serde_json::to_vec(&context).context("a context")?;
        let bytes = archive::write(&meta, &files);
        let path = arguments.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
        if path == "-" {
            if terminal::output_is_terminal() {
                return Err(Failure::Plain(
                    "cowardly refusing to export to a terminal, specify a file path".into(),
                ));
            }
            session.print(bytes)?;
            return Ok(exit::SUCCESS);
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(&bytes))
            .map_err(|error| Error::system(format!("open {path}: {}", reason(&error))))?;
        session.complain(format_args!("Written file {path:?}"));
        Ok(exit::SUCCESS)
    }
}
