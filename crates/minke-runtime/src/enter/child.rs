//! What the container's first process does between clone3 and its program, in order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::{ProcessPlan, StartPlan};
use minke_spec::shim::ErrorCode;
use minke_sys::mount::{self, Change};
use minke_sys::process::{Clone, Cloned};
use minke_sys::rooted::Root;
use minke_sys::{Errno, OwnedFd, credentials, link, process as kernel, signal};

use super::lookup::Program;
use super::sources::{self, Sources};
use super::{Attendant, ChildStreams, Report, Reporter, init, mounts, namespaces_of_clone, process};
use crate::failure::{self, Result};

/// Where the root is attached before it becomes `/`: a directory that every host has and everybody may search. Only this process's
/// own mount namespace sees it.
const ATTACH_AT: &str = "/proc";

/// The namespaces that are joined before the container's process is made.
pub(super) const JOINED_FIRST: u64 = (kernel::CLONE_NEWPID | kernel::CLONE_NEWUSER) as u64;

/// Joins the user and pid namespaces of another container, then goes on as [`run`] in a process that is born there.
pub(super) fn run_in_joined_namespaces(
    plan: &StartPlan,
    sources: Sources,
    streams: ChildStreams,
    (reporter, attendant): (Reporter, &dyn Attendant),
) -> ! {
    let step = || -> Result<Cloned> {
        if joins_user(&sources) {
            process::set_oom_score(&plan.process, &sources.procfs, "self")?;
            process::set_limits(&plan.process, 0)?;
        }
        sources::join_namespaces(&sources.namespaces, !JOINED_FIRST)?;
        let namespaces = namespaces_of_clone(&plan.namespaces, plan.cgroup.v1.is_empty());
        kernel::clone(Clone { namespaces, cgroup: None, sibling: true })
            .map_err(failure::setup("cloning the container's init"))
    };
    match step() {
        Ok(Cloned::Child) => run(plan, sources, streams, (reporter, attendant)),
        Ok(Cloned::Parent(pid, _)) => {
            reporter.send(&Report::Pid(pid));
            kernel::exit(0)
        }
        Err(error) => reporter.fail(error),
    }
}

fn joins_user(sources: &Sources) -> bool {
    sources.namespaces.iter().any(|(kind, _)| *kind == u64::from(kernel::CLONE_NEWUSER))
}

/// Becomes the container's first process.
pub(super) fn run(
    plan: &StartPlan,
    mut sources: Sources,
    streams: ChildStreams,
    (reporter, attendant): (Reporter, &dyn Attendant),
) -> ! {
    let gate = sources.gate.take();
    let variables = match set_up(plan, sources, streams, &reporter, attendant) {
        Ok(variables) => variables,
        Err(error) => reporter.fail(error),
    };
    // What isn't there is said before anybody is made to wait for it.
    let program = match Program::find(&plan.process, &variables) {
        Ok(program) => program,
        Err(error) => reporter.fail(error),
    };
    if plan.wait_for_start {
        reporter.send(&Report::Ready);
        if !wait_for_start(gate, &reporter) {
            kernel::exit(1);
        }
    }
    if let Err(error) = attendant.before_program() {
        reporter.fail(error);
    }
    if plan.init {
        init::run(&plan.process, &program, reporter)
    }
    reporter.send(&Report::Executing);
    program.execute()
}

/// Waits at the gate if there is one (whoever opens it need not be the caller), else for the caller's word.
fn wait_for_start(gate: Option<OwnedFd>, reporter: &Reporter) -> bool {
    match gate {
        Some(gate) => matches!(minke_sys::descriptor::read(&gate, &mut [0]), Ok(Some(1))),
        None => reporter.wait_for_go(),
    }
}

fn set_up(
    plan: &StartPlan,
    sources: Sources,
    streams: ChildStreams,
    reporter: &Reporter,
    attendant: &dyn Attendant,
) -> Result<Vec<String>> {
    // The caller may hold signals back for its own loop, and ignore others.
    signal::reset().map_err(failure::setup("resetting the signals"))?;
    sources::join_v1(&sources.tasks)?;
    if plan.namespaces.new & u64::from(kernel::CLONE_NEWUSER) == 0 {
        process::set_oom_score(&plan.process, &sources.procfs, "self")?;
    }
    enter_namespaces(plan, &sources, reporter)?;
    kernel::new_session().map_err(failure::setup("making a session"))?;
    let root = build_root(plan, sources, &streams, attendant.root_path())?;
    set_names(plan)?;
    if attendant.asks_caller() {
        reporter.send(&Report::Created);
        if !reporter.wait_for_go() {
            kernel::exit(1);
        }
    }
    attendant.before_root()?;
    pivot(plan, &root.directory)?;
    process::take_streams(streams, root.terminal, &plan.process, reporter)?;
    let variables = attendant.variables(&plan.process);
    process::become_it(&plan.process, &root.procfs, reporter, attendant.preserved())?;
    Ok(variables)
}

fn enter_namespaces(plan: &StartPlan, sources: &Sources, reporter: &Reporter) -> Result<()> {
    let new_user = plan.namespaces.new & u64::from(kernel::CLONE_NEWUSER) != 0;
    if new_user && !reporter.wait_for_go() {
        kernel::exit(1);
    }
    sources::join_namespaces(&sources.namespaces, JOINED_FIRST)?;
    if new_user || joins_user(sources) {
        become_root_of_user_namespace()?;
    }
    if !plan.cgroup.v1.is_empty() && plan.namespaces.new & u64::from(kernel::CLONE_NEWCGROUP) != 0 {
        kernel::unshare(u64::from(kernel::CLONE_NEWCGROUP))
            .map_err(failure::setup("making a control group namespace"))?;
    }
    if plan.namespaces.new & u64::from(kernel::CLONE_NEWTIME) != 0 {
        enter_time_namespace(plan, &sources.procfs)?;
    }
    if plan.namespaces.loopback_up {
        link::loopback_up().map_err(failure::setup("bringing up the loopback device"))?;
    }
    Ok(())
}

/// A time namespace takes its offsets before anybody is in it.
fn enter_time_namespace(plan: &StartPlan, procfs: &minke_sys::procfs::Procfs) -> Result<()> {
    let words = "making a time namespace";
    let kind = u64::from(kernel::CLONE_NEWTIME);
    kernel::unshare(kind).map_err(failure::setup(words))?;
    for (clock, seconds, nanoseconds) in &plan.namespaces.time_offsets {
        let line = format!("{clock} {seconds} {nanoseconds}\n");
        procfs.write("self/timens_offsets", &line).map_err(failure::setup("setting a clock's offset"))?;
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let path = "/proc/thread-self/ns/time_for_children";
    let namespace =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(failure::setup(words))?;
    kernel::join_namespaces(&namespace, kind).map_err(failure::setup(words))
}

/// Until now the ids are the host's, unknown inside: files made now would belong to nobody.
pub(super) fn become_root_of_user_namespace() -> Result<()> {
    let words = "becoming root of the user namespace";
    // Refused where the map was written by an unprivileged user; the groups are then what they were.
    let _ = credentials::set_groups(&[]);
    credentials::set_gid(0).map_err(failure::setup(words))?;
    credentials::set_uid(0).map_err(failure::setup(words))
}

struct Built {
    directory: Root,
    terminal: Option<minke_sys::pty::Terminal>,
    procfs: minke_sys::procfs::Procfs,
}

fn build_root(plan: &StartPlan, sources: Sources, streams: &ChildStreams, at: Option<&str>) -> Result<Built> {
    let shared = plan.root.propagation & (mount::SHARED | mount::SLAVE) != 0;
    let propagation = if shared { mount::SLAVE } else { mount::PRIVATE };
    separate(propagation | mount::RECURSIVE)
        .map_err(failure::setup("separating the mount namespace from the host's"))?;
    mount::attach_at(&sources.root, at.unwrap_or(ATTACH_AT))
        .map_err(failure::setup("attaching the root file system"))?;
    let Sources { root, mounts: opened, devices, null, procfs, .. } = sources;
    let root = Root::new(root);
    mounts::apply_all(&root, &plan.mounts, opened)?;
    mounts::make_devices(&root, &plan.devices, devices)?;
    mounts::make_links(&root, &plan.links)?;
    let terminal = match streams {
        ChildStreams::Terminal(_) => Some(mounts::open_console(&root)?),
        _ => None,
    };
    mounts::make_late_ones_readonly(&root, &plan.mounts)?;
    process::write_sysctls(&plan.sysctls, &procfs)?;
    mounts::make_readonly(&root, &plan.readonly_paths)?;
    mounts::mask(&root, &plan.masked_paths, null)?;
    create_working_directory(&root, &plan.process)?;
    Ok(Built { directory: root, terminal, procfs })
}

/// Separates the new mount namespace from the host's. Where the engine itself is in a chroot, whose root is no mount, the whole
/// namespace is entered first: what is needed from inside the chroot is open already.
fn separate(propagation: u64) -> minke_sys::Result<()> {
    match mount::set_propagation("/", propagation) {
        Err(Errno::INVAL) => {
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            let own = rustix::fs::open("/proc/self/ns/mnt", flags, rustix::fs::Mode::empty())?;
            kernel::join_namespaces(&own, u64::from(kernel::CLONE_NEWNS))?;
            mount::set_propagation("/", propagation)
        }
        result => result,
    }
}

fn create_working_directory(root: &Root, plan: &ProcessPlan) -> Result<()> {
    if !plan.create_cwd {
        return Ok(());
    }
    let words = || format!("mkdir {:?}", plan.cwd);
    root.make_directories(&plan.cwd, 0o755)
        .map(|_: OwnedFd| ())
        .map_err(failure::coded(ErrorCode::WorkingDirectory, words()))
}

fn set_names(plan: &StartPlan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        kernel::set_hostname(name).map_err(failure::setup("sethostname"))?;
    }
    if let Some(name) = &plan.domainname {
        kernel::set_domainname(name).map_err(failure::setup("setdomainname"))?;
    }
    Ok(())
}

fn pivot(plan: &StartPlan, root: &Root) -> Result<()> {
    if plan.root.readonly {
        mount::change(root.as_fd(), Change { set: mount::ATTR_RDONLY, ..Change::default() })
            .map_err(failure::setup("making the root file system read-only"))?;
    }
    mount::pivot(root.as_fd()).map_err(failure::setup("pivot_root"))?;
    if plan.root.propagation != 0 {
        // Not with all below it, unless the plan says so: each mount has its own.
        mount::set_propagation("/", plan.root.propagation)
            .map_err(failure::setup("setting the root's propagation"))?;
    }
    Ok(())
}
