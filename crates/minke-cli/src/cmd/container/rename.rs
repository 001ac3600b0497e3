//! `rename`: gives a container another name.

use clap::Args;
use minke_api::container::ContainerRenameQuery;

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `rename` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Rename {}

impl Verb for Rename {
    const SUMMARY: &'static str = "Give a container another name";
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (old, new) = (arguments[0].trim(), arguments[1].trim());
        if old.is_empty() || new.is_empty() {
            return Err(Failure::Plain("Error: Neither old nor new names may be empty".into()));
        }
        let client = session.client().await?;
        if let Err(error) = client.container_rename(old, &ContainerRenameQuery { name: new.into() }).await {
            session.complain(error);
            return Err(Failure::Plain(format!("Error: failed to rename container named {old}")));
        }
        Ok(exit::SUCCESS)
    }
}
