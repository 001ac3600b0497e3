//! `POST /images/{name}/push`: a push. Everything is told in the stream, also why it failed. It ends when its client goes away.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use minke_api::registry::{AuthConfig, ImagePushQuery, PushResult};
use minke_api::stream::{ProgressDetail, ProgressMessage};
use minke_model::image::Descriptor;
use minke_model::{Context as _, Digest, Error, Platform, Reference, Result};
use minke_registry::client::{Repository, TagOrDigest, UploadSource};
use minke_store::{PushImage, PushLayer, PushPlan};
use serde_json::json;
use tokio::sync::mpsc;

use super::outgoing::Outgoing;
use super::pull::Leased;
use super::report::Reporter;
use crate::engine::Shared;
use crate::{Engine, ProgressStream};

/// Messages that wait for a client.
const MESSAGES: usize = 64;
/// What is said where an index is here in parts only.
const MISSING: &str = "Note: You're trying to push a manifest list/index which references multiple platform specific manifests, but not all of them are available locally or available to the remote repository.\n\nMake sure you have all the referenced content and try again.\n\nYou can also push only a single platform specific manifest directly by specifying the platform you want to push with the --platform flag.";

impl Engine {
    /// `POST /images/{name}/push`.
    ///
    /// # Errors
    /// What is no reference.
    pub async fn image_push(
        &self,
        name: &str,
        query: &ImagePushQuery,
        auth: AuthConfig,
    ) -> Result<ProgressStream> {
        let mut reference = Reference::parse(name)?;
        if reference.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        if !query.tag.is_empty() {
            reference = reference.with_tag(&query.tag)?;
        }
        let push = Push {
            shared: self.shared.clone(),
            repository: self.repository(&reference, auth),
            platform: crate::image::platform(&query.platform)?,
            lease: Leased::take(&self.shared),
        };
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let report = Reporter(sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                done = push.run(&reference, &report) => {
                    if let Err(error) = done {
                        report.send(ProgressMessage::failure(error.to_string())).await;
                    }
                }
            }
        });
        Ok(receiver)
    }
}

/// A layer, and the content as which it goes out.
type Key = (Digest, Option<Digest>);

fn key(layer: &PushLayer) -> Key {
    (layer.diff_id.clone(), layer.blob.as_ref().map(|blob| blob.digest.clone()))
}

struct Push {
    shared: Arc<Shared>,
    repository: Repository,
    platform: Option<Platform>,
    #[expect(dead_code, reason = "held until the end: what is pushed stays as long as that takes")]
    lease: Leased,
}

impl Push {
    async fn run(&self, reference: &Reference, report: &Reporter) -> Result<()> {
        report.line(format!("The push refers to repository [{}]", reference.name())).await;
        let all = self.shared.store.tags_in(reference);
        if all.is_empty() {
            return Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_name()
            )));
        }
        if reference.tag().is_some() {
            return self.push(reference, report).await;
        }
        for reference in all {
            self.push(&reference, report).await?;
        }
        Ok(())
    }

    async fn push(&self, reference: &Reference, report: &Reporter) -> Result<()> {
        let (shared, name, platform) = (self.shared.clone(), reference.clone(), self.platform.clone());
        let plan = move || shared.store.plan_push(&name, platform.as_ref());
        let plan = tokio::task::spawn_blocking(plan).await.context("planning a push")??;
        let sent = self.layers(reference, &plan, report).await?;
        let mut top = None;
        let alone = plan.indexes.is_empty();
        for image in &plan.images {
            self.config(image).await?;
            let (manifest, bytes) = self.manifest(image, &sent)?;
            if !alone {
                self.put(&TagOrDigest::Digest(manifest.digest.clone()), &manifest, &bytes).await?;
            }
            top = Some((manifest, bytes, image.image.id.clone()));
        }
        let named = self.shared.store.resolve_reference(reference).map(|image| image.id.clone());
        self.check_missing(&plan, report).await?;
        for (index, bytes) in &plan.indexes {
            self.put(&TagOrDigest::Digest(index.digest.clone()), index, bytes).await?;
            if let Some(image) = &named {
                top = Some((index.clone(), bytes.clone(), image.clone()));
            }
        }
        let (manifest, bytes, image) = top.ok_or_else(|| Error::system("there is nothing to push"))?;
        let tag = reference.tag().unwrap_or_default();
        self.put(&TagOrDigest::Tag(tag.to_owned()), &manifest, &bytes).await?;
        if let Some(index) = &plan.incomplete {
            let note = json!({
                "manifestPushedInsteadOfIndex": true,
                "originalIndex": index,
                "selectedManifest": manifest,
            });
            self.tell_aside(note, report).await;
        }
        self.record(reference, &image, &manifest, &bytes).await?;
        let size = i64::try_from(manifest.size).unwrap_or(i64::MAX);
        report.line(format!("{tag}: digest: {} size: {size}", manifest.digest)).await;
        let result = PushResult { tag: tag.to_owned(), digest: manifest.digest.to_string(), size };
        self.tell_aside(serde_json::to_value(result).context("the result of a push")?, report).await;
        self.shared.emit_reference_event("push", reference, &image);
        Ok(())
    }

    /// What programs read beside the messages for people.
    async fn tell_aside(&self, note: serde_json::Value, report: &Reporter) {
        let (aux, progress_detail) = (Some(note), Some(ProgressDetail::NONE));
        report.send(ProgressMessage { aux, progress_detail, ..ProgressMessage::default() }).await;
    }

    /// What an index names and is not here, the registry has, or the index cannot be pushed.
    async fn check_missing(&self, plan: &PushPlan, report: &Reporter) -> Result<()> {
        for child in &plan.missing {
            if self.repository.head(&TagOrDigest::Digest(child.digest.clone())).await?.is_none() {
                self.tell_aside(json!({"contentMissing": true, "desc": child}), report).await;
                return Err(Error::not_found(format!(
                    "missing content: {}: not found\n{MISSING}",
                    child.digest
                )));
            }
        }
        Ok(())
    }

    /// Sees to it that the registry has all layers; gives what it has of each.
    async fn layers(
        &self,
        reference: &Reference,
        plan: &PushPlan,
        report: &Reporter,
    ) -> Result<HashMap<Key, Descriptor>> {
        let mut unique: Vec<&PushLayer> = Vec::new();
        // The top one first, as Docker tells of them.
        for layer in plan.images.iter().flat_map(|image| image.layers.iter().rev()) {
            if !unique.iter().any(|other| key(other) == key(layer)) {
                unique.push(layer);
                report.state(layer.diff_id.short(), "Preparing").await;
            }
        }
        let outgoing = Outgoing { shared: &self.shared, repository: &self.repository, reference, report };
        let sent = unique.iter().map(|layer| outgoing.layer(layer));
        let sent = try_join_all(sent).await?;
        Ok(unique.into_iter().map(key).zip(sent).collect())
    }

    async fn config(&self, image: &PushImage) -> Result<()> {
        if !self.repository.has_blob(&image.image.id).await? {
            let bytes = Bytes::from(image.image.config_bytes.clone());
            self.repository.upload(UploadSource::bytes(bytes), |_| {}).await?;
        }
        Ok(())
    }

    fn manifest(&self, image: &PushImage, sent: &HashMap<Key, Descriptor>) -> Result<(Descriptor, Vec<u8>)> {
        if let Some((manifest, bytes)) = &image.manifest {
            return Ok((manifest.clone(), bytes.clone()));
        }
        let layers = image.layers.iter().filter_map(|layer| sent.get(&key(layer)).cloned());
        self.shared.store.make_manifest(&image.image, &layers.collect::<Vec<_>>())
    }

    async fn put(&self, name: &TagOrDigest, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        let digest = self.repository.put_manifest(name, &manifest.media_type, bytes).await?;
        match digest == manifest.digest {
            true => Ok(()),
            false => Err(Error::system(format!("the registry has {digest} of manifest {}", manifest.digest))),
        }
    }

    async fn record(
        &self,
        reference: &Reference,
        image: &Digest,
        manifest: &Descriptor,
        bytes: &[u8],
    ) -> Result<()> {
        let (shared, reference, image) = (self.shared.clone(), reference.clone(), image.clone());
        let (manifest, bytes) = (manifest.clone(), bytes.to_vec());
        let record = move || shared.store.record_pushed(&reference, &image, &manifest, &bytes);
        tokio::task::spawn_blocking(record).await.context("recording a push")?
    }
}
