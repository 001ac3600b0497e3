//! `context import`: makes a context of an archive.

use std::fs::File;
use std::io::Read;

use clap::Args;
use minke_client::context::{StoredContext, check_name};
use minke_model::Error;

use super::archive;
use crate::cmd::container::create::reason;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const LIMIT_BYTES: u64 = 10 << 20;

/// `context import` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Import {}

impl Verb for Import {
    const SUMMARY: &'static str = "Make a context of an archive";
    const USAGE: &'static str = "CONTEXT FILE|-";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (name, path, store) = (&arguments[0], arguments[1].as_str(), super::store(session));
        check_name(name)?;
        if store.exists(name) {
            return Err(super::taken(name).into());
        }
        let failed = |error: std::io::Error| Error::system(format!("open {path}: {}", reason(&error)));
        let source: Box<dyn Read> = match path {
            "-" => Box::new(std::io::stdin().lock()),
            path => Box::new(File::open(path).map_err(failed)?),
        };
        let mut bytes = Vec::new();
        source.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LIMIT_BYTES {
            return Err(Error::invalid("invalid context: the archive is too large").into());
        }
        let (meta, files) = archive::read(&bytes)?;
        let mut context: StoredContext = serde_json::from_slice(&meta)
            .map_err(|error| Error::invalid(format!("invalid context: {error}")))?;
        context.name.clone_from(name);
        store.write(&context, Some(&files))?;
        session.print(format!("{name}\n"))?;
        session.complain(format_args!("Successfully imported context \"{name}\""));
        Ok(exit::SUCCESS)
    }
}
