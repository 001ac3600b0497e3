//! `import`: makes an image of a root file system's archive.

use clap::Args;
use minke_api::image::ImageCreateQuery;

use super::{progress, repository_and_tag, upload};
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Set something of the image by a line of a Dockerfile: CMD ["sh"]
    #[arg(long, short = 'c', value_name = "list")]
    change: Vec<String>,
    /// Note for the image's history
    #[arg(long, short = 'm', value_name = "string", default_value = "")]
    message: String,
    /// Platform of the image: linux/amd64
    #[arg(long, value_name = "string", default_value = "")]
    platform: String,
}

impl Verb for Import {
    const SUMMARY: &'static str = "Make an image of a root file system's archive";
    const USAGE: &'static str = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let source = arguments[0].as_str();
        let remote = source.starts_with("http://") || source.starts_with("https://");
        let archive = if remote { None } else { Some(upload(source).await?) };
        let (repo, tag) = match arguments.get(1).filter(|name| !name.is_empty()) {
            Some(name) => repository_and_tag(name)?,
            None => Default::default(),
        };
        let query = ImageCreateQuery {
            from_src: if remote { source.into() } else { "-".into() },
            repo,
            tag,
            message: self.message,
            changes: self.change,
            platform: self.platform,
            ..ImageCreateQuery::default()
        };
        let messages = session.client().await?.image_import(&query, archive).await?;
        progress::show(session, messages).await?;
        Ok(exit::SUCCESS)
    }
}
