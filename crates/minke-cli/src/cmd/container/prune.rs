//! `container prune`: removes containers that don't run.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;

use crate::cmd::prune::{self, Pruned};
use crate::cmd::{filters, parse_filter};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const WARNING: &str = "WARNING! This will remove all stopped containers.";

/// Flags of `container prune`.
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
    const SUMMARY: &'static str = "Remove all containers that do not run";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = prune::with_configured(session, filters(&self.filter));
        if !self.force && !prune::confirm(session, WARNING)? {
            return Ok(exit::SUCCESS);
        }
        prune::report(session, &[containers(session, filters).await?])
    }
}

/// Removes the containers that `filters` want removed.
pub async fn containers(session: &Session, filters: Filters) -> Result<Pruned, Failure> {
    let answer = session.client().await?.container_prune(&PruneQuery { filters }).await?;
    let lines = answer.containers_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted Containers:", lines, reclaimed: answer.space_reclaimed })
}
