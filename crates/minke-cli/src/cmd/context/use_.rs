//! `context use`: makes a context the one in use.

use clap::Args;
use minke_client::config::set_current_context;
use minke_client::context::{DEFAULT, check_name};

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `context use` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Use {}

impl Verb for Use {
    const SUMMARY: &'static str = "Make a context the one in use";
    const USAGE: &'static str = "CONTEXT";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let name = arguments[0].as_str();
        if name != DEFAULT {
            check_name(name)?;
            super::store(session).read(name)?;
        }
        set_current_context(&session.config.directory, if name == DEFAULT { "" } else { name })?;
        session.print(format!("{name}\n"))?;
        session.complain(format_args!("Current context is now \"{name}\""));
        if let Some(variable) = super::overriding_variable(session).filter(|_| name != DEFAULT) {
            session.complain(format_args!(
                "Warning: {variable} environment variable overrides the active context. To use \"{name}\", either set the global --context flag, or unset {variable} environment variable."
            ));
        }
        Ok(exit::SUCCESS)
    }
}
