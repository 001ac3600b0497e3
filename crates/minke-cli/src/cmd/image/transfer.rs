//! What `pull` and `push` have in common: their flags, and how they name what goes over the wire.

use clap::Args;
use minke_model::{Platform, Reference};

use super::progress::Out;
use crate::error::Failure;
use crate::session::Session;

/// The flags of both.
#[derive(Args, Clone, Debug)]
pub struct Transfer {
    /// Every tag of the repository
    #[arg(long, short = 'a')]
    pub all_tags: bool,
    /// Does nothing: images are neither signed nor checked for signatures
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = crate::grammar::parse_bool, action = clap::ArgAction::Set)]
    #[allow(dead_code, reason = "taken, and without a meaning")]
    disable_content_trust: bool,
    /// Only the image for this platform: linux/arm64
    #[arg(long, value_name = "string", default_value = "")]
    pub platform: String,
    /// Say only the name of what was transferred
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

impl Transfer {
    /// The reference with the tag that it has when none is named; a word about that.
    pub fn named(&self, session: &Session, reference: Reference) -> Result<Reference, Failure> {
        let bare = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !bare {
            return Err(Failure::Plain("tag can't be used with --all-tags/-a".into()));
        }
        if self.all_tags || !bare {
            return Ok(reference);
        }
        let reference = reference.with_default_tag();
        if !self.quiet {
            session.print(format!("Using default tag: {}\n", reference.tag().unwrap_or_default()))?;
        }
        Ok(reference)
    }

    /// Where progress is shown.
    pub fn out(&self) -> Out {
        if self.quiet { Out::Nowhere } else { Out::Output }
    }
}

/// A platform in the JSON of the API; nothing where none is named.
pub fn platform_json(platform: &Platform) -> String {
    let (os, architecture, variant) = (&platform.os, &platform.architecture, &platform.variant);
    serde_json::json!({"os": os, "architecture": architecture, "variant": variant}).to_string()
}
