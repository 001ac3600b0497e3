//! `manifest create`: begins a list, or adds to it.

use clap::Args;
use minke_model::Error;

use super::entry::{Brought, bring};
use super::name;
use super::store::Lists;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::registries;
use crate::session::Session;

/// Flags of `manifest create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Add to a list that is there
    #[arg(long, short = 'a')]
    amend: bool,
    /// The registries need no checked certificate, nor TLS
    #[arg(long)]
    insecure: bool,
}

impl Verb for Create {
    const SUMMARY: &'static str = "Begin a list of manifests, for annotating and pushing";
    const USAGE: &'static str = "MANIFEST_LIST MANIFEST [MANIFEST...]";
    const ARITY: Arity = Arity::AtLeast(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let list = name(&arguments[0]).map_err(|error| {
            Failure::Plain(format!("error parsing name for manifest list {}: {error}", arguments[0]))
        })?;
        let lists = Lists::of(&session.config);
        if !self.amend && !lists.all(&list)?.is_empty() {
            let words = "refusing to amend an existing manifest list with no --amend flag";
            return Err(Failure::Plain(words.into()));
        }
        for text in &arguments[1..] {
            let manifest = name(text)?;
            let entry = match lists.find(&list, &manifest)? {
                Some(entry) => entry,
                None => {
                    let insecure = if self.insecure { vec![&manifest] } else { Vec::new() };
                    match bring(&registries::client(&insecure)?, session, &manifest).await? {
                        Brought::Image(entry) => *entry,
                        Brought::Index(_) => {
                            let words = format!("{} is a manifest list", manifest.canonical());
                            return Err(Error::invalid(words).into());
                        }
                    }
                }
            };
            lists.save(&list, &manifest, &entry)?;
        }
        session.print(format!("Created manifest list {}\n", list.canonical()))?;
        Ok(exit::SUCCESS)
    }
}
