//! `diff`: what a container has changed in its file system.

use clap::Args;

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `diff` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Diff {}

impl Verb for Diff {
    const SUMMARY: &'static str = "Show what a container has changed in its file system";
    const USAGE: &'static str = "CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if arguments[0].is_empty() {
            return Err(Failure::Plain("Container name cannot be empty".into()));
        }
        let changes = session.client().await?.container_changes(&arguments[0]).await?;
        let mut text = String::new();
        for change in changes {
            let letter = match change.kind {
                1 => 'A',
                2 => 'D',
                _ => 'C',
            };
            text.push_str(&format!("{letter} {}\n", change.path));
        }
        session.print(text)?;
        Ok(exit::SUCCESS)
    }
}
