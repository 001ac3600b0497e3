//! The operations of the Engine API on the engine itself: version, info, events.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use minke_api::event::{EventActor, EventMessage, EventsQuery};
use minke_api::system::*;
use minke_model::{Error, Result};
use minke_store::SnapshotKind;
use tokio::sync::{broadcast, mpsc};

use crate::container::lifecycle::State;
use crate::distribution::Proxies;
use crate::engine::Shared;
use crate::events::{Event, EventFilter};
use crate::network::DefaultBridge;
use crate::time::{parse_query_time, rfc3339_nano};
use crate::{Engine, EventStream};

/// The newest version of the API that is served.
const API_VERSION: &str = "1.55";
/// The oldest.
const MIN_API_VERSION: &str = "1.24";
const VERSION: &str = env!("CARGO_PKG_VERSION");

const EVENT_FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

impl Engine {
    /// `GET /version`.
    pub fn version(&self) -> SystemVersion {
        let host = &self.shared.host.found;
        let details = [
            ("ApiVersion", API_VERSION),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
            ("Arch", architecture(&host.machine)),
            ("KernelVersion", &host.kernel_release),
            ("Experimental", "false"),
            ("GitCommit", self.shared.options.build.commit),
            ("BuildTime", self.shared.options.build.time),
        ];
        let details = details.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        SystemVersion {
            platform: PlatformName { name: "minke".into() },
            components: vec![ComponentVersion { name: "Engine".into(), version: VERSION.into(), details }],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            os: "linux".into(),
            arch: architecture(&host.machine).into(),
            kernel_version: host.kernel_release.clone(),
            git_commit: self.shared.options.build.commit.into(),
            build_time: self.shared.options.build.time.into(),
            ..SystemVersion::default()
        }
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<SystemInfo> {
        let shared = &self.shared;
        let (host, can) = (&shared.host, &shared.enforceable);
        let mut counts = BTreeMap::from([("running", 0i64), ("paused", 0), ("stopped", 0)]);
        for container in shared.containers.all() {
            let state = match container.view().lifecycle.state {
                State::Running(_) | State::Restarting(_) => "running",
                State::Paused(_) => "paused",
                _ => "stopped",
            };
            *counts.entry(state).or_default() += 1;
        }
        let (operating_system, os_version) = os_release();
        let file = |path: &str| std::fs::read_to_string(path).map(|text| text.trim() == "1").unwrap_or(false);
        Ok(SystemInfo {
            id: shared.id.clone(),
            containers: counts.values().sum(),
            containers_running: counts["running"],
            containers_paused: counts["paused"],
            containers_stopped: counts["stopped"],
            images: shared.store.images().len() as i64,
            driver: shared.store.snapshot_kind().driver_name().into(),
            driver_status: driver_status(shared),
            plugins: PluginsInfo {
                volume: vec!["local".into()],
                network: ["bridge", "host", "ipvlan", "macvlan", "null"].map(Into::into).into(),
                authorization: None,
                log: vec!["json-file".into(), "local".into()],
            },
            memory_limit: can.memory,
            swap_limit: can.swap,
            cpu_cfs_period: can.cpu_quota,
            cpu_cfs_quota: can.cpu_quota,
            cpu_shares: can.cpu_shares,
            cpu_set: can.cpuset,
            pids_limit: can.pids,
            ipv4_forwarding: shared.networks.options.ip_forward || file("/proc/sys/net/ipv4/ip_forward"),
            debug: shared.options.debug,
            n_fd: std::fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64),
            oom_kill_disable: can.oom_kill_disable,
            n_goroutines: tokio::runtime::Handle::current().metrics().num_alive_tasks() as i64,
            system_time: rfc3339_nano(Timestamp::now()),
            logging_driver: shared.options.log_driver.clone(),
            cgroup_driver: shared.place.driver.name().into(),
            cgroup_version: if host.cgroup2() { "2" } else { "1" }.into(),
            n_events_listener: shared.events.listeners() as i64,
            kernel_version: host.found.kernel_release.clone(),
            operating_system,
            os_version,
            os_type: "linux".into(),
            architecture: host.found.machine.clone(),
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: registry_config(&self.shared.options.registry),
            http_proxy: Proxies::shown(shared.options.registry.proxies.http.as_deref()),
            https_proxy: Proxies::shown(shared.options.registry.proxies.https.as_deref()),
            no_proxy: shared.options.registry.proxies.no_proxy.clone(),
            n_cpu: host.found.processors.into(),
            mem_total: i64::try_from(host.found.memory_bytes).unwrap_or(i64::MAX),
            docker_root_dir: shared.options.data_root.to_string_lossy().into_owned(),
            name: host.hostname.clone(),
            labels: shared.options.labels.clone(),
            server_version: VERSION.into(),
            runtimes: runtimes(shared),
            default_runtime: shared.options.default_runtime.clone(),
            swarm: SwarmInfo { local_node_state: "inactive".into(), ..SwarmInfo::default() },
            live_restore_enabled: true,
            init_binary: "minke-shim".into(),
            security_options: security_options(shared),
            cdi_spec_dirs: Some(
                shared.options.cdi_spec_dirs.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            ),
            warnings: Some(
                [can.warnings(), shared.apparmor.warning().into_iter().collect(), shared.network_warning()]
                    .concat(),
            )
            .filter(|warnings| !warnings.is_empty()),
            ..SystemInfo::default()
        })
    }

    /// `GET /events`; a bad filter is refused before the stream begins.
    pub fn events(&self, query: &EventsQuery) -> Result<EventStream> {
        query.filters.check(&EVENT_FILTERS)?;
        let since = parse_query_time(&query.since)?;
        let until = parse_query_time(&query.until)?;
        if let (Some(since), Some(until)) = (since, until)
            && until < since
        {
            return Err(Error::invalid(format!(
                "`since` time ({}) cannot be after `until` time ({})",
                query.since, query.until
            )));
        }
        let filters = query
            .filters
            .keys()
            .map(|key| (key.to_owned(), query.filters.values(key).map(str::to_owned).collect()))
            .collect();
        let filter = EventFilter { since, until, filters };
        let (past, receiver) = self.shared.events.subscribe(&filter);
        let (sender, stream) = mpsc::channel(64);
        tokio::spawn(forward(filter, past, receiver, sender));
        Ok(stream)
    }
}

/// What the file system below the storage is and can do, in rows as Docker's.
fn driver_status(shared: &Shared) -> Vec<[String; 2]> {
    let found = rustix::fs::statfs(&shared.options.data_root).map_or(0, |found| found.f_type as u64);
    let name = match found {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x794c_7630 => "overlayfs",
        _ => "<unknown>",
    };
    let row = |key: &str, value: String| [key.to_owned(), value];
    match shared.store.snapshot_kind() {
        SnapshotKind::Copy => Vec::new(),
        SnapshotKind::Overlay => vec![
            row("Backing Filesystem", name.to_owned()),
            row("Supports d_type", "true".to_owned()),
            row("Project Quota", shared.store.can_limit_rw().to_string()),
        ],
    }
}

/// The runtimes that containers may ask for.
fn runtimes(shared: &Shared) -> BTreeMap<String, RuntimeInfo> {
    let own = ("minke".to_owned(), RuntimeInfo { path: "minke".into(), ..RuntimeInfo::default() });
    let others = shared.options.runtimes.iter().map(|(name, runtime)| {
        let (path, runtime_args) = (runtime.path.clone(), runtime.arguments.clone());
        (name.clone(), RuntimeInfo { path, runtime_args, ..RuntimeInfo::default() })
    });
    others.chain([own]).collect()
}

/// Gives a listener what it wants, until it goes away or its time is over.
async fn forward(
    filter: EventFilter,
    past: Vec<Event>,
    mut receiver: broadcast::Receiver<Arc<Event>>,
    sender: mpsc::Sender<EventMessage>,
) {
    for event in past {
        if sender.send(message(&event)).await.is_err() {
            return;
        }
    }
    let left =
        filter.until.map(|until| until.duration_since(Timestamp::now()).try_into().unwrap_or_default());
    let over = async {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = &mut over => return,
            event = receiver.recv() => match event {
                Ok(event) if filter.wants(&event) => {
                    if sender.send(message(&event)).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener is too slow for its events");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

impl Shared {
    /// What is said in info where containers are on no bridge although nobody wanted that.
    fn network_warning(&self) -> Vec<String> {
        let wanted = self.options.network.bridge == DefaultBridge::Own;
        let why = self.ground.missing().filter(|_| wanted);
        why.map(|why| format!("WARNING: No default bridge network: {why}")).into_iter().collect()
    }
}

fn message(event: &Event) -> EventMessage {
    EventMessage {
        kind: event.kind.into(),
        action: event.action.clone(),
        actor: EventActor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".into(),
        time: event.time.as_second(),
        time_nano: i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
        ..EventMessage::default()
    }
}

fn registry_config(options: &crate::RegistryOptions) -> RegistryServiceConfig {
    // As Docker shows addresses of mirrors, which end with a slash.
    let of_host = |host: &str| -> Vec<String> {
        let all = options.mirrors.iter().filter(|mirror| mirror.host == host || mirror.host == "*");
        all.map(|mirror| format!("{}/", mirror.url.trim_end_matches('/'))).collect()
    };
    let mirrors = of_host("docker.io");
    let hub = IndexInfo { name: "docker.io".into(), mirrors: mirrors.clone(), secure: true, official: true };
    let (networks, hosts): (Vec<String>, Vec<String>) =
        options.insecure.iter().cloned().partition(|text| text.contains('/'));
    let insecure = |name: String| {
        let info = IndexInfo { name: name.clone(), mirrors: of_host(&name), secure: false, official: false };
        (name, info)
    };
    let mut insecure_registry_cidrs = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    insecure_registry_cidrs.extend(networks);
    RegistryServiceConfig {
        insecure_registry_cidrs,
        index_configs: hosts.into_iter().map(insecure).chain([("docker.io".to_owned(), hub)]).collect(),
        mirrors,
        ..RegistryServiceConfig::default()
    }
}

/// Go's name of a machine.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn security_options(shared: &Shared) -> Vec<String> {
    let options = [
        (shared.apparmor.is_on(), "name=apparmor"),
        (shared.host.found.seccomp, "name=seccomp,profile=builtin"),
        (shared.selinux.is_some(), "name=selinux"),
        (shared.remap.is_some(), "name=userns"),
        (shared.host.cgroup2(), "name=cgroupns"),
    ];
    options.into_iter().filter(|(there, _)| *there).map(|(_, option)| option.to_owned()).collect()
}

/// The name and version of the host's distribution.
fn os_release() -> (String, String) {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    (value("PRETTY_NAME"), value("VERSION_ID"))
}
