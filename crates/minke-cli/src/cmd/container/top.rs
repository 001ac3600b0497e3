//! `top`: lists the processes of a container.

use clap::Args;
use minke_api::container::TopQuery;

use crate::error::Outcome;
use crate::exit;
use crate::format::table;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// The least width of a column.
const WIDTH: usize = 20;

/// `top` has no flags of its own: those of `ps` follow the container.
#[derive(Args, Clone, Debug)]
pub struct Top {}

impl Verb for Top {
    const SUMMARY: &'static str = "List the processes of a container";
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const ARITY: Arity = Arity::AtLeast(1);
    const STOPS_AT_FIRST: bool = true;

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = TopQuery { ps_args: arguments[1..].join(" ") };
        let found = session.client().await?.container_top(&arguments[0], &query).await?;
        let mut text = found.titles.join("\t") + "\n";
        for process in &found.processes {
            text.push_str(&(process.join("\t") + "\n"));
        }
        session.print(table::align_to(&text, WIDTH))?;
        Ok(exit::SUCCESS)
    }
}
