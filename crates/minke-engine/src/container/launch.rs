//! Starting a container's process: the engine prepares (root, control groups, plan), a fresh shim enters.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use jiff::Timestamp;
use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_network::link::Namespace;
use minke_spec::docker::{ContainerSettings, MountSettings, ProcessUser};
use minke_spec::plan::{CgroupPlan, MountStep, StartPlan};
use minke_spec::shim::{ErrorCode, Hook, PROTOCOL, Reply, Request, ShimError, StartRequest, Started, Stdio};
use minke_store::RootFs;
use minke_sys::cgroup::{Group, Write};
use minke_sys::mount::Extent;
use minke_sys::overlay::Overlay;
use minke_sys::rooted::Root;

use super::bundle;
use super::handle::PendingAttach;
use super::lifecycle::Exit;
use super::namespaces::{self, Joined};
use super::owner::FoundShim;
use super::paths::ContainerPaths;
use super::record::Record;
use super::{foreign, links, log_settings, marks, mounts, scope, settings, user};
use crate::engine::Shared;
use crate::network::join::{self, Joining};
use crate::network::{Live, naming};
use crate::remap::Remap;
use crate::shim::connection::{RequestError, ShimConnection};
use crate::shim::note::Note;
use crate::shim::socket;

/// A start that succeeded.
pub struct Launched {
    /// The shim.
    pub shim: FoundShim,
    /// The process.
    pub started: Started,
    /// Its networks.
    pub networks: Option<Arc<Live>>,
}

/// A start that failed.
pub struct LaunchFailure {
    /// In Docker's words.
    pub error: Error,
    code: i32,
}

impl LaunchFailure {
    /// The failure as the end of a run.
    pub fn exit(&self) -> Exit {
        Exit {
            code: self.code,
            finished_at: Timestamp::now(),
            oom_killed: false,
            error: self.error.to_string(),
        }
    }
}

impl From<Error> for LaunchFailure {
    fn from(error: Error) -> Self {
        Self { error, code: 128 }
    }
}

/// Everything that is ready before the shim is asked.
struct Prepared {
    connection: socket::PacketSocket,
    request: Box<StartRequest>,
    root: OwnedFd,
    /// The network namespace, if one was made ahead.
    network: Option<OwnedFd>,
    /// What goes beside the request instead of being opened by name.
    sources: Vec<OwnedFd>,
    /// Keeps the container's unit until the container is in it.
    hold: Option<OwnedFd>,
    /// Its networks, given back unless it starts.
    connecting: Connecting,
}

/// Starts the container's process. On failure what was made is still there for teardown.
pub async fn launch(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    generation: u64,
    pending: Vec<PendingAttach>,
) -> Result<Launched, LaunchFailure> {
    let (attach, sockets): (Vec<_>, Vec<_>) =
        pending.into_iter().map(|pending| (pending.request, pending.socket)).unzip();
    let (preparing, of) = (shared.clone(), record.clone());
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let _inside = runtime.enter();
        prepare(&preparing, &of, generation, attach)
    };
    let mut prepared = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LaunchFailure::from(Error::system(format!("preparing the start: {error}"))))??;
    let (connection, events) = ShimConnection::new(prepared.connection);
    let mut descriptors = vec![&prepared.root];
    descriptors.extend(&prepared.network);
    descriptors.extend(&prepared.sources);
    descriptors.extend(&sockets);
    let namespaces = prepared.request.plan.namespaces.clone();
    let answer = connection.request(&Request::Start(prepared.request), &descriptors).await;
    drop(prepared.hold);
    let used = prepared.connecting.joining.needs_links() && prepared.connecting.users.is_none();
    shared.spare_networks.refill(&namespaces, used);
    match answer {
        Ok((Reply::Started(started), descriptors)) => {
            let pidfd = descriptors.into_iter().next();
            scope::watch(shared, record, generation);
            let networks = prepared.connecting.joining.keep();
            if let Some(live) = &networks {
                naming::tell_netd(shared, record, live, Some(started.pid), Vec::new());
            }
            let shim = FoundShim { connection, events, pidfd, protocol: PROTOCOL };
            Ok(Launched { shim, started, networks })
        }
        Ok((reply, _)) => Err(Error::system(format!("the shim answered a start with {reply:?}")).into()),
        Err(RequestError::Lost) => {
            Err(Error::system("the container's shim ended before the container started").into())
        }
        Err(RequestError::Refused(error)) => Err(refused(&error)),
    }
}

/// What the shim says, as dockerd would: the kind and the exit code follow from why it failed.
fn refused(error: &ShimError) -> LaunchFailure {
    let (kind, code) = match error.code {
        ErrorCode::ProgramNotFound | ErrorCode::WorkingDirectory => (ErrorKind::InvalidParameter, 127),
        ErrorCode::ProgramNotExecutable => (ErrorKind::InvalidParameter, 126),
        _ => (ErrorKind::System, 128),
    };
    LaunchFailure { error: Error::new(kind, start_failure(&error.message)), code }
}

/// Docker's words for a start that has failed, from the shim's.
pub fn start_failure(words: &str) -> String {
    format!("failed to create task for container: unable to start container process: {words}")
}

fn prepare(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    generation: u64,
    attach: Vec<minke_spec::shim::AttachRequest>,
) -> Result<Prepared> {
    let paths = shared.paths(&record.id);
    make_directories(&paths)?;
    let joining = join::begin(shared, record, generation)?;
    let mut joined = namespaces::join(shared, record)?;
    let mut connecting = Connecting::begin(shared, record, joining, &mut joined)?;
    let root = mount_root(shared, record)?;
    if generation == 1 {
        match shared.remap_of(record) {
            Some(remap) => remap.as_root(|| marks::leave(&root))?,
            None => marks::leave(&root)?,
        }
    }
    let mounts::Prepared { settings: wanted, given } = mounts::prepare(shared, record, generation)?;
    if joined.network.is_none() {
        write_network_files(shared, record, &paths, connecting.joining.live())?;
    }
    let runtime = foreign::of(shared, &record.host_config.runtime)?;
    let (settings, hooks) = container_settings(shared, record, generation, &root, &paths, (wanted, joined))?;
    let plan = minke_spec::plan_start(&settings, &shared.host.facts, &shared.filters)?;
    tracing::debug!(container = %record.id, generation, "start plan:\n{}", minke_spec::render(&plan));
    let hold = match runtime {
        None => scope::make(shared, record, generation, &settings)?,
        Some(_) => None,
    };
    if runtime.is_none() {
        make_groups(shared, &plan.cgroup)?;
    }
    let (connection, control) = socket::pair().context("making the shim's socket")?;
    let shim = spawn_shim(shared, record, &control)?;
    Note::of(generation, shim)?.write(&paths.shim_note)?;
    let mut request = request(record, generation, &paths, plan, attach)?;
    let network = match connecting.wait()? {
        None => shared.spare_networks.take(&request.plan.namespaces).map(Arc::new),
        namespace => namespace,
    };
    let descriptor = |namespace: Arc<Namespace>| namespace.descriptor().try_clone_to_owned();
    let network = network.map(descriptor).transpose().context("handing over the network namespace")?;
    if let Some(runtime) = runtime {
        let run = foreign::Run { record, generation, settings, given, network, hooks: &hooks };
        let foreign::Prepared { bundle, given, helper } = foreign::prepare(shared, runtime, run)?;
        (request.foreign, request.bundle) = (true, bundle);
        let sources = given.into_iter().chain([helper]).collect();
        let request = Box::new(request);
        return Ok(Prepared { connection, request, root, network: None, sources, hold, connecting });
    }
    let (numbers, sources) = number_given(&request.plan, given)?;
    request.sources = numbers;
    if !hooks.is_empty() {
        request.bundle = bundle::write(&paths, &settings, &shared.host.facts)?;
        request.hooks = hooks;
    }
    request.network = network.is_some();
    Ok(Prepared { connection, request: Box::new(request), root, network, sources, hold, connecting })
}

/// The networks of a start that goes on.
struct Connecting {
    joining: Joining,
    linking: Option<tokio::task::JoinHandle<Result<join::Linked>>>,
    namespace: Option<Arc<Namespace>>,
    /// The user namespace that its network belongs to, for the shim to join.
    users: Option<OwnedFd>,
}

impl Drop for Connecting {
    /// What goes on in the background must not outlive what it is for.
    fn drop(&mut self) {
        if let Some(linking) = self.linking.take() {
            let _ = tokio::runtime::Handle::current().block_on(linking);
        }
    }
}

impl Connecting {
    /// Has the container's interfaces made, if it gets any, in a namespace of its own, which belongs to its users.
    fn begin(shared: &Shared, record: &Record, joining: Joining, joined: &mut Joined) -> Result<Self> {
        let mut connecting = Self { joining, linking: None, namespace: None, users: None };
        if !connecting.joining.needs_links() {
            return Ok(connecting);
        }
        let network = match shared.remap_of(record) {
            None => shared.spare_networks.take_now()?,
            Some(remap) => {
                let (users, network) = remap.make_network(joined.user.as_deref(), &shared.shim)?;
                joined.user = Some(format!("/proc/{}/fd/{}", std::process::id(), users.as_raw_fd()));
                connecting.users = Some(users);
                network
            }
        };
        connecting.linking = Some(connecting.joining.link(network));
        Ok(connecting)
    }

    /// Waits until the container's interfaces are there; returns the namespace that has them.
    fn wait(&mut self) -> Result<Option<Arc<Namespace>>> {
        if let Some(linking) = self.linking.take() {
            let linked = tokio::runtime::Handle::current().block_on(linking);
            let linked = linked.context("connecting the container")??;
            self.namespace = Some(linked.namespace.clone());
            self.joining.linked(linked);
        }
        Ok(self.namespace.clone())
    }
}

/// Finds the steps of the plan that the given mounts are for.
fn number_given(plan: &StartPlan, given: Vec<mounts::Given>) -> Result<(Vec<u32>, Vec<OwnedFd>)> {
    let (mut numbers, mut sources) = (Vec::new(), Vec::new());
    for given in given {
        let number = plan.mounts.iter().position(|step| {
            matches!(step, MountStep::Bind { source, target, .. } if *source == given.source && *target == given.target)
        });
        let number = number.and_then(|number| u32::try_from(number).ok());
        numbers
            .push(number.ok_or_else(|| Error::system(format!("no mount at {} is planned", given.target)))?);
        sources.push(given.mount);
    }
    Ok((numbers, sources))
}

fn request(
    record: &Record,
    generation: u64,
    paths: &ContainerPaths,
    plan: StartPlan,
    attach: Vec<minke_spec::shim::AttachRequest>,
) -> Result<StartRequest> {
    let config = &record.config;
    let [rows, columns] = record.host_config.console_size;
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    Ok(StartRequest {
        container_id: record.id.clone(),
        generation,
        runtime_dir: paths.runtime.to_string_lossy().into_owned(),
        plan,
        stdio: Stdio {
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            console_size: (rows > 0 && columns > 0).then(|| (side(rows), side(columns))),
        },
        log: log_settings::settings(record, paths)?,
        attach,
        sources: Vec::new(),
        hooks: Vec::new(),
        bundle: String::new(),
        foreign: false,
        network: false,
    })
}

fn make_directories(paths: &ContainerPaths) -> Result<()> {
    for (path, mode) in [(&paths.data, 0o710), (&paths.runtime, 0o700)] {
        match std::fs::DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result.with_context(|| format!("making {}", path.display()))?,
        }
    }
    // The last run's records stay until the new shim writes its own: an engine that comes after a crash may still need them.
    let _ = std::fs::remove_file(&paths.socket);
    Ok(())
}

/// The container's root as a mount that is attached nowhere.
pub fn mount_root(shared: &Shared, record: &Record) -> Result<OwnedFd> {
    let files = shared.store.rootfs(&record.id)?;
    mount_files(shared, record, files, 0).context("error creating overlay mount")
}

/// Files of the store as a container has them, as a mount that is attached nowhere, with `MOUNT_ATTR_*` bits if it is an overlay.
pub fn mount_files(
    shared: &Shared,
    record: &Record,
    files: RootFs,
    attributes: u64,
) -> std::io::Result<OwnedFd> {
    let remap = shared.remap_of(record);
    match (files, remap) {
        (RootFs::Overlay { lowers, upper, work, volatile }, remap) => minke_sys::overlay::mount(&Overlay {
            lower: lowers,
            upper: Some((upper, work)),
            volatile,
            attributes,
            label: record.file_label().filter(|_| shared.selinux.is_some()),
            id_map: remap.map(Remap::layers),
        }),
        (RootFs::Directory(path), Some(remap)) => {
            Ok(minke_sys::overlay::mapped(&path, &remap.layers().namespace)?)
        }
        (RootFs::Directory(path), None) => {
            Ok(minke_sys::mount::copy_path(&path.to_string_lossy(), Extent::One)?)
        }
    }
}

/// What a start decides, but for the host's devices, which only a privileged container's own start needs.
pub fn start_of<'a>(
    shared: &'a Shared,
    record: &Record,
    generation: u64,
    paths: &'a ContainerPaths,
    user: ProcessUser,
) -> Result<settings::Start<'a>> {
    Ok(settings::Start {
        user,
        paths,
        cgroup_path: shared.cgroup_path(record, generation),
        security: shared.security_defaults(),
        labelled: shared.selinux.is_some(),
        apparmor_profiles: shared.apparmor.profiles()?,
        joined: Default::default(),
        users: shared.remap_of(record).map(|remap| remap.settings(None)),
        host_devices: Vec::new(),
        root_path: String::new(),
        ulimits: &shared.options.ulimits,
        devices: Default::default(),
        linked: links::environment(shared, record),
    })
}

/// The settings that a run of the container has, and what is run beside it.
fn container_settings(
    shared: &Shared,
    record: &Record,
    generation: u64,
    root: &OwnedFd,
    paths: &ContainerPaths,
    (mounts, joined): (Vec<MountSettings>, Joined),
) -> Result<(ContainerSettings, Vec<Hook>)> {
    let user = user::resolve(&record.config.user, record.group_add(), root)?;
    let users = shared.remap_of(record).map(|remap| remap.settings(joined.user.clone()));
    let host_devices = if record.host_config.privileged { super::devices::of_host() } else { Vec::new() };
    let mut devices =
        super::devices::of_container(&record.host_config, &shared.options.cdi_spec_dirs, &user)?;
    let hooks = std::mem::take(&mut devices.hooks);
    let settings = settings::of(
        record,
        settings::Start {
            host_devices,
            devices,
            joined,
            users,
            ..start_of(shared, record, generation, paths, user)?
        },
        mounts,
    )?;
    Ok((settings, hooks))
}

/// Reads a small file below a container's root, wherever its links lead; `None` where there is none.
pub fn read_inside(root: &OwnedFd, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let root = Root::new(root.as_fd().try_clone_to_owned().context("opening the container's root")?);
    let Ok(Some(file)) = root.open_regular(path) else { return Ok(None) };
    let file = File::from(file);
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).context("reading a container's file")?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!("{path} in the container is longer than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// Writes what is bound to /etc/hosts, /etc/hostname and /etc/resolv.conf.
fn write_network_files(
    shared: &Shared,
    record: &Record,
    paths: &ContainerPaths,
    live: Option<&Live>,
) -> Result<()> {
    let owner = shared.remap_of(record).map(|remap| remap.map().root());
    let network = match record.host_config.network_mode == "host" {
        true => super::etc::Network::Host,
        false => super::etc::Network::Own,
    };
    let files = super::etc::files(shared, record, network, live)?;
    for (path, text) in [
        (&paths.hostname, files.hostname),
        (&paths.hosts, files.hosts),
        (&paths.resolv_conf, files.resolv_conf),
    ] {
        let write = || {
            let mut options = File::options();
            let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            match owner {
                Some((uid, gid)) => std::os::unix::fs::fchown(&file, Some(uid), Some(gid)),
                None => Ok(()),
            }
        };
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Makes the container's control groups and writes their limits.
fn make_groups(shared: &Shared, plan: &CgroupPlan) -> Result<()> {
    let failed = "setting up the container's control groups";
    if let (Some(v2), Some(unified)) = (&plan.v2, &shared.host.found.cgroup2) {
        let controllers: Vec<&str> = unified.controllers.iter().map(String::as_str).collect();
        minke_sys::cgroup::make_v2(&unified.mount, v2.as_ref(), &controllers).context(failed)?;
    }
    for directory in &plan.v1 {
        minke_sys::cgroup::make_v1(directory.as_ref()).context(failed)?;
    }
    let writes = plan.writes.iter().map(|write| Write {
        path: write.path.as_ref(),
        value: &write.value,
        optional: write.optional,
    });
    minke_sys::cgroup::apply(writes).context(failed)?;
    if let (Some(v2), false) = (&plan.v2, plan.device_program.is_empty()) {
        let group = Group { v2: Some(v2.into()), v1: Vec::new() };
        if let Some(directory) = group.open_v2().context(failed)? {
            minke_sys::bpf::attach_device_program(&directory, &plan.device_program)
                .map_err(std::io::Error::from)
                .context("loading the container's device rules")?;
        }
    }
    Ok(())
}

/// Starts a shim, which does nothing yet, and returns its pid.
fn spawn_shim(shared: &Shared, record: &Record, control: &OwnedFd) -> Result<i32> {
    let home = &shared.place.shim_home;
    let tasks: Vec<_> = home.v1.iter().map(|fd| fd.as_fd()).collect();
    let started = shared
        .shim
        .start(minke_sys::spawn::Start {
            control: control.as_fd(),
            arguments: &["minke-shim", &record.id],
            cgroup: home.v2.as_ref().map(|fd| fd.as_fd()),
            v1_tasks: &tasks,
            namespaces: 0,
            users: None,
        })
        .context("starting the container's shim")?;
    let pid = started.pid;
    super::shims::adopt(started);
    Ok(pid)
}
