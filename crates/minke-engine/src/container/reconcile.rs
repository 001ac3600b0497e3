//! The engine's start: what is kept, what runs, and what is left over are brought together. There is no other recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use minke_model::{Context as _, Result};
use minke_spec::shim::{Reply, Request, Status};
use tokio::time::Instant;

use super::lifecycle::{Event, Lifecycle, Run, State};
use super::owner::{self, Found, FoundShim};
use super::record::Record;
use super::teardown::{self, Recorded};
use super::wish::Wish;
use crate::engine::Shared;
use crate::shim::connection::{self, ShimConnection};
use crate::shim::note::{self, Note};
use crate::time::from_nanoseconds;

/// How long a shim may take to say how its container is.
const SHIM_PATIENCE: Duration = Duration::from_secs(10);

/// The ids of all containers that are kept, with the last generation that is known to have been started of those that can be read.
type Known = BTreeMap<String, Option<u64>>;

/// Makes an owner for every container that is kept, and removes what belongs to none.
pub async fn all(shared: &Arc<Shared>) -> Result<()> {
    let store = shared.store.clone();
    let kept =
        tokio::task::spawn_blocking(move || store.containers()).await.context("reading the containers")??;
    let mut known = Known::new();
    let mut containers = Vec::new();
    for (id, bytes) in kept {
        let (record, lifecycle) = match Record::parse(&bytes) {
            Ok(parsed) => parsed,
            Err(error) => {
                tracing::error!(container = %id, %error, "a container can't be read and is left alone");
                known.insert(id, None);
                continue;
            }
        };
        shared.containers.reserve_name(&record.name, &record.id)?;
        known.insert(id, Some(lifecycle.generation));
        containers.push((record, lifecycle));
    }
    sweep(shared, &known).await;
    let mut finding = Vec::new();
    for (record, lifecycle) in containers {
        let shared = shared.clone();
        finding.push(tokio::spawn(async move { find(&shared, record, lifecycle).await }));
    }
    let mut all = Vec::new();
    for found in finding {
        all.push(found.await.context("taking over a container")?);
    }
    let noting = shared.clone();
    let linked: Vec<Record> = all
        .iter()
        .map(|found| &found.record)
        .filter(|one| one.host_config.links.is_some())
        .cloned()
        .collect();
    let note = move || {
        super::claims::take_over(&noting, &all);
        crate::network::adopt::all(&noting, &mut all);
        all
    };
    for found in tokio::task::spawn_blocking(note).await.context("taking over volumes")? {
        owner::spawn(shared.clone(), found);
    }
    linked.iter().for_each(|record| super::links::register(shared, record));
    crate::network::naming::tell_all(shared);
    Ok(())
}

/// Finds out how a container is.
async fn find(shared: &Arc<Shared>, record: Record, mut lifecycle: Lifecycle) -> Found {
    if let Some((shim, status)) = reach(shared, &record).await {
        shared.execs.recover(&record.id, &status.execs);
        super::probe::end_orphans(&shim.connection, &status.execs).await;
        lifecycle.generation = status.generation;
        if let Some(started) = status.started {
            let started_at = from_nanoseconds(started.started_at_ns);
            let run = Run { generation: status.generation, pid: started.pid, started_at };
            if status.exited.is_none() {
                shared.place.take_note(&shared.host, &record, run.generation, run.pid);
                super::update::take_back(shared, &record, run.generation);
                super::scope::watch(shared, &record, run.generation);
            }
            // What the last engine kept may be older than what it did.
            let frozen = shared.group(&record, run.generation).is_frozen() && !go_on(shared, &record, &run);
            lifecycle.state = if frozen { State::Paused(run) } else { State::Running(run) };
            lifecycle.started_at = Some(started_at);
        }
        let wish = Wish::read(&shared.paths(&record.id).wish, &lifecycle);
        if let Some(wish) = &wish {
            wish.tell(&mut lifecycle);
        }
        let news = match (status.started, status.exited) {
            (Some(_), Some(exited)) => {
                vec![Event::Exited(teardown::exit_of(shared, &record, status.generation, exited))]
            }
            _ => Vec::new(),
        };
        return Found { record, lifecycle, shim: Some(shim), news, wish, networks: None };
    }
    let news = without_shim(shared, &record, &mut lifecycle).await;
    Found { record, lifecycle, shim: None, news, wish: None, networks: None }
}

/// Lets a container go on that stood still for a commit of an engine that is gone; false for one that does for a client.
fn go_on(shared: &Shared, record: &Record, run: &Run) -> bool {
    let note = shared.paths(&record.id).held;
    if !note.exists() {
        return false;
    }
    let gone_on = shared.group(record, run.generation).thaw();
    let _ = std::fs::remove_file(&note);
    gone_on.inspect_err(|error| tracing::error!(container = %record.id, %error, "it stands still")).is_ok()
}

/// What to do about a shim that can't be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// Nothing comes from it any more.
    Final,
    /// It has been told to start the container and doesn't listen yet: try again.
    Early,
    /// It hangs: end it, so that the container can't run beside a later start of it.
    Stuck,
}

/// `recorded`: it has written how its run ended; `alive`: it still runs; `late`: it had time enough.
fn silence(recorded: bool, alive: bool, late: bool) -> Silence {
    match (recorded, alive, late) {
        // One that has told all may still serve slow clients.
        (true, ..) | (_, false, _) => Silence::Final,
        (_, _, false) => Silence::Early,
        (_, _, true) => Silence::Stuck,
    }
}

/// The container's shim, if there is one that answers; afterwards there is none, or it has recorded the end.
async fn reach(shared: &Arc<Shared>, record: &Record) -> Option<(FoundShim, Status)> {
    let deadline = Instant::now() + SHIM_PATIENCE;
    loop {
        let reached = tokio::time::timeout_at(deadline, take_over(shared, record)).await;
        if let Ok(Some(found)) = reached {
            return Some(found);
        }
        let note = Note::read(&shared.paths(&record.id).shim_note)?;
        // In this order: one that ends meanwhile has written its record before.
        let process = note.process();
        let recorded = teardown::recorded_exit(shared, record, note.generation).is_some();
        match (silence(recorded, process.is_some(), Instant::now() >= deadline), process) {
            (Silence::Early, _) => tokio::time::sleep(Duration::from_millis(2)).await,
            (Silence::Stuck, Some(process)) => {
                tracing::error!(container = %record.id, "the container's shim doesn't answer and is killed");
                note::kill(&process).await;
                return None;
            }
            _ => return None,
        }
    }
}

/// A container whose shim doesn't answer: it has ended, whatever was kept of it.
async fn without_shim(shared: &Arc<Shared>, record: &Record, lifecycle: &mut Lifecycle) -> Vec<Event> {
    // A start that the last engine began may have come and gone without a word.
    let begun = lifecycle.generation + 1;
    match teardown::recorded_exit(shared, record, begun) {
        Some(Recorded::Ended(exit)) => {
            let started_at = teardown::recorded_start(shared, record, begun).unwrap_or(exit.finished_at);
            lifecycle.generation = begun;
            lifecycle.state = State::Running(Run { generation: begun, pid: 0, started_at });
            lifecycle.started_at = Some(started_at);
            return vec![Event::Exited(exit)];
        }
        Some(Recorded::StartFailed(exit)) => {
            lifecycle.generation = begun;
            if !matches!(lifecycle.state, State::Starting { .. }) {
                lifecycle.state = State::Starting { before: Box::new(lifecycle.state.clone()) };
            }
            return vec![Event::StartFailed(exit)];
        }
        None => {}
    }
    if lifecycle.run().is_none() {
        teardown::discard(shared, record, begun).await;
    }
    if let State::Starting { before } = &lifecycle.state {
        lifecycle.state = (**before).clone();
    }
    let wish = Wish::read(&shared.paths(&record.id).wish, lifecycle);
    if let Some(wish) = &wish {
        wish.tell(lifecycle);
    }
    if lifecycle.run().is_some() {
        let exit = teardown::exit_of_lost(shared, record, lifecycle.generation, None).await;
        return vec![Event::Exited(exit)];
    }
    teardown::discard(shared, record, lifecycle.generation).await;
    if record.ends_with_boot() && matches!(lifecycle.state, State::Exited(_)) {
        return vec![Event::Remove { force: true }];
    }
    match wish {
        Some(wish) if wish.remove => vec![Event::Remove { force: true }],
        Some(wish) if wish.stop && matches!(lifecycle.state, State::Restarting(_)) => {
            vec![Event::StopRequested]
        }
        _ => vec![Event::EngineStarted],
    }
}

async fn take_over(shared: &Arc<Shared>, record: &Record) -> Option<(FoundShim, Status)> {
    let (connection, events) = ShimConnection::connect(&shared.paths(&record.id).socket).ok()?;
    let protocol = connection::greet(&connection).await.ok()?;
    loop {
        let (reply, descriptors) = connection.request(&Request::Status, &[]).await.ok()?;
        let Reply::Status(status) = reply else { return None };
        if status.started.is_none() && status.exited.is_none() {
            // In the middle of its start: it will say Started or go away soon.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let pidfd: Option<OwnedFd> = descriptors.into_iter().next();
        return Some((FoundShim { connection, events, pidfd, protocol }, status));
    }
}

/// Removes files, layers and control groups of containers that nobody knows: a creation or removal that was cut short.
async fn sweep(shared: &Arc<Shared>, known: &Known) {
    let shared = shared.clone();
    let known = known.clone();
    let work = move || {
        for root in [&shared.options.data_root, &shared.options.exec_root] {
            let Ok(entries) = std::fs::read_dir(root.join("containers")) else { continue };
            for entry in entries.flatten() {
                if !known.contains_key(&*entry.file_name().to_string_lossy()) {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
        for id in shared.store.rw_ids() {
            // An image that a container mounts has a layer named after the container and a number.
            if !known.contains_key(id.split('.').next().unwrap_or_default()) {
                let _ = shared.store.remove_rw(&id);
            }
        }
        sweep_groups(&shared, &known);
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Kills and removes the control groups below the engine's parent that are left over.
fn sweep_groups(shared: &Shared, known: &Known) {
    let parent = shared.host.group(shared.place.parent());
    let mut names = BTreeSet::new();
    for directory in parent.v2.iter().chain(&parent.v1) {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        names.extend(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    for name in names {
        if shared.place.parse_name(&name).is_some_and(|run| is_left_over(run, known)) {
            let group = shared.host.group(&format!("{}/{name}", shared.place.parent()));
            let _ = group.kill();
            super::scope::end(&name);
            let _ = group.remove();
        }
    }
}

/// Whether a run is one of a container that nobody knows, or one that has been followed by another.
fn is_left_over((id, generation): (&str, u64), known: &Known) -> bool {
    match known.get(id) {
        None => true,
        Some(Some(last)) => generation < *last,
        Some(None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_unknown_containers_and_of_earlier_runs_are_left_over() {
        let (one, two, three) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let known = Known::from([(one.clone(), Some(3)), (two.clone(), None)]);
        let left_over = |id: &str, generation| is_left_over((id, generation), &known);
        assert!(left_over(&one, 1) && left_over(&one, 2));
        assert!(!left_over(&one, 3), "it may still run");
        assert!(!left_over(&one, 4), "a start that was not kept yet");
        assert!(!left_over(&two, 1) && !left_over(&two, 2), "nobody knows which runs");
        assert!(left_over(&three, 1) && left_over(&three, 7));
    }

    #[test]
    fn a_shim_that_does_not_listen_yet_is_waited_for() {
        assert_eq!(silence(false, true, false), Silence::Early);
        assert_eq!(silence(false, true, true), Silence::Stuck);
    }

    #[test]
    fn a_shim_that_has_ended_or_has_told_all_is_not_waited_for() {
        for late in [false, true] {
            assert_eq!(silence(false, false, late), Silence::Final);
            assert_eq!(silence(true, false, late), Silence::Final);
            assert_eq!(silence(true, true, late), Silence::Final);
        }
    }
}
