//! `kill`: sends a signal to running containers.

use clap::Args;
use minke_api::container::KillQuery;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `kill`.
#[derive(Args, Clone, Debug)]
pub struct Kill {
    /// Signal to send; SIGKILL where none is named
    #[arg(long, short = 's', value_name = "string", default_value = "")]
    signal: String,
}

impl Verb for Kill {
    const SUMMARY: &'static str = "Send a signal to running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = &KillQuery { signal: self.signal };
        session
            .each(&arguments, |name| async move {
                session.engine().container_kill(&name, query).await.map(|()| name)
            })
            .await
    }
}
