//! `kill` and `delete`.

use std::time::Duration;

use minke_model::signal::Signal;
use minke_sys::cgroup::Group;
use minke_sys::{process as kernel, signal};

use super::arguments::{Given, Global, check_id};
use super::state::{Directory, State, Status};
use super::{Failure, failed, freeze, hooks, logger, scope};

/// Sends a signal.
pub fn kill(global: &Global, given: &Given) -> Result<(), Failure> {
    let (id, rest) = given.id_and_rest()?;
    let word = rest.first().map_or("SIGTERM", String::as_str);
    let number = match word.parse::<i32>() {
        Ok(number) if (0..=64).contains(&number) => number,
        _ => Signal::parse(word)?.number(),
    };
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    let status = directory.status(&state);
    if given.has("all") {
        for pid in state.group().pids() {
            let _ = kernel::kill(pid, number);
        }
    } else if status == Status::Stopped {
        return Err(Failure::new("container not running"));
    } else {
        send(&state, number)?;
    }
    // On version 1 a frozen process doesn't even die.
    if status == Status::Paused && number == signal::KILL && !state.v1.is_empty() {
        state.group().thaw().map_err(failed("unable to thaw"))?;
    }
    Ok(())
}

/// The pidfd makes sure that it is still the same process.
fn send(state: &State, number: i32) -> Result<(), Failure> {
    let pidfd = kernel::pidfd_open(state.pid).map_err(failed("finding the container's init"))?;
    if !state.is_alive() {
        return Err(Failure::new("container not running"));
    }
    kernel::pidfd_signal(&pidfd, number).map_err(failed("sending the signal"))
}

/// Removes what is left of the containers that are named.
pub fn delete_all(global: &Global, given: &Given) -> Result<(), Failure> {
    if given.words.is_empty() {
        return Err(Failure::new("a container id is needed"));
    }
    for id in &given.words {
        delete(global, check_id(id)?, given.has("force"))?;
    }
    Ok(())
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
    let status = directory.status(&state);
    if status != Status::Stopped {
        if !force && status != Status::Created {
            return Err(Failure::new(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.word()
            )));
        }
        let _ = send(&state, signal::KILL);
    }
    let group = state.group();
    freeze::thaw_wherever(&state);
    end_all(&state, &group);
    if let Err(failure) = scope::end(&state.unit) {
        logger::warning(global, &failure.to_string());
    }
    remove_group(group);
    let hooks = directory.read_spec().ok().and_then(|spec| spec.hooks().clone());
    directory.remove()?;
    let list = hooks.as_ref().and_then(|hooks| hooks.poststop().as_deref()).unwrap_or_default();
    let told = if list.is_empty() { String::new() } else { state.told(Status::Stopped, 0) };
    for hook in list {
        if let Err(failure) =
            hooks::run_all("poststop", std::slice::from_ref(hook), &told, Some(&state.bundle))
        {
            logger::warning(global, &failure.to_string());
        }
    }
    Ok(())
}

/// Ends what is left in the groups. With a pid namespace of its own, nothing outlives the init that isn't somebody else's.
fn end_all(state: &State, group: &Group) {
    if group.is_frozen() {
        let _ = group.thaw();
    }
    if !state.own_pids {
        let _ = group.kill();
    }
}

/// Removes directories as soon as the kernel has taken the last process out of them.
pub fn remove_group(mut group: Group) {
    for attempt in 0..200u32 {
        group = group.remove();
        if group.is_empty() {
            return;
        }
        let _ = kernel::reap(false);
        std::thread::sleep(Duration::from_micros(if attempt < 20 { 200 } else { 10_000 }));
    }
}
