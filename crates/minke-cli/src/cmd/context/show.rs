//! `context show`: prints the name of the context in use.

use clap::Args;

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `context show` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Show {}

impl Verb for Show {
    const SUMMARY: &'static str = "Print the name of the context in use";
    const USAGE: &'static str = "";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        session.print(format!("{}\n", super::current(session)))?;
        Ok(exit::SUCCESS)
    }
}
