//! `network prune`: removes networks that no container is connected to.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;

use crate::cmd::prune::{self, Pruned, Selection};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

/// Flags of `network prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    #[command(flatten)]
    selection: Selection,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove networks that no container is connected to";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = self.selection.filters(session);
        if !self.selection.is_agreed(session, WARNING)? {
            return Ok(exit::SUCCESS);
        }
        prune::report(session, &[networks(session, filters).await?])
    }
}

/// Removes the networks that `filters` want removed.
pub async fn networks(session: &Session, filters: Filters) -> Result<Pruned, Failure> {
    let answer = session.client().await?.network_prune(&PruneQuery { filters }).await?;
    let lines = answer.networks_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted Networks:", lines, reclaimed: None })
}
