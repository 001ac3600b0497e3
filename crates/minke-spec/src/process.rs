//! The process of a configuration as a [`ProcessPlan`]: capabilities, limits, identity, scheduling.
//! Runtime specification: config.md "Process".

use minke_model::{Error, Result};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimitType, Process,
    Scheduler as OciScheduler,
};

use crate::capabilities;
use crate::host::HostFacts;
use crate::mounts::{PATH_LIMIT, normalise, text};
use crate::plan::{CapabilitySets, ProcessPlan, Scheduler};

/// The most bytes of arguments and environment together; the kernel's own limit is a quarter of the stack.
const ARGUMENT_BYTES_LIMIT: usize = 8 * 1024 * 1024;
/// The most supplementary groups that the kernel takes.
const GROUP_LIMIT: usize = 65_536;

/// The kernel's number of a resource limit.
fn rlimit_number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// Turns a configuration's process into a plan; also for one more process in a running container.
///
/// The filter isn't compiled here: whoever calls sets [`ProcessPlan::seccomp`].
pub fn plan_process(process: &Process, host: &HostFacts) -> Result<ProcessPlan> {
    let args = process.args().clone().unwrap_or_default();
    let env = process.env().clone().unwrap_or_default();
    let bytes: usize = args.iter().chain(&env).map(String::len).sum();
    if bytes > ARGUMENT_BYTES_LIMIT {
        return Err(Error::invalid(format!("arguments and environment are too long: {bytes} bytes")));
    }
    if let Some(word) = args.iter().chain(&env).find(|word| word.contains('\0')) {
        return Err(Error::invalid(format!(
            "invalid argument or environment variable: NUL byte in {word:?}"
        )));
    }
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("process.args must name a program"));
    }
    let cwd = text(process.cwd())?;
    if !cwd.starts_with('/') || cwd.len() >= PATH_LIMIT {
        return Err(Error::invalid(format!("Cwd must be an absolute path: {cwd:?}")));
    }
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    if groups.len() > GROUP_LIMIT {
        return Err(Error::invalid(format!("too many additional groups: {}", groups.len())));
    }
    if let Some(score) = process.oom_score_adj().filter(|score| !(-1000..=1000).contains(score)) {
        return Err(Error::invalid(format!(
            "Invalid value {score}, range for oom score adj is [-1000, 1000]"
        )));
    }
    Ok(ProcessPlan {
        args,
        env,
        cwd: normalise(cwd, "working directory")?,
        create_cwd: true,
        uid: user.uid(),
        gid: user.gid(),
        groups,
        umask: user.umask(),
        capabilities: capability_sets(process, host),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(process)?,
        oom_score_adj: process.oom_score_adj(),
        apparmor_profile: profile(process.apparmor_profile()).filter(|_| host.apparmor),
        selinux_label: profile(process.selinux_label()),
        io_priority: io_priority(process)?,
        scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
        ..ProcessPlan::default()
    })
}

fn profile(name: &Option<String>) -> Option<String> {
    name.clone().filter(|name| !name.is_empty())
}

/// The five sets; a capability that the running kernel doesn't know counts for nothing.
fn capability_sets(process: &Process, host: &HostFacts) -> CapabilitySets {
    let known = if host.last_capability >= 63 { u64::MAX } else { (1 << (host.last_capability + 1)) - 1 };
    let mask = |set: &Option<Capabilities>| {
        let names =
            set.iter().flatten().filter_map(|capability| capabilities::parse(&capability.to_string()));
        names.fold(0u64, |mask, number| mask | 1 << number) & known
    };
    match process.capabilities() {
        None => CapabilitySets::default(),
        Some(sets) => CapabilitySets {
            bounding: mask(sets.bounding()),
            effective: mask(sets.effective()),
            permitted: mask(sets.permitted()),
            inheritable: mask(sets.inheritable()),
            ambient: mask(sets.ambient()),
        },
    }
}

fn rlimits(process: &Process) -> Result<Vec<(u32, u64, u64)>> {
    let rows = process.rlimits().as_deref().unwrap_or_default();
    let mut limits: Vec<(u32, u64, u64)> = Vec::with_capacity(rows.len());
    for row in rows {
        let number = rlimit_number(row.typ());
        if limits.iter().any(|(known, ..)| *known == number) {
            return Err(Error::invalid(format!("rlimit {} is there twice", row.typ())));
        }
        if row.soft() > row.hard() {
            return Err(Error::invalid(format!(
                "rlimit {}: the soft limit is above the hard one",
                row.typ()
            )));
        }
        limits.push((number, row.soft(), row.hard()));
    }
    Ok(limits)
}

fn io_priority(process: &Process) -> Result<Option<u32>> {
    let Some(priority) = process.io_priority() else { return Ok(None) };
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok(Some(class << 13 | level)),
        _ => Err(Error::invalid(format!("invalid ioPriority.Priority: {}", priority.priority()))),
    }
}

fn scheduler(scheduler: &OciScheduler) -> Result<Scheduler> {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = scheduler.flags().as_deref().unwrap_or_default().iter().fold(0u64, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    let (nice, priority) = (scheduler.nice().unwrap_or(0), scheduler.priority().unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid(format!("invalid scheduler.nice: {nice}")));
    }
    let real_time = matches!(policy, 1 | 2);
    if priority != 0 && !real_time {
        return Err(Error::invalid(
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ));
    }
    let deadline = (*scheduler.runtime(), *scheduler.deadline(), *scheduler.period());
    if policy != 6 && deadline != (None, None, None) {
        return Err(Error::invalid(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ));
    }
    Ok(Scheduler {
        policy,
        flags,
        nice,
        priority: u32::try_from(priority).map_err(|_| Error::invalid("invalid scheduler.priority"))?,
        runtime: deadline.0.unwrap_or(0),
        deadline: deadline.1.unwrap_or(0),
        period: deadline.2.unwrap_or(0),
    })
}
