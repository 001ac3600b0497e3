//! `manifest rm`: forgets lists that are being made.

use clap::Args;

use super::name;
use super::store::Lists;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `manifest rm` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Remove {}

impl Verb for Remove {
    const SUMMARY: &'static str = "Forget lists of manifests";
    const USAGE: &'static str = "MANIFEST_LIST [MANIFEST_LIST...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let lists = Lists::of(&session.config);
        let mut code = exit::SUCCESS;
        for text in &arguments {
            if let Err(error) = name(text).and_then(|list| lists.remove(&list)) {
                session.complain(error);
                code = exit::FAILURE;
            }
        }
        Ok(code)
    }
}
