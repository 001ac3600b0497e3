//! `volume inspect`: describes volumes.

use clap::Args;

use crate::cmd::system::inspect::{Shown, show};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `volume inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe volumes";
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let mut found = Vec::new();
        for name in &arguments {
            found.push(Shown(client.volume_inspect_raw(name).await));
        }
        show(session, &self.format, found)
    }
}
