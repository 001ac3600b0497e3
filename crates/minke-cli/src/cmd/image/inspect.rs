//! `image inspect`: describes images.

use clap::Args;
use minke_api::image::ImageInspectQuery;

use super::load::platform_query;
use crate::cmd::system::inspect::{Shown, show};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `image inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
    /// Describe the image for this platform: linux/amd64
    #[arg(long, value_name = "string")]
    platform: Option<String>,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let platform = platform_query(self.platform.as_deref())?.pop().unwrap_or_default();
        let query = ImageInspectQuery { platform, ..ImageInspectQuery::default() };
        let mut found = Vec::new();
        for name in &arguments {
            found.push(Shown(client.image_inspect_raw(name, &query).await));
        }
        show(session, &self.format, found)
    }
}
