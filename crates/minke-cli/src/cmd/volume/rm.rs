//! `volume rm`: removes volumes.

use clap::Args;
use minke_api::volume::VolumeRemoveQuery;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `volume rm`.
#[derive(Args, Clone, Debug)]
pub struct Remove {
    /// Do not mind a volume that is gone
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for Remove {
    const SUMMARY: &'static str = "Remove volumes that no container refers to";
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = &VolumeRemoveQuery { force: self.force };
        session
            .each(&arguments, |name| async move {
                session.engine().volume_remove(&name, query).await.map(|()| name)
            })
            .await
    }
}
