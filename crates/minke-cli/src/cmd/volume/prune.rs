//! `volume prune`: removes volumes that no container refers to.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;
use minke_model::Error;

use crate::cmd::prune::{self, Pruned, Selection};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.";
const WARNING_ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.";

/// Flags of `volume prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Remove volumes with a name too
    #[arg(long, short = 'a')]
    all: bool,
    #[command(flatten)]
    selection: Selection,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove volumes that no container refers to";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let mut filters = self.selection.filters(session);
        if self.all {
            if filters.contains("all") {
                return Err(Error::invalid(
                    "conflicting options: cannot specify both --all and --filter all=1",
                )
                .into());
            }
            filters.add("all", "true");
        }
        let warning = if self.all { WARNING_ALL } else { WARNING };
        if !self.selection.is_agreed(session, warning)? {
            return Ok(exit::SUCCESS);
        }
        prune::report(session, &[volumes(session, filters).await?])
    }
}

/// Removes the volumes that `filters` want removed.
pub async fn volumes(session: &Session, filters: Filters) -> Result<Pruned, Failure> {
    let answer = session.client().await?.volume_prune(&PruneQuery { filters }).await?;
    let deleted = answer.volumes_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted Volumes:", lines: deleted, reclaimed: Some(answer.space_reclaimed) })
}
