//! The operations of the Engine API on volumes.

use std::collections::BTreeMap;

use minke_api::volume::{
    PruneQuery, Volume, VolumeCreateRequest, VolumeListQuery, VolumeListResponse, VolumePruneResponse,
    VolumeRemoveQuery, VolumeUpdateQuery, VolumeUsage,
};
use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_store::{Keep, VolumeRecord};
use regex_lite::Regex;

use super::{Wanted, is_anonymous, missing};
use crate::Engine;
use crate::engine::Shared;

const LIST_FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];
const PRUNE_FILTERS: [&str; 3] = ["all", "label", "label!"];

impl Engine {
    /// `GET /volumes`.
    pub fn volume_list(&self, query: &VolumeListQuery) -> Result<VolumeListResponse> {
        let filters = &query.filters;
        filters.check(&LIST_FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        // One that is no expression matches nothing, as in Docker.
        let names: Vec<Regex> = filters.values("name").filter_map(|name| Regex::new(name).ok()).collect();
        let volumes = &self.shared.volumes;
        let wanted = |record: &VolumeRecord| {
            filters.allows("driver", &record.driver)
                && (!filters.contains("name") || names.iter().any(|name| name.is_match(&record.name)))
                && filters.allows_labels("label", record.labels.as_ref().unwrap_or(&BTreeMap::new()))
                && dangling.is_none_or(|dangling| volumes.users(&record.name).is_empty() == dangling)
        };
        let found = volumes.all();
        let shown =
            found.iter().filter(|record| wanted(record)).map(|record| self.shared.shown_volume(record));
        Ok(VolumeListResponse { volumes: Some(shown.collect()), warnings: None })
    }

    /// `POST /volumes/create`.
    pub async fn volume_create(&self, request: VolumeCreateRequest) -> Result<Volume> {
        if request.cluster_volume_spec.is_some() {
            return Err(no_swarm());
        }
        let shared = self.shared.clone();
        let wanted = Wanted {
            name: request.name,
            driver: request.driver,
            labels: request.labels,
            options: request.driver_opts,
        };
        let work = move || {
            let obtained = shared.volumes.obtain(wanted, None, Keep::Durable)?;
            if obtained.is_new {
                shared.tell_volume(&obtained.record, "create", &[]);
            }
            Ok(shared.shown_volume(&obtained.record))
        };
        tokio::task::spawn_blocking(work).await.context("creating the volume")?
    }

    /// `GET /volumes/{name}`.
    pub fn volume_inspect(&self, name: &str) -> Result<Volume> {
        let record = self.shared.volumes.get(name).ok_or_else(|| missing(name))?;
        Ok(self.shared.shown_volume(&record))
    }

    /// `DELETE /volumes/{name}`.
    pub async fn volume_remove(&self, name: &str, query: &VolumeRemoveQuery) -> Result<()> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        let removed = tokio::task::spawn_blocking(move || shared.remove_volume(&name));
        match removed.await.context("removing the volume")? {
            Err(error) if query.force && error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// `PUT /volumes/{name}`: only the volumes of a swarm can be updated.
    pub fn volume_update(&self, _name: &str, _query: &VolumeUpdateQuery) -> Result<()> {
        Err(Error::new(
            ErrorKind::Unavailable,
            "volume update only valid for cluster volumes, but swarm is unavailable",
        ))
    }

    /// `POST /volumes/prune`; `anonymous_only`: what the version of the API takes for an unused volume unless the filter `all` says so.
    pub async fn volume_prune(
        &self,
        query: &PruneQuery,
        anonymous_only: bool,
    ) -> Result<VolumePruneResponse> {
        let filters = query.filters.clone();
        filters.check(&PRUNE_FILTERS)?;
        let all = filters.boolean("all")?.unwrap_or(!anonymous_only);
        let shared = self.shared.clone();
        let work = move || {
            let none = BTreeMap::new();
            let (mut deleted, mut reclaimed) = (Vec::new(), 0);
            for record in shared.volumes.all() {
                let labels = record.labels.as_ref().unwrap_or(&none);
                let wanted = (all || is_anonymous(&record))
                    && record.options.as_ref().is_none_or(BTreeMap::is_empty)
                    && filters.allows_labels("label", labels)
                    && (!filters.contains("label!") || !filters.allows_labels("label!", labels));
                if !wanted || !shared.volumes.users(&record.name).is_empty() {
                    continue;
                }
                let size = shared.store.volume_size(&record.name);
                match shared.remove_volume(&record.name) {
                    Ok(()) => {
                        reclaimed += size;
                        deleted.push(record.name.clone());
                    }
                    // Somebody else was faster; or it got a user just now.
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {}
                    Err(error) => tracing::warn!(volume = record.name, %error, "could not remove the volume"),
                }
            }
            shared.tell_prune("volume", reclaimed);
            VolumePruneResponse { volumes_deleted: Some(deleted), space_reclaimed: reclaimed }
        };
        tokio::task::spawn_blocking(work).await.context("removing unused volumes")
    }
}

impl Shared {
    /// A volume as the API shows it.
    pub fn shown_volume(&self, record: &VolumeRecord) -> Volume {
        let created = record.created.to_zoned(jiff::tz::TimeZone::system());
        let created = created.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        Volume {
            created_at: created.strip_suffix("+00:00").map_or(created.clone(), |utc| format!("{utc}Z")),
            driver: record.driver.clone(),
            labels: record.labels.clone(),
            mountpoint: self.volumes.data(&record.name).to_string_lossy().into_owned(),
            name: record.name.clone(),
            options: record.options.clone(),
            scope: "local".into(),
            usage_data: None,
        }
    }

    /// The volumes whose files are on this host, with how much they hold. Blocks and walks their trees.
    pub fn measured_volumes(&self) -> Vec<Volume> {
        let plain = |record: &VolumeRecord| record.options.as_ref().is_none_or(BTreeMap::is_empty);
        let all = self.volumes.all();
        all.iter()
            .filter(|record| plain(record))
            .map(|record| {
                let size = i64::try_from(self.store.volume_size(&record.name)).unwrap_or(i64::MAX);
                let ref_count = self.volumes.users(&record.name).len() as i64;
                Volume { usage_data: Some(VolumeUsage { ref_count, size }), ..self.shown_volume(record) }
            })
            .collect()
    }

    /// Removes a volume and tells of it. Blocks.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let record = self.volumes.get(name).ok_or_else(|| missing(name))?;
        self.volumes.remove(name)?;
        self.tell_volume(&record, "destroy", &[]);
        Ok(())
    }

    /// Tells the listeners what happened to a volume.
    pub fn tell_volume(&self, record: &VolumeRecord, action: &str, extra: &[(&str, String)]) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), record.driver.clone())]);
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.emit("volume", action, &record.name, attributes);
    }

    /// Tells the listeners that what was unused has been removed.
    pub fn tell_prune(&self, kind: &'static str, reclaimed: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.events.emit(kind, "prune", "", attributes);
    }
}

fn no_swarm() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}
