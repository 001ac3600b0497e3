//! `export`: writes a container's whole file system to an archive.

use clap::Args;

use crate::cmd::image::save;
use crate::error::{Failure, Outcome};
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// Flags of `export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "string", default_value = "")]
    output: String,
}

impl Verb for Export {
    const SUMMARY: &'static str = "Write a container's whole file system to an archive";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.output.is_empty() && terminal::output_is_terminal() {
            return Err(Failure::Plain(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect".into(),
            ));
        }
        let chunks = session.client().await?.container_export(&arguments[0]).await?;
        save::write_out(&self.output, chunks, "failed to export container").await
    }
}
