//! `POST /images/create` with `fromImage`: a pull. What the registry refuses at once is the answer's status; what goes wrong
//! later is the stream's last message. The pull ends when its client goes away; its transfers do, unless others want them too.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use minke_api::image::ImageCreateQuery;
use minke_api::registry::AuthConfig;
use minke_api::stream::ProgressMessage;
use minke_model::image::Descriptor;
use minke_model::{Context as _, Digest, Error, Platform, Reference, Result};
use minke_registry::client::{self, Repository};
use minke_store::{Lease, PulledImage};
use tokio::sync::mpsc;

use super::fetch::Fetch;
use super::report::Reporter;
use super::resolve::{self, Resolved};
use super::transfer::{Failure, Transfer, Wanted, is_disk_full};
use crate::engine::Shared;
use crate::{Engine, ProgressStream};

/// Messages that wait for a client.
const MESSAGES: usize = 64;

impl Engine {
    /// `POST /images/create` with `fromImage`. The stream has Docker's progress messages, and the last one the error if it
    /// fails late.
    ///
    /// # Errors
    /// What is no reference, and what the registry refuses before anything comes.
    pub async fn image_pull(&self, query: &ImageCreateQuery, auth: AuthConfig) -> Result<ProgressStream> {
        let reference = pull_reference(&query.from_image, &query.tag)?;
        let platform = crate::image::platform(&query.platform)?;
        let pull = Pull {
            shared: self.shared.clone(),
            repository: self.repository(&reference, auth),
            wanted: platform.clone().unwrap_or_else(|| self.shared.store.platform().clone()),
            explicit: platform.is_some(),
            lease: Leased::take(&self.shared),
        };
        let work = if reference.tag().is_none() && reference.digest().is_none() {
            let tags = pull.repository.tags().await?;
            Work::All(reference, tags)
        } else {
            let top = resolve::top(&pull.repository, &reference).await?;
            Work::One(reference, top)
        };
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let report = Reporter(sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                done = pull.run(work, &report) => {
                    if let Err(error) = done {
                        report.send(ProgressMessage::failure(error.to_string())).await;
                    }
                }
            }
        });
        Ok(receiver)
    }
}

/// The reference of a pull: the tag, or digest, stands beside the name, and wins over the name's own tag.
fn pull_reference(from_image: &str, tag: &str) -> Result<Reference> {
    let reference = Reference::parse(from_image)?;
    if reference.digest().is_some() || tag.is_empty() {
        return Ok(reference);
    }
    match tag.contains(':') {
        true => Ok(reference.with_digest(Digest::parse(tag)?)),
        false => reference.with_tag(tag),
    }
}

enum Work {
    One(Reference, client::Manifest),
    /// Every tag of a repository.
    All(Reference, Vec<String>),
}

/// Keeps the store from collecting; let go of on a thread that may block, as a collection may follow.
pub(super) struct Leased(Option<Lease>);

impl Leased {
    pub(super) fn take(shared: &Shared) -> Self {
        Self(Some(shared.store.lease()))
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let lease = self.0.take();
        tokio::task::spawn_blocking(move || drop(lease));
    }
}

struct Pull {
    shared: Arc<Shared>,
    repository: Repository,
    wanted: Platform,
    /// Whether the client named the platform.
    explicit: bool,
    #[expect(dead_code, reason = "held until the end")]
    lease: Leased,
}

impl Pull {
    async fn run(&self, work: Work, report: &Reporter) -> Result<()> {
        match work {
            Work::One(reference, top) => {
                let (newer, warnings) = self.pull(&reference, top, report).await?;
                report.line(status(newer, &reference)).await;
                for warning in warnings {
                    report.line(warning).await;
                }
            }
            Work::All(repository, tags) => {
                let mut newer = false;
                for tag in tags {
                    // A tag that no reference can have is nobody's.
                    let Ok(reference) = repository.with_tag(&tag) else { continue };
                    let top = resolve::top(&self.repository, &reference).await?;
                    newer |= self.pull(&reference, top, report).await?.0;
                }
                report.line(status(newer, &repository)).await;
            }
        }
        Ok(())
    }

    /// Pulls one image, and tells whether the name stood for another one before, with what is said at the end.
    async fn pull(
        &self,
        reference: &Reference,
        top: client::Manifest,
        report: &Reporter,
    ) -> Result<(bool, Vec<String>)> {
        let shown = reference.digest().map(Digest::to_string);
        let shown = shown.unwrap_or_else(|| reference.tag().unwrap_or_default().to_owned());
        let pulling = format!("Pulling from {}", reference.path());
        report.send(ProgressMessage { id: shown, ..ProgressMessage::status(pulling) }).await;
        let resolved = resolve::descend(&self.repository, reference, top, &self.wanted).await?;
        let mut warnings = Vec::new();
        let brought = self.bring(reference, &resolved, report, &mut warnings).await;
        let config = match brought {
            Ok(config) => config,
            Err(failure) => return Err(self.give_up(&resolved, failure).await),
        };
        let pulled = PulledImage {
            config,
            manifest: resolved.manifest.clone(),
            target: resolved.target.clone(),
            documents: resolved.documents,
            name: match reference.digest() {
                Some(digest) => reference.with_digest(digest.clone()),
                None => reference.clone(),
            },
        };
        let (shared, name) = (self.shared.clone(), lease_name(&resolved.manifest));
        let record = move || {
            let recorded = shared.store.record_pulled(&pulled)?;
            shared.store.release(&name)?;
            Ok(recorded)
        };
        let recorded = tokio::task::spawn_blocking(record).await.context("recording an image")?;
        let (id, newer) = match recorded {
            Ok(recorded) => recorded,
            Err(error) => return Err(self.worded(error)),
        };
        self.shared.emit_reference_event("pull", reference, &id);
        report.line(format!("Digest: {}", resolved.target.digest)).await;
        Ok((newer, warnings))
    }

    /// Fetches configuration and layers, several at once; gives the configuration.
    async fn bring(
        &self,
        reference: &Reference,
        resolved: &Resolved,
        report: &Reporter,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<u8>, Failure> {
        let failed = |error: Error| Failure::new(&error);
        let config = &resolved.parsed.config;
        self.finish(report, None, config, None).await?;
        let (shared, digest) = (self.shared.clone(), config.digest.clone());
        let read = move || shared.store.content().read(&digest, resolve::MAX_CONFIG_BYTES);
        let bytes =
            tokio::task::spawn_blocking(read).await.context("reading a configuration").map_err(failed)?;
        let bytes = bytes.map_err(failed)?;
        let parsed =
            self.shared.store.read_pulled_config(&bytes, resolved.parsed.layers.len()).map_err(failed)?;
        if self.explicit && self.wanted.rank(&parsed.platform()).is_none() {
            // An image that is there for one platform only is brought all the same, as Docker does.
            warnings.push(format!(
                "WARNING: image with reference {} was found but its platform ({}) does not match the specified platform ({})",
                reference.familiar(),
                parsed.platform(),
                self.wanted
            ));
        }
        let layers: Vec<(&Descriptor, &Digest)> =
            resolved.parsed.layers.iter().zip(&parsed.rootfs.diff_ids).collect();
        let is_here = |blob: &Descriptor, diff_id: &Digest| {
            let presence = self.shared.store.layer_presence(diff_id, &blob.digest);
            presence.blob && presence.unpacked
        };
        let known = self.shared.store.image_by_id(&config.digest).is_some();
        if known && layers.iter().all(|(blob, diff_id)| is_here(blob, diff_id)) {
            return Ok(bytes);
        }
        self.keep(resolved, &parsed.rootfs.diff_ids).await.map_err(failed)?;
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for (blob, diff_id) in layers {
            if !seen.insert((&blob.digest, diff_id)) {
                continue;
            }
            if is_here(blob, diff_id) {
                report.state(blob.digest.short(), "Already exists").await;
            } else {
                report.state(blob.digest.short(), "Pulling fs layer").await;
                missing.push((blob, diff_id));
            }
        }
        let fetches = missing
            .into_iter()
            .map(|(blob, diff_id)| self.finish(report, Some(blob.digest.short()), blob, Some(diff_id)));
        try_join_all(fetches).await?;
        Ok(bytes)
    }

    /// Brings one thing to its end, and tells of it as `id`.
    async fn finish(
        &self,
        report: &Reporter,
        id: Option<&str>,
        blob: &Descriptor,
        diff_id: Option<&Digest>,
    ) -> Result<(), Failure> {
        loop {
            let (transfer, own) = self.transfer(blob, diff_id);
            let done = match id {
                Some(id) => report.follow(id, transfer).await,
                None => silently(transfer).await,
            };
            match done {
                // Somebody else's credentials or luck: now with our own.
                Err(failure) if !own && !failure.disk_full => {}
                done => return done,
            }
        }
    }

    fn transfer(&self, blob: &Descriptor, diff_id: Option<&Digest>) -> (Arc<Transfer>, bool) {
        let wanted = Wanted { blob: blob.digest.clone(), diff_id: diff_id.cloned() };
        let (shared, repository) = (self.shared.clone(), self.repository.clone());
        let (blob, diff_id) = (blob.clone(), diff_id.cloned());
        let total = blob.size;
        self.shared
            .distribution
            .transfers
            .join(&wanted, total, move |state| Fetch { shared, repository, blob, diff_id, state }.run())
    }

    /// Writes down what comes, so that it is still there should this pull break off.
    async fn keep(&self, resolved: &Resolved, diff_ids: &[Digest]) -> Result<()> {
        let mut blobs = resolved.parsed.layers.clone();
        blobs.push(resolved.parsed.config.clone());
        let (shared, name, layers) = (self.shared.clone(), lease_name(&resolved.manifest), diff_ids.to_vec());
        let keep = move || shared.store.keep(&name, &blobs, &layers);
        tokio::task::spawn_blocking(keep).await.context("keeping what comes")?
    }

    /// What a failure leaves: all that came stays for the next attempt, unless the disk is full.
    async fn give_up(&self, resolved: &Resolved, failure: Failure) -> Error {
        if failure.disk_full {
            let (shared, name) = (self.shared.clone(), lease_name(&resolved.manifest));
            let blobs = resolved.parsed.layers.clone();
            let abandon = move || shared.store.abandon(&name, &blobs);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(abandon).await {
                tracing::warn!(%error, "what a pull left on a full disk stays for now");
            }
            return self.disk_full(&failure.error());
        }
        failure.error()
    }

    fn worded(&self, error: Error) -> Error {
        if is_disk_full(&error) { self.disk_full(&error) } else { error }
    }

    fn disk_full(&self, error: &Error) -> Error {
        Error::system(format!(
            "no space left on device: the disk of {} is full; make room, for example by \"docker system prune\", and pull again ({error})",
            self.shared.store.data_root().display()
        ))
    }
}

async fn silently(transfer: Arc<Transfer>) -> Result<(), Failure> {
    let mut watched = transfer.watch();
    let ended =
        watched.wait_for(|state| state.failure.is_some() || state.phase == super::transfer::Phase::Complete);
    match ended.await {
        Ok(state) => state.failure.clone().map_or(Ok(()), Err),
        Err(_) => Err(Failure::new(&Error::system("the transfer ended before its time"))),
    }
}

fn lease_name(manifest: &Descriptor) -> String {
    format!("pull {}", manifest.digest)
}

fn status(newer: bool, reference: &Reference) -> String {
    match newer {
        true => format!("Status: Downloaded newer image for {}", reference.familiar()),
        false => format!("Status: Image is up to date for {}", reference.familiar()),
    }
}

impl Shared {
    /// Tells that an image was pulled or pushed: the actor is the name, as Docker has it.
    pub(super) fn emit_reference_event(&self, action: &str, reference: &Reference, id: &Digest) {
        let image = self.store.image_by_id(id);
        let labels = image.and_then(|image| image.config.config.clone()).and_then(|config| config.labels);
        let mut attributes = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), reference.familiar_name());
        self.events.emit("image", action, &reference.familiar(), attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_beside_the_name_wins_and_a_digest_over_all() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        for (name, tag, expected) in [
            ("busybox", "1", "docker.io/library/busybox:1".to_owned()),
            ("busybox:2", "1", "docker.io/library/busybox:1".to_owned()),
            ("busybox:2", "", "docker.io/library/busybox:2".to_owned()),
            ("busybox", "", "docker.io/library/busybox".to_owned()),
            ("localhost:5000/x", &digest, format!("localhost:5000/x@{digest}")),
        ] {
            assert_eq!(pull_reference(name, tag).unwrap().canonical(), expected);
        }
        assert!(pull_reference("busybox", "-").is_err());
        assert!(pull_reference("Upper", "1").is_err());
    }
}
