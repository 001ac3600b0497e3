//! `rmi`: removes names of images, and images that have none left.

use clap::Args;
use minke_api::image::ImageDeleteQuery;
use minke_model::ErrorKind;

use super::load::platform_query;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `rmi`.
#[derive(Args, Clone, Debug)]
pub struct Remove {
    /// Remove it although containers use it, and do not mind one that is gone
    #[arg(long, short = 'f')]
    force: bool,
    /// Leave parents without a name
    #[arg(long)]
    no_prune: bool,
    /// Remove only the image for this platform: linux/amd64
    #[arg(long, value_name = "string")]
    platform: Option<String>,
}

impl Verb for Remove {
    const SUMMARY: &'static str = "Remove images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let query = ImageDeleteQuery {
            force: self.force,
            no_prune: self.no_prune,
            platforms: platform_query(self.platform.as_deref())?,
        };
        let mut code = exit::SUCCESS;
        for image in &arguments {
            match client.image_remove(image, &query).await {
                Ok(items) => {
                    for item in items {
                        let line = if item.deleted.is_empty() {
                            format!("Untagged: {}\n", item.untagged)
                        } else {
                            format!("Deleted: {}\n", item.deleted)
                        };
                        session.print(line)?;
                    }
                }
                Err(error) => {
                    if !(self.force && error.kind() == ErrorKind::NotFound) {
                        code = exit::FAILURE;
                    }
                    session.complain(error);
                }
            }
        }
        Ok(code)
    }
}
