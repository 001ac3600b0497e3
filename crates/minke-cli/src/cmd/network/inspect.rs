//! `network inspect`: describes networks.

use clap::Args;
use minke_api::network::NetworkInspectQuery;

use crate::cmd::system::inspect::{Shown, show};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `network inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
    /// Tell what a swarm knows, too
    #[arg(long, short = 'v')]
    verbose: bool,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe networks";
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let query = NetworkInspectQuery { verbose: self.verbose, scope: String::new() };
        let mut found = Vec::new();
        for name in &arguments {
            found.push(Shown(client.network_inspect_raw(name, &query).await));
        }
        show(session, &self.format, found)
    }
}
