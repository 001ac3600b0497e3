//! `image prune`: removes images that no container uses.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;

use crate::cmd::prune::{self, Pruned, Selection};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove all dangling images.";
const WARNING_ALL: &str =
    "WARNING! This will remove all images without at least one container associated to them.";

/// Flags of `image prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Remove images with a name too
    #[arg(long, short = 'a')]
    all: bool,
    #[command(flatten)]
    selection: Selection,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove images that no container uses";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = self.selection.filters(session);
        let warning = if self.all { WARNING_ALL } else { WARNING };
        if !self.selection.is_agreed(session, warning)? {
            return Ok(exit::SUCCESS);
        }
        prune::report(session, &[images(session, filters, self.all).await?])
    }
}

/// Removes the images that `filters` want removed; without `all`, only those without a name.
pub async fn images(session: &Session, mut filters: Filters, all: bool) -> Result<Pruned, Failure> {
    filters.add("dangling", if all { "false" } else { "true" });
    let answer = session.client().await?.image_prune(&PruneQuery { filters }).await?;
    let lines =
        answer.images_deleted.unwrap_or_default().into_iter().map(|item| match item.untagged.as_str() {
            "" => format!("deleted: {}", item.deleted),
            name => format!("untagged: {name}"),
        });
    Ok(Pruned { heading: "Deleted Images:", lines: lines.collect(), reclaimed: Some(answer.space_reclaimed) })
}
