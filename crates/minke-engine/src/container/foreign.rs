//! Containers whose processes another OCI runtime starts (`--runtime`): which one, the bundle that it gets, and its last call. What
//! calls it in between is the helper of the container's shim (`minke-runtime/src/bundle`); limits, signals, pauses and statistics
//! go past it, by the control groups and processes that it has made. Why so: docs/design/runtimes.md.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use minke_model::{Context as _, Error, Result};
use minke_spec::docker::{self, BindMount, ContainerSettings, ExecSettings, MountSettings, Writability};
use minke_spec::foreign::{FILE, Foreign};
use minke_spec::shim::Hook;
use minke_sys::mount::{self, Extent};
use serde_json::{Value, json};

use super::mounts::Given;
use super::paths::ContainerPaths;
use super::record::Record;
use crate::engine::Shared;
use crate::options::RuntimeSettings;

/// Names that mean the engine's own runtime: its own, and Docker's for its own.
pub const OWN_RUNTIMES: [&str; 3] = ["minke", "runc", "io.containerd.runc.v2"];

/// The version of the specification that a bundle names: runtimes refuse what is newer than they are, and nothing newer is in it.
const OLDEST: &str = "1.0.2";
/// How long a runtime may take to clear up before another call is made.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a bundle has its network namespace.
const NETWORK: &str = "network";
/// What the name of a bundle begins with.
const FOLDER: &str = "bundle.";
/// Where a reaper is in a container, and the name by which it knows what it is.
const INIT: &str = "/sbin/docker-init";

/// The runtime of a container, if it isn't the engine's own.
///
/// # Errors
/// Docker's words for one that the engine wasn't told.
pub fn of<'a>(shared: &'a Shared, name: &str) -> Result<Option<&'a RuntimeSettings>> {
    if name.is_empty() || OWN_RUNTIMES.contains(&name) {
        return Ok(None);
    }
    let known = shared.options.runtimes.get(name);
    known.map(Some).ok_or_else(|| Error::invalid(format!("unknown or invalid runtime name: {name}")))
}

/// What a start by another runtime needs beyond any other.
pub struct Prepared {
    /// The bundle.
    pub bundle: String,
    /// What goes beside the request, to be attached below the bundle.
    pub given: Vec<OwnedFd>,
    /// The helper's program: the engine's own.
    pub helper: OwnedFd,
}

/// What one run is.
pub struct Run<'a> {
    /// The container.
    pub record: &'a Record,
    /// The number of its start.
    pub generation: u64,
    /// Its settings.
    pub settings: ContainerSettings,
    /// Mounts that are given as descriptors.
    pub given: Vec<Given>,
    /// The network namespace, if one was made ahead.
    pub network: Option<OwnedFd>,
    /// Programs to be run beside it.
    pub hooks: &'a [Hook],
}

/// The bundle of a run: its own, since the one before may still be cleared up.
fn folder(paths: &ContainerPaths, generation: u64) -> PathBuf {
    paths.runtime.join(format!("{FOLDER}{generation}"))
}

/// Writes the bundle of a run.
pub fn prepare(shared: &Shared, runtime: &RuntimeSettings, mut run: Run<'_>) -> Result<Prepared> {
    let paths = shared.paths(&run.record.id);
    let folder = folder(&paths, run.generation);
    let mut places = vec!["rootfs".to_owned()];
    make_directory(&folder.join("rootfs"))?;
    run.given.extend(shared_binds(&run.settings)?);
    let mut given = Vec::new();
    for mounted in std::mem::take(&mut run.given) {
        let place = format!("mounts/{}", given.len());
        make_place(&folder.join(&place), Path::new(&mounted.source))?;
        let source = folder.join(&place).to_string_lossy().into_owned();
        move_source(&mut run.settings, &mounted, source);
        places.push(place);
        given.push(mounted.mount);
    }
    if let Some(network) = &run.network {
        let copy = mount::copy_fd(network, Extent::One).map_err(std::io::Error::from);
        given.push(copy.context("passing on the network namespace")?);
        make_file(&folder.join(NETWORK))?;
        places.push(NETWORK.to_owned());
    }
    if run.settings.init {
        add_init(shared, &mut run.settings)?;
    }
    read_only_files_plainly(&mut run.settings);
    run.settings.root_path = folder.join("rootfs").to_string_lossy().into_owned();
    let unit = shared.place.unit(run.record, run.generation);
    let systemd = unit.and_then(|unit| {
        let (prefix, name) = unit.name.strip_suffix(".scope")?.rsplit_once('-')?;
        run.settings.cgroup_path = format!("{}:{prefix}:{name}", unit.slice);
        Some("--systemd-cgroup".to_owned())
    });
    write(&folder.join("config.json"), &configuration(shared, &run, &folder)?)?;
    let state = ["--root".to_owned(), folder.join("state").to_string_lossy().into_owned()];
    let call = Foreign {
        program: program(&runtime.path)?,
        arguments: runtime.arguments.iter().cloned().chain(state).chain(systemd).collect(),
        container_id: run.record.id.clone(),
        places,
    };
    write(&folder.join(FILE), &json!(call))?;
    if shared.remap_of(run.record).is_some() {
        let_through(&[&folder, &paths.runtime, paths.runtime.parent().unwrap_or(&folder)])?;
    }
    let helper = File::open("/proc/self/exe").context("opening this program")?.into();
    Ok(Prepared { bundle: folder.to_string_lossy().into_owned(), given, helper })
}

/// The program as an absolute path.
fn program(path: &str) -> Result<String> {
    if path.contains('/') {
        return Ok(path.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|file| file.is_file());
    let found =
        found.ok_or_else(|| Error::system(format!("exec: {path:?}: executable file not found in $PATH")))?;
    Ok(found.to_string_lossy().into_owned())
}

/// What the runtime reads.
fn configuration(shared: &Shared, run: &Run<'_>, folder: &Path) -> Result<Value> {
    let spec = docker::generate_with_filter(&run.settings, &shared.host.facts)?;
    let mut value = serde_json::to_value(spec).context("the container's configuration can't be written")?;
    value["ociVersion"] = json!(OLDEST);
    let namespaces = value["linux"]["namespaces"].as_array_mut().into_iter().flatten();
    for network in namespaces.filter(|namespace| run.network.is_some() && namespace["type"] == "network") {
        network["path"] = json!(folder.join(NETWORK));
    }
    for hook in run.hooks {
        let mut written = json!({ "path": hook.path });
        if !hook.args.is_empty() {
            written["args"] = json!(hook.args);
        }
        if let Some(env) = &hook.env {
            written["env"] = json!(env);
        }
        if hook.timeout_s > 0 {
            written["timeout"] = json!(hook.timeout_s);
        }
        let stage = &mut value["hooks"][hook.stage.name()];
        match stage.as_array_mut() {
            Some(list) => list.push(written),
            None => *stage = json!([written]),
        }
    }
    Ok(value)
}

/// What is mounted in the container is to be seen on the host: such a mount must be of the host's peer group, which the helper's own
/// namespace is not.
fn shared_binds(settings: &ContainerSettings) -> Result<Vec<Given>> {
    let binds = settings.mounts.iter().filter_map(|mount| match mount {
        MountSettings::Bind(bind) if matches!(bind.propagation.as_str(), "shared" | "rshared") => Some(bind),
        _ => None,
    });
    binds
        .map(|bind| {
            let extent = if bind.non_recursive { Extent::One } else { Extent::Tree };
            let copy = mount::copy_path(&bind.source, extent).map_err(std::io::Error::from);
            let mount = copy.with_context(|| format!("opening {}", bind.source))?;
            Ok(Given { source: bind.source.clone(), target: bind.target.clone(), mount })
        })
        .collect()
}

/// Nothing is mounted below a file, and crun fails where it is to look for it.
fn read_only_files_plainly(settings: &mut ContainerSettings) {
    for mount in &mut settings.mounts {
        if let MountSettings::Bind(bind) = mount
            && bind.writability == Writability::ReadOnly
            && Path::new(&bind.source).is_file()
        {
            bind.writability = Writability::ReadOnlyNonRecursive;
        }
    }
}

fn move_source(settings: &mut ContainerSettings, given: &Given, to: String) {
    for mount in &mut settings.mounts {
        if let MountSettings::Bind(bind) = mount
            && (&bind.source, &bind.target) == (&given.source, &given.target)
        {
            bind.source = to;
            return;
        }
    }
}

/// A file or a directory for what is attached there.
fn make_place(place: &Path, source: &Path) -> Result<()> {
    if !source.is_file() {
        return make_directory(place);
    }
    make_directory(place.parent().unwrap_or(place))?;
    make_file(place)
}

fn make_file(place: &Path) -> Result<()> {
    File::create(place).map(drop).with_context(|| format!("making {}", place.display()))
}

fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// A container's root that is somebody else on the host has to reach its root file system by its path.
fn let_through(folders: &[&Path]) -> Result<()> {
    for folder in folders {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))
            .with_context(|| format!("opening {} to users", folder.display()))?;
    }
    Ok(())
}

fn write(path: &Path, value: &Value) -> Result<()> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("writing {}", path.display()))?;
    serde_json::to_writer(file, value).with_context(|| format!("writing {}", path.display()))
}

/// Puts the shim's program, which knows how to reap, before the container's.
fn add_init(shared: &Shared, settings: &mut ContainerSettings) -> Result<()> {
    let file = shared.options.data_root.join("docker-init");
    if std::fs::read(&file).ok().as_deref() != Some(shared.options.shim) {
        let failed = || format!("writing {}", file.display());
        let fresh: PathBuf = shared.options.data_root.join(format!("docker-init.{}", settings.hostname));
        std::fs::write(&fresh, shared.options.shim).with_context(failed)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).with_context(failed)?;
        std::fs::rename(&fresh, &file).with_context(failed)?;
    }
    settings.mounts.push(MountSettings::Bind(BindMount {
        source: file.to_string_lossy().into_owned(),
        target: INIT.into(),
        writability: Writability::ReadOnly,
        ..BindMount::default()
    }));
    settings.args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    Ok(())
}

/// Writes the process of an exec where the helper finds it.
pub fn write_exec(
    shared: &Shared,
    bundle: (&ContainerPaths, u64),
    exec_id: &str,
    (exec, settings): (&ExecSettings, &ContainerSettings),
) -> Result<()> {
    let process = docker::exec_process(exec, settings, &shared.host.facts)?;
    write(&folder(bundle.0, bundle.1).join(format!("exec-{exec_id}.json")), &json!(process))
}

/// Lets the runtime of a run that has ended clear up. Blocks. Does nothing for the engine's own runs.
pub fn end(paths: &ContainerPaths, generation: u64) {
    clear_up(&folder(paths, generation));
}

/// The same for whatever runs of the container there were.
pub fn end_all(paths: &ContainerPaths) {
    for entry in std::fs::read_dir(&paths.runtime).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(FOLDER) {
            clear_up(&entry.path());
        }
    }
}

fn clear_up(bundle: &Path) {
    let path = bundle.join(FILE);
    let Ok(file) = File::open(&path) else { return };
    // A container that goes with its end is cleared up twice: the second waits for the first, and finds nothing.
    let held = minke_sys::lock::hold(&file, PATIENCE);
    let Ok(text) = std::fs::read(&path) else { return };
    let Ok(call) = serde_json::from_slice::<Foreign>(&text) else { return };
    if !matches!(held, Ok(true)) {
        tracing::warn!(container = call.container_id, "the container's runtime takes long to clear up");
    }
    let mut command = Command::new(&call.program);
    command.args(&call.arguments).args(["delete", "--force", &call.container_id]);
    let output = command.stdin(Stdio::null()).output();
    let failed = match &output {
        Ok(output) if output.status.success() => {
            let _ = std::fs::remove_dir_all(bundle);
            return;
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(container = call.container_id, error = failed, "the container's runtime did not clear up");
}
