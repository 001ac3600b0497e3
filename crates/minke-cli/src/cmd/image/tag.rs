//! `tag`: gives an image one more name.

use clap::Args;
use minke_api::image::ImageTagQuery;

use super::repository_and_tag;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `tag` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Tag {}

impl Verb for Tag {
    const SUMMARY: &'static str = "Give an image one more name";
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (repo, tag) = repository_and_tag(&arguments[1])?;
        let tag = if tag.is_empty() { "latest".to_string() } else { tag };
        session.client().await?.image_tag(&arguments[0], &ImageTagQuery { repo, tag }).await?;
        Ok(exit::SUCCESS)
    }
}
