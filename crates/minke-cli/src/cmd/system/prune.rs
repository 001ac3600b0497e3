//! `system prune`: removes everything that is not used.

use clap::Args;
use minke_api::Filters;
use minke_api::volume::PruneQuery;
use minke_model::Error;

use crate::cmd::prune::{self, Pruned, Selection};
use crate::cmd::{container, image, network, volume};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `system prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Remove images with a name too, if no container uses them
    #[arg(long, short = 'a')]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// Remove anonymous volumes too
    #[arg(long)]
    volumes: bool,
}

impl Verb for Prune {
    const SUMMARY: &'static str = "Remove everything that is not used";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let filters = self.selection.filters(session);
        if self.volumes && filters.contains("until") {
            return Err(
                Error::invalid("ERROR: The \"until\" filter is not supported with \"--volumes\"").into()
            );
        }
        if !self.selection.is_agreed(session, &self.warning(&filters))? {
            return Ok(exit::SUCCESS);
        }
        let mut parts = vec![container::prune::containers(session, filters.clone()).await?];
        parts.push(network::prune::networks(session, filters.clone()).await?);
        if self.volumes {
            parts.push(volume::prune::volumes(session, filters.clone()).await?);
        }
        parts.push(image::prune::images(session, filters.clone(), self.all).await?);
        parts.push(build_cache(session, filters, self.all).await?);
        prune::report(session, &parts)
    }
}

impl Prune {
    fn warning(&self, filters: &Filters) -> String {
        let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            lines.push("all anonymous volumes not used by at least one container");
        }
        lines.push(match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        });
        lines.push(if self.all { "all build cache" } else { "unused build cache" });
        let mut text = "WARNING! This will remove:\n".to_string();
        lines.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
        let mut shown: Vec<String> = ["label", "label!", "until"]
            .iter()
            .flat_map(|key| filters.values(key).map(move |value| format!("{key}={value}")))
            .collect();
        shown.sort();
        if !shown.is_empty() {
            text.push_str("\n  Items to be pruned will be filtered with:\n");
            shown.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
        }
        text
    }
}

async fn build_cache(session: &Session, mut filters: Filters, all: bool) -> Result<Pruned, Failure> {
    if all {
        filters.add("all", "true");
    }
    let answer = session.client().await?.build_prune(&PruneQuery { filters }).await?;
    let lines = answer.caches_deleted.unwrap_or_default();
    Ok(Pruned { heading: "Deleted build cache objects:", lines, reclaimed: Some(answer.space_reclaimed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_go_is_said_before() {
        let prune = Prune { all: true, selection: Selection::default(), volumes: true };
        let mut filters = Filters::default();
        filters.add("label", "a=b");
        assert_eq!(
            prune.warning(&filters),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all anonymous volumes not used by at least one container\n  - all images without at least one container associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=a=b\n"
        );
    }
}
