//! `container prune`: removes containers that don't run.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;

use crate::cmd::prune::{self, Pruned, Selection};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove all stopped containers.";

/// Flags of `container prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    #[command(flatten)]
    selection: Selection,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove all containers that do not run";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = self.selection.filters(session);
        if !self.selection.is_agreed(session, WARNING)? {
            return Ok(exit::SUCCESS);
        }
        prune::report(session, &[containers(session, filters).await?])
    }
}

/// Removes the containers that `filters` want removed.
pub async fn containers(session: &Session, filters: Filters) -> Result<Pruned, Failure> {
    let answer = session.client().await?.container_prune(&PruneQuery { filters }).await?;
    let lines = answer.containers_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted Containers:", lines, reclaimed: Some(answer.space_reclaimed) })
}
