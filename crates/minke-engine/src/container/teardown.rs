//! The end of a run and of a container: how it ended, and the release of all that it held.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minke_model::{Context as _, Result};
use minke_spec::shim::Exited;
use minke_sys::cgroup::Group;
use serde::Deserialize;

use super::lifecycle::Exit;
use super::record::Record;
use super::{foreign, launch, scope};
use crate::engine::Shared;
use crate::time::from_nanoseconds;

/// How long a control group that is still in use is tried again.
const GROUP_PATIENCE: Duration = Duration::from_secs(10);
/// The exit code of a container whose own isn't known.
const UNKNOWN: i32 = 255;

/// What a shim writes when its container has ended; later versions add keys.
#[derive(Debug, Deserialize)]
struct ExitRecord {
    generation: u64,
    code: i32,
    finished_at_ns: u64,
    /// Why the container could not be started, if its program never ran.
    #[serde(default)]
    error: Option<String>,
}

/// What a shim writes when its container's process is there; later versions add keys.
#[derive(Debug, Deserialize)]
struct StateRecord {
    generation: u64,
    started_at_ns: u64,
}

/// What a shim has written before it went.
pub enum Recorded {
    /// The run has ended.
    Ended(Exit),
    /// The program could not be started.
    StartFailed(Exit),
}

/// The end that a shim reports.
pub fn exit_of(shared: &Shared, record: &Record, generation: u64, exited: Exited) -> Exit {
    Exit {
        code: exited.code,
        finished_at: from_nanoseconds(exited.finished_at_ns),
        oom_killed: scope::oom_killed(shared, record, generation),
        error: String::new(),
    }
}

/// How the run of that generation has ended, if its shim has written it.
pub fn recorded_exit(shared: &Shared, record: &Record, generation: u64) -> Option<Recorded> {
    let bytes = std::fs::read(shared.paths(&record.id).exit).ok()?;
    let written: ExitRecord = serde_json::from_slice(&bytes).ok()?;
    if written.generation != generation {
        return None;
    }
    let exited = Exited { code: written.code, finished_at_ns: written.finished_at_ns };
    let exit = exit_of(shared, record, generation, exited);
    Some(match written.error {
        None => Recorded::Ended(exit),
        Some(words) => Recorded::StartFailed(Exit { error: launch::start_failure(&words), ..exit }),
    })
}

/// When the run of that generation has started, if its shim has written it.
pub fn recorded_start(shared: &Shared, record: &Record, generation: u64) -> Option<Timestamp> {
    let bytes = std::fs::read(shared.paths(&record.id).state).ok()?;
    let written: StateRecord = serde_json::from_slice(&bytes).ok()?;
    (written.generation == generation).then(|| from_nanoseconds(written.started_at_ns))
}

/// The end of a container whose shim is gone: as the shim wrote it, else as the kernel knows it through `pidfd`, else unknown.
/// What is left of the container is killed.
pub async fn exit_of_lost(
    shared: &Shared,
    record: &Record,
    generation: u64,
    pidfd: Option<&OwnedFd>,
) -> Exit {
    if let Some(Recorded::Ended(exit) | Recorded::StartFailed(exit)) =
        recorded_exit(shared, record, generation)
    {
        return exit;
    }
    let group = shared.group(record, generation);
    let oom_killed = scope::oom_killed(shared, record, generation);
    kill_all(&group).await;
    Exit {
        code: pidfd.and_then(minke_sys::process::pidfd_exit_code).unwrap_or(UNKNOWN),
        finished_at: Timestamp::now(),
        oom_killed,
        error: "the container's shim was killed".into(),
    }
}

/// Kills every process of a group and waits until none is left, within limits.
async fn kill_all(group: &Group) {
    for _ in 0..100 {
        if group.pids().is_empty() {
            return;
        }
        let _ = group.kill();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Kills and releases what a run that nobody knows of may have left.
pub async fn discard(shared: &Arc<Shared>, record: &Record, generation: u64) {
    kill_all(&shared.group(record, generation)).await;
    after_run(shared, record, generation);
}

/// Releases what a run held in the kernel, in the background: the next run has groups of its own, and nobody waits for these.
pub fn after_run(shared: &Arc<Shared>, record: &Record, generation: u64) {
    super::namespaces::release(shared, record);
    let (group, path) = (shared.group(record, generation), shared.cgroup_path(record, generation));
    let paths = shared.paths(&record.id);
    tokio::spawn(async move {
        let work = move || {
            foreign::end(&paths, generation);
            scope::end(&path);
            group.remove()
        };
        let left = tokio::task::spawn_blocking(work).await.unwrap_or_default();
        if !left.is_empty() {
            remove_later(left).await;
        }
    });
}

async fn remove_later(mut group: Group) {
    let mut pause = Duration::from_millis(5);
    let deadline = tokio::time::Instant::now() + GROUP_PATIENCE;
    while !group.is_empty() && tokio::time::Instant::now() < deadline {
        let _ = group.kill();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
        group = tokio::task::spawn_blocking(move || group.remove()).await.unwrap_or_default();
    }
    if !group.is_empty() {
        tracing::warn!(?group, "a control group could not be removed");
    }
}

/// Removes all that is kept of a container; with `volumes`, its anonymous volumes too.
pub async fn remove(shared: &Arc<Shared>, record: &Arc<Record>, volumes: bool) -> Result<()> {
    let (shared, record) = (shared.clone(), record.clone());
    let work = move || {
        shared.store.delete_container(&record.id)?;
        shared.store.remove_rw(&record.id)?;
        let paths = shared.paths(&record.id);
        foreign::end_all(&paths);
        for path in [&paths.data, &paths.runtime] {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
                _ => {}
            }
        }
        super::claims::give_back(&shared, &record, volumes);
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.context("removing the container")?
}
