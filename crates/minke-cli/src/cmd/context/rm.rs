//! `context rm`: forgets contexts.

use clap::Args;
use minke_client::config::set_current_context;
use minke_client::context::DEFAULT;

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `context rm`.
#[derive(Args, Clone, Debug)]
pub struct Remove {
    /// Forget the one in use too, and mind none that is not there
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for Remove {
    const SUMMARY: &'static str = "Forget contexts";
    const USAGE: &'static str = "CONTEXT [CONTEXT...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (store, in_use) = (super::store(session), super::current(session));
        let mut code = exit::SUCCESS;
        for name in &arguments {
            let refused = if name == DEFAULT {
                Some(format!("context \"{DEFAULT}\" cannot be removed"))
            } else if !self.force && *name == in_use && store.exists(name) {
                Some(format!("context \"{name}\" is in use, set -f flag to force remove"))
            } else {
                store
                    .remove(name)
                    .err()
                    .filter(|_| !self.force || store.exists(name))
                    .map(|error| error.to_string())
            };
            match refused {
                Some(words) => {
                    session.complain(words);
                    code = exit::FAILURE;
                }
                None => {
                    if *name == session.config.current_context {
                        set_current_context(&session.config.directory, "")?;
                    }
                    session.print(format!("{name}\n"))?;
                }
            }
        }
        Ok(code)
    }
}
