//! `wait`: blocks until containers have ended and prints their exit codes.

use clap::Args;
use minke_api::container::WaitQuery;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `wait` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Wait {}

impl Verb for Wait {
    const SUMMARY: &'static str = "Wait until containers have ended and print their exit codes";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        session
            .each(&arguments, |name| async move {
                let pending = session.engine().container_wait(&name, &WaitQuery::default()).await?;
                pending.exit_code().await.map(|code| code.to_string())
            })
            .await
    }
}
