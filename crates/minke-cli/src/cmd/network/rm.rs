//! `network rm`: removes networks.

use clap::Args;
use minke_model::ErrorKind;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `network rm`.
#[derive(Args, Clone, Debug)]
pub struct Remove {
    /// Do not mind a network that is gone
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for Remove {
    const SUMMARY: &'static str = "Remove networks that no container is connected to";
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let force = self.force;
        session
            .each(&arguments, |name| async move {
                match session.engine().network_remove(&name).await {
                    Err(error) if force && error.kind() == ErrorKind::NotFound => Ok(String::new()),
                    result => result.map(|()| name),
                }
            })
            .await
    }
}
