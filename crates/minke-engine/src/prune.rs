//! Removing what is not used: stopped containers, images without a container, and the answers for what there is none of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use minke_api::container::ContainerPruneResponse;
use minke_api::image::{BuildPruneResponse, ImagePruneResponse};
use minke_api::volume::PruneQuery;
use minke_api::{Filters, StringMap};
use minke_model::{Context as _, Digest, Error, Result};
use minke_store::{Image, RemoveOptions};

use crate::Engine;
use crate::container::handle::{Command, View};
use crate::container::lifecycle::State;
use crate::engine::Shared;
use crate::time::parse_moment;

/// Which kinds are being pruned: one prune of each at a time.
#[derive(Debug, Default)]
pub struct Pruning {
    containers: AtomicBool,
    images: AtomicBool,
}

/// One prune that goes on.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(flag: &'a AtomicBool) -> Result<Self> {
        match flag.swap(true, Ordering::SeqCst) {
            true => Err(Error::conflict("a prune operation is already running")),
            false => Ok(Self(flag)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The filters that all prunes have in common.
pub struct Wanted<'a> {
    filters: &'a Filters,
    until: Option<Timestamp>,
}

impl<'a> Wanted<'a> {
    /// Reads them; others than `accepted` are refused.
    pub fn new(filters: &'a Filters, accepted: &[&str]) -> Result<Self> {
        filters.check(accepted)?;
        let mut given = filters.values("until");
        let until = given.next().map(parse_moment).transpose()?;
        if given.next().is_some() {
            return Err(Error::invalid("more than one until filter specified"));
        }
        Ok(Self { filters, until })
    }

    /// Whether they choose what was made at `created` and has `labels`.
    pub fn wants(&self, created: Timestamp, labels: &StringMap) -> bool {
        self.until.is_none_or(|until| created <= until)
            && self.filters.allows_labels("label", labels)
            && (!self.filters.contains("label!") || !self.filters.allows_labels("label!", labels))
    }
}

impl Engine {
    /// `POST /containers/prune`.
    pub async fn container_prune(&self, query: &PruneQuery) -> Result<ContainerPruneResponse> {
        let wanted = Wanted::new(&query.filters, &["label", "label!", "until"])?;
        let _turn = Turn::take(&self.shared.pruning.containers)?;
        let (mut deleted, mut reclaimed) = (Vec::new(), 0);
        for container in self.shared.containers.all() {
            let view = container.view();
            let labels = view.record.config.labels.clone().unwrap_or_default();
            if is_in_use(&view) || !wanted.wants(view.record.created, &labels) {
                continue;
            }
            let (store, id) = (self.shared.store.clone(), view.record.id.clone());
            let walk = tokio::task::spawn_blocking(move || store.rw_size(&id));
            let size = walk.await.ok().and_then(Result::ok).unwrap_or(0);
            let remove = |reply| Command::Remove { force: false, volumes: false, reply };
            if container.ask(remove).await.is_err() {
                // Started meanwhile, or somebody else removes it.
                continue;
            }
            let after = container.wait_for(|view| view.removed || view.lifecycle.state == State::Dead).await;
            if after.removed {
                reclaimed += size;
                deleted.push(view.record.id.clone());
            }
        }
        self.shared.tell_prune("container", reclaimed);
        let containers_deleted = (!deleted.is_empty()).then_some(deleted);
        Ok(ContainerPruneResponse { containers_deleted, space_reclaimed: reclaimed })
    }

    /// `POST /images/prune`.
    pub async fn image_prune(&self, query: &PruneQuery) -> Result<ImagePruneResponse> {
        let filters = query.filters.clone();
        Wanted::new(&filters, &["dangling", "label", "label!", "until"])?;
        let shared = self.shared.clone();
        let work = move || {
            let _turn = Turn::take(&shared.pruning.images)?;
            shared.prune_images(&filters)
        };
        tokio::task::spawn_blocking(work).await.context("removing unused images")?
    }

    /// `POST /build/prune`: nothing is built, so nothing is kept of it.
    pub fn build_prune(&self, _query: &PruneQuery) -> Result<BuildPruneResponse> {
        self.shared.tell_prune("builder", 0);
        Ok(BuildPruneResponse::default())
    }
}

/// Whether a container runs, or is about to.
fn is_in_use(view: &View) -> bool {
    view.lifecycle.run().is_some()
        || matches!(view.lifecycle.state, State::Starting { .. } | State::Restarting(_))
}

impl Shared {
    /// Removes the images that `filters` want removed and no container uses. Blocks.
    fn prune_images(&self, filters: &Filters) -> Result<ImagePruneResponse> {
        let wanted = Wanted::new(filters, &["dangling", "label", "label!", "until"])?;
        let dangling_only = filters.boolean("dangling")?.unwrap_or(true);
        let before: HashMap<Digest, u64> = self.store.layers().into_iter().collect();
        let used: HashSet<Digest> = self.used_images().into_iter().map(|used| used.image).collect();
        let images = self.store.images();
        let beside = self.store.images_beside();
        let parents: HashSet<Digest> = images.iter().filter_map(|image| image.parent.clone()).collect();
        let broken_off = self.store.release_all()?;
        self.distribution.forget_uploads()?;
        let mut deleted = Vec::new();
        for image in images {
            let is_inner = image.is_dangling() && parents.contains(&image.id);
            if is_inner || used.contains(&image.id) || !wanted.wants(created(&image), &labels(&image)) {
                continue;
            }
            // Another platform of what has a name is not dangling.
            if dangling_only && (!image.tags.is_empty() || beside.contains(&image.id)) {
                continue;
            }
            for name in names(&image) {
                let options = RemoveOptions { force: false, prune: true };
                match self.store.remove_image(&name, options, &self.used_images()) {
                    Ok(removal) => {
                        self.emit_image_events(&removal.events);
                        deleted.extend(removal.removed);
                    }
                    // Used by now, or gone with a name before this one.
                    Err(error) => tracing::debug!(image = name, %error, "not pruned"),
                }
            }
        }
        let after: HashSet<Digest> = self.store.layers().into_iter().map(|(layer, _)| layer).collect();
        let layers: u64 =
            before.iter().filter(|(layer, _)| !after.contains(layer)).map(|(_, size)| size).sum();
        let reclaimed = layers + broken_off;
        self.tell_prune("image", reclaimed);
        let rows: Vec<_> = deleted.into_iter().map(crate::image::delete_item).collect();
        let images_deleted = (!rows.is_empty()).then_some(rows);
        Ok(ImagePruneResponse { images_deleted, space_reclaimed: reclaimed })
    }
}

fn created(image: &Image) -> Timestamp {
    Timestamp::from_second(image.created_unix()).unwrap_or_default()
}

fn labels(image: &Image) -> BTreeMap<String, String> {
    image.config.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

/// All that has to be removed of an image: its names, or itself where it has none.
fn names(image: &Image) -> Vec<String> {
    let names: Vec<String> =
        image.tags.iter().chain(&image.digests).map(minke_model::Reference::familiar).collect();
    if names.is_empty() { vec![image.id.to_string()] } else { names }
}
