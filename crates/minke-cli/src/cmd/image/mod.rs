//! Commands about images.

pub mod copy;
pub mod history;
pub mod import;
pub mod inspect;
pub mod load;
pub mod ls;
pub mod progress;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod save;
pub mod tag;
pub mod transfer;
pub mod tree;

use bytes::Bytes;
use minke_client::Upload;
use minke_model::{Error, Reference};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::cmd::container::create::reason;

const CHUNK_BYTES: usize = 256 * 1024;

/// Sends a file, or standard input where the path is `-`.
pub async fn upload(path: &str) -> Result<Upload, Error> {
    if path == "-" {
        return Ok(upload_reader(tokio::io::stdin()));
    }
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| Error::invalid(format!("open {path}: {}", reason(&error))))?;
    if file.metadata().await.is_ok_and(|found| found.is_dir()) {
        return Err(Error::invalid(format!("read {path}: is a directory")));
    }
    Ok(upload_reader(file))
}

fn upload_reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Upload {
    Upload::new(futures_util::stream::try_unfold(reader, |mut reader| async move {
        let mut buffer = bytes::BytesMut::with_capacity(CHUNK_BYTES);
        let count = reader.read_buf(&mut buffer).await?;
        Ok((count > 0).then(|| (Bytes::from(buffer), reader)))
    }))
}

/// Splits a target into repository and tag, refusing what is no reference.
pub fn repository_and_tag(text: &str) -> Result<(String, String), Error> {
    let refused = |cause: Error| {
        Error::invalid(format!("Error parsing reference: \"{text}\" is not a valid repository/tag: {cause}"))
    };
    let reference = Reference::parse(text).map_err(refused)?;
    Ok((reference.familiar_name(), reference.tag().unwrap_or_default().to_string()))
}
