//! `commit`: makes an image of a container.

use clap::Args;
use minke_api::container::CommitQuery;
use minke_model::Reference;

use crate::cmd::image::repository_and_tag;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `commit`.
#[derive(Args, Clone, Debug)]
pub struct Commit {
    /// Who made it: Jo <jo@example.org>
    #[arg(long, short = 'a', value_name = "string", default_value = "")]
    author: String,
    /// Set something of the image by a line of a Dockerfile: CMD ["sh"]
    #[arg(long, short = 'c', value_name = "list")]
    change: Vec<String>,
    /// Note for the image's history
    #[arg(long, short = 'm', value_name = "string", default_value = "")]
    message: String,
    /// Let the container stand still meanwhile
    #[arg(long, short = 'p', num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = crate::grammar::parse_bool, action = clap::ArgAction::Set)]
    pause: bool,
}

impl Verb for Commit {
    const SUMMARY: &'static str = "Make an image of a container and what it has changed";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (repo, tag) = match arguments.get(1).filter(|name| !name.is_empty()) {
            Some(name) => {
                Reference::parse(name)?; // its words stand alone here
                repository_and_tag(name)?
            }
            None => Default::default(),
        };
        let query = CommitQuery {
            container: arguments[0].clone(),
            repo,
            tag,
            comment: self.message,
            author: self.author,
            pause: self.pause,
            changes: self.change,
        };
        let id = session.client().await?.image_commit(&query).await?;
        session.print(format!("{id}\n"))?;
        Ok(exit::SUCCESS)
    }
}
