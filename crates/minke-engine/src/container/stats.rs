//! `GET /containers/{id}/stats`: samples of [`usage`](super::usage), each with the one before it. A sample that was taken a moment ago for
//! somebody else serves as the one before, so that who asks once seldom has to wait.

use std::sync::Arc;
use std::time::Duration;

use minke_api::container::{ContainerStats, StatsQuery};
use minke_model::{Context as _, Result};
use minke_spec::host::CgroupMode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::{Container, View};
use super::usage::{self, Places};
use crate::Engine;
use crate::engine::Shared;

/// The time between two samples of a stream, and between the two that one answer needs.
const INTERVAL: Duration = Duration::from_secs(1);
/// How old a sample may be to stand before another, and how young.
const AGES: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_secs(5);

/// Samples of one container as they are taken; ends when its receiver goes away, or after one.
pub type StatsStream = mpsc::Receiver<ContainerStats>;

/// The latest sample of each container.
#[derive(Debug, Default)]
pub struct Samples {
    latest: std::sync::Mutex<std::collections::HashMap<String, (Instant, ContainerStats)>>,
}

impl Samples {
    fn recent(&self, id: &str) -> Option<ContainerStats> {
        let latest = self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (taken, sample) = latest.get(id)?;
        AGES.contains(&taken.elapsed()).then(|| sample.clone())
    }

    fn keep(&self, sample: &ContainerStats) {
        let mut latest = self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        latest.retain(|_, (taken, _)| taken.elapsed() < AGES.end);
        latest.insert(sample.id.clone(), (Instant::now(), sample.clone()));
    }
}

impl Engine {
    /// `GET /containers/{id}/stats`.
    pub async fn container_stats(&self, reference: &str, query: &StatsQuery) -> Result<StatsStream> {
        let container = self.shared.containers.resolve(reference)?;
        let (sender, receiver) = mpsc::channel(1);
        let shared = self.shared.clone();
        let query = query.clone();
        tokio::spawn(async move {
            if let Err(error) = follow(&shared, &container, &query, &sender).await {
                tracing::error!(container = %container.id, %error, "its use could not be read");
            }
        });
        Ok(receiver)
    }
}

async fn follow(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    query: &StatsQuery,
    sender: &mpsc::Sender<ContainerStats>,
) -> Result<()> {
    let mut before = None;
    if !query.stream && !query.one_shot && container.view().is_running() {
        before = shared.samples.recent(&container.id);
        if before.is_none() {
            before = Some(sample(shared, container).await?);
            tokio::time::sleep(INTERVAL).await;
        }
    }
    let mut next = Instant::now();
    loop {
        let mut now = sample(shared, container).await?;
        if let Some(before) = &before {
            (now.preread, now.precpu_stats) = (before.read, before.cpu_stats.clone());
        }
        if sender.send(now.clone()).await.is_err() || !query.stream || container.view().removed {
            return Ok(());
        }
        before = Some(now).filter(|sample| !sample.read.is_zero());
        next += INTERVAL;
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// What the container uses now; one that doesn't run has a name and nothing else.
async fn sample(shared: &Arc<Shared>, container: &Container) -> Result<ContainerStats> {
    let view = container.view();
    let mut found = match places(shared, &view) {
        None => ContainerStats::default(),
        Some(places) => tokio::task::spawn_blocking(move || usage::read(&places))
            .await
            .context("reading what a container uses")?,
    };
    found.id.clone_from(&view.record.id);
    found.name = format!("/{}", view.record.name);
    found.os_type = Some("linux".into());
    if !found.read.is_zero() {
        shared.samples.keep(&found);
    }
    Ok(found)
}

fn places(shared: &Shared, view: &View) -> Option<Places> {
    let run = view.lifecycle.run()?;
    let group = shared.group(&view.record, run.generation);
    let v1 = match &shared.host.facts.cgroups {
        CgroupMode::V2 { .. } => Vec::new(),
        CgroupMode::V1 { hierarchies } => hierarchies
            .iter()
            .zip(&group.v1)
            .flat_map(|(hierarchy, path)| {
                hierarchy.controllers.iter().map(|name| (name.clone(), path.clone()))
            })
            .collect(),
    };
    let host_network = view.record.host_config.network_mode == "host";
    Some(Places {
        v2: group.v2,
        v1,
        network_of: (!host_network).then_some(run.pid),
        memory_bytes: shared.host.found.memory_bytes,
    })
}
