//! [`Engine`] and what all its services share.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minke_model::{Context as _, Error, Result};
use minke_spec::seccomp::ProgramCache;
use minke_store::{Keep, SnapshotKind, Store, Table};
use minke_sys::cgroup::Group;
use minke_sys::spawn::Image as ShimImage;

use crate::EngineOptions;
use crate::apparmor::AppArmor;
use crate::container::lifecycle::Lifecycle;
use crate::container::paths::ContainerPaths;
use crate::container::record::Record;
use crate::container::registry::Registry;
use crate::container::security::Defaults;
use crate::container::spare_networks::SpareNetworks;
use crate::container::stats::Samples;
use crate::container::turnstile::Turnstile;
use crate::container::{handle::Command, reconcile};
use crate::distribution::Distribution;
use crate::enforceable::Enforceable;
use crate::events::Events;
use crate::exec::Execs;
use crate::host::Host;
use crate::network::netd::Netd;
use crate::network::{DefaultBridge, Ground, Networks, Rules, Surface};
use crate::place::{CgroupDriver, Place};
use crate::prune::Pruning;
use crate::remap::Remap;
use crate::selinux::Selinux;
use crate::volume::Volumes;

/// How long an engine waits for the data root of one that has just been killed.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// An engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all services of an engine share.
pub struct Shared {
    /// The settings.
    pub options: EngineOptions,
    /// The engine's id in info.
    pub id: String,
    /// The host.
    pub host: Host,
    /// Images, layers, records.
    pub store: Store,
    /// Volumes.
    pub volumes: Volumes,
    /// Containers.
    pub containers: Registry,
    /// Execs.
    pub execs: Execs,
    /// Which prunes go on.
    pub pruning: Pruning,
    /// Pulls and pushes.
    pub distribution: Distribution,
    /// Events.
    pub events: Events,
    /// Networks.
    pub networks: Networks,
    /// What they stand on.
    pub ground: Ground,
    /// The firewall.
    pub rules: Rules,
    /// Network namespaces made ahead.
    pub spare_networks: Arc<SpareNetworks>,
    /// How many starts work at once.
    pub starts: Turnstile,
    /// Compiled system call filters.
    pub filters: ProgramCache,
    /// The shim's program.
    pub shim: ShimImage,
    /// What can be done with AppArmor.
    pub apparmor: AppArmor,
    /// SELinux labels of containers, if they get any.
    pub selinux: Option<Selinux>,
    /// The user namespaces of containers, if they have any.
    pub remap: Option<Remap>,
    /// Where the control groups of containers and shims are.
    pub place: Place,
    /// The process with the names and ports of containers.
    pub netd: Netd,
    /// Runs in which the kernel has killed for want of memory, by container and generation: with systemd's driver only.
    pub oom_kills: Mutex<HashSet<(String, u64)>>,
    /// The latest samples of what containers use.
    pub samples: Samples,
    /// What limits the host can hold containers to.
    pub enforceable: Enforceable,
    /// Holds the data root for this engine alone.
    _lock: OwnedFd,
}

impl Engine {
    /// Opens the roots, takes over what runs, and acts on restart policies.
    ///
    /// # Errors
    /// A root that can't be used or that another engine uses, a database of a newer version.
    pub async fn start(options: EngineOptions) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let open = move || {
            let _inside = runtime.enter();
            Shared::open(options)
        };
        let shared = tokio::task::spawn_blocking(open).await.context("starting the engine")??;
        let shared = Arc::new(shared);
        shared.netd.wake();
        shared.ground.tell(Arc::downgrade(&shared));
        reconcile::all(&shared).await?;
        Ok(Self { shared })
    }

    /// Lets go of everything; containers go on. With `stop_containers` they are stopped first, within `timeout_s` seconds.
    pub async fn shutdown(&self, stop_containers: bool, timeout_s: i64) {
        if stop_containers {
            self.stop_all(timeout_s).await;
        }
        self.shared.netd.shutdown().await;
        let shared = self.shared.clone();
        let work = move || {
            shared.remove_idle_groups();
            shared.leave_host();
            shared.store.settle()
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "not everything could be written to the disk");
        }
    }

    async fn stop_all(&self, timeout_s: i64) {
        let mut ends = Vec::new();
        for container in self.shared.containers.all() {
            let view = container.view();
            if !view.is_running() {
                continue;
            }
            ends.push(tokio::spawn(async move {
                let signal = view.record.stop_signal().unwrap_or(15);
                let timeout_s = view.record.config.stop_timeout.unwrap_or(timeout_s).min(timeout_s);
                let (before, _) = tokio::sync::oneshot::channel();
                let stop = |reply| Command::Stop { signal, timeout_s, restart: false, before, reply };
                let asked = container.ask(stop).await;
                if asked.is_ok() {
                    container.wait_for(|view| !view.is_running()).await;
                }
            }));
        }
        for end in ends {
            let _ = end.await;
        }
    }
}

impl Shared {
    fn open(mut options: EngineOptions) -> Result<Self> {
        make_root(&options.data_root, 0o711)?;
        if let Some(map) = &options.userns_remap {
            // As Docker has it: volumes belong to the host's ids, which another map would give to nobody.
            let (uid, gid) = map.root();
            options.data_root.push(format!("{uid}.{gid}"));
            make_root(&options.data_root, 0o711)?;
        }
        make_root(&options.exec_root, 0o711)?;
        make_root(&options.data_root.join("containers"), 0o710)?;
        make_root(&options.exec_root.join("containers"), 0o700)?;
        let lock = lock(&options.data_root)?;
        crate::log::pack::prepare(&options.data_root).context("making room for packed logs")?;
        let mut host = Host::probe()?;
        let apparmor = AppArmor::start(host.facts.apparmor)?;
        host.facts.apparmor = apparmor.is_on();
        let selinux = Selinux::start(options.selinux_enabled, host.found.selinux)?;
        let mut store_options = minke_store::Options::new(&options.exec_root);
        store_options.snapshot = match options.storage_driver.as_deref() {
            None => None,
            Some("overlay2" | "overlay" | "overlayfs") => Some(SnapshotKind::Overlay),
            Some("vfs" | "copy") => Some(SnapshotKind::Copy),
            Some(other) => {
                return Err(Error::invalid(format!("unknown storage driver {other:?}: overlay2 or vfs")));
            }
        };
        let store = Store::open(&options.data_root, store_options)?;
        let shim = ShimImage::new(options.shim, &options.exec_root).context("preparing the shim")?;
        let remap = options.userns_remap.clone();
        let remap = remap.map(|map| Remap::new(map, &shim, &options.data_root)).transpose()?;
        let place = Place::make(&host, &options, &shim)?;
        let netd_home = place.netd_home(&host);
        let enforceable = Enforceable::probe(&host, &host.group(place.shims()));
        crate::realtime::give(&host, place.parent(), &options.realtime)?;
        let id = engine_id(&store)?;
        let ground = Ground::open(&options.exec_root);
        let mut network = options.network.clone();
        if let (Some(why), DefaultBridge::Own) = (ground.missing(), &network.bridge) {
            tracing::warn!("containers that choose no network get none: {why}");
            network.bridge = DefaultBridge::None;
        }
        // Only who may need a subnet asks the kernel.
        let routes = if network.bridge == DefaultBridge::Own { ground.routes() } else { Vec::new() };
        let surface = Surface { routes: &routes, bridge: &ground.names.bridge };
        Ok(Self {
            networks: Networks::open(&store, network, &id, &surface)?,
            ground,
            rules: Rules::default(),
            id,
            starts: Turnstile::new(host.found.processors),
            host,
            volumes: Volumes::open(&store, remap.as_ref().map(|remap| remap.map().root()))?,
            distribution: Distribution::new(&options.registry, store.data_root())?,
            store,
            containers: Registry::default(),
            execs: Execs::default(),
            pruning: Pruning::default(),
            events: Events::default(),
            spare_networks: Arc::default(),
            filters: ProgramCache::default(),
            shim,
            apparmor,
            selinux,
            remap,
            netd: Netd::new(&options.exec_root, netd_home),
            place,
            oom_kills: Mutex::default(),
            samples: Samples::default(),
            enforceable,
            options,
            _lock: lock,
        })
    }

    /// Removes the engine's own control groups unless a container still runs in them.
    fn remove_idle_groups(&self) {
        if self.containers.all().iter().all(|container| !container.view().is_running()) {
            if self.place.driver == CgroupDriver::Cgroupfs {
                self.host.group(self.place.parent()).remove();
            }
            self.host.group(self.place.shims()).remove();
            self.host.group(&self.place.netd()).remove();
        }
    }

    /// What containers get that say nothing of security.
    pub fn security_defaults(&self) -> Defaults<'_> {
        let seccomp_profile = &self.options.seccomp_profile;
        Defaults { no_new_privileges: self.options.no_new_privileges, seccomp_profile }
    }

    /// The user namespaces of containers, for one that gets one.
    pub fn remap_of(&self, record: &Record) -> Option<&Remap> {
        self.remap.as_ref().filter(|_| record.host_config.userns_mode != "host")
    }

    /// The files of a container.
    pub fn paths(&self, id: &str) -> ContainerPaths {
        ContainerPaths::new(&self.options.data_root, &self.options.exec_root, id)
    }

    /// The control group of a container's run, from the mount points.
    pub fn cgroup_path(&self, record: &Record, generation: u64) -> String {
        self.place.cgroup_path(record, generation)
    }

    /// The same as directories.
    pub fn group(&self, record: &Record, generation: u64) -> Group {
        self.host.group(&self.cgroup_path(record, generation))
    }

    /// Writes a container's record as durably as was promised.
    pub async fn keep(&self, record: &Arc<Record>, lifecycle: &Lifecycle) -> Result<()> {
        let bytes = record.render(lifecycle)?;
        let keep = if record.ends_with_boot() { Keep::Boot } else { Keep::Durable };
        let (store, record) = (self.store.clone(), record.clone());
        let write = move || store.put_container(&record.id, &bytes, keep);
        tokio::task::spawn_blocking(write).await.context("keeping a container's record")?
    }
}

fn make_root(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = || format!("cannot make the directory {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(failed)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.with_context(failed),
    }
}

/// Takes the data root for this engine.
fn lock(data_root: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let path = data_root.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
        .with_context(|| format!("cannot open {}", path.display()))?;
    if minke_sys::lock::hold(&file, LOCK_PATIENCE)
        .with_context(|| format!("cannot lock {}", path.display()))?
    {
        return Ok(file);
    }
    Err(Error::conflict(format!(
        "another engine uses the data root {}: stop it, or give this one its own by --data-root and --exec-root",
        data_root.display()
    )))
}

/// The engine's id: made once, kept in the database.
fn engine_id(store: &Store) -> Result<String> {
    const KEY: &str = "id";
    let kept = store.list(Table::Engine)?.into_iter().find(|(key, _)| key == KEY);
    if let Some((_, bytes)) = kept {
        return String::from_utf8(bytes).context("the engine's id is damaged");
    }
    let id = random_hex(16)?;
    let id = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    store.put(Table::Engine, KEY, id.as_bytes(), Keep::Durable)?;
    Ok(id)
}

/// So many random bytes, as hexadecimal digits.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        filled += rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty())
            .context("reading random bytes")?;
    }
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
