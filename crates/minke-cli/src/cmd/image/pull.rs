//! `pull`: brings an image from a registry. `run` and `create` pull the same way.

use clap::Args;
use minke_api::image::ImageCreateQuery;
use minke_client::credentials;
use minke_model::Reference;

use super::progress::{self, Out};
use super::transfer::Transfer;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `pull`.
#[derive(Args, Clone, Debug)]
pub struct Pull {
    #[command(flatten)]
    transfer: Transfer,
}

impl Verb for Pull {
    const SUMMARY: &'static str = "Bring an image from a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let reference = self.transfer.named(session, Reference::parse(&arguments[0])?)?;
        session.client().await?;
        pull(session, &reference, &self.transfer.platform, self.transfer.out()).await?;
        session.print(format!("{}\n", reference.canonical()))?;
        Ok(exit::SUCCESS)
    }
}

/// Pulls what a reference names, or all of a repository where it has neither tag nor digest.
pub async fn pull(session: &Session, reference: &Reference, platform: &str, out: Out) -> Result<(), Failure> {
    let auth = credentials::get(&session.config, &credentials::server_of(reference))?;
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let platform = match platform {
        "" => String::new(),
        // What is none is refused by the engine, as with Docker.
        text => minke_model::Platform::parse(text).map_or_else(|_| text.to_owned(), |it| it.to_string()),
    };
    let query =
        ImageCreateQuery { from_image: reference.name(), tag, platform, ..ImageCreateQuery::default() };
    let messages = session.client().await?.image_pull(&query, &auth).await?;
    progress::follow(session, messages, out).await
}
