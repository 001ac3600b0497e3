//! System call filters: Docker's profiles and the runtime specification's, compiled to classic BPF.
//! Runtime specification: config-linux.md "Seccomp". Never loads a filter.
//!
//! ```text
//! profile (Docker's form) --capabilities, kernel--> resolved rules (OCI's form)
//!     --names to numbers, per calling convention--> ranges of numbers with one outcome each
//!     --binary search over the ranges--> instructions
//! ```

mod assemble;
mod filter;
mod profile;
mod syscalls;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use minke_model::{Error, ErrorKind, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

use crate::host::HostFacts;

pub use profile::{Profile, docker_profile, parse_profile};

/// `SECCOMP_FILTER_FLAG_TSYNC`.
const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`.
const FLAG_LOG: u32 = 2;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
const FLAG_SPEC_ALLOW: u32 = 4;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the flag of a filter with `SCMP_ACT_NOTIFY`.
pub const FLAG_NEW_LISTENER: u32 = 8;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
const FLAG_WAIT_KILLABLE_RECV: u32 = 32;

/// The most instructions that the kernel takes.
const PROGRAM_LIMIT: usize = 4096;

/// How many compiled filters a cache keeps; when it is full, all go.
const CACHE_LIMIT: usize = 64;

/// Compiles a resolved filter to instructions (each a little-endian `struct sock_filter`) and the flags to load them with.
///
/// Names that an architecture doesn't have are skipped; what the kernel can't do is an error.
pub fn compile_filter(filter: &LinuxSeccomp, host: &HostFacts) -> Result<(Vec<u64>, u32)> {
    if host.seccomp_actions.is_empty() {
        return Err(Error::invalid("seccomp: config provided but seccomp not supported"));
    }
    let listener = if notifies(filter)? { FLAG_NEW_LISTENER } else { 0 };
    let program = filter::compile(filter, host)?;
    if program.len() > PROGRAM_LIMIT {
        return Err(Error::invalid(format!(
            "the seccomp filter needs {} instructions, more than the kernel's {PROGRAM_LIMIT}",
            program.len()
        )));
    }
    Ok((program, flags(filter)? | listener))
}

/// Without a word on flags, speculation is left as it is, as runc does.
fn flags(filter: &LinuxSeccomp) -> Result<u32> {
    let Some(flags) = filter.flags() else { return Ok(FLAG_SPEC_ALLOW) };
    flags.iter().try_fold(0, |bits, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(bits | FLAG_TSYNC),
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(bits | FLAG_LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(bits | FLAG_SPEC_ALLOW),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => Ok(bits | FLAG_WAIT_KILLABLE_RECV),
    })
}

/// Whether somebody outside is asked about some calls. Those by which a starting process speaks to its runtime can't be
/// among them: nobody would be there to answer yet.
fn notifies(filter: &LinuxSeccomp) -> Result<bool> {
    if filter.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    let rules = filter.syscalls().as_deref().unwrap_or_default();
    let mut asked = rules
        .iter()
        .filter(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
        .flat_map(|rule| rule.names())
        .peekable();
    if asked.peek().is_none() {
        return Ok(false);
    }
    if let Some(name) = asked.find(|name| matches!(name.as_str(), "write" | "sendmsg")) {
        return Err(Error::invalid(format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall")));
    }
    match filter.listener_path() {
        Some(path) if !path.as_os_str().is_empty() => Ok(true),
        _ => Err(Error::invalid("seccomp action SCMP_ACT_NOTIFY needs listenerPath")),
    }
}

/// Instructions and flags.
type Program = Arc<(Vec<u64>, u32)>;

/// Keeps compiled filters, since a profile is the same for nearly all containers of a host.
#[derive(Debug, Default)]
pub struct ProgramCache {
    programs: Mutex<HashMap<(Option<String>, u64), Program>>,
}

impl ProgramCache {
    /// Returns instructions and flags for a profile's text (`None`: Docker's own) and a container's capabilities, always asked with
    /// the same host. A kernel without filters gives none for Docker's own, and an error for any other.
    pub fn program(
        &self,
        profile: Option<&str>,
        capabilities: u64,
        host: &HostFacts,
    ) -> Result<(Vec<u64>, u32)> {
        if host.seccomp_actions.is_empty() {
            return match profile {
                None => Ok((Vec::new(), 0)),
                Some(_) => Err(Error::invalid(
                    "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
                )),
            };
        }
        let key = (profile.map(str::to_owned), capabilities);
        if let Some(found) = self.lock().get(&key) {
            return Ok(found.as_ref().clone());
        }
        let parsed = profile.map_or_else(docker_profile, parse_profile)?;
        let (instructions, flags) = compile_filter(&parsed.resolve(capabilities, host)?, host)?;
        if flags & FLAG_NEW_LISTENER != 0 {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "seccomp action SCMP_ACT_NOTIFY is not supported",
            ));
        }
        let program = Arc::new((instructions, flags));
        let mut programs = self.lock();
        if programs.len() >= CACHE_LIMIT {
            programs.clear();
        }
        programs.insert(key, program.clone());
        Ok(program.as_ref().clone())
    }

    /// A panic elsewhere leaves a map that is still whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Option<String>, u64), Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
