//! An answer's body: read with a bound on silence, and, where it is a document, on its length.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, StatusCode};

use super::Result;
use super::error::{Error, ErrorKind};
use super::transport::{Connection, Connections, Target, http_error};
use super::url::Url;

/// What is read of an answer that nobody wants, to keep its connection.
const DISCARDED_BYTES: usize = 64 << 10;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
    /// The address that answered, after all redirects.
    pub(crate) url: Url,
}

impl Answer {
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type, without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        let whole = self.header("content-type").unwrap_or_default();
        whole.split(';').next().unwrap_or_default().trim()
    }
}

/// The body, and the connection that it comes over.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    lease: Option<(Arc<Connections>, Target, Connection)>,
    idle: Duration,
}

impl AnswerBody {
    pub(crate) fn new(
        incoming: Incoming,
        lease: (Arc<Connections>, Target, Connection),
        idle: Duration,
    ) -> Self {
        let mut body = Self { incoming, lease: Some(lease), idle };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some((connections, target, connection)) = self.lease.take() {
            connections.give_back(&target, connection);
        }
    }

    /// The length that was announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// The next part; nothing at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] where the connection breaks or is silent for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(self.idle, self.incoming.frame()).await;
            let Ok(frame) = frame else {
                return Err(Error::new(
                    ErrorKind::Network,
                    "net/http: request canceled (Client.Timeout or context cancellation while reading body)",
                ));
            };
            match frame {
                None => {
                    self.give_back();
                    return Ok(None);
                }
                Some(frame) => {
                    // Trailers mean nothing here.
                    let Ok(bytes) = frame.map_err(http_error)?.into_data() else { continue };
                    if self.incoming.is_end_stream() {
                        self.give_back();
                    }
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes> {
        let too_large =
            || Error::new(ErrorKind::TooLarge, format!("response body is longer than {limit} bytes"));
        if self.announced().is_some_and(|announced| announced > limit as u64) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        // A body that drips is silent never, and has to end all the same.
        let deadline = tokio::time::Instant::now() + self.idle * 4;
        loop {
            let next = tokio::time::timeout_at(deadline, self.next()).await;
            let next = next.map_err(|_| Error::new(ErrorKind::Network, "context deadline exceeded"))??;
            let Some(bytes) = next else { return Ok(whole.freeze()) };
            if whole.len() + bytes.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&bytes);
        }
    }

    /// Reads the rest where it is short, so that the connection can serve again.
    pub(crate) async fn discard(self) {
        let _ = self.whole(DISCARDED_BYTES).await;
    }
}
