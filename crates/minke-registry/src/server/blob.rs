//! Blobs: given whole and in ranges, removed.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::RANGE;
use hyper::{HeaderMap, Response, StatusCode};
use minke_model::Digest;

use super::answer::{Answer, AnswerBody, Refusal, Result, empty};
use super::route::Server;

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

impl Server {
    pub(crate) async fn get_blob(&self, name: &str, digest: &Digest, headers: &HeaderMap) -> Result<Answer> {
        if !self.storage.has_blob(name, digest) {
            return Err(Refusal::blob_unknown());
        }
        let size = self.storage.size(digest).ok_or_else(Refusal::blob_unknown)?;
        let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
        let (status, first, end) = match asked.map(|asked| range(asked, size)) {
            None | Some(Asked::All) => (StatusCode::OK, 0, size),
            Some(Asked::Part(first, end)) => (StatusCode::PARTIAL_CONTENT, first, end),
            Some(Asked::Nothing) => {
                return Err(Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "RANGE_INVALID",
                    "invalid range",
                )
                .with("content-range", format!("bytes */{size}")));
            }
        };
        let mut answer = Response::new(self.stream(digest, first, end));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let mut set = |name: &'static str, value: String| {
            headers.insert(name, value.parse().expect("a value"));
        };
        set("content-length", (end - first).to_string());
        set("content-type", "application/octet-stream".to_owned());
        set("docker-content-digest", digest.to_string());
        set("etag", format!("\"{digest}\""));
        set("accept-ranges", "bytes".to_owned());
        if status == StatusCode::PARTIAL_CONTENT {
            set("content-range", format!("bytes {first}-{}/{size}", end - 1));
        }
        Ok(answer)
    }

    /// The bytes from `first` up to `end`, as they are read.
    fn stream(&self, digest: &Digest, first: u64, end: u64) -> AnswerBody {
        let (storage, digest) = (self.storage.clone(), digest.clone());
        let parts = stream::unfold(first, move |at| {
            let (storage, digest) = (storage.clone(), digest.clone());
            async move {
                if at >= end {
                    return None;
                }
                let length = (end - at).min(READ_BYTES as u64) as usize;
                let read = tokio::task::spawn_blocking(move || storage.read(&digest, at, length)).await;
                let part = match read {
                    Ok(Ok(bytes)) if !bytes.is_empty() => Ok(bytes),
                    Ok(Ok(_)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    Ok(Err(error)) => Err(io::Error::other(error)),
                    Err(error) => Err(io::Error::other(error)),
                };
                let next = part.as_ref().map_or(end, |bytes: &Bytes| at + bytes.len() as u64);
                Some((part.map(Frame::data), next))
            }
        });
        StreamBody::new(parts).boxed_unsync()
    }

    pub(crate) fn delete_blob(&self, name: &str, digest: &Digest) -> Result<Answer> {
        if !self.storage.has_blob(name, digest) {
            return Err(Refusal::blob_unknown());
        }
        self.storage.change(name, |holding| holding.blobs.remove(digest))?;
        self.storage.collect(digest)?;
        Ok(empty(StatusCode::ACCEPTED, &[]))
    }
}

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    /// The first byte, and that behind the last.
    Part(u64, u64),
    Nothing,
}

/// Reads one range (RFC 9110 section 14.1.2); several, and other units, are as good as none.
fn range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::All;
    };
    let part = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, size),
        (Err(_), Ok(length)) if first.trim().is_empty() => (size.saturating_sub(length), size),
        _ => return Asked::All,
    };
    if part.0 < part.1 { Asked::Part(part.0, part.1) } else { Asked::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_from_both_ends() {
        assert_eq!(range("bytes=2-4", 10), Asked::Part(2, 5));
        assert_eq!(range("bytes=2-", 10), Asked::Part(2, 10));
        assert_eq!(range("bytes=-3", 10), Asked::Part(7, 10));
        assert_eq!(range("bytes=5-99", 10), Asked::Part(5, 10));
        assert_eq!(range("bytes=10-", 10), Asked::Nothing);
        assert_eq!(range("bytes=4-2", 10), Asked::All);
        assert_eq!(range("lines=1-2", 10), Asked::All);
    }
}
