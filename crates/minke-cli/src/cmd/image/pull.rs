//! `pull`: brings an image from a registry. `run` and `create` pull the same way.

use clap::Args;
use minke_api::image::ImageCreateQuery;
use minke_client::credentials;
use minke_model::Reference;

use super::progress::{self, Out};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `pull`.
#[derive(Args, Clone, Debug)]
pub struct Pull {
    /// Bring every tag of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// Does nothing: images are never checked for signatures
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = crate::grammar::parse_bool, action = clap::ArgAction::Set)]
    #[allow(dead_code, reason = "taken, and without a meaning")]
    disable_content_trust: bool,
    /// Bring the image for this platform: linux/arm64
    #[arg(long, value_name = "string", default_value = "")]
    platform: String,
    /// Say only what was brought
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Pull {
    const SUMMARY: &'static str = "Bring an image from a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let mut reference = Reference::parse(&arguments[0])?;
        let bare = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !bare {
            return Err(Failure::Plain("tag can't be used with --all-tags/-a".into()));
        }
        if !self.all_tags && bare {
            reference = reference.with_default_tag();
            if !self.quiet {
                session.print(format!("Using default tag: {}\n", reference.tag().unwrap_or_default()))?;
            }
        }
        session.client().await?;
        let out = if self.quiet { Out::Nowhere } else { Out::Output };
        pull(session, &reference, &self.platform, out).await?;
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
        text => minke_model::Platform::parse(text).map(|platform| platform.to_string())?,
    };
    let query =
        ImageCreateQuery { from_image: reference.name(), tag, platform, ..ImageCreateQuery::default() };
    let messages = session.client().await?.image_pull(&query, &auth).await?;
    progress::follow(session, messages, out).await
}
