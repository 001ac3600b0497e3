//! `network prune`: removes networks that no container is connected to.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;

use crate::cmd::prune::{self, Pruned};
use crate::cmd::{filters, parse_filter};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

/// Flags of `network prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Remove only what fits: until=24h, label=a=b, label!=a
    #[arg(long, value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove networks that no container is connected to";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = prune::with_configured(session, filters(&self.filter));
        if !self.force && !prune::confirm(session, WARNING)? {
            return Ok(exit::SUCCESS);
        }
        let pruned = networks(session, filters).await?;
        if !pruned.lines.is_empty() {
            session.print(format!("{}\n{}\n\n", pruned.heading, pruned.lines.join("\n")))?;
        }
        Ok(exit::SUCCESS)
    }
}

/// Removes the networks that `filters` want removed.
pub async fn networks(session: &Session, filters: Filters) -> Result<Pruned, Failure> {
    let answer = session.client().await?.network_prune(&PruneQuery { filters }).await?;
    let lines = answer.networks_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted Networks:", lines, reclaimed: 0 })
}
