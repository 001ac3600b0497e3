//! One large blob over several connections. Its parts come ahead on connections that nobody else needs, are held in memory until
//! it is their turn (a few, of two megabytes each), and are given out in order: who hashes, keeps and unpacks the bytes as they come
//! sees no difference. Never asks for a part where it has not been seen that the registry gives parts.
//!
//! ```text
//!   given out |  present: as it comes  |  ahead  |  ahead  |  ahead  |  not asked for yet ...
//!          position                                               unasked
//! ```
//!
//! Whatever a connection ahead does wrong (another range, a break, a refusal, a crawl) costs that part alone, which is then asked for
//! in its turn, with all the patience of [`BlobStream`]; after a few of those nothing is asked for ahead any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minke_model::image::Descriptor;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::blob::{BlobStream, Found};
use super::error::{Error, ErrorKind};
use super::repository::Repository;
use super::{Limits, Result};

/// A part that comes in its turn while nobody has a connection to spare is so many times as long: each costs a request.
const ALONE: u64 = 8;
/// How often a connection ahead may fail.
const STRIKES: u32 = 3;
/// How much longer than the part before a part ahead may take, and at least, before it is asked for anew.
const PATIENCE: u32 = 4;
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// Gives leave for one more connection, for as long as what it gives lives.
pub type Spare<P> = Box<dyn Fn() -> Option<P> + Send + Sync>;

/// The bytes of a layer from an offset to its end, in order.
pub struct SpreadStream<P> {
    repository: Repository,
    layer: Descriptor,
    spare: Spare<P>,
    limits: Limits,
    position: u64,
    /// Where the blob is; none where it comes by one connection only.
    found: Option<Arc<Found>>,
    present: Option<BlobStream>,
    /// When the present part began.
    since: Instant,
    /// How long the last one took.
    pace: Duration,
    /// A part that has come ahead, being given out.
    held: VecDeque<Bytes>,
    ahead: VecDeque<Ahead>,
    /// The first byte that nobody has asked for.
    unasked: u64,
    strikes: u32,
}

/// A part on its way; ends when it is dropped.
struct Ahead {
    from: u64,
    work: JoinHandle<Result<Vec<Bytes>>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl<P: Send + 'static> SpreadStream<P> {
    pub(crate) async fn open(
        repository: Repository,
        layer: &Descriptor,
        from: u64,
        spare: Spare<P>,
    ) -> Result<Self> {
        let limits = repository.limits();
        let mut stream = Self {
            repository,
            layer: layer.clone(),
            spare,
            position: from,
            found: None,
            present: None,
            since: Instant::now(),
            pace: Duration::ZERO,
            held: VecDeque::new(),
            ahead: VecDeque::new(),
            unasked: layer.size,
            strikes: 0,
            limits,
        };
        if layer.size.saturating_sub(from) >= stream.limits.spread_bytes.max(1) {
            let until = from + stream.limits.part_bytes.clamp(1, layer.size - from);
            // Whatever is wrong with it is said, or isn't, when all of the rest is asked for.
            let part = BlobStream::open_first_part(stream.repository.clone(), layer, from, until).await;
            if let Ok((present, found)) = part {
                if present.until() < layer.size {
                    (stream.found, stream.unasked) = (Some(Arc::new(found)), until);
                }
                stream.present = Some(present);
                return Ok(stream);
            }
        }
        stream.present = Some(stream.rest().await?);
        Ok(stream)
    }

    /// All that is missing, by one connection.
    async fn rest(&mut self) -> Result<BlobStream> {
        self.found = None;
        self.ahead.clear();
        BlobStream::open_layer(self.repository.clone(), &self.layer, self.position).await
    }

    /// The next bytes, never none; `None` at the end, where all is there.
    ///
    /// # Errors
    /// As [`BlobStream::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.look_ahead();
            if let Some(bytes) = self.held.pop_front() {
                self.position += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if let Some(present) = &mut self.present {
                match present.next().await {
                    Ok(Some(bytes)) => {
                        self.position = present.position();
                        return Ok(Some(bytes));
                    }
                    Ok(None) => {
                        self.pace = self.since.elapsed();
                        self.present = None;
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.position >= self.layer.size {
                return Ok(None);
            }
            match self.ahead.pop_front() {
                Some(ahead) => self.take(ahead).await,
                None => self.ask().await?,
            }
        }
    }

    /// Asks for parts ahead, where there are connections to spare.
    fn look_ahead(&mut self) {
        let Some(found) = &self.found else { return };
        while self.strikes < STRIKES
            && self.ahead.len() < self.limits.parts_ahead
            && self.unasked < self.layer.size
            && let Some(leave) = (self.spare)()
        {
            let from = self.unasked;
            let until = from + self.limits.part_bytes.clamp(1, self.layer.size - from);
            let found = Arc::clone(found);
            let work = tokio::spawn(async move {
                let _leave = leave;
                let part = BlobStream::open_part(&found, from, until).await?;
                match part.until() == until {
                    true => part.collect().await,
                    false => Err(Error::new(ErrorKind::Network, "the registry gives no parts any more")),
                }
            });
            self.ahead.push_back(Ahead { from, work });
            self.unasked = until;
        }
    }

    /// Takes a part that has come ahead, or is about to; one that doesn't is asked for in its turn.
    async fn take(&mut self, mut ahead: Ahead) {
        debug_assert_eq!(ahead.from, self.position);
        let patience = (self.pace * PATIENCE).max(LEAST_PATIENCE);
        match tokio::time::timeout(patience, &mut ahead.work).await {
            Ok(Ok(Ok(bytes))) => self.held = bytes.into(),
            failed => {
                self.strikes += 1;
                let why = match failed {
                    Ok(Ok(Err(error))) => error.to_string(),
                    _ => "it takes too long".to_owned(),
                };
                tracing::debug!("registry: a part of {} at {}: {why}", self.layer.digest, ahead.from);
                // Until the next one, which may be here already.
                let until = self.ahead.front().map_or(self.unasked, |next| next.from);
                self.begin(until).await;
            }
        }
    }

    /// Asks for the next bytes, which nobody has asked for yet.
    async fn ask(&mut self) -> Result<()> {
        let length = self.limits.part_bytes.saturating_mul(ALONE).clamp(1, self.layer.size - self.position);
        let until = self.position + length;
        self.unasked = until;
        self.begin(until).await;
        if self.present.is_none() {
            self.present = Some(self.rest().await?);
        }
        Ok(())
    }

    /// Begins with the part up to `until` as the present one; leaves none where that fails.
    async fn begin(&mut self, until: u64) {
        self.since = Instant::now();
        let Some(found) = self.found.clone() else { return };
        match BlobStream::open_part(&found, self.position, until).await {
            Ok(present) => {
                if present.until() > until {
                    // It has begun to take no notice of ranges: all of the rest comes now.
                    (self.found, self.unasked) = (None, self.layer.size);
                    self.ahead.clear();
                }
                self.present = Some(present);
            }
            Err(error) => {
                tracing::debug!("registry: {} at {}: {error}", self.layer.digest, self.position);
                // What is ahead would not be next to what comes.
                self.ahead.clear();
                self.found = None;
            }
        }
    }
}
