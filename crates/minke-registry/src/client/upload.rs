//! A blob on its way up: asked for first, taken over from another repository where that works, sent in one stream or in chunks,
//! and gone on with where a broken connection ended.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use minke_model::Digest;

use super::auth::Who;
use super::body::Answer;
use super::bookmark::Marked;
use super::error::{Error, ErrorKind};
use super::place::Place;
use super::repository::{MountAnswer, Repository};
use super::send::{Call, Payload};
use super::settings::Limits;
use super::source::{Chunks, Open, Progress, UploadSource, read_on, source_failed};
use super::transport::Body;
use super::url::Url;
use super::{Result, backoff};
use crate::hash::Hasher;

/// An upload that the registry keeps.
pub(super) struct Session<'a> {
    pub(super) repository: &'a Repository,
    pub(super) place: Place,
    /// Where its next part goes.
    pub(super) url: Url,
    /// What the registry has of it.
    pub(super) offset: u64,
    /// Whether the registry wants all in the last request.
    pub(super) at_once: bool,
    /// Where it is remembered.
    pub(super) bookmark: Marked,
}

impl Repository {
    /// Whether the registry has a blob in this repository.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let mut tour = self.registry.tour(&self.domain, false)?;
        loop {
            let place = tour.place();
            let call = Call::new(Method::HEAD, place.url(&format!("{}/blobs/{digest}", self.path)));
            match self.send(&place, "pull,push", call).await {
                Ok(answer) => {
                    tour.settle();
                    return Ok(answer.status.is_success());
                }
                Err(error) if error.status() == Some(404) => {
                    tour.settle();
                    return Ok(false);
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    /// Takes a blob over from `from`, another repository of the same registry (`library/busybox`).
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<MountAnswer> {
        let mut who = self.who("pull,push");
        who.scopes.push(format!("repository:{from}:pull"));
        let mut tour = self.registry.tour(&self.domain, false)?;
        loop {
            let place = tour.place();
            let url = place.url(&format!("{}/blobs/uploads/", self.path));
            let url = url.with("mount", digest.as_str()).with("from", from);
            match self.registry.client.send(&place, &who, Call::new(Method::POST, url)).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    tour.settle();
                    answer.body.discard().await;
                    return Ok(MountAnswer::Mounted);
                }
                Ok(answer) => {
                    tour.settle();
                    self.abandon(&place, answer).await;
                    return Ok(MountAnswer::NotMounted);
                }
                Err(error) if error.status().is_some() && !error.is_passing() => {
                    // It may be that `from` is not ours to read, or that nothing is ever mounted: uploading tells.
                    tracing::debug!("registry: mount of {digest} from {from}: {error}");
                    tour.settle();
                    return Ok(MountAnswer::NotMounted);
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    /// Ends an upload that the registry began in place of a mount.
    async fn abandon(&self, place: &Place, answer: Answer) {
        let url = location(&answer);
        answer.body.discard().await;
        if let Ok(url) = url.and_then(|url| self.check_location(place, url)) {
            let _ = self.send(place, "pull,push", Call::new(Method::DELETE, url)).await;
        }
    }

    /// Sends a blob and gives its digest; `progress` is told how many bytes the registry has been sent, which may fall back where
    /// a connection broke. Asks nothing first: see [`Self::has_blob`] and [`Self::mount`].
    ///
    /// # Errors
    /// The registry refuses, can't be reached any more, or the source fails.
    pub async fn upload(
        &self,
        source: UploadSource,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Digest> {
        self.upload_on(source, None, progress).await
    }

    /// As [`Self::upload`], going on with the upload that `bookmark` remembers, and remembering where it goes there. A stream has
    /// to give the same bytes as that time; should they be others, the registry refuses, and nothing is remembered any more.
    pub async fn upload_on(
        &self,
        source: UploadSource,
        bookmark: Marked,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Digest> {
        let progress: Progress = Arc::new(progress);
        let mut session = match self.resume(&bookmark).await {
            Some(session) => session,
            None => self.begin().await?.remembered(bookmark),
        };
        match source {
            UploadSource::Reopenable { digest, size, open } => {
                let whole = Whole { digest, size, open, progress };
                Box::pin(session.send_whole(&whole)).await?;
                Ok(whole.digest)
            }
            UploadSource::Stream(chunks) => Box::pin(session.send_chunks(chunks, &progress)).await,
        }
    }

    async fn begin(&self) -> Result<Session<'_>> {
        let mut tour = self.registry.tour(&self.domain, false)?;
        loop {
            let place = tour.place();
            let call = Call::new(Method::POST, place.url(&format!("{}/blobs/uploads/", self.path)));
            match self.send(&place, "pull,push", call).await {
                Ok(answer) => {
                    tour.settle();
                    let url = self.check_location(&place, location(&answer)?)?;
                    answer.body.discard().await;
                    return Ok(Session {
                        repository: self,
                        place,
                        url,
                        offset: 0,
                        at_once: false,
                        bookmark: None,
                    });
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    /// An upload may go on at another place, but not in clear text where it began in TLS.
    pub(super) fn check_location(&self, place: &Place, url: Url) -> Result<Url> {
        let settings = self.registry.client.settings();
        if place.base.origin.secure && !url.origin.secure && url.origin.host == place.base.origin.host {
            // What stands behind a proxy that ends TLS often knows no better.
            let origin = place.base.origin.clone();
            return Ok(Url { origin, target: url.target });
        }
        if place.base.origin.secure && !url.origin.secure && !settings.is_insecure(&url.origin) {
            return Err(Error::invalid(format!("refusing to upload to {} in clear text", url.origin)));
        }
        Ok(url)
    }
}

struct Whole {
    digest: Digest,
    size: u64,
    open: Open,
    progress: Progress,
}

impl Session<'_> {
    fn remembered(mut self, bookmark: Marked) -> Self {
        self.bookmark = bookmark;
        self.remember();
        self
    }

    /// Writes down where the upload goes on.
    fn remember(&self) {
        if let Some(bookmark) = &self.bookmark {
            bookmark.keep(Some(&self.url.to_string()));
        }
    }

    fn limits(&self) -> Limits {
        self.repository.registry.client.settings().limits.clone()
    }

    fn who(&self) -> Who {
        self.repository.who("pull,push")
    }

    /// Sends a part of the upload; elsewhere than at the registry without a credential.
    pub(super) async fn send(&self, call: Call) -> Result<Answer> {
        let client = &self.repository.registry.client;
        if call.url.origin == self.place.base.origin {
            return client.send(&self.place, &self.who(), call).await;
        }
        let settings = client.settings();
        let reach = settings.reach_from(&self.place.base.origin);
        client.follow(&settings, call, None, reach).await
    }

    /// Sends all in one stream, then says that it is complete.
    async fn send_whole(&mut self, whole: &Whole) -> Result<()> {
        let limits = self.limits();
        let mut failures = 0;
        loop {
            let error = match self.try_whole(whole).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !self.at_once && refuses_parts(&error) {
                // Not of the kind that takes parts: all goes into the last request, of a new upload.
                self.at_once = true;
                self.begin_anew().await?;
                continue;
            }
            failures += 1;
            let passing = error.is_passing() || error.kind() == ErrorKind::Unauthorized || is_lost(&error);
            if !passing || failures >= limits.attempts {
                return Err(error);
            }
            let pause = backoff::pause(failures, error.retry_after, &limits, backoff::chance());
            tracing::debug!("registry: upload of {}: {error}; again in {pause:?}", whole.digest);
            tokio::time::sleep(pause).await;
            let before = self.offset;
            self.look_again(&error).await?;
            if self.offset > before {
                failures = 0;
            }
        }
    }

    async fn try_whole(&mut self, whole: &Whole) -> Result<()> {
        if self.at_once {
            let body = read_on(&whole.open, 0, whole.size, &whole.progress)?;
            let url = self.url.clone().with("digest", whole.digest.as_str());
            let mut call = Call { body: Payload::Once(Some(body).into()), ..Call::new(Method::PUT, url) };
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            let length = HeaderValue::try_from(whole.size.to_string()).expect("digits");
            call.headers.insert(CONTENT_LENGTH, length);
            self.send(call).await?.body.discard().await;
            if let Some(bookmark) = &self.bookmark {
                bookmark.keep(None);
            }
            return Ok(());
        }
        if self.offset > whole.size {
            // What was remembered is another one's.
            self.begin_anew().await?;
        }
        if self.offset < whole.size {
            let left = whole.size - self.offset;
            let body = read_on(&whole.open, self.offset, left, &whole.progress)?;
            let mut call =
                Call { body: Payload::Once(Some(body).into()), ..Call::new(Method::PATCH, self.url.clone()) };
            self.name_range(&mut call, self.offset, left);
            let answer = self.send(call).await?;
            self.take_note(answer, whole.size).await?;
        }
        if self.offset < whole.size {
            return Err(Error::new(ErrorKind::Network, "the registry took a part of the upload only"));
        }
        (whole.progress)(whole.size);
        self.complete(&whole.digest).await
    }

    /// Sends chunk after chunk; each is kept until the registry has it.
    async fn send_chunks(&mut self, mut chunks: Chunks, progress: &Progress) -> Result<Digest> {
        let limits = self.limits();
        let mut hasher = Hasher::sha256();
        let mut buffer = BytesMut::new();
        let mut ended = false;
        // What the registry has of an earlier time is made again, and not sent again.
        let mut skip = self.offset;
        while !ended {
            while !ended && buffer.len() < limits.chunk_bytes {
                match chunks.next().await {
                    Some(bytes) => {
                        let mut bytes = bytes.map_err(source_failed)?;
                        hasher.update(&bytes);
                        let known = skip.min(bytes.len() as u64);
                        skip -= known;
                        buffer.extend_from_slice(&bytes.split_off(known as usize));
                    }
                    None => ended = true,
                }
            }
            if !buffer.is_empty() {
                self.send_chunk(buffer.split().freeze(), progress).await?;
            }
        }
        let digest = hasher.digest();
        if skip > 0 {
            return Err(self.other_bytes());
        }
        self.complete(&digest).await?;
        Ok(digest)
    }

    /// The registry has more of the upload than there is.
    fn other_bytes(&self) -> Error {
        if let Some(bookmark) = &self.bookmark {
            bookmark.keep(None);
        }
        Error::invalid("the registry has other bytes of an upload that broke off")
    }

    async fn send_chunk(&mut self, chunk: Bytes, progress: &Progress) -> Result<()> {
        let limits = self.limits();
        let (first, end) = (self.offset, self.offset + chunk.len() as u64);
        let mut failures = 0;
        while self.offset < end {
            let part = chunk.slice((self.offset - first) as usize..);
            let length = part.len() as u64;
            // Not repeated below: after a failure the registry may have some of it.
            let body: Body =
                StreamBody::new(futures_util::stream::iter([Ok(Frame::data(part))])).boxed_unsync();
            let mut call =
                Call { body: Payload::Once(Some(body).into()), ..Call::new(Method::PATCH, self.url.clone()) };
            self.name_range(&mut call, self.offset, length);
            let sent = match self.send(call).await {
                Ok(answer) => self.take_note(answer, end).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => progress(self.offset),
                Err(error) => {
                    failures += 1;
                    let passing = error.is_passing() || error.kind() == ErrorKind::Unauthorized;
                    if !passing || failures >= limits.attempts {
                        return Err(error);
                    }
                    let pause = backoff::pause(failures, error.retry_after, &limits, backoff::chance());
                    tokio::time::sleep(pause).await;
                    self.look_again(&error).await?;
                    if self.offset < first || self.offset > end {
                        return Err(Error::invalid("the registry has lost a part of the upload"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts an upload's number of bytes, and where they belong, into a request.
    fn name_range(&self, call: &mut Call, first: u64, length: u64) {
        let text = |text: String| HeaderValue::try_from(text).expect("digits");
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.headers.insert(CONTENT_LENGTH, text(length.to_string()));
        call.headers.insert(CONTENT_RANGE, text(format!("{first}-{}", first + length - 1)));
    }

    /// Reads of an accepted part where the next one goes, and how much is there; `sent` is what should be.
    async fn take_note(&mut self, answer: Answer, sent: u64) -> Result<()> {
        if answer.header(LOCATION.as_str()).is_some() {
            self.url = self.repository.check_location(&self.place, location(&answer)?)?;
            self.remember();
        }
        let range = answer.header(RANGE.as_str()).map(range_end);
        answer.body.discard().await;
        self.offset = match range {
            // One byte and none look the same; the registry did not refuse.
            None | Some(Some(0)) if sent <= 1 => sent,
            None => sent,
            Some(Some(offset)) if offset <= sent => offset,
            Some(_) => return Err(Error::invalid("the registry names an invalid range of an upload")),
        };
        Ok(())
    }

    /// Asks how much of the upload is there; begins anew where there is none any more.
    async fn look_again(&mut self, error: &Error) -> Result<()> {
        if !is_lost(error) {
            let asked = self.send(Call::new(Method::GET, self.url.clone())).await;
            match asked {
                Ok(answer) if answer.status.is_success() => {
                    let offset = answer.header(RANGE.as_str()).and_then(range_end).unwrap_or(0);
                    if answer.header(LOCATION.as_str()).is_some() {
                        self.url = self.repository.check_location(&self.place, location(&answer)?)?;
                        self.remember();
                    }
                    answer.body.discard().await;
                    self.offset = offset;
                    return Ok(());
                }
                Ok(answer) => answer.body.discard().await,
                Err(error) if is_lost(&error) || error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
        self.begin_anew().await
    }

    async fn begin_anew(&mut self) -> Result<()> {
        let begun = self.repository.begin().await?;
        (self.url, self.offset) = (begun.url, 0);
        self.remember();
        Ok(())
    }

    /// Says that all is there, and what it should be.
    async fn complete(&mut self, digest: &Digest) -> Result<()> {
        let url = self.url.clone().with("digest", digest.as_str());
        let answer = self.send(Call::new(Method::PUT, url)).await;
        // Done, or refused: in neither case is there anything to go on with.
        if answer.as_ref().map_or_else(|error| !error.is_passing(), |_| true)
            && let Some(bookmark) = &self.bookmark
        {
            bookmark.keep(None);
        }
        let answer = answer?;
        let stored = answer.header("docker-content-digest").map(str::to_owned);
        answer.body.discard().await;
        match stored {
            Some(stored)
                if stored.starts_with("sha256:")
                    && digest.algorithm() == "sha256"
                    && stored != digest.as_str() =>
            {
                Err(Error::invalid(format!("the registry stored {stored} instead of {digest}")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a registry takes no uploads in parts.
fn refuses_parts(error: &Error) -> bool {
    matches!(error.status(), Some(405 | 411 | 415 | 501)) || error.kind() == ErrorKind::Unsupported
}

/// Whether a registry no longer knows an upload.
fn is_lost(error: &Error) -> bool {
    error.has_code("BLOB_UPLOAD_UNKNOWN") || error.status() == Some(404)
}

/// Where an upload goes on.
pub(super) fn location(answer: &Answer) -> Result<Url> {
    let location = answer.header(LOCATION.as_str());
    let url = location.and_then(|location| answer.url.join(location));
    url.ok_or_else(|| Error::invalid("the registry names no place for an upload"))
}

/// The number of bytes of `0-9`: 10. Nothing is `0-0`, as one byte is.
pub(super) fn range_end(text: &str) -> Option<u64> {
    let (first, last) = text.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then_some(if last == 0 { 0 } else { last + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_much_is_there() {
        assert_eq!(range_end("0-9"), Some(10));
        assert_eq!(range_end("bytes=0-9"), Some(10));
        assert_eq!(range_end("0-0"), Some(0));
        assert_eq!(range_end("5-9"), None);
        assert_eq!(range_end("x"), None);
    }
}
