//! `push`: takes an image to a registry.

use clap::Args;
use minke_api::registry::ImagePushQuery;
use minke_client::credentials;
use minke_model::{Platform, Reference};

use super::progress::{self, Out};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `push`.
#[derive(Args, Clone, Debug)]
pub struct Push {
    /// Take every tag of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// Does nothing: images are never signed
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = crate::grammar::parse_bool, action = clap::ArgAction::Set)]
    #[allow(dead_code, reason = "taken, and without a meaning")]
    disable_content_trust: bool,
    /// Take only the image for this platform, without the index above it: linux/arm64
    #[arg(long, value_name = "string", default_value = "")]
    platform: String,
    /// Say only what was taken
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Push {
    const SUMMARY: &'static str = "Take an image to a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let platform = match self.platform.as_str() {
            "" => String::new(),
            text => Platform::parse(text)
                .map(|platform| {
                    let (os, architecture, variant) = (platform.os, platform.architecture, platform.variant);
                    serde_json::json!({"os": os, "architecture": architecture, "variant": variant})
                        .to_string()
                })
                .map_err(|error| Failure::Plain(format!("Invalid platform {text}: {error}")))?,
        };
        let mut reference = Reference::parse(&arguments[0])?;
        if reference.digest().is_some() {
            return Err(Failure::Plain("cannot push a digest reference".into()));
        }
        if self.all_tags && reference.tag().is_some() {
            return Err(Failure::Plain("tag can't be used with --all-tags/-a".into()));
        }
        if !self.all_tags && reference.tag().is_none() {
            reference = reference.with_default_tag();
            if !self.quiet {
                session.print(format!("Using default tag: {}\n", reference.tag().unwrap_or_default()))?;
            }
        }
        let auth = credentials::get(&session.config, &credentials::server_of(&reference))?;
        let query = ImagePushQuery { tag: reference.tag().unwrap_or_default().to_owned(), platform };
        let messages = session.client().await?.image_push(&reference.name(), &query, &auth).await?;
        let out = if self.quiet { Out::Nowhere } else { Out::Output };
        progress::follow(session, messages, out).await?;
        if self.quiet {
            session.print(format!("{}\n", reference.canonical()))?;
        }
        Ok(exit::SUCCESS)
    }
}
