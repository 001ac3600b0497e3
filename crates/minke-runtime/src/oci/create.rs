//! Making containers: `create` and `run`, and `start` of what was created.

use std::path::{Path, PathBuf};

use minke_spec::plan::{CgroupPlan, StartPlan};
use minke_sys::cgroup::{self, Group, Write};
use minke_sys::{OwnedFd, process as kernel, signal};
use oci_spec::runtime::Hooks;
use rustix::fs::{Mode, OFlags};

use super::arguments::{Given, Global};
use super::attendant::Companion;
use super::bundle::{Bundle, listen_descriptors};
use super::launching::Watch;
use super::state::{Directory, State, Status};
use super::{Failure, console, delete, failed, hooks, logger, scope, terminal};
use crate::enter::{self, ChildStreams, Launched, Sources};

/// How a container is made.
struct Making<'a> {
    global: &'a Global,
    given: &'a Given,
    id: &'a str,
    /// Its program waits for `start`.
    gated: bool,
    /// Nobody stays with it.
    detached: bool,
}

/// A container that was made.
struct Made {
    state: State,
    launched: Launched,
    /// The controlling side of its terminal, if it stays here.
    terminal: Option<OwnedFd>,
}

/// Sets a container up; its program waits for [`start`].
pub fn create(global: &Global, given: &Given) -> Result<(), Failure> {
    make(&Making { global, given, id: given.id()?, gated: true, detached: true }).map(|_| ())
}

/// Creates and starts a container and waits for its end, unless it is to go on alone; returns its exit code.
pub fn run(global: &Global, given: &Given) -> Result<i32, Failure> {
    let (id, detached) = (given.id()?, given.has("detach"));
    // From here on signals wait until somebody is there to get them.
    signal::block_exactly(if detached { 0 } else { signal::ALL }).map_err(failed("blocking signals"))?;
    let made = make(&Making { global, given, id, gated: false, detached })?;
    if detached {
        return Ok(0);
    }
    let code = match &made.terminal {
        Some(controller) => terminal::relay(controller, made.state.pid),
        None => Ok(terminal::wait(made.state.pid)),
    };
    drop(made.launched);
    if !given.has("keep") {
        delete::delete(global, id, true)?;
    }
    code
}

fn make(making: &Making<'_>) -> Result<Made, Failure> {
    let Making { global, given, id, gated, detached } = *making;
    let path = given.path("bundle").unwrap_or_else(|| ".".into());
    let file = given.path("config").unwrap_or_else(|| "config.json".into());
    let mut bundle = Bundle::read(global, &path, &file, id)?;
    bundle.plan.wait_for_start = true;
    let console = console::asked_for(given, bundle.terminal.is_some(), detached)?;
    let directory = Directory::create(global, id)?;
    let group = group_of(&bundle.plan.cgroup);
    let mut state = State::new(id, &bundle.path);
    state.annotations = bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect();
    (state.v2, state.v1) = (group.v2.clone(), group.v1.clone());
    state.rootfs = bundle.rootfs();
    state.namespaces = enter::namespace_kinds(&bundle.plan.namespaces) | u64::from(kernel::CLONE_NEWNS);
    state.own_pids = bundle.plan.namespaces.new & u64::from(kernel::CLONE_NEWPID) != 0;
    state.cgroups_path.clone_from(&bundle.cgroups_path);
    state.has_gate = gated;
    state.unit = bundle.unit.as_ref().map(|unit| unit.name.clone()).unwrap_or_default();
    let foreign = match check_groups(global, &group) {
        Ok(foreign) => foreign,
        Err(failure) => {
            let _ = directory.remove();
            return Err(failure);
        }
    };
    match set_up(making, &directory, state.clone(), &bundle, console) {
        Ok(made) => Ok(made),
        Err(failure) => {
            if let Ok(found) = directory.read() {
                state = found;
            }
            if !foreign {
                let _ = group.kill();
            } else if state.pid > 0 {
                let _ = kernel::kill(state.pid, signal::KILL);
            }
            let _ = scope::end(&state.unit);
            delete::remove_group(group);
            let _ = directory.remove();
            run_poststop(global, &state, bundle.spec.hooks().as_ref());
            Err(failure)
        }
    }
}

fn run_poststop(global: &Global, state: &State, lists: Option<&Hooks>) {
    let list = lists.and_then(|hooks| hooks.poststop().as_deref()).unwrap_or_default();
    let told = state.told(Status::Stopped, 0);
    for hook in list {
        if let Err(failure) =
            hooks::run_all("poststop", std::slice::from_ref(hook), &told, Some(&state.bundle))
        {
            logger::warning(global, &failure.to_string());
        }
    }
}

fn group_of(plan: &CgroupPlan) -> Group {
    Group { v2: plan.v2.as_ref().map(PathBuf::from), v1: plan.v1.iter().map(PathBuf::from).collect() }
}

/// Says whether somebody else is in the groups already; a frozen one would never let the container start.
fn check_groups(global: &Global, group: &Group) -> Result<bool, Failure> {
    if group.is_frozen() {
        return Err(Failure::new("container's cgroup unexpectedly frozen"));
    }
    let found = group.pids().len();
    if found > 0 {
        logger::warning(global, &format!("container's cgroup is not empty: {found} process(es) found"));
    }
    Ok(found > 0)
}

fn set_up(
    making: &Making<'_>,
    directory: &Directory,
    mut state: State,
    bundle: &Bundle,
    console: Option<std::os::unix::net::UnixStream>,
) -> Result<Made, Failure> {
    let Making { global, given, gated, .. } = *making;
    // Known before anything is made, so that `delete` finds it whatever happens here.
    directory.write(&state)?;
    directory.write_spec(&bundle.spec)?;
    let held = bundle.unit.as_ref().map(|unit| scope::start(unit, making.id, &bundle.spec)).transpose()?;
    prepare_cgroups(&bundle.plan)?;
    let mut plan = bundle.plan.clone();
    let mut sources = Sources::open(&plan, None, Vec::new())?;
    sources.give_net_devices(&mut plan)?;
    let mut companion =
        Companion { preserved: preserved(given)?, listening: listen_descriptors(), ..Companion::default() };
    companion.preserved += companion.listening;
    if let Some(hooks) = bundle.spec.hooks() {
        companion.root_path = Some(state.rootfs.clone());
        companion.hooks = Some((hooks.clone(), state.clone()));
    }
    if gated {
        sources.wait_at(open_pipe(&directory.gate())?);
        companion.outcome = Some(open_pipe(&directory.outcome())?);
    }
    let streams = match bundle.terminal {
        Some(size) => ChildStreams::Terminal(size),
        None => ChildStreams::Inherited,
    };
    // What this process has open is nobody's inside.
    kernel::set_dumpable(false).map_err(failed("closing this process to others"))?;
    logger::debug(global, "nsexec container setup");
    let mut launched = enter::launch(&plan, sources, streams, &companion)?;
    drop((companion, held));
    if let Some(pid) = launched.pid {
        state.set_pid(pid);
    }
    logger::debug(global, "child process in init()");
    let mut watch = Watch {
        state: &mut state,
        status: Status::Creating,
        console,
        terminal: None,
        seccomp: bundle.spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()),
        hooks: bundle.spec.hooks().clone(),
        is_init: true,
    };
    let followed = watch.follow(&mut launched);
    let terminal = watch.terminal.take();
    // Known also where it failed, so that it can be ended.
    directory.write(&state)?;
    followed?;
    if state.pid == 0 {
        return Err(Failure::new("the container's init has no pid"));
    }
    if let Some(path) = given.path("pid-file") {
        write_beside(&path, &state.pid.to_string())?;
    }
    logger::debug(global, "init: closing the pipe to signal completion");
    if !gated {
        launched.go().map_err(failed("releasing the container's init"))?;
        watch_to_program(&mut state, &mut launched)?;
        run_poststart(global, &state, bundle.spec.hooks().as_ref())?;
    }
    Ok(Made { state, launched, terminal })
}

fn watch_to_program(state: &mut State, launched: &mut Launched) -> Result<(), Failure> {
    let status = Status::Created;
    let mut watch =
        Watch { state, status, console: None, terminal: None, seccomp: None, hooks: None, is_init: true };
    watch.follow(launched).map(|_| ())
}

/// A hook that fails stops the container.
fn run_poststart(global: &Global, state: &State, lists: Option<&Hooks>) -> Result<(), Failure> {
    let list = lists.and_then(|hooks| hooks.poststart().as_deref()).unwrap_or_default();
    if list.is_empty() {
        return Ok(());
    }
    logger::debug(global, "running the poststart hooks");
    let told = state.told(Status::Running, state.pid);
    hooks::run_all("poststart", list, &told, Some(&state.bundle)).inspect_err(|_| {
        let _ = kernel::kill(state.pid, signal::KILL);
    })
}

/// How many descriptors are passed on because the caller said so.
pub fn preserved(given: &Given) -> Result<u32, Failure> {
    given.get("preserve-fds").map_or(Ok(0), |count| count.parse().map_err(failed("--preserve-fds")))
}

/// Writes a file whole or not at all.
pub fn write_beside(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let beside = path.with_file_name(name);
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(failed(path.display().to_string()))
}

fn prepare_cgroups(plan: &StartPlan) -> Result<(), Failure> {
    let plan = &plan.cgroup;
    for path in &plan.v1 {
        cgroup::make_v1(Path::new(path)).map_err(failed("creating a control group"))?;
    }
    // Directories that were there before us may be without processors, outermost first.
    for file in plan.inherit.iter().map(Path::new) {
        inherit(file).map_err(failed(file.display().to_string()))?;
    }
    if let Some(path) = &plan.v2 {
        std::fs::create_dir_all(path).map_err(failed(path.clone()))?;
    }
    let writes = plan.writes.iter().map(|write| Write {
        path: Path::new(&write.path),
        value: &write.value,
        optional: write.optional,
    });
    cgroup::apply(writes).map_err(failed("setting a control group's value"))?;
    if let (Some(path), false) = (&plan.v2, plan.device_program.is_empty()) {
        let opened = minke_sys::spawn::open_directory(Path::new(path)).map_err(failed(path.clone()))?;
        minke_sys::bpf::attach_device_program(&opened, &plan.device_program)
            .map_err(failed("attaching the device rules"))?;
    }
    Ok(())
}

fn inherit(file: &Path) -> std::io::Result<()> {
    if !std::fs::read_to_string(file)?.trim().is_empty() {
        return Ok(());
    }
    let (directory, name) = (file.parent(), file.file_name().unwrap_or_default());
    let above = directory.and_then(Path::parent).unwrap_or(Path::new("/")).join(name);
    minke_sys::cgroup::write_value(file, std::fs::read_to_string(above)?.trim())
}

/// Makes a named pipe and opens both its ends.
fn open_pipe(path: &Path) -> Result<OwnedFd, Failure> {
    let words = || path.display().to_string();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o600), 0)
        .map_err(failed(words()))?;
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed(words()))
}

/// Lets a created container execute its program.
pub fn start(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    match directory.status(&state) {
        Status::Created => {}
        Status::Stopped => return Err(Failure::new("cannot start a container that has stopped")),
        Status::Creating => return Err(Failure::new("cannot start a container that is being created")),
        Status::Running | Status::Paused => {
            return Err(Failure::new("cannot start an already running container"));
        }
    }
    let words = || failed("starting the container");
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let outcome =
        rustix::fs::open(directory.outcome(), OFlags::RDONLY | flags, Mode::empty()).map_err(words())?;
    let gate = directory.gate();
    let opened = rustix::fs::open(&gate, OFlags::WRONLY | flags, Mode::empty()).map_err(words())?;
    // The pipe's name says "created": it goes first, so that nobody starts twice.
    std::fs::remove_file(&gate).map_err(failed("starting the container"))?;
    rustix::io::write(&opened, &[1]).map_err(words())?;
    let failure = wait_for_outcome(&outcome).map_err(words())?;
    let _ = std::fs::remove_file(directory.outcome());
    if !failure.is_empty() {
        return Err(Failure::new(failure));
    }
    run_poststart(global, &state, directory.read_spec()?.hooks().as_ref())
}

/// Reads until the child has executed its program or ended.
fn wait_for_outcome(outcome: &OwnedFd) -> minke_sys::Result<String> {
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match minke_sys::descriptor::read(outcome, &mut bytes)? {
            Some(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Some(count) => text.extend_from_slice(&bytes[..count]),
            None => minke_sys::signal::wait_readable(outcome)?,
        }
    }
}
