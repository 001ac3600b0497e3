//! The operations of the Engine API on containers.

use std::sync::Arc;

use jiff::Timestamp;
use minke_api::adapt::Adapt as _;
use minke_api::container::*;
use minke_api::{ApiVersion, json};
use minke_model::{Context as _, Digest, Error, ErrorKind, Result, image};
use minke_spec::shim::{AttachRequest, Framing, Request};
use minke_store::Keep;

use super::create::{self, Circumstances, Prepared};
use super::handle::{Command, View};
use super::lifecycle::{Lifecycle, State};
use super::owner::{self, Found};
use super::record::Record;
use super::rendering::write_summary;
use super::{attach, claims, inspect, launch, list, names, point, settings};
use crate::engine::{Shared, random_hex};
use crate::log::LogOptions;
use crate::network::settle;
use crate::time::parse_query_time;
use crate::{Attachment, Engine, LogStream};

/// About how long a container's element of the list is.
const SUMMARY_BYTES: usize = 768;
/// How often another name is tried for a container without one.
const NAME_ATTEMPTS: u32 = 20;

impl Engine {
    /// `POST /containers/create`.
    pub async fn container_create(
        &self,
        query: &ContainerCreateQuery,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        let shared = self.shared.clone();
        let name = query.name.strip_prefix('/').unwrap_or(&query.name).to_owned();
        if !name.is_empty() && !names::is_valid(&name) {
            return Err(Error::invalid(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        let asked = ContainerCreateQuery { name, platform: query.platform.clone() };
        let work = move || create(&shared, &asked, request);
        tokio::task::spawn_blocking(work).await.context("creating the container")?.map(|(found, warnings)| {
            let id = found.record.id.clone();
            let attributes = found.record.event_attributes();
            owner::spawn(self.shared.clone(), found);
            self.shared.events.emit("container", "create", &id, attributes);
            ContainerCreateResponse { id, warnings }
        })
    }

    /// `GET /containers/json`, in the newest form.
    pub async fn container_list(&self, query: &ContainerListQuery) -> Result<Vec<ContainerSummary>> {
        let views = self.shared.containers.views();
        let now = Timestamp::now();
        let mut found: Vec<_> =
            self.listed(&views, query)?.into_iter().map(|view| self.summary(view, now)).collect();
        if query.size {
            for summary in &mut found {
                let sizes = self.sizes(&summary.id, &summary.image_id).await;
                (summary.size_rw, summary.size_root_fs) = sizes;
            }
        }
        Ok(found)
    }

    /// The same as the answer's body in the form of `version`.
    pub async fn container_list_json(
        &self,
        query: &ContainerListQuery,
        version: ApiVersion,
    ) -> Result<Vec<u8>> {
        if query.size {
            let mut found = self.container_list(query).await?;
            found.adapt(version);
            return Ok(json::encode(&found));
        }
        let views = self.shared.containers.views();
        let now = Timestamp::now();
        let mut body = Vec::with_capacity(views.len() * SUMMARY_BYTES + 3);
        body.push(b'[');
        for (index, view) in self.listed(&views, query)?.into_iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            match self.shared.containers.links_to(&view.record.id).is_empty() {
                true => write_summary(view, version, now, &mut body),
                false => {
                    let mut summary = self.summary(view, now);
                    summary.adapt(version);
                    body.extend(json::encode(&summary));
                }
            }
        }
        body.extend_from_slice(b"]\n");
        Ok(body)
    }

    /// A container as the list shows it, with the names that others have for it.
    fn summary(&self, view: &View, now: Timestamp) -> ContainerSummary {
        let mut summary = inspect::summary(view, now);
        summary
            .names
            .extend(self.shared.containers.links_to(&view.record.id).iter().map(|name| format!("/{name}")));
        summary
    }

    fn listed<'a>(&self, views: &'a [Arc<View>], query: &ContainerListQuery) -> Result<Vec<&'a View>> {
        let image = |name: &str| self.shared.store.image(name).ok().map(|image| image.id.to_string());
        let created = |name: &str| Ok(self.shared.containers.resolve(name)?.view().record.created);
        list::list(views, query, &list::Lookup { image: &image, created: &created })
    }

    /// `GET /containers/{id}/json`.
    pub async fn container_inspect(
        &self,
        reference: &str,
        query: &ContainerInspectQuery,
    ) -> Result<ContainerInspect> {
        let view = self.shared.containers.resolve(reference)?.view();
        let id = &view.record.id;
        let root = self.shared.store.rootfs_layout(id).ok();
        let exec_ids = self.shared.execs.of_container(id);
        let mut found = inspect::inspect(&view, &self.shared.paths(id), exec_ids, root);
        if found.host_config.links.is_some() {
            found.host_config.links = super::links::shown(&self.shared, &view.record);
        }
        if self.shared.apparmor.is_on() && view.lifecycle.generation > 0 {
            found.app_armor_profile = super::security::shown_profile(&view.record.host_config);
        }
        if query.size {
            let (own, all) = self.sizes(id, &view.record.image_id).await;
            (found.size_rw, found.size_root_fs) = (Some(own), Some(all));
        }
        Ok(found)
    }

    /// The bytes of a container's own layer, and those with its image's.
    async fn sizes(&self, id: &str, image_id: &str) -> (i64, i64) {
        let (store, id) = (self.shared.store.clone(), id.to_owned());
        let walk = tokio::task::spawn_blocking(move || store.rw_size(&id));
        let own = walk.await.ok().and_then(Result::ok).unwrap_or(0);
        let image = Digest::parse(image_id).ok().and_then(|id| self.shared.store.image_by_id(&id));
        let number = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        (number(own), number(own + image.map_or(0, |image| image.size)))
    }

    /// `POST /containers/{id}/start`.
    pub async fn container_start(&self, reference: &str, query: &ContainerStartQuery) -> Result<()> {
        if !query.checkpoint.is_empty() {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "checkpoints are not offered by this version of minke",
            ));
        }
        let container = self.shared.containers.resolve(reference)?;
        container.ask(Command::Start).await
    }

    /// `POST /containers/{id}/rename`.
    pub async fn container_rename(&self, reference: &str, query: &ContainerRenameQuery) -> Result<()> {
        let container = self.shared.containers.resolve(reference)?;
        let name = query.name.strip_prefix('/').unwrap_or(&query.name).to_owned();
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        if !names::is_valid(&name) {
            return Err(Error::invalid(format!(
                "Error when allocating new name: Invalid container name (/{name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        if container.view().record.name == name {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        container
            .ask(|reply| Command::Rename { name, reply })
            .await
            .map_err(|error| prefixed("Error when allocating new name", error))
    }

    /// `POST /containers/{id}/resize`.
    pub async fn container_resize(&self, reference: &str, query: &ResizeQuery) -> Result<()> {
        let container = self.shared.containers.resolve(reference)?;
        let view = container.view();
        let Some(shim) = &view.shim else {
            return Err(Error::conflict(format!("Container {} is not running", view.record.id)));
        };
        if !view.record.config.tty {
            return Ok(());
        }
        shim.request(&resize(None, query), &[])
            .await
            .map_err(|error| error.into_error("resizing the terminal"))?;
        self.shared.tell(
            &view.record,
            "resize",
            &[("height", query.height.to_string()), ("width", query.width.to_string())],
        );
        Ok(())
    }

    /// `GET /containers/{id}/logs`; `frame_per_line` for a client that takes a frame for a line.
    pub fn container_logs(
        &self,
        reference: &str,
        query: &LogsQuery,
        frame_per_line: bool,
    ) -> Result<LogStream> {
        let container = self.shared.containers.resolve(reference)?;
        let view = container.view();
        if view.record.host_config.log_config.driver == "none" {
            return Err(Error::invalid("configured logging driver does not support reading"));
        }
        let options = LogOptions {
            follow: query.follow,
            stdout: query.stdout,
            stderr: query.stderr,
            since: parse_query_time(&query.since)?,
            until: parse_query_time(&query.until)?,
            timestamps: query.timestamps,
            details: query.details,
            tail: query.tail.parse().ok(),
            frame_per_line,
        };
        let path =
            self.shared.paths(&view.record.id).log_of(&view.record.host_config.log_config.driver).to_owned();
        Ok(crate::log::read(path, view.record.config.tty, options, container.running()))
    }

    /// `POST /containers/{id}/attach`; `exit_frames`: the client asked for `Minke-Stream: 1`.
    pub fn container_attach(
        &self,
        reference: &str,
        query: &AttachQuery,
        exit_frames: bool,
    ) -> Result<Attachment> {
        let container = self.shared.containers.resolve(reference)?;
        let view = container.view();
        if matches!(view.lifecycle.state, State::Restarting(_)) {
            return Err(Error::conflict(format!(
                "container {} is restarting, wait until the container is running",
                view.record.id
            )));
        }
        if matches!(view.lifecycle.state, State::Paused(_)) {
            return Err(Error::conflict(format!(
                "container {reference} is paused, unpause the container before attach"
            )));
        }
        let config = &view.record.config;
        let request = AttachRequest {
            stdin: query.stdin && config.open_stdin,
            stdout: query.stdout,
            stderr: query.stderr,
            framing: framing(config.tty, exit_frames),
            prefix: Vec::new(),
            detach_keys: attach::detach_keys(&query.detach_keys)?,
        };
        self.shared.tell(&view.record, "attach", &[]);
        let replay = query.logs.then(|| attach::Replay {
            path: self
                .shared
                .paths(&view.record.id)
                .log_of(&view.record.host_config.log_config.driver)
                .to_owned(),
            tty: config.tty,
            options: LogOptions { stdout: query.stdout, stderr: query.stderr, ..LogOptions::default() },
        });
        Ok(Attachment {
            tty: config.tty && !exit_frames,
            container,
            request,
            replay,
            replay_only: !query.stream,
        })
    }
}

/// The error with Docker's words about what was being done before it.
pub fn prefixed(action: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("{action}: {error}"))
}

/// How a client's stream is framed.
pub fn framing(tty: bool, exit_frames: bool) -> Framing {
    match (exit_frames, tty) {
        (true, _) => Framing::MultiplexedWithExit,
        (false, true) => Framing::Raw,
        (false, false) => Framing::Multiplexed,
    }
}

/// The request that gives a terminal a size.
pub fn resize(exec_id: Option<String>, query: &ResizeQuery) -> Request {
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    Request::Resize { exec_id, rows: side(query.height), columns: side(query.width) }
}

/// Makes a container: its layer, then its record.
fn create(
    shared: &Shared,
    ContainerCreateQuery { name, platform }: &ContainerCreateQuery,
    mut request: ContainerCreateRequest,
) -> Result<(Found, Vec<String>)> {
    let id = random_hex(32)?;
    crate::embedded::provide(shared, &request.config.image)?;
    let platform = crate::image::platform(platform)?;
    let image = shared
        .store
        .image_for(&request.config.image, platform.as_ref())
        .map_err(|error| missing_image(error, &request.config.image))?;
    let default = image::ContainerConfig::default();
    let image_config = image.config.config.as_ref().unwrap_or(&default);
    let host_config = request.host_config.get_or_insert_default();
    super::namespaces::settle(shared, &mut request.config, host_config)?;
    super::links::settle(shared, host_config)?;
    super::foreign::of(shared, &host_config.runtime)?;
    let around = Circumstances {
        processors: shared.host.found.processors,
        cgroup2: shared.host.cgroup2(),
        systemd: shared.place.driver == crate::CgroupDriver::Systemd,
        enforceable: &shared.enforceable,
        shm_size: shared.options.shm_size,
        log_driver: &shared.options.log_driver,
        log_opts: &shared.options.log_opts,
        init: shared.options.init,
        runtime: &shared.options.default_runtime,
        ipc_mode: &shared.options.default_ipc_mode,
        cgroupns_mode: &shared.options.default_cgroupns_mode,
        hostname: &shared.host.hostname,
        thermal_throttle_paths: &shared.host.facts.thermal_throttle_paths,
    };
    let networking = request.networking_config.take();
    let Prepared { config, host_config, policy, mut warnings } =
        create::prepare(request, image_config, &id, &around)?;
    let networks = settle::settle(&shared.networks, &config, &host_config, networking, &mut warnings)?;
    warnings.extend(shared.closed_ports(&config, &host_config));
    let others = |name: &str| Ok(shared.containers.resolve(name)?.view().record.points().into_owned());
    let planned = point::plan(&config, &host_config, &others).map_err(not_of_the_image)?;
    super::devices::check_requests(&host_config, &shared.options.cdi_spec_dirs)?;
    let labels = match &shared.selinux {
        Some(selinux) => selinux.label(shared, &host_config)?,
        None => Default::default(),
    };
    let keep = if host_config.auto_remove { Keep::Boot } else { Keep::Durable };
    let name = reserve_name(shared, name, &id)?;
    let claimed = match claims::claim(shared, &id, planned, keep) {
        Ok(claimed) => claimed,
        Err(error) => {
            shared.containers.release_name(&name, &id);
            return Err(not_of_the_image(error));
        }
    };
    let volume_data = |name: &str| shared.volumes.data(name).to_string_lossy().into_owned();
    let record = Record {
        id,
        name,
        created: Timestamp::now(),
        image_id: image.id.to_string(),
        config,
        host_config,
        mounts: claimed.points.iter().map(|point| point.shown(volume_data)).collect(),
        points: Some(claimed.points.clone()),
        networks: Some(networks),
        driver: shared.store.snapshot_kind().driver_name().to_owned(),
        process_label: labels.process,
        mount_label: labels.mount,
    };
    let lifecycle = Lifecycle::new(policy, record.host_config.auto_remove);
    let written = check_plan(shared, &record)
        .and_then(|()| shared.store.create_rw(&record.id, &image, keep))
        .and_then(|()| limit_layer(shared, &record))
        .and_then(|()| claims::fill(shared, &record))
        .and_then(|()| shared.store.put_container(&record.id, &record.render(&lifecycle)?, keep));
    if let Err(error) = written {
        let _ = shared.store.remove_rw(&record.id);
        shared.containers.release_name(&record.name, &record.id);
        return Err(error);
    }
    claimed.keep();
    super::links::register(shared, &record);
    Ok((Found { record, lifecycle, shim: None, news: Vec::new(), wish: None, networks: None }, warnings))
}

/// Holds the container's own layer to a size, if it has one.
fn limit_layer(shared: &Shared, record: &Record) -> Result<()> {
    let Some(size) = create::layer_size(&record.host_config) else { return Ok(()) };
    // What can't be limited needs no number: the order of Docker's answers.
    let bytes = if shared.store.can_limit_rw() { minke_model::size::parse_binary(size)? } else { 0 };
    shared.store.limit_rw(&record.id, u64::try_from(bytes).unwrap_or_default())
}

/// Compiles the start plan once, so that what can't be started isn't created.
fn check_plan(shared: &Shared, record: &Record) -> Result<()> {
    let paths = shared.paths(&record.id);
    let start = launch::start_of(shared, record, 1, &paths, Default::default())?;
    let settings = settings::without_mounts(record, start)?;
    minke_spec::plan_start(&settings, &shared.host.facts, &shared.filters).map(|_| ())
}

/// Clients take what is not found for the container's image, and would fetch that.
fn not_of_the_image(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound { Error::invalid(error.to_string()) } else { error }
}

fn missing_image(error: Error, name: &str) -> Error {
    if name.is_empty() {
        return Error::invalid("no image specified");
    }
    error
}

fn reserve_name(shared: &Shared, name: &str, id: &str) -> Result<String> {
    if !name.is_empty() {
        shared.containers.reserve_name(name, id)?;
        return Ok(name.to_owned());
    }
    for attempt in 0..NAME_ATTEMPTS {
        let random = u64::from_str_radix(&random_hex(8)?, 16).unwrap_or_default();
        let name = names::generate(random, attempt);
        if shared.containers.reserve_name(&name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = id[..12].to_owned();
    shared.containers.reserve_name(&name, id)?;
    Ok(name)
}
