//! The operations of the Engine API on images: the store does the work, here it gets its names and its streams.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use minke_api::Time;
use minke_api::container::DriverData;
use minke_api::image::*;
use minke_api::stream::{ProgressDetail, ProgressMessage};
use minke_model::{Context as _, Digest, Error, ErrorKind, Platform, Reference, Result};
use minke_store::{
    ContainerUse, Image, ImageEvent, ImportOptions, LoadEvent, LoadOptions, RemoveOptions, Removed,
};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

use crate::engine::Shared;
use crate::pattern;
use crate::{Engine, ProgressStream};

const LIST_FILTERS: [&str; 8] =
    ["before", "dangling", "label", "label!", "reference", "since", "until", "id"];
/// How much of an archive is sent at once.
const CHUNK: usize = 64 * 1024;

impl Engine {
    /// `GET /images/json`.
    pub async fn image_list(&self, query: &ImageListQuery) -> Result<Vec<ImageSummary>> {
        let filters = &query.filters;
        filters.check(&LIST_FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        let created = |key: &str| -> Result<Option<i64>> {
            filters
                .values(key)
                .next()
                .map(|name| Ok(self.shared.store.image(name)?.created_unix()))
                .transpose()
        };
        let (before, since) = (created("before")?, created("since")?);
        let until = filters.values("until").next().map(crate::time::parse_query_time).transpose()?.flatten();
        let references: Vec<&str> = filters.values("reference").collect();
        if references.iter().any(|pattern| !pattern::is_valid(pattern)) {
            return Err(Error::invalid("syntax error in pattern"));
        }
        let mut images: Vec<Arc<Image>> = self.shared.store.images();
        images.retain(|image| {
            let labels =
                image.config.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
            let created = image.created_unix();
            dangling.is_none_or(|dangling| image.is_dangling() == dangling)
                && before.is_none_or(|time| created < time)
                && since.is_none_or(|time| created > time)
                && until.is_none_or(|time| created < time.as_second())
                && filters.allows_labels("label", &labels)
                && (!filters.contains("label!") || !filters.allows_labels("label!", &labels))
                && (references.is_empty()
                    || image.tags.iter().any(|tag| references.iter().any(|pattern| matches(tag, pattern))))
        });
        images.sort_by_key(|image| std::cmp::Reverse(image.created_unix()));
        let used = self.shared.used_images();
        let count = |image: &Image| used.iter().filter(|used| used.image == image.id).count() as i64;
        let mut found: Vec<ImageSummary> =
            images.iter().map(|image| summary(image, count(image), &references)).collect();
        if query.shared_size {
            self.shared.share_sizes(&mut found);
        }
        if query.manifests {
            for (image, row) in images.iter().zip(&mut found) {
                (row.descriptor, row.manifests) = self.shared.manifests_of(image, &used);
            }
        }
        Ok(found)
    }

    /// `GET /images/{name}/json`.
    pub async fn image_inspect(&self, name: &str, query: &ImageInspectQuery) -> Result<ImageInspect> {
        let image = self.shared.store.image_for(name, platform(&query.platform)?.as_ref())?;
        Ok(inspect(&image, self.shared.store.snapshot_kind().driver_name()))
    }

    /// `GET /images/{name}/history`.
    pub async fn image_history(
        &self,
        name: &str,
        query: &ImageHistoryQuery,
    ) -> Result<Vec<ImageHistoryItem>> {
        platform(&query.platform)?;
        let history = self.shared.store.history(name)?;
        Ok(history
            .into_iter()
            .map(|step| ImageHistoryItem {
                comment: step.comment,
                created: step.created,
                created_by: step.created_by,
                id: step.id.map_or_else(|| "<missing>".into(), |id| id.to_string()),
                size: i64::try_from(step.size).unwrap_or(i64::MAX),
                tags: (!step.tags.is_empty()).then_some(step.tags),
            })
            .collect())
    }

    /// `POST /images/create` without `fromImage`: an import reads `body`. The stream has Docker's progress messages, and the
    /// last one the error if it fails late.
    pub async fn image_create(
        &self,
        query: &ImageCreateQuery,
        body: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<ProgressStream> {
        if query.from_src.is_empty() {
            return Err(Error::invalid("one of fromImage and fromSrc must say where the image comes from"));
        }
        if query.from_src != "-" {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "an import reads its archive from the request's body (-)",
            ));
        }
        let options = ImportOptions {
            reference: import_reference(query)?,
            message: if query.message.is_empty() { "Imported from -".into() } else { query.message.clone() },
            changes: minke_store::parse_changes(&query.changes)?,
            platform: platform(&query.platform)?,
        };
        let shared = self.shared.clone();
        Ok(blocking_progress(body, move |reader, send| {
            let (id, events) = shared.store.import(reader, &options)?;
            shared.emit_image_events(&events);
            send(ProgressMessage::status(id.to_string()));
            Ok(())
        }))
    }

    /// `POST /images/load`.
    pub async fn image_load(
        &self,
        query: &ImageLoadQuery,
        body: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<ProgressStream> {
        let options = LoadOptions { platform: one_platform(&query.platforms)? };
        let quiet = query.quiet;
        let shared = self.shared.clone();
        Ok(blocking_progress(body, move |reader, send| {
            let loaded = shared.store.load(reader, &options, &mut |event| {
                if let Some(message) = load_message(event, quiet) {
                    send(message);
                }
            })?;
            shared.emit_image_events(&loaded.events);
            Ok(())
        }))
    }

    /// `GET /images/get`, `GET /images/{name}/get` (then `names` has that one): an archive.
    pub async fn image_save(&self, query: &ImageSaveQuery) -> Result<ProgressStream> {
        let names = query.names.clone();
        let platform = one_platform(&query.platforms)?;
        self.shared.store.check_save(&names, platform.as_ref())?;
        let shared = self.shared.clone();
        let (sender, receiver) = mpsc::channel(8);
        tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter { sender, pending: Vec::with_capacity(CHUNK) };
            let saved = shared.store.save(&names, platform.as_ref(), &mut writer);
            match saved {
                Ok(events) => {
                    let _ = writer.flush();
                    shared.emit_image_events(&events);
                }
                Err(error) => {
                    let _ = writer.sender.blocking_send(Err(io::Error::other(error.to_string())));
                }
            }
        });
        Ok(receiver)
    }

    /// `POST /images/{name}/tag`.
    pub async fn image_tag(&self, name: &str, query: &ImageTagQuery) -> Result<()> {
        let text =
            if query.tag.is_empty() { query.repo.clone() } else { format!("{}:{}", query.repo, query.tag) };
        // Told apart, as Docker does: a bad name, a bad tag.
        let repository = Reference::parse(&query.repo)?;
        let target = Reference::parse(&text).map_err(|_| Error::invalid("invalid tag format"))?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if repository.familiar_name() == "sha256" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let target = target.with_default_tag();
        let (shared, name) = (self.shared.clone(), name.to_owned());
        let work = move || {
            let events = shared.store.tag(&name, &target)?;
            shared.emit_image_events(&events);
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.context("tagging the image")?
    }

    /// `DELETE /images/{name}`.
    pub async fn image_delete(&self, name: &str, query: &ImageDeleteQuery) -> Result<Vec<ImageDeleteItem>> {
        let options = RemoveOptions { force: query.force, prune: !query.no_prune };
        let (shared, name) = (self.shared.clone(), name.to_owned());
        let work = move || {
            let removal = shared.store.remove_image(&name, options, &shared.used_images())?;
            shared.emit_image_events(&removal.events);
            Ok(removal.removed.into_iter().map(delete_item).collect())
        };
        tokio::task::spawn_blocking(work).await.context("removing the image")?
    }
}

impl Shared {
    /// Which container uses which image.
    pub fn used_images(&self) -> Vec<ContainerUse> {
        let containers = self.containers.all();
        containers
            .iter()
            .filter_map(|container| {
                let view = container.view();
                let image = Digest::parse(&view.record.image_id).ok()?;
                Some(ContainerUse { id: view.record.id.clone(), image, running: view.is_running() })
            })
            .collect()
    }

    /// Tells of what the store did.
    pub fn emit_image_events(&self, events: &[ImageEvent]) {
        for event in events {
            let image = self.store.image_by_id(&event.id);
            let labels = image.and_then(|image| image.config.config.clone()).and_then(|config| config.labels);
            let mut attributes = labels.unwrap_or_default();
            attributes.insert("name".to_owned(), event.name.clone());
            self.events.emit("image", event.kind.name(), event.id.as_str(), attributes);
        }
    }
}

/// Runs blocking `work` that reads `body` and sends messages; its error is the last one.
fn blocking_progress(
    body: Box<dyn AsyncRead + Send + Unpin>,
    work: impl FnOnce(&mut (dyn Read + Send), &mut dyn FnMut(ProgressMessage)) -> Result<()> + Send + 'static,
) -> ProgressStream {
    let (sender, receiver) = mpsc::channel(64);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut reader = SyncIoBridge::new_with_handle(body, runtime);
        let mut send = |message: ProgressMessage| {
            // A client that went away doesn't stop what was asked for.
            let _ = sender.blocking_send(Ok(Bytes::from(message.render())));
        };
        if let Err(error) = work(&mut reader, &mut send) {
            send(ProgressMessage::failure(error.to_string()));
        }
    });
    receiver
}

/// Sends what is written in chunks.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.pending.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.pending.extend_from_slice(taken);
        if self.pending.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn load_message(event: LoadEvent, quiet: bool) -> Option<ProgressMessage> {
    match event {
        LoadEvent::Stream(text) => Some(ProgressMessage::stream(text)),
        LoadEvent::Layer { .. } if quiet => None,
        LoadEvent::Layer { diff_id, current, total } => {
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let progress_detail =
                ProgressDetail { current: number(current), total: number(total), units: String::new() };
            Some(ProgressMessage {
                progress_detail: Some(progress_detail),
                id: diff_id.short().to_owned(),
                ..ProgressMessage::status("Loading layer")
            })
        }
    }
}

/// A row of an answer.
pub fn delete_item(removed: Removed) -> ImageDeleteItem {
    match removed {
        Removed::Untagged(untagged) => ImageDeleteItem { untagged, ..ImageDeleteItem::default() },
        Removed::Deleted(digest) => {
            ImageDeleteItem { deleted: digest.to_string(), ..ImageDeleteItem::default() }
        }
    }
}

fn import_reference(query: &ImageCreateQuery) -> Result<Option<Reference>> {
    if query.repo.is_empty() {
        return Ok(None);
    }
    let text =
        if query.tag.is_empty() { query.repo.clone() } else { format!("{}:{}", query.repo, query.tag) };
    let reference = Reference::parse(&text)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    Ok(Some(reference.with_default_tag()))
}

/// A platform of a query: nothing, text, or a JSON object.
pub fn platform(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('{') {
        return Platform::parse(text).map(Some);
    }
    let parsed: minke_api::image::Platform = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?;
    Ok(Some(Platform::new(&parsed.os, &parsed.architecture, &parsed.variant)))
}

fn one_platform(texts: &[String]) -> Result<Option<Platform>> {
    match texts {
        [] => Ok(None),
        [one] => platform(one),
        _ => Err(Error::new(
            ErrorKind::NotImplemented,
            "one platform at a time is what this version of minke offers",
        )),
    }
}

/// Whether a `reference` filter wants a tag: Docker matches the familiar name with and without its tag, `*` and `?` within a path element.
fn matches(tag: &Reference, pattern: &str) -> bool {
    let familiar = tag.familiar();
    [familiar.as_str(), tag.familiar_name().as_str()].into_iter().any(|name| pattern::matches(name, pattern))
}

fn summary(image: &Image, containers: i64, references: &[&str]) -> ImageSummary {
    let shown =
        |tag: &&Reference| references.is_empty() || references.iter().any(|pattern| matches(tag, pattern));
    ImageSummary {
        containers,
        created: image.created_unix(),
        id: image.id.to_string(),
        labels: image.config.config.as_ref().and_then(|config| config.labels.clone()),
        parent_id: image.parent.as_ref().map(Digest::to_string).unwrap_or_default(),
        repo_digests: Some(image.digests.iter().map(Reference::familiar).collect()),
        repo_tags: Some(image.tags.iter().filter(shown).map(Reference::familiar).collect()),
        shared_size: -1,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        ..ImageSummary::default()
    }
}

fn inspect(image: &Image, driver: &str) -> ImageInspect {
    let document = &image.config;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let time = |text: &Option<String>| text.as_deref().and_then(Time::parse);
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: image.tags.iter().map(Reference::familiar).collect(),
        repo_digests: image.digests.iter().map(Reference::familiar).collect(),
        parent: image.parent.as_ref().map(Digest::to_string),
        // A commit's remark stands in the history alone.
        comment: some(&document.comment)
            .or_else(|| document.history.last().and_then(|step| some(&step.comment))),
        created: time(&document.created),
        docker_version: some(&document.docker_version),
        container: some(&document.container),
        container_config: document.container_config.as_ref().and_then(crate::container::shown_config),
        author: some(&document.author),
        config: ImageInspectConfig::Image(config(document)),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: document.os.clone(),
        os_version: document.os_version.clone(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        graph_driver: Some(DriverData { data: None, name: driver.to_owned() }),
        root_fs: RootFs {
            kind: "layers".into(),
            layers: image.layers.iter().map(Digest::to_string).collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: image
                .last_tagged
                .as_deref()
                .and_then(|text| text.parse::<Timestamp>().ok())
                .map_or_else(Time::zero, Time::from),
        },
        ..ImageInspect::default()
    }
}

fn config(document: &minke_model::image::ImageConfig) -> ImageConfig {
    let config = document.config.clone().unwrap_or_default();
    let set = |set: Option<BTreeMap<String, minke_model::image::Empty>>| {
        set.unwrap_or_default().into_keys().map(|key| (key, minke_api::Empty {})).collect()
    };
    ImageConfig {
        user: config.user,
        exposed_ports: set(config.exposed_ports),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: set(config.volumes),
        working_dir: config.working_dir,
        labels: config.labels.unwrap_or_default(),
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.map(crate::container::probe_of_image),
        on_build: config.on_build.unwrap_or_default(),
        shell: config.shell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_filters_match_as_docker_does() {
        for (tag, pattern, expected) in [
            ("busybox:latest", "busybox", true),
            ("busybox:latest", "busy*", true),
            ("busybox:latest", "busy*:latest", true),
            ("busybox:1", "busybox:2", false),
            ("a/busybox:1", "busy*", false),
            ("a/busybox:1", "*/busy*", true),
            ("localhost:5000/x:1", "localhost:5000/x", true),
        ] {
            let tag = Reference::parse(tag).unwrap();
            assert_eq!(matches(&tag, pattern), expected, "{tag:?} {pattern}");
        }
    }
}
