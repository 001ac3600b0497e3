//! A blob on its way down: goes on where a broken connection ended, and gives exactly the bytes that were asked for.

use bytes::{Buf as _, Bytes};
use hyper::header::{ACCEPT, HeaderValue, RANGE};
use hyper::{Method, StatusCode};
use minke_model::Digest;
use minke_model::image::Descriptor;
use tokio::time::Instant;

use super::body::{Answer, AnswerBody};
use super::error::{Error, ErrorKind};
use super::place::Place;
use super::repository::{Repository, TagOrDigest, Tour};
use super::send::Call;
use super::url::Url;
use super::{Result, backoff};
use crate::hash::Hasher;

/// The most addresses of a layer that are tried.
const MAX_URLS: usize = 8;
/// Bytes that a connection has to bring for the failures before it to be forgotten.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A blob, and the place that has it.
pub(super) struct Found {
    repository: Repository,
    digest: Digest,
    size: u64,
    place: Place,
}

/// The bytes of a blob from an offset to its end. A connection that breaks, stalls or drips is replaced, and the rest asked for
/// by a range; a registry that then begins anew is read past what is here already.
///
/// Ends with an error where the registry has fewer bytes than `size` or more. That they are the right ones is for whoever stores
/// them to check; [`BlobStream::verified`] does it here.
pub struct BlobStream {
    repository: Repository,
    digest: Digest,
    size: u64,
    position: u64,
    /// The end of what is asked for: the blob's, or that of a part.
    until: u64,
    place: Place,
    body: Option<AnswerBody>,
    /// Bytes to be read past.
    skip: u64,
    failures: u32,
    /// Where else it is, of what registries may not have.
    foreign: Option<Url>,
    /// Where the present connection began, and when.
    since: (u64, Instant),
    hasher: Option<Hasher>,
}

impl BlobStream {
    /// One that has asked for nothing yet, for `wanted` of the blob's bytes.
    fn new(
        repository: Repository,
        digest: Digest,
        size: u64,
        wanted: std::ops::Range<u64>,
        place: Place,
    ) -> Self {
        Self {
            repository,
            digest,
            size,
            position: wanted.start,
            until: wanted.end,
            place,
            body: None,
            skip: 0,
            failures: 0,
            foreign: None,
            since: (wanted.start, Instant::now()),
            hasher: None,
        }
    }

    pub(crate) async fn open(repository: Repository, digest: Digest, size: u64, from: u64) -> Result<Self> {
        if from > size {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("offset {from} is behind the end of {digest}"),
            ));
        }
        let mut tour = repository.registry.tour(&repository.domain, true)?;
        let place = tour.place();
        let mut stream = Self::new(repository, digest, size, from..size, place);
        if from < size || size == 0 {
            stream.find(&mut tour).await?;
        }
        Ok(stream)
    }

    /// As [`Self::open`], of a layer that may be elsewhere only: its registry is asked first, then each of its addresses.
    pub(crate) async fn open_layer(repository: Repository, layer: &Descriptor, from: u64) -> Result<Self> {
        let refusal = match Self::open(repository.clone(), layer.digest.clone(), layer.size, from).await {
            Err(error) if error.kind() == ErrorKind::NotFound && !layer.urls.is_empty() => error,
            opened => return opened,
        };
        let settings = repository.registry.client.settings();
        let place = repository.registry.tour(&repository.domain, false)?.place();
        // In clear text only from where that is spoken anyway, or may be.
        let may =
            |url: &Url| url.origin.secure || !place.base.origin.secure || settings.is_insecure(&url.origin);
        for url in layer.urls.iter().take(MAX_URLS).filter_map(|url| Url::parse(url)).filter(may) {
            let mut stream = Self {
                foreign: Some(url),
                ..Self::new(
                    repository.clone(),
                    layer.digest.clone(),
                    layer.size,
                    from..layer.size,
                    place.clone(),
                )
            };
            match stream.ask().await {
                Ok(()) => return Ok(stream),
                Err(error) => tracing::debug!("registry: {} elsewhere: {error}", layer.digest),
            }
        }
        Err(refusal)
    }

    /// As [`Self::open`], of the part up to `until`, at the place where another stream has found the blob. A registry that takes no
    /// notice of ranges sends all of the rest: [`Self::until`] says so. Asked once: who wants it again asks again.
    pub(super) async fn open_part(found: &Found, from: u64, until: u64) -> Result<Self> {
        let mut stream = Self::new(
            found.repository.clone(),
            found.digest.clone(),
            found.size,
            from..until,
            found.place.clone(),
        );
        stream.ask().await?;
        Ok(stream)
    }

    /// As [`Self::open`], of the part up to `until`, and where the blob was found.
    pub(super) async fn open_first_part(
        repository: Repository,
        layer: &Descriptor,
        from: u64,
        until: u64,
    ) -> Result<(Self, Found)> {
        let mut tour = repository.registry.tour(&repository.domain, true)?;
        let mut stream =
            Self::new(repository.clone(), layer.digest.clone(), layer.size, from..until, tour.place());
        stream.find(&mut tour).await?;
        let (digest, size, place) = (layer.digest.clone(), layer.size, stream.place.clone());
        Ok((stream, Found { repository, digest, size, place }))
    }

    /// Where what it brings ends.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    /// All of a part, without a second try.
    pub(super) async fn collect(mut self) -> Result<Vec<Bytes>> {
        let mut bytes = Vec::new();
        while self.body.is_some() {
            bytes.extend(self.read().await?);
        }
        Ok(bytes)
    }

    /// Checks the digest at the end; only for a stream from the beginning.
    pub fn verified(mut self) -> Self {
        if self.position == 0 {
            self.hasher = Some(Hasher::of(&self.digest));
        }
        self
    }

    /// The offset of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The length of the whole blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes, never none; `None` at the end, where all is there.
    ///
    /// # Errors
    /// The registry can't be reached any more, or has another number of bytes. The stream may not be used after that.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.position == self.until && self.body.is_none() {
                return self.end().map(|()| None);
            }
            let error = match self.body.as_mut() {
                None => Error::new(ErrorKind::Network, "unexpected EOF"),
                Some(_) => match self.read().await {
                    Ok(Some(bytes)) => return Ok(Some(bytes)),
                    Ok(None) => continue,
                    Err(error) => error,
                },
            };
            self.body = None;
            if !error.is_passing() {
                return Err(error);
            }
            self.resume(error).await?;
        }
    }

    /// The next bytes of the present connection; `None` to look again.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let body = self.body.as_mut().expect("there is a body");
        let Some(mut bytes) = body.next().await? else {
            self.body = None;
            return match self.position == self.until {
                true => Ok(None),
                false => Err(Error::new(ErrorKind::Network, "unexpected EOF")),
            };
        };
        self.check_rate()?;
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes.advance(skipped as usize);
            if bytes.is_empty() {
                return Ok(None);
            }
        }
        if bytes.len() as u64 > self.until - self.position {
            return Err(Error::invalid(match self.until == self.size {
                true => format!("blob {} is longer than its {} bytes", self.digest, self.size),
                false => {
                    format!("blob {}: the registry sends more than the range that was asked for", self.digest)
                }
            }));
        }
        self.position += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// A registry that drips keeps nobody for days.
    fn check_rate(&self) -> Result<()> {
        let limits = &self.repository.registry.client.settings().limits;
        let (from, begun) = self.since;
        let elapsed = begun.elapsed();
        let least = limits.least_rate_bytes as f64 * elapsed.as_secs_f64();
        let brought = self.position - from;
        if elapsed > limits.idle && ((brought + 1) as f64) < least {
            return Err(Error::new(ErrorKind::Network, "the registry sends too slowly"));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        match self.hasher.take() {
            Some(hasher) if hasher.digest() != self.digest => Err(Error::invalid(format!(
                "filesystem layer verification failed for digest {}",
                self.digest
            ))),
            _ => Ok(()),
        }
    }

    /// Asks the first of the places that has it.
    async fn find(&mut self, tour: &mut Tour) -> Result<()> {
        loop {
            self.place = tour.place();
            match self.ask().await {
                Ok(()) => {
                    tour.settle();
                    return Ok(());
                }
                Err(error) => {
                    tour.next(error).await.map_err(|error| self.worded(error))?;
                }
            }
        }
    }

    /// Asks again for what is missing, after a pause.
    async fn resume(&mut self, mut error: Error) -> Result<()> {
        let limits = self.repository.registry.client.settings().limits.clone();
        if self.position - self.since.0 >= PROGRESS_BYTES {
            self.failures = 0;
        }
        loop {
            self.failures += 1;
            if self.failures >= limits.attempts {
                return Err(self.worded(error));
            }
            let pause = backoff::pause(self.failures, error.retry_after, &limits, backoff::chance());
            tracing::debug!("registry: {} at {}: {error}; again in {pause:?}", self.digest, self.position);
            tokio::time::sleep(pause).await;
            if self.place.mirror && self.failures > 1 && self.foreign.is_none() {
                // A mirror that fails twice is left for what comes behind it.
                let mut tour = self.repository.registry.tour(&self.repository.domain, false)?;
                return self.find(&mut tour).await;
            }
            match self.ask().await {
                Ok(()) => return Ok(()),
                Err(next) if next.is_passing() => error = next,
                Err(next) => return Err(self.worded(next)),
            }
        }
    }

    /// Sends a request for the bytes from the present position on.
    async fn ask(&mut self) -> Result<()> {
        let url = self.place.url(&format!("{}/blobs/{}", self.repository.path, self.digest));
        let mut call = Call::new(Method::GET, url);
        call.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if self.position > 0 || self.until < self.size {
            let last = if self.until < self.size { (self.until - 1).to_string() } else { String::new() };
            let range = format!("bytes={}-{last}", self.position);
            call.headers.insert(RANGE, HeaderValue::try_from(range).expect("digits"));
        }
        let answer = match &self.foreign {
            None => self.repository.send(&self.place, "pull", call).await?,
            Some(url) => {
                call.url = url.clone();
                let client = &self.repository.registry.client;
                let settings = client.settings();
                let reach = settings.reach_from(&self.place.base.origin);
                let asked = client.persistently(|| client.follow(&settings, call.again(), None, reach));
                Box::pin(asked).await?
            }
        };
        self.skip = self.part(&answer)?;
        self.body = Some(answer.body);
        self.since = (self.position, Instant::now());
        Ok(())
    }

    /// How many bytes of an answer are here already.
    fn part(&mut self, answer: &Answer) -> Result<u64> {
        let digest = self.digest.clone();
        let wrong = |what: &str| Error::invalid(format!("blob {digest}: {what}"));
        let (first, announced) = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.header("content-range").ok_or_else(|| wrong("no Content-Range"))?;
                let (first, whole) = content_range(range).ok_or_else(|| wrong("invalid Content-Range"))?;
                if first != self.position {
                    return Err(wrong("the registry sends another range"));
                }
                (first, whole)
            }
            StatusCode::OK => {
                // It takes no notice of ranges: all of it comes.
                self.until = self.size;
                (0, answer.body.announced())
            }
            status => return Err(wrong(&format!("unexpected status {status}"))),
        };
        match announced {
            Some(announced) if announced != self.size => {
                Err(wrong(&format!("it has {announced} bytes, not {}", self.size)))
            }
            _ => Ok(self.position - first),
        }
    }

    fn worded(&self, error: Error) -> Error {
        self.repository.of_pull(error, &TagOrDigest::Digest(self.digest.clone()))
    }
}

/// The first byte of `bytes 5-9/10`, and the length of the whole where it is known.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((first.trim().parse().ok()?, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_where_it_begins() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("items 5-9/10"), None);
    }
}
