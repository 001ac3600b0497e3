//! The engine's start: what is kept, what runs, and what is left over are brought together. There is no other recovery.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use minke_model::{Context as _, Result};
use minke_spec::shim::{Reply, Request, Status};

use super::lifecycle::{Event, Lifecycle, Run, State};
use super::owner::{self, Found, FoundShim};
use super::record::Record;
use super::teardown;
use crate::engine::Shared;
use crate::shim::connection::{self, ShimConnection};
use crate::time::from_nanoseconds;

/// How long a shim may take to say how its container is.
const SHIM_PATIENCE: Duration = Duration::from_secs(10);

/// Makes an owner for every container that is kept, and removes what belongs to none.
pub async fn all(shared: &Arc<Shared>) -> Result<()> {
    let store = shared.store.clone();
    let kept =
        tokio::task::spawn_blocking(move || store.containers()).await.context("reading the containers")??;
    let mut known = BTreeSet::new();
    let mut containers = Vec::new();
    for (id, bytes) in kept {
        known.insert(id.clone());
        let (record, lifecycle) = match Record::parse(&bytes) {
            Ok(parsed) => parsed,
            Err(error) => {
                tracing::error!(container = %id, %error, "a container can't be read and is left alone");
                continue;
            }
        };
        shared.containers.reserve_name(&record.name, &record.id)?;
        containers.push((record, lifecycle));
    }
    sweep(shared, &known).await;
    let mut finding = Vec::new();
    for (record, lifecycle) in containers {
        let shared = shared.clone();
        finding.push(tokio::spawn(async move { find(&shared, record, lifecycle).await }));
    }
    for found in finding {
        let found = found.await.context("taking over a container")?;
        shared.containers.insert(owner::spawn(shared.clone(), found));
    }
    Ok(())
}

/// Finds out how a container is.
async fn find(shared: &Arc<Shared>, record: Record, mut lifecycle: Lifecycle) -> Found {
    let taken_over = tokio::time::timeout(SHIM_PATIENCE, take_over(shared, &record)).await.unwrap_or(None);
    if let Some((shim, status)) = taken_over {
        shared.execs.recover(&record.id, &status.execs);
        lifecycle.generation = status.generation;
        if let Some(started) = status.started {
            let started_at = from_nanoseconds(started.started_at_ns);
            lifecycle.state =
                State::Running(Run { generation: status.generation, pid: started.pid, started_at });
            lifecycle.started_at = Some(started_at);
        }
        let news = match (status.started, status.exited) {
            (Some(_), Some(exited)) => {
                vec![Event::Exited(teardown::exit_of(shared, &record, status.generation, exited))]
            }
            _ => Vec::new(),
        };
        return Found { record, lifecycle, shim: Some(shim), news };
    }
    let news = without_shim(shared, &record, &mut lifecycle).await;
    Found { record, lifecycle, shim: None, news }
}

/// A container whose shim doesn't answer: it has ended, whatever was kept of it.
async fn without_shim(shared: &Arc<Shared>, record: &Record, lifecycle: &mut Lifecycle) -> Vec<Event> {
    // A start that the last engine began may have come and gone without a word.
    let begun = lifecycle.generation + 1;
    if let Some(exit) = teardown::recorded_exit(shared, record, begun) {
        lifecycle.generation = begun;
        lifecycle.state = State::Running(Run { generation: begun, pid: 0, started_at: exit.finished_at });
        return vec![Event::Exited(exit)];
    }
    if lifecycle.run().is_none() {
        teardown::discard(shared, record, begun).await;
    }
    if let State::Starting { before } = &lifecycle.state {
        lifecycle.state = (**before).clone();
    }
    if lifecycle.run().is_some() {
        let exit = teardown::exit_of_lost(shared, record, lifecycle.generation, None).await;
        return vec![Event::Exited(exit)];
    }
    teardown::discard(shared, record, lifecycle.generation).await;
    if record.ends_with_boot() && matches!(lifecycle.state, State::Exited(_)) {
        return vec![Event::Remove { force: true }];
    }
    vec![Event::EngineStarted]
}

async fn take_over(shared: &Arc<Shared>, record: &Record) -> Option<(FoundShim, Status)> {
    let (connection, events) = ShimConnection::connect(&shared.paths(&record.id).socket).ok()?;
    connection::greet(&connection).await.ok()?;
    loop {
        let (reply, descriptors) = connection.request(&Request::Status, &[]).await.ok()?;
        let Reply::Status(status) = reply else { return None };
        if status.started.is_none() && status.exited.is_none() {
            // In the middle of its start: it will say Started or go away soon.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let pidfd: Option<OwnedFd> = descriptors.into_iter().next();
        return Some((FoundShim { connection, events, pidfd }, status));
    }
}

/// Removes files, layers and control groups of containers that nobody knows: a creation or removal that was cut short.
async fn sweep(shared: &Arc<Shared>, known: &BTreeSet<String>) {
    let shared = shared.clone();
    let known = known.clone();
    let work = move || {
        for root in [&shared.options.data_root, &shared.options.exec_root] {
            let Ok(entries) = std::fs::read_dir(root.join("containers")) else { continue };
            for entry in entries.flatten() {
                if !known.contains(&*entry.file_name().to_string_lossy()) {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
        for id in shared.store.rw_ids() {
            if !known.contains(&id) {
                let _ = shared.store.remove_rw(&id);
            }
        }
        sweep_groups(&shared, &known);
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Kills and removes the control groups below the engine's parent that belong to no known container.
fn sweep_groups(shared: &Shared, known: &BTreeSet<String>) {
    let parent = shared.host.group(&shared.cgroup_parent);
    let mut names = BTreeSet::new();
    for directory in parent.v2.iter().chain(&parent.v1) {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        names.extend(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    for name in names {
        let id = name.split('.').next().unwrap_or_default();
        let is_container = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_container && !known.contains(id) {
            let group = shared.host.group(&format!("{}/{name}", shared.cgroup_parent));
            let _ = group.kill();
            let _ = group.remove();
        }
    }
}
