//! Where the bytes of an upload come from, and how they are read without holding up anybody else.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use minke_model::Digest;

use super::Result;
use super::error::{Error, ErrorKind};
use super::transport::Body;
use crate::hash::Hasher;

/// How much is read from a source at once.
const READ_BYTES: usize = 128 << 10;

/// Opens a source at an offset.
pub type Open = Arc<dyn Fn(u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync>;
/// Chunks as they are made.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where the bytes of an upload come from.
pub enum UploadSource {
    /// Bytes that are there: their digest and number are known, and they can be read from any offset, which may block.
    Reopenable {
        /// The digest.
        digest: Digest,
        /// The length in bytes.
        size: u64,
        /// Opens them at an offset.
        open: Open,
    },
    /// Bytes that are made as they are sent, once; their sha256 digest is known at the end.
    Stream(Chunks),
}

impl UploadSource {
    /// Bytes in memory.
    pub fn bytes(bytes: Bytes) -> Self {
        let (digest, size) = (Hasher::digest_of(&bytes), bytes.len() as u64);
        let open = Arc::new(move |from: u64| {
            let rest = bytes.slice((from as usize).min(bytes.len())..);
            Ok(Box::new(io::Cursor::new(rest)) as Box<dyn Read + Send>)
        });
        Self::Reopenable { digest, size, open }
    }
}

/// Who is told how much has been sent.
pub(super) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// The bytes of a source from an offset on, read on a thread that may block.
pub(super) fn read_on(open: &Open, from: u64, length: u64, progress: &Progress) -> Result<Body> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(2);
    let open = open.clone();
    tokio::task::spawn_blocking(move || {
        let mut reader = match open(from) {
            Ok(reader) => reader.take(length),
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        loop {
            let mut buffer = vec![0; READ_BYTES];
            let read = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    buffer.truncate(read);
                    Ok(Bytes::from(buffer))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    let progress = progress.clone();
    let parts = futures_util::stream::unfold((receiver, from), move |(mut receiver, sent)| {
        let progress = progress.clone();
        async move {
            let part = receiver.recv().await?;
            let sent = sent + part.as_ref().map_or(0, |bytes| bytes.len() as u64);
            progress(sent);
            Some((part.map(Frame::data), (receiver, sent)))
        }
    });
    Ok(StreamBody::new(parts).boxed_unsync())
}

pub(super) fn source_failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Local, format!("reading what is to be uploaded: {error}")).with_source(error)
}
