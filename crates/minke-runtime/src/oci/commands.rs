//! The operations of the runtime specification: create, start, state, kill, delete, and `run` over them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_model::signal::Signal;
use minke_spec::plan::{CgroupPlan, StartPlan};
use minke_sys::cgroup::{self, Group, Write};
use minke_sys::{OwnedFd, process as kernel, signal};
use rustix::fs::{Mode, OFlags};

use super::arguments::{Create, Global};
use super::bundle::Bundle;
use super::state::{Directory, State, Status};
use super::{Failure, console, failed};
use crate::enter::{self, ChildStreams, Launched, Report, Sources};

/// Sets a container up; its program waits for [`start`].
pub fn create(global: &Global, options: &Create) -> Result<(), Failure> {
    create_container(global, options).map(|_| ())
}

/// Creates and starts a container and waits for its end, unless it is to go on alone.
pub fn run(global: &Global, options: &Create) -> Result<i32, Failure> {
    // From here on signals wait until somebody is there to get them.
    signal::block_exactly(if options.detach { 0 } else { signal::ALL })
        .map_err(failed("blocking signals"))?;
    let state = create_container(global, options)?;
    start(global, &options.id)?;
    if options.detach {
        return Ok(0);
    }
    let code = pass_signals_until_end(state.pid);
    if !options.keep {
        delete(global, &options.id, true)?;
    }
    Ok(code)
}

fn create_container(global: &Global, options: &Create) -> Result<State, Failure> {
    let mut bundle = Bundle::read(&options.bundle, &options.id)?;
    bundle.plan.wait_for_start = true;
    let console = options.console_socket.as_deref().map(console::connect).transpose()?;
    if bundle.terminal.is_some() && console.is_none() {
        return Err(Failure::new("cannot allocate a terminal: process.terminal needs --console-socket"));
    }
    if bundle.terminal.is_none() && console.is_some() {
        return Err(Failure::new("cannot use a console socket if the process has no terminal"));
    }
    let directory = Directory::create(global, &options.id)?;
    let group = group_of(&bundle.plan.cgroup);
    let mut state = State::new(&options.id, &bundle.path, std::mem::take(&mut bundle.annotations), &group);
    match set_up(&directory, &mut state, &bundle, console.as_ref(), options.pid_file.as_deref()) {
        Ok(()) => Ok(state),
        Err(failure) => {
            let _ = group.kill();
            remove_group(group);
            let _ = directory.remove();
            Err(failure)
        }
    }
}

fn group_of(plan: &CgroupPlan) -> Group {
    Group { v2: plan.v2.as_ref().map(PathBuf::from), v1: plan.v1.iter().map(PathBuf::from).collect() }
}

fn set_up(
    directory: &Directory,
    state: &mut State,
    bundle: &Bundle,
    console: Option<&std::os::unix::net::UnixStream>,
    pid_file: Option<&Path>,
) -> Result<(), Failure> {
    // Known before anything is made, so that `delete` finds it whatever happens here.
    directory.write(state)?;
    prepare_cgroups(&bundle.plan)?;
    let gate = open_gate(&directory.gate())?;
    let mut sources = Sources::open(&bundle.plan, None, Vec::new())?;
    sources.wait_at(gate);
    let streams = match bundle.terminal {
        Some(size) => ChildStreams::Terminal(size),
        None => ChildStreams::Inherited,
    };
    // What this process has open is nobody's inside.
    kernel::set_dumpable(false).map_err(failed("closing this process to others"))?;
    let mut launched = enter::launch(&bundle.plan, sources, streams)?;
    wait_until_ready(&mut launched, console)?;
    let pid = launched.pid.ok_or_else(|| Failure::new("the container's init has no pid"))?;
    state.set_pid(pid);
    directory.write(state)?;
    if let Some(path) = pid_file {
        write_beside(path, &pid.to_string())?;
    }
    Ok(())
}

fn write_beside(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(failed(path.display().to_string()))
}

fn prepare_cgroups(plan: &StartPlan) -> Result<(), Failure> {
    let plan = &plan.cgroup;
    for path in &plan.v1 {
        cgroup::make_v1(Path::new(path)).map_err(failed("creating a control group"))?;
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

/// A named pipe: whoever writes a byte into it lets the container start.
fn open_gate(path: &Path) -> Result<OwnedFd, Failure> {
    let words = || path.display().to_string();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o600), 0)
        .map_err(failed(words()))?;
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed(words()))
}

fn wait_until_ready(
    launched: &mut Launched,
    console: Option<&std::os::unix::net::UnixStream>,
) -> Result<(), Failure> {
    loop {
        match launched.report().map_err(failed("setting up the container"))? {
            Some((Report::Terminal, Some(controller))) => {
                if let Some(socket) = console {
                    console::send(socket, &controller)?;
                }
            }
            Some((Report::Pid(pid), _)) => {
                launched.found_pid(pid).map_err(failed("finding the container's init"))?
            }
            Some((Report::Ready, _)) => return Ok(()),
            Some((Report::Failed(error), _)) => return Err(error.into()),
            Some((Report::Executing | Report::Terminal, _)) => {}
            None => return Err(Failure::new("the container's init ended while it was being set up")),
        }
    }
}

/// Lets a created container execute its program.
pub fn start(global: &Global, id: &str) -> Result<(), Failure> {
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    match directory.status(&state) {
        Status::Created => {}
        Status::Running => return Err(Failure::new("cannot start an already running container")),
        Status::Stopped => return Err(Failure::new("cannot start a container that has stopped")),
    }
    let gate = directory.gate();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&gate, flags, Mode::empty()).map_err(failed("starting the container"))?;
    // The pipe's name says "created": it goes first, so that nobody starts twice.
    std::fs::remove_file(&gate).map_err(failed("starting the container"))?;
    rustix::io::write(&opened, &[1]).map(|_| ()).map_err(failed("starting the container"))
}

/// Prints the state as the specification has it.
pub fn print_state(global: &Global, id: &str) -> Result<(), Failure> {
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    println!("{}", state.render(directory.status(&state)));
    Ok(())
}

/// Sends a signal.
pub fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<(), Failure> {
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    let number = Signal::parse(signal)?.number();
    if all {
        for pid in state.group().pids() {
            let _ = kernel::kill(pid, number);
        }
        return Ok(());
    }
    if directory.status(&state) == Status::Stopped {
        return Err(Failure::new("container not running"));
    }
    send(&state, number)
}

/// The pidfd makes sure that it is still the same process.
fn send(state: &State, number: i32) -> Result<(), Failure> {
    let pidfd = kernel::pidfd_open(state.pid).map_err(failed("finding the container's init"))?;
    if !state.is_alive() {
        return Err(Failure::new("container not running"));
    }
    kernel::pidfd_signal(&pidfd, number).map_err(failed("sending the signal"))
}

/// Removes what is left of a container.
pub fn delete(global: &Global, id: &str, force: bool) -> Result<(), Failure> {
    let directory = match Directory::open(global, id) {
        // What isn't there is as deleted as it can be.
        Err(_) if force => return Ok(()),
        result => result?,
    };
    let Ok(state) = directory.read() else {
        // It was never more than a directory.
        return if force {
            directory.remove()
        } else {
            Err(Failure::new(format!("container {id} has no state")))
        };
    };
    if directory.status(&state) != Status::Stopped {
        if !force && directory.status(&state) == Status::Running {
            return Err(Failure::new(format!("cannot delete container {id} that is not stopped: running")));
        }
        let _ = send(&state, signal::KILL);
    }
    let group = state.group();
    let _ = group.kill();
    remove_group(group);
    directory.remove()
}

/// Removes directories as soon as the kernel has taken the last process out of them.
fn remove_group(mut group: Group) {
    for attempt in 0..200u32 {
        group = group.remove();
        if group.is_empty() {
            return;
        }
        let _ = kernel::reap(false);
        std::thread::sleep(Duration::from_micros(if attempt < 20 { 200 } else { 10_000 }));
    }
}

/// Passes every signal on to the container's init until it ends; returns its exit code.
fn pass_signals_until_end(init: i32) -> i32 {
    const OWN: signal::Set =
        signal::only(signal::CHILD) | signal::only(signal::TTY_IN) | signal::only(signal::TTY_OUT);
    loop {
        while let Ok(Some(ended)) = kernel::reap(false) {
            if ended.pid == init {
                return ended.code;
            }
        }
        let arrived = signal::wait(signal::ALL);
        if arrived > 0 && OWN & signal::only(arrived) == 0 {
            let _ = kernel::kill(init, arrived);
        }
    }
}
