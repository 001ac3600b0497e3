//! `logout`: forgets the credentials for a registry.

use clap::Args;
use minke_client::credentials;

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `logout` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Logout {}

impl Verb for Logout {
    const SUMMARY: &'static str = "Forget the credentials for a registry";
    const USAGE: &'static str = "[SERVER]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let server = credentials::server_named(arguments.first().map_or("", String::as_str));
        session.print(format!("Removing login credentials for {server}\n"))?;
        if let Err(error) = credentials::erase(&session.config, &server) {
            session.complain(format_args!("WARNING: could not erase credentials:\n{server}: {error}"));
        }
        Ok(exit::SUCCESS)
    }
}
