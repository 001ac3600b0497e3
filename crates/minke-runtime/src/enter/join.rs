//! One more process in a running container.
//!
//! ```text
//! shim -- clone3 (into the cgroup) --> helper: joins all namespaces by the init's pidfd
//!                                      helper -- clone3 (CLONE_PARENT) --> the process, a child of the shim
//! ```
//! From its birth in the pid namespace on, processes of the container can see the new one. One of them that may trace others could take
//! over all the rights that it has then. So where they may, the helper takes on everything that the process will be, filter and
//! credentials included, before the last step; a filter of the user's own has to allow that step then, `clone` or `fork`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::ProcessPlan;
use minke_sys::process::{Clone, Cloned};
use minke_sys::procfs::Procfs;
use minke_sys::rooted::Root;
use minke_sys::{AsFd, AsRawFd, OwnedFd, RawFd, channel, descriptor, process as kernel, pty, signal};

use super::lookup::Program;
use super::{Attendant, ChildStreams, Launched, Report, Reporter, child, process, sources};
use crate::failure::{self, Result};

/// What is kept of a container's start for processes that are added later.
#[derive(Clone, Debug, Default)]
pub struct ExecContext {
    /// `CLONE_NEW*` bits of the namespaces to join.
    pub namespaces: u64,
    /// The cgroup2 directory.
    pub v2: Option<String>,
    /// The v1 directories.
    pub v1: Vec<String>,
    /// These directories and no others: not where the init is, should the container have moved it.
    pub exactly: bool,
}

/// Starts a process in the container whose init is behind `init`; reports as [`super::launch`] does.
pub fn launch_exec(
    context: &ExecContext,
    init: &OwnedFd,
    plan: &ProcessPlan,
    streams: ChildStreams,
    attendant: &dyn Attendant,
) -> Result<Launched> {
    let tasks = sources::open_tasks(&context.v1)?;
    let cgroup = context.v2.as_deref().map(sources::open_cgroup).transpose()?;
    let procfs = Procfs::host().map_err(failure::setup("opening /proc"))?;
    let (ours, theirs) = channel::pair().map_err(failure::setup("making a socket pair"))?;
    let reporter = Reporter(theirs);
    let how = Clone { namespaces: 0, cgroup: cgroup.as_ref().map(|fd| fd.as_fd()), sibling: false };
    let cloned = match kernel::clone(how) {
        // A process of the container has moved its group's controllers below: be where the init is then.
        Err(minke_sys::Errno::BUSY) if !context.exactly => kernel::clone(Clone::default()),
        Err(minke_sys::Errno::BUSY) => {
            let path = context.v2.as_deref().unwrap_or_default();
            let words = format!("error adding pid {} to cgroups: write {path}/cgroup.procs", kernel::pid());
            return Err(failure::setup(words)(minke_sys::Errno::BUSY));
        }
        result => result,
    };
    match cloned.map_err(failure::setup("cloning a process"))? {
        Cloned::Parent(..) => {
            drop(reporter);
            Ok(Launched { pid: None, pidfd: None, status: ours })
        }
        Cloned::Child => {
            drop(ours);
            // Before the user namespace, which would refuse it.
            let users = context.namespaces & u64::from(kernel::CLONE_NEWUSER) != 0;
            let limited = || if users { process::set_limits(plan, 0) } else { Ok(()) };
            if let Err(error) = process::set_oom_score(plan, &procfs, "self").and_then(|()| limited()) {
                reporter.fail(error);
            }
            let mut needed = needed(plan, &streams, &procfs, &reporter);
            needed.extend((3..).take(attendant.preserved() as usize));
            let mut entering = Entering {
                context,
                plan,
                procfs,
                reporter,
                attendant,
                streams: Some(streams),
                variables: Vec::new(),
                done: false,
            };
            match entering.enter(init, &tasks, &mut needed) {
                Ok(Cloned::Parent(pid, _)) => {
                    entering.reporter.send(&Report::Pid(pid));
                    kernel::exit(0)
                }
                Ok(Cloned::Child) => entering.run(),
                Err(error) => entering.reporter.fail(error),
            }
        }
    }
}

/// The descriptors that the process needs on its way to its program. All others are the host's: a process of the container that may
/// trace others sees this one from its birth in the pid namespace on.
fn needed(plan: &ProcessPlan, streams: &ChildStreams, procfs: &Procfs, reporter: &Reporter) -> Vec<RawFd> {
    let mut needed = alloc::vec![reporter.0.as_raw_fd()];
    if plan.apparmor_profile.is_some() || plan.selinux_label.is_some() {
        needed.push(procfs.as_fd().as_raw_fd());
    }
    if let ChildStreams::Files(files) = streams {
        needed.extend(files.iter().map(AsRawFd::as_raw_fd));
    }
    needed
}

/// Whether a process of the container could trace the one that enters, and would gain by it.
fn may_be_traced(context: &ExecContext, plan: &ProcessPlan) -> bool {
    const TRACE: u64 = 1 << 19;
    const ADMINISTER: u64 = 1 << 21;
    let own_users = context.namespaces & u64::from(kernel::CLONE_NEWUSER) != 0;
    let rights = plan.capabilities.bounding;
    !own_users && rights & TRACE != 0 && rights & ADMINISTER == 0
}

/// A process on its way into a container.
struct Entering<'a> {
    context: &'a ExecContext,
    plan: &'a ProcessPlan,
    procfs: Procfs,
    reporter: Reporter,
    attendant: &'a dyn Attendant,
    streams: Option<ChildStreams>,
    variables: Vec<String>,
    /// It is already all that it will be, but for its session and terminal.
    done: bool,
}

impl Entering<'_> {
    /// Joins the container's groups and namespaces; the clone is in its pid namespace.
    fn enter(&mut self, init: &OwnedFd, tasks: &[OwnedFd], needed: &mut [RawFd]) -> Result<Cloned> {
        sources::join_v1(tasks)?;
        kernel::join_namespaces(init, self.context.namespaces)
            .map_err(failure::setup("error joining the container's namespaces"))?;
        descriptor::close_all_but(needed).map_err(failure::setup("closing descriptors"))?;
        if may_be_traced(self.context, self.plan) {
            signal::reset().map_err(failure::setup("resetting the signals"))?;
            if !matches!(self.streams, Some(ChildStreams::Terminal(_))) {
                self.take_streams()?;
            }
            self.become_it()?;
            self.done = true;
        }
        kernel::clone(Clone { sibling: true, ..Clone::default() })
            .map_err(failure::setup("cloning a process"))
    }

    fn take_streams(&mut self) -> Result<()> {
        let Some(streams) = self.streams.take() else { return Ok(()) };
        let terminal = match &streams {
            ChildStreams::Terminal(_) => {
                let words = "error opening a terminal";
                let root = Root::current().map_err(failure::setup(words))?;
                Some(pty::open(&root).map_err(failure::setup(words))?)
            }
            _ => None,
        };
        process::take_streams(streams, terminal, self.plan, &self.reporter)
    }

    fn set_up(&mut self) -> Result<()> {
        if self.done {
            kernel::new_session().map_err(failure::setup("making a session"))?;
            return self.take_streams();
        }
        signal::reset().map_err(failure::setup("resetting the signals"))?;
        kernel::new_session().map_err(failure::setup("making a session"))?;
        if self.context.namespaces & u64::from(kernel::CLONE_NEWUSER) != 0 {
            child::become_root_of_user_namespace()?;
        }
        self.take_streams()?;
        self.become_it()
    }

    fn become_it(&mut self) -> Result<()> {
        self.variables = self.attendant.variables(self.plan);
        process::become_it(self.plan, &self.procfs, &self.reporter, self.attendant.preserved())
    }

    fn run(mut self) -> ! {
        if let Err(error) = self.set_up() {
            self.reporter.fail(error);
        }
        let found = Program::find(self.plan, &self.variables);
        match found.and_then(|program| self.attendant.before_program().map(|()| program)) {
            Ok(program) => {
                self.reporter.send(&Report::Executing);
                program.execute()
            }
            Err(error) => self.reporter.fail(error),
        }
    }
}
