//! `exec`: one more process in a container.

use std::path::{Path, PathBuf};

use minke_spec::host::HostFacts;
use minke_spec::plan::ProcessPlan;
use minke_spec::{capabilities, seccomp};
use minke_sys::{process as kernel, signal};
use oci_spec::runtime::{Process, Spec};
use rustix::thread::CpuSet;
use serde_json::{Value, json};

use super::arguments::{Given, Global};
use super::attendant::Companion;
use super::bundle::{clamp, listen_descriptors};
use super::create::{preserved, write_beside};
use super::launching::Watch;
use super::state::{Directory, State, Status, read_limited};
use super::{Failure, console, failed, host, logger, terminal};
use crate::enter::{self, ChildStreams, ExecContext};

/// The longest process description that is read.
const LIMIT_BYTES: u64 = 16 << 20;

/// Runs a process and, unless it is to go on alone, waits for it; returns its exit code.
pub fn exec(global: &Global, given: &Given) -> Result<i32, Failure> {
    let (id, rest) = given.id_and_rest()?;
    let directory = Directory::open(global, id)?;
    let state = directory.read()?;
    match directory.status(&state) {
        Status::Stopped | Status::Creating => return Err(Failure::new("cannot exec in a stopped container")),
        Status::Paused if !given.has("ignore-paused") => {
            return Err(Failure::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    let spec = directory.read_spec()?;
    let process = describe(global, given, &spec, rest)?;
    let facts = host::facts()?;
    let mut plan = minke_spec::process::plan_process(&process, &facts)?;
    plan.create_cwd = false;
    complete(&mut plan, &spec, &facts)?;
    // From here on signals wait until somebody is there to get them.
    let detached = given.has("detach");
    signal::block_exactly(if detached { 0 } else { signal::ALL }).map_err(failed("blocking signals"))?;
    start(global, given, Starting { state, spec, process, plan, detached })
}

struct Starting {
    state: State,
    spec: Spec,
    process: Process,
    plan: ProcessPlan,
    detached: bool,
}

fn start(global: &Global, given: &Given, starting: Starting) -> Result<i32, Failure> {
    let Starting { mut state, spec, process, plan, detached } = starting;
    let wants_terminal = process.terminal().unwrap_or(false);
    let console = console::asked_for(given, wants_terminal, detached)?;
    let size = process.console_size().map(|size| (clamp(size.height()), clamp(size.width())));
    let streams = if wants_terminal { ChildStreams::Terminal(size) } else { ChildStreams::Inherited };
    let context = context_of(&state, given)?;
    let listening = listen_descriptors();
    let (initial, last) = processors(&process)?;
    let companion = Companion {
        preserved: preserved(given)? + listening,
        listening,
        processors: last,
        ..Companion::default()
    };
    if let Some(initial) = &initial {
        rustix::thread::sched_setaffinity(None, initial)
            .map_err(failed("setting the processors of the process"))?;
    }
    let init = kernel::pidfd_open(state.pid).map_err(failed("finding the container's init"))?;
    if !state.is_alive() {
        return Err(Failure::new("cannot exec in a stopped container"));
    }
    kernel::set_dumpable(false).map_err(failed("closing this process to others"))?;
    logger::debug(global, "nsexec container setup");
    let mut launched = enter::launch_exec(&context, &init, &plan, streams, &companion)?;
    logger::debug(global, "child process in init()");
    logger::debug(global, "setns_init: about to exec");
    let mut watch = Watch {
        state: &mut state,
        status: Status::Running,
        console,
        terminal: None,
        seccomp: spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()),
        hooks: None,
        is_init: false,
    };
    watch.follow(&mut launched)?;
    let terminal = watch.terminal.take();
    let pid = launched.pid.ok_or_else(|| Failure::new("the process has no pid"))?;
    if let Some(path) = given.path("pid-file")
        && let Err(failure) = write_beside(&path, &pid.to_string())
    {
        let _ = kernel::kill(pid, signal::KILL);
        return Err(failure);
    }
    match terminal {
        _ if detached => Ok(0),
        Some(controller) => terminal::relay(&controller, pid),
        None => Ok(terminal::wait(pid)),
    }
}

/// Joins the flags, or the file with the process, with what the container's own process has.
fn describe(global: &Global, given: &Given, spec: &Spec, words: &[String]) -> Result<Process, Failure> {
    let own = spec
        .process()
        .as_ref()
        .ok_or_else(|| Failure::new("the container's configuration has no process"))?;
    let mut value = serde_json::to_value(own).map_err(failed("reading the configuration"))?;
    match given.path("process") {
        Some(path) => read_process(&mut value, &path)?,
        None => {
            if words.is_empty() {
                return Err(Failure::new("process args cannot be empty"));
            }
            value["args"] = json!(words);
            value["terminal"] = json!(given.has("tty"));
        }
    }
    if given.has("tty") {
        value["terminal"] = json!(true);
    }
    for (flag, key) in [("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")] {
        if let Some(text) = given.get(flag) {
            value[key] = json!(text);
        }
    }
    if given.has("no-new-privs") {
        value["noNewPrivileges"] = json!(true);
    }
    if let Some(user) = given.get("user") {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        let number =
            |text: &str| text.parse::<u32>().map_err(failed(format!("parsing {text:?} as a number")));
        value["user"]["uid"] = json!(number(uid)?);
        if let Some(gid) = gid {
            value["user"]["gid"] = json!(number(gid)?);
        }
    }
    for entry in given.all("env") {
        let name = entry.split('=').next().unwrap_or_default();
        if let Some(entries) = value["env"].as_array_mut() {
            entries.retain(|own| own.as_str().is_none_or(|own| own.split('=').next() != Some(name)));
        }
        extend(&mut value["env"], std::iter::once(json!(entry)));
    }
    let groups: Result<Vec<Value>, Failure> = given
        .all("additional-gids")
        .map(|gid| {
            gid.parse::<u32>().map(Value::from).map_err(failed(format!("parsing {gid:?} as a number")))
        })
        .collect();
    extend(&mut value["user"]["additionalGids"], groups?.into_iter());
    for capability in given.all("cap") {
        let Some(number) = capabilities::parse(capability) else {
            logger::warning(global, &format!("unknown capability is ignored: {capability}"));
            continue;
        };
        let name = capabilities::names(1 << number).into_iter().next().unwrap_or_default();
        // Inheritable and ambient are left as they are.
        for set in ["bounding", "effective", "permitted"] {
            extend(&mut value["capabilities"][set], std::iter::once(json!(name)));
        }
    }
    serde_json::from_value(value).map_err(failed("reading the process"))
}

fn extend(list: &mut Value, more: impl Iterator<Item = Value>) {
    let mut all = list.as_array().cloned().unwrap_or_default();
    all.extend(more);
    if !all.is_empty() {
        *list = Value::Array(all);
    }
}

/// Reads a process; what it doesn't say about privileges is as for the container's own.
fn read_process(value: &mut Value, path: &Path) -> Result<(), Failure> {
    let text = read_limited(path, LIMIT_BYTES)?;
    let mut read: Value = serde_json::from_slice(&text).map_err(failed(path.display().to_string()))?;
    let Some(fields) = read.as_object_mut() else {
        return Err(Failure::new(format!("{}: not an object", path.display())));
    };
    for key in
        ["capabilities", "apparmorProfile", "selinuxLabel", "oomScoreAdj", "rlimits", "noNewPrivileges"]
    {
        if !fields.contains_key(key)
            && let Some(own) = value.get(key)
        {
            fields.insert(key.into(), own.clone());
        }
    }
    let user = fields.entry("user").or_insert_with(|| json!({}));
    for key in ["uid", "gid"] {
        if user[key].is_null() {
            user[key] = json!(0);
        }
    }
    fields.entry("cwd").or_insert_with(|| json!("/"));
    *value = read;
    Ok(())
}

/// The filter and the persona are the container's.
fn complete(plan: &mut ProcessPlan, spec: &Spec, facts: &HostFacts) -> Result<(), Failure> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    if let Some(filter) = linux.seccomp() {
        (plan.seccomp, plan.seccomp_flags) = seccomp::compile_filter(filter, facts)?;
    }
    plan.personality = minke_spec::compile::personality(linux)?;
    Ok(())
}

/// The processors on the way in, and those for the program.
fn processors(process: &Process) -> Result<(Option<CpuSet>, Option<CpuSet>), Failure> {
    let affinity = process.exec_cpu_affinity();
    let set = |list: Option<&String>| list.map(|list| parse_processors(list)).transpose();
    let initial = affinity.as_ref().and_then(|affinity| affinity.initial().as_ref());
    let last = affinity.as_ref().and_then(|affinity| affinity.cpu_affinity_final().as_ref());
    Ok((set(initial)?, set(last)?))
}

/// Reads a list such as `0-3,7`.
fn parse_processors(list: &str) -> Result<CpuSet, Failure> {
    let wrong = || Failure::new(format!("invalid list of processors: {list:?}"));
    let mut set = CpuSet::new();
    for part in list.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if first > last || last >= CpuSet::MAX_CPU {
            return Err(wrong());
        }
        (first..=last).for_each(|number| set.set(number));
    }
    Ok(set)
}

/// Where the process is put: the container's groups, or groups below them (`--cgroup`).
fn context_of(state: &State, given: &Given) -> Result<ExecContext, Failure> {
    let (mut v1, mut v2) = (state.v1.clone(), state.v2.clone());
    let mut exactly = false;
    for word in given.all("cgroup") {
        let (controllers, below) =
            word.split_once(':').map_or((None, word), |(names, path)| (Some(names), path));
        let below = below.trim_matches('/');
        if below.split('/').any(|part| part == "..") {
            return Err(Failure::new(format!("bad sub cgroup path: {below} is not a sub cgroup path")));
        }
        exactly = true;
        let mut move_to = |path: &mut PathBuf| -> Result<(), Failure> {
            if !below.is_empty() {
                path.push(below);
            }
            if path.is_dir() {
                return Ok(());
            }
            let (pid, path) = (std::process::id(), path.display());
            Err(Failure::new(format!(
                "error adding pid {pid} to cgroups: open {path}/cgroup.procs: no such file or directory"
            )))
        };
        match controllers {
            None => v1.iter_mut().chain(v1_less(&state.v1, &mut v2)).try_for_each(&mut move_to)?,
            Some(_) if state.v1.is_empty() => {
                return Err(Failure::new("--cgroup: a controller can't be named with cgroup v2"));
            }
            Some(names) => {
                for name in names.split(',') {
                    let found = v1.iter_mut().zip(&state.v1).find(|(_, own)| belongs_to(own, state, name));
                    let (path, own) = found.ok_or_else(|| {
                        Failure::new(format!("unknown controller {name} in --cgroup {word}"))
                    })?;
                    path.clone_from(own);
                    move_to(path)?;
                }
            }
        }
    }
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    Ok(ExecContext {
        namespaces: state.namespaces,
        v2: v2.as_ref().map(text),
        v1: v1.iter().map(text).collect(),
        exactly,
    })
}

/// The tree without controllers beside version 1 has no groups of the container's own making.
fn v1_less<'a>(v1: &[PathBuf], v2: &'a mut Option<PathBuf>) -> impl Iterator<Item = &'a mut PathBuf> {
    let counts = v1.is_empty();
    v2.iter_mut().filter(move |_| counts)
}

/// Whether a group's directory is in the hierarchy of a controller: `/sys/fs/cgroup/cpu,cpuacct/...`.
fn belongs_to(path: &Path, state: &State, controller: &str) -> bool {
    let below = state.cgroups_path.trim_start_matches('/');
    let mount = path.to_string_lossy();
    let mount = mount.strip_suffix(below).unwrap_or(&mount);
    mount.split('/').any(|part| part.split(',').any(|name| name == controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read() {
        let set = parse_processors("0-2, 5").expect("a list");
        assert_eq!((0..8).filter(|number| set.is_set(*number)).collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert!(parse_processors("3-1").is_err() && parse_processors("x").is_err());
    }
}
