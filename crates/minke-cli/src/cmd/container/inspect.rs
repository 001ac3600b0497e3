//! `container inspect`: describes containers.

use clap::Args;
use minke_api::container::ContainerInspectQuery;

use crate::cmd::system::inspect::{Shown, show};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `container inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
    /// Print the size of the container's files
    #[arg(long, short = 's')]
    size: bool,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let query = ContainerInspectQuery { size: self.size };
        let mut found = Vec::new();
        for name in &arguments {
            found.push(Shown(client.container_inspect_raw(name, &query).await));
        }
        show(session, &self.format, found)
    }
}
