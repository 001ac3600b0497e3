//! `load`: brings in images from an archive.

use clap::Args;
use minke_api::image::ImageLoadQuery;

use super::transfer::platform_json;
use super::{progress, upload};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// Flags of `load`.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Read this file instead of standard input
    #[arg(long, short = 'i', value_name = "string", default_value = "")]
    input: String,
    /// Load only the image for this platform: linux/amd64
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Say nothing of progress
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Load {
    const SUMMARY: &'static str = "Load images from an archive";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        if self.input.is_empty() && terminal::input_is_terminal() {
            return Err(Failure::Plain("requested load from stdin, but stdin is empty".into()));
        }
        let platforms = platform_query(self.platform.as_deref())?;
        let archive = upload(if self.input.is_empty() { "-" } else { &self.input }).await?;
        let query = ImageLoadQuery { quiet: self.quiet || !terminal::output_is_terminal(), platforms };
        let messages = session.client().await?.image_load(&query, archive).await?;
        progress::show(session, messages).await?;
        Ok(exit::SUCCESS)
    }
}

/// A platform as the API takes it, in JSON.
pub fn platform_query(platform: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(text) = platform else { return Ok(Vec::new()) };
    Ok(vec![platform_json(&minke_model::Platform::parse(text)?)])
}
