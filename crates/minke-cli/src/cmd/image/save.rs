//! `save`: writes images to an archive.

use std::path::Path;

use clap::Args;
use minke_api::image::ImageSaveQuery;
use minke_model::{Context as _, Error};
use tokio::io::AsyncWriteExt as _;

use super::load::platform_query;
use crate::attached;
use crate::cmd::container::create::reason;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::stdio::Sink;
use crate::terminal;

/// Flags of `save`.
#[derive(Args, Clone, Debug)]
pub struct Save {
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "string", default_value = "")]
    output: String,
    /// Save only the image for this platform: linux/amd64
    #[arg(long, value_name = "string")]
    platform: Option<String>,
}

impl Verb for Save {
    const SUMMARY: &'static str = "Write images to an archive";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.output.is_empty() && terminal::output_is_terminal() {
            return Err(Failure::Plain(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect".into(),
            ));
        }
        let query = ImageSaveQuery { names: arguments, platforms: platform_query(self.platform.as_deref())? };
        let chunks = session.client().await?.image_save(&query).await?;
        write_out(&self.output, chunks, "failed to save image").await
    }
}

/// Writes an archive to a file, or to standard output where `output` is empty; `failed` begins what is said of a failure.
pub async fn write_out(output: &str, mut chunks: minke_client::Chunks, failed: &str) -> Outcome {
    if output.is_empty() {
        while let Some(bytes) = chunks.next().await? {
            if attached::write(Sink::Stdout, bytes).await.is_err() {
                return Ok(exit::of_signal(13));
            }
        }
        return Ok(exit::SUCCESS);
    }
    let part = format!("{output}.part-{}", std::process::id());
    let written = write_file(&part, &mut chunks, failed).await;
    let renamed =
        written.and_then(|()| std::fs::rename(&part, output).with_context(|| format!("{failed}: {output}")));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    renamed?;
    Ok(exit::SUCCESS)
}

/// Writes the archive beside its place, so that a failure leaves no half one there.
async fn write_file(path: &str, chunks: &mut minke_client::Chunks, words: &str) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        let place = Path::new(path)
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        Error::system(format!("{words}: invalid output path: stat {}: {}", place.display(), reason(&error)))
    };
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).await.map_err(failed)?;
    while let Some(bytes) = chunks.next().await? {
        file.write_all(&bytes).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}
