//! `push`: takes an image to a registry.

use clap::Args;
use minke_api::registry::ImagePushQuery;
use minke_client::credentials;
use minke_model::{Platform, Reference};

use super::progress;
use super::transfer::{Transfer, platform_json};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `push`.
#[derive(Args, Clone, Debug)]
pub struct Push {
    #[command(flatten)]
    transfer: Transfer,
}

impl Verb for Push {
    const SUMMARY: &'static str = "Take an image to a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let platform = match self.transfer.platform.as_str() {
            "" => String::new(),
            text => Platform::parse(text)
                .map(|platform| platform_json(&platform))
                .map_err(|error| Failure::Plain(format!("Invalid platform {text}: {error}")))?,
        };
        let reference = Reference::parse(&arguments[0])?;
        if reference.digest().is_some() {
            return Err(Failure::Plain("cannot push a digest reference".into()));
        }
        let reference = self.transfer.named(session, reference)?;
        let auth = credentials::get(&session.config, &credentials::server_of(&reference))?;
        let query = ImagePushQuery { tag: reference.tag().unwrap_or_default().to_owned(), platform };
        let messages = session.client().await?.image_push(&reference.name(), &query, &auth).await?;
        progress::follow(session, messages, self.transfer.out()).await?;
        if self.transfer.quiet {
            session.print(format!("{}\n", reference.canonical()))?;
        }
        Ok(exit::SUCCESS)
    }
}
