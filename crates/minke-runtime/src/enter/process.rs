//! What a process of a container is: its streams, limits, user, capabilities and filter. The same for the first one and for execs.

use alloc::format;
use alloc::string::String;

use minke_spec::plan::ProcessPlan;
use minke_spec::shim::ErrorCode;
use minke_sys::mount::Context;
use minke_sys::procfs::Procfs;
use minke_sys::pty::{self, Terminal};
use minke_sys::{AsFd, BorrowedFd, Errno, OwnedFd, credentials, descriptor, process as kernel, rooted};
use rustix::fs::{FileType, Mode, OFlags, Uid};

use super::{ChildStreams, Report, Reporter};
use crate::failure::{self, Result};

/// Makes `streams` the standard ones, after the change of root; a terminal's controlling side is reported.
pub(super) fn take_streams(
    streams: ChildStreams,
    terminal: Option<Terminal>,
    plan: &ProcessPlan,
    reporter: &Reporter,
) -> Result<()> {
    let words = "setting up the standard streams";
    match (streams, terminal) {
        (ChildStreams::Terminal(size), Some(Terminal { controller, user })) => {
            if let Some((rows, columns)) = size {
                pty::resize(&controller, rows, columns).map_err(failure::setup(words))?;
            }
            pty::take_control(&user).map_err(failure::setup(words))?;
            reporter.send_with(&Report::Terminal, &[controller.as_fd()]);
            give_to_user(user.as_fd(), plan);
            for number in 0..3 {
                descriptor::install_standard(&user, number).map_err(failure::setup(words))?;
            }
            Ok(())
        }
        (ChildStreams::Files(files), _) => {
            for (number, file) in files.iter().enumerate() {
                install(file, number as i32, plan).map_err(failure::setup(words))?;
            }
            Ok(())
        }
        (ChildStreams::Inherited, _) => {
            for number in 0..3 {
                let file = descriptor::standard(number);
                match rooted::is_null_device(file) {
                    Ok(true) => install_null(number).map_err(failure::setup(words))?,
                    Ok(false) => give_to_user(file, plan),
                    // A closed one stays closed.
                    Err(_) => {}
                }
            }
            Ok(())
        }
        (ChildStreams::Terminal(_), None) => Err(failure::setup(words)(Errno::NODEV)),
    }
}

fn install(file: &OwnedFd, number: i32, plan: &ProcessPlan) -> minke_sys::Result<()> {
    if rooted::is_null_device(file)? {
        return install_null(number);
    }
    give_to_user(file.as_fd(), plan);
    descriptor::install_standard(file, number)
}

/// The null device is taken from the container's own `/dev`: who has the host's one open can change its mode.
fn install_null(number: i32) -> minke_sys::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // What stands at the name is looked at before it is opened: opening a device can do something already.
    let found =
        rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    if found.is_ok_and(|found| rooted::is_null_device(&found).unwrap_or(false))
        && let Ok(own) = rustix::fs::open("/dev/null", flags, Mode::empty())
        && rooted::is_null_device(&own)?
    {
        rustix::fs::fcntl_setfl(&own, OFlags::RDWR)?;
        return descriptor::install_standard(&own, number);
    }
    descriptor::install_standard(&new_null()?, number)
}

/// A null device of its own, for a container whose `/dev` has none any more.
fn new_null() -> minke_sys::Result<OwnedFd> {
    let context = Context::new("tmpfs")?;
    context.create()?;
    let directory = context.mount(0)?;
    let (mode, number) = (Mode::from_raw_mode(0o666), rustix::fs::makedev(1, 3));
    rustix::fs::mknodat(&directory, "null", FileType::CharacterDevice, mode, number)?;
    let null = rustix::fs::openat(&directory, "null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fchmod(&null, mode)?;
    Ok(null)
}

/// The user must be able to open `/dev/stdout` anew; a file system that has no owners says no, which does no harm.
fn give_to_user(file: BorrowedFd<'_>, plan: &ProcessPlan) {
    let _ = rustix::fs::fchown(file, Some(Uid::from_raw(plan.uid)), None);
}

/// Writes kernel parameters of the container's own namespaces.
pub(super) fn write_sysctls(sysctls: &[(String, String)], procfs: &Procfs) -> Result<()> {
    let mut private = None;
    for (name, value) in sysctls {
        let written = match procfs.write_sysctl(name, value) {
            // Something is mounted over the host's /proc/sys: make an own instance, once.
            Err(Errno::XDEV | Errno::ROFS) => {
                if private.is_none() {
                    private = Some(Procfs::private().map_err(failure::setup("mounting a private proc"))?);
                }
                private.as_ref().map_or(Err(Errno::NODEV), |procfs| procfs.write_sysctl(name, value))
            }
            result => result,
        };
        written.map_err(failure::setup(format!("open /proc/sys/{}", name.replace('.', "/"))))?;
    }
    Ok(())
}

/// Takes on everything that `plan` says but the program itself. The caller is inside the root.
/// The first `preserved` descriptors from 3 on stay open for the program.
pub(super) fn become_it(
    plan: &ProcessPlan,
    procfs: &Procfs,
    reporter: &Reporter,
    preserved: u32,
) -> Result<()> {
    set_limits(plan, 0)?;
    set_labels(plan, procfs)?;
    set_scheduling(plan)?;
    let entered = enter_directory(plan);
    kernel::close_on_exec_from(preserved.saturating_add(3)).map_err(failure::setup("closing descriptors"))?;
    kernel::set_umask(plan.umask.unwrap_or(0o022));
    // Without no_new_privs loading a filter needs a capability that goes away below; with it, the filter comes last.
    if !plan.no_new_privileges {
        load_filter(plan, reporter)?;
    }
    set_credentials(plan)?;
    // A directory that only the user may enter (as on a file system that refuses root).
    match entered {
        Err(error) if error.errno == Errno::ACCESS.raw_os_error() => enter_directory(plan)?,
        result => result?,
    }
    if plan.no_new_privileges {
        credentials::set_no_new_privileges().map_err(failure::setup("setting no_new_privs"))?;
        load_filter(plan, reporter)?;
    }
    Ok(())
}

/// What raising a limit above the engine's own, or lowering an OOM score, takes.
const LACKING: &str = " (it takes CAP_SYS_RESOURCE, which the engine does not have)";
const LACKING_FOR_FILES: &str =
    " (above the engine's own it takes CAP_SYS_RESOURCE, and nothing goes above fs.nr_open)";
/// The kernel's number of that limit.
const NUMBER_OF_FILES: u32 = 7;

/// Limits a process; 0: the calling one.
pub(super) fn set_limits(plan: &ProcessPlan, pid: i32) -> Result<()> {
    for (resource, soft, hard) in &plan.rlimits {
        kernel::set_rlimit_of(pid, *resource, *soft, *hard).map_err(|errno| {
            let lacking = match (errno, resource) {
                (Errno::PERM, &NUMBER_OF_FILES) => LACKING_FOR_FILES,
                (Errno::PERM, _) => LACKING,
                _ => "",
            };
            failure::setup(format!("error setting rlimit type {resource}{lacking}"))(errno)
        })?;
    }
    Ok(())
}

/// Sets a process's (`self` or a pid) place among the victims of memory shortage; from a user namespace it can't be lowered.
pub(super) fn set_oom_score(plan: &ProcessPlan, procfs: &Procfs, of: &str) -> Result<()> {
    let Some(wanted) = plan.oom_score_adj else { return Ok(()) };
    let text = format!("{wanted}");
    match procfs.write(&format!("{of}/oom_score_adj"), &text) {
        // Lowering it is for the privileged only; what is already right needs no writing.
        Err(Errno::ACCESS | Errno::PERM)
            if current_oom_score(procfs, of).is_some_and(|now| now == wanted) =>
        {
            Ok(())
        }
        result => result.map_err(|errno| {
            let lacking = if matches!(errno, Errno::ACCESS | Errno::PERM) { LACKING } else { "" };
            failure::setup(format!("error setting oom_score_adj{lacking}"))(errno)
        }),
    }
}

fn current_oom_score(procfs: &Procfs, of: &str) -> Option<i32> {
    let bytes = procfs.read(&format!("{of}/oom_score_adj")).ok()?;
    core::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

fn set_scheduling(plan: &ProcessPlan) -> Result<()> {
    if let Some(persona) = plan.personality {
        kernel::set_personality(persona).map_err(failure::setup("error setting the personality"))?;
    }
    if let Some(priority) = plan.io_priority {
        kernel::set_io_priority(priority).map_err(failure::setup("error setting the I/O priority"))?;
    }
    if let Some(wanted) = plan.scheduler {
        let mut scheduling = kernel::Scheduling::default();
        (scheduling.policy, scheduling.flags, scheduling.nice) = (wanted.policy, wanted.flags, wanted.nice);
        (scheduling.priority, scheduling.runtime) = (wanted.priority, wanted.runtime);
        (scheduling.deadline, scheduling.period) = (wanted.deadline, wanted.period);
        kernel::set_scheduler(scheduling).map_err(failure::setup("error setting the scheduler"))?;
    }
    Ok(())
}

fn set_labels(plan: &ProcessPlan, procfs: &Procfs) -> Result<()> {
    if let Some(profile) = &plan.apparmor_profile {
        let text = format!("exec {profile}");
        let written = match procfs.write("thread-self/attr/apparmor/exec", &text) {
            Err(Errno::NOENT) => procfs.write("thread-self/attr/exec", &text),
            result => result,
        };
        // In runc's words, as Docker's users know them.
        let words = "unable to apply apparmor profile: apparmor failed to apply profile: write /proc/thread-self/attr/apparmor/exec";
        written.map_err(failure::setup(words))?;
    }
    if let Some(label) = &plan.selinux_label {
        procfs
            .write("thread-self/attr/exec", label)
            .map_err(failure::setup(format!("unable to apply selinux label {label:?}")))?;
    }
    Ok(())
}

/// Goes to the working directory and makes sure that it is one inside the root, not one that was reached by a leaked descriptor.
fn enter_directory(plan: &ProcessPlan) -> Result<()> {
    let cwd = if plan.cwd.is_empty() { "/" } else { plan.cwd.as_str() };
    let words = || format!("chdir to cwd ({cwd:?}) set in config.json failed");
    rustix::process::chdir(cwd).map_err(failure::coded(ErrorCode::WorkingDirectory, words()))?;
    let reached = rustix::process::getcwd(alloc::vec::Vec::new())
        .map_err(failure::coded(ErrorCode::WorkingDirectory, words()))?;
    if reached.as_bytes().first() != Some(&b'/') {
        return Err(failure::plain(
            ErrorCode::WorkingDirectory,
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        ));
    }
    Ok(())
}

fn load_filter(plan: &ProcessPlan, reporter: &Reporter) -> Result<()> {
    if plan.seccomp.is_empty() {
        return Ok(());
    }
    let listener = credentials::load_filter(&plan.seccomp, plan.seccomp_flags)
        .map_err(failure::setup("error loading seccomp filter"))?;
    if let Some(listener) = listener {
        reporter.send_with(&Report::Listener, &[listener.as_fd()]);
    }
    Ok(())
}

fn set_credentials(plan: &ProcessPlan) -> Result<()> {
    let sets = plan.capabilities;
    credentials::bound_capabilities(sets.bounding).map_err(failure::setup("unable to apply bounding set"))?;
    credentials::keep_capabilities(true).map_err(failure::setup("unable to set keep caps"))?;
    credentials::set_groups(&plan.groups).map_err(failure::setup("setgroups"))?;
    credentials::set_gid(plan.gid).map_err(failure::setup("setgid"))?;
    credentials::set_uid(plan.uid).map_err(failure::setup("setuid"))?;
    credentials::keep_capabilities(false).map_err(failure::setup("unable to clear keep caps"))?;
    credentials::set_capabilities(sets.effective, sets.permitted, sets.inheritable)
        .map_err(failure::setup("unable to apply caps"))?;
    credentials::set_ambient_capabilities(sets.ambient).map_err(failure::setup("unable to apply ambient set"))
}
