//! A container's view as `inspect` and `ps` show it. Pure: Docker's booleans are computed here from the one state.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use minke_api::Time;
use minke_api::container::{
    ContainerInspect, ContainerState, ContainerSummary, DriverData, HealthSummary, HostConfigSummary,
    NetworkSettingsSummary,
};
use minke_api::network::NetworkSettings;
use minke_model::duration;
use minke_store::RootFs;

use super::handle::View;
use super::health::Health;
use super::lifecycle::State;
use super::paths::ContainerPaths;
use super::record::Record;
use crate::network::show;

/// Docker's word for a state.
pub fn status_word(state: &State) -> &'static str {
    match state {
        State::Created => "created",
        State::Starting { before } => status_word(before),
        State::Running(_) => "running",
        State::Paused(_) => "paused",
        State::Restarting(_) => "restarting",
        State::Exited(_) => "exited",
        State::Removing => "removing",
        State::Dead => "dead",
    }
}

/// Docker's sentence for a state, as `ps` shows it at `now`.
pub fn status_sentence(view: &View, now: Timestamp) -> String {
    sentence(&view.lifecycle.state, view.lifecycle.health.as_ref(), now)
}

fn sentence(state: &State, health: Option<&Health>, now: Timestamp) -> String {
    let since = |then: Timestamp| {
        duration::render_human(Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO))
    };
    match state {
        State::Created => "Created".into(),
        State::Starting { before } => sentence(before, health, now),
        State::Running(run) => match health {
            None => format!("Up {}", since(run.started_at)),
            Some(health) => format!("Up {} ({})", since(run.started_at), health.status.remark()),
        },
        State::Paused(run) => format!("Up {} (Paused)", since(run.started_at)),
        State::Restarting(exit) => format!("Restarting ({}) {} ago", exit.code, since(exit.finished_at)),
        State::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since(exit.finished_at)),
        State::Removing => "Removal In Progress".into(),
        State::Dead => "Dead".into(),
    }
}

fn state(view: &View) -> ContainerState {
    let lifecycle = &view.lifecycle;
    let exit = lifecycle.exit().or(view.last_exit.as_ref());
    let running = lifecycle.run();
    let restarting = matches!(lifecycle.state, State::Restarting(_));
    ContainerState {
        status: status_word(&lifecycle.state).into(),
        running: running.is_some() || restarting,
        paused: matches!(lifecycle.state, State::Paused(_)),
        restarting,
        oom_killed: running.is_none() && exit.is_some_and(|exit| exit.oom_killed),
        dead: lifecycle.state == State::Dead,
        pid: running.map_or(0, |run| run.pid.into()),
        exit_code: if running.is_some() { 0 } else { exit.map_or(0, |exit| exit.code.into()) },
        error: if running.is_some() {
            String::new()
        } else {
            exit.map_or_else(String::new, |exit| exit.error.clone())
        },
        started_at: lifecycle.started_at.map_or_else(Time::zero, Time::from),
        finished_at: exit.map_or_else(Time::zero, |exit| Time::from(exit.finished_at)),
        health: lifecycle.health.as_ref().map(Health::shown),
    }
}

/// What `inspect` shows; `exec_ids` are those that have not ended.
pub fn inspect(
    view: &View,
    paths: &ContainerPaths,
    exec_ids: Vec<String>,
    root: Option<RootFs>,
) -> ContainerInspect {
    let record = &view.record;
    let mut command = record.command().into_iter();
    let file = |path: &Path| path.to_string_lossy().into_owned();
    let ran = view.lifecycle.generation > 0;
    let shown = |path: &Path| if ran { file(path) } else { String::new() };
    ContainerInspect {
        id: record.id.clone(),
        created: record.created.into(),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        state: state(view),
        image: record.image_id.clone(),
        resolv_conf_path: shown(&paths.resolv_conf),
        hostname_path: shown(&paths.hostname),
        hosts_path: shown(&paths.hosts),
        log_path: if record.host_config.log_config.driver == "json-file" {
            shown(&paths.log)
        } else {
            String::new()
        },
        name: format!("/{}", record.name),
        mount_label: record.mount_label.clone(),
        process_label: record.process_label.clone(),
        restart_count: view.lifecycle.restart_count.into(),
        driver: record.driver.clone(),
        platform: "linux".into(),
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        host_config: record.host_config.clone(),
        graph_driver: Some(driver_data(record, root)),
        mounts: record.mounts.clone(),
        config: record.config.clone(),
        network_settings: network_settings(view),
        ..ContainerInspect::default()
    }
}

fn driver_data(record: &Record, root: Option<RootFs>) -> DriverData {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let rows = match root {
        None => Vec::new(),
        Some(RootFs::Directory(path)) => vec![("Dir", text(&path))],
        Some(RootFs::Overlay { lowers, upper, work, .. }) => {
            let lowers: Vec<String> = lowers.iter().map(|path| text(path)).collect();
            vec![("LowerDir", lowers.join(":")), ("UpperDir", text(&upper)), ("WorkDir", text(&work))]
        }
    };
    let id = ("ID".to_owned(), record.id.clone());
    let rows = rows.into_iter().map(|(key, value)| (key.to_owned(), value));
    DriverData { data: Some(rows.chain([id]).collect()), name: record.driver.clone() }
}

/// The networks, with what the container has of them while it runs.
fn network_settings(view: &View) -> NetworkSettings {
    let live = view.live();
    NetworkSettings {
        sandbox_id: live.map(|live| live.sandbox.clone()).unwrap_or_default(),
        sandbox_key: match (live, view.lifecycle.run()) {
            (Some(_), Some(run)) => format!("/proc/{}/ns/net", run.pid),
            _ => String::new(),
        },
        ports: show::ports(&view.record, live),
        networks: show::endpoints(&view.record, live),
        ..NetworkSettings::default()
    }
}

/// What `ps` shows at `now`.
pub fn summary(view: &View, now: Timestamp) -> ContainerSummary {
    let record = &view.record;
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.config.image.clone(),
        image_id: record.image_id.clone(),
        command: command_line(&record.command()),
        created: record.created.as_second(),
        labels: record.config.labels.clone().unwrap_or_default(),
        state: status_word(&view.lifecycle.state).into(),
        status: status_sentence(view, now),
        host_config: HostConfigSummary {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone(),
        },
        health: Some(health_summary(view)),
        network_settings: NetworkSettingsSummary { networks: show::endpoints(record, view.live()) },
        ports: show::port_summary(record, view.live()),
        mounts: record.mounts.clone(),
        ..ContainerSummary::default()
    }
}

fn health_summary(view: &View) -> HealthSummary {
    let health = view.lifecycle.health.as_ref();
    HealthSummary {
        status: health_word(view).into(),
        failing_streak: health.map_or(0, |health| health.failing_streak.into()),
    }
}

/// What the probes say; `none` without any.
pub fn health_word(view: &View) -> &'static str {
    view.lifecycle.health.as_ref().map_or("none", |health| health.status.word())
}

/// The command as one line: arguments with a space are quoted as Docker quotes them.
fn command_line(command: &[String]) -> String {
    let quoted: Vec<String> = command
        .iter()
        .enumerate()
        .map(|(index, word)| if index > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() })
        .collect();
    quoted.join(" ")
}
