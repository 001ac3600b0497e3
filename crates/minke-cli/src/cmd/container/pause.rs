//! `pause` and `unpause`: let containers stand still, and go on.

use clap::Args;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `pause` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Pause {}

impl Verb for Pause {
    const SUMMARY: &'static str = "Let all processes of containers stand still";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        session
            .each(
                &arguments,
                |name| async move { session.engine().container_pause(&name).await.map(|()| name) },
            )
            .await
    }
}

/// `unpause` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Unpause {}

impl Verb for Unpause {
    const SUMMARY: &'static str = "Let paused containers go on";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        session
            .each(
                &arguments,
                |name| async move { session.engine().container_unpause(&name).await.map(|()| name) },
            )
            .await
    }
}
