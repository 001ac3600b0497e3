//! AppArmor on this host: whether containers can be put into profiles, and the profile that they get, which is Docker's: its
//! name and rules are what users' own policies refer to.
//!
//! The kernel takes only compiled profiles, and the compiler is a program, `apparmor_parser`. It is the one helper that the
//! engine executes: at its start, where the profile isn't loaded. A start of a container only reads the kernel's list.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minke_model::{Context as _, Error, Result};

use crate::container::security::{DEFAULT_APPARMOR, is_loaded};

/// The kernel's list of loaded profiles.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Where the compiler is looked for.
const PLACES: [&str; 3] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];
/// What distributions' profiles have in common.
const POLICY: &str = "/etc/apparmor.d";

/// What the engine can do with AppArmor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AppArmor {
    /// The kernel has none, it is off, or this is a container itself, whose host the profiles are.
    #[default]
    Off,
    /// It is on. Without the compiler, what is loaded can be used and nothing can be added.
    On {
        /// The compiler.
        parser: Option<PathBuf>,
    },
}

impl AppArmor {
    /// Finds out, and sees to it that containers' profile is loaded. `enabled`: the kernel says that it is on.
    ///
    /// # Errors
    /// The profile is there to be loaded, and the kernel or the compiler doesn't take it.
    pub fn start(enabled: bool) -> Result<Self> {
        // Whoever makes containers of other kinds says so by this variable, as systemd and Docker's own check know it.
        if !enabled || std::env::var_os("container").is_some_and(|kind| !kind.is_empty()) {
            return Ok(Self::Off);
        }
        let parser = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
        if is_loaded(&loaded(), DEFAULT_APPARMOR) {
            return Ok(Self::On { parser });
        }
        match &parser {
            Some(parser) => load(parser)?,
            None => tracing::warn!(
                "AppArmor is on, but containers run without a profile: {DEFAULT_APPARMOR} is not loaded, and apparmor_parser, which could compile it, is not installed"
            ),
        }
        Ok(Self::On { parser })
    }

    /// The profiles that are loaded, as the kernel lists them. What has unloaded that of containers meanwhile, as updates of
    /// AppArmor do, is made good.
    ///
    /// # Errors
    /// It can't be loaded again.
    pub fn profiles(&self) -> Result<String> {
        let Self::On { parser } = self else { return Ok(String::new()) };
        let list = loaded();
        match parser {
            Some(parser) if !is_loaded(&list, DEFAULT_APPARMOR) => {
                load(parser)?;
                Ok(loaded())
            }
            _ => Ok(list),
        }
    }

    /// What `info` warns of.
    pub fn warning(&self) -> Option<String> {
        let unprotected =
            matches!(self, Self::On { parser: None }) && !is_loaded(&loaded(), DEFAULT_APPARMOR);
        unprotected.then(|| {
            format!("WARNING: AppArmor is on, but the profile {DEFAULT_APPARMOR} is not loaded and there is no apparmor_parser")
        })
    }

    /// Whether containers can be put into profiles.
    pub fn is_on(&self) -> bool {
        *self != Self::Off
    }
}

fn loaded() -> String {
    std::fs::read_to_string(PROFILES).unwrap_or_default()
}

/// Compiles the profile and gives it to the kernel.
fn load(parser: &Path) -> Result<()> {
    let failed =
        || format!("AppArmor enabled on system but the {DEFAULT_APPARMOR} profile could not be loaded");
    let text = profile(|part| Path::new(POLICY).join(part).exists());
    let mut child = Command::new(parser)
        .args(["--skip-cache", "--replace"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(failed)?;
    // Its input ends with this statement.
    let written = child.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
    let output = child.wait_with_output().with_context(failed)?;
    if output.status.success() {
        return written.unwrap_or(Ok(())).with_context(failed);
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::system(format!("running `{}` failed with output: {words}", parser.display())))
        .with_context(failed)
}

/// The profile's text; `has`: whether the distribution's policy has a part. Pure.
fn profile(has: impl Fn(&str) -> bool) -> String {
    let globals = if has("tunables/global") { "#include <tunables/global>" } else { "@{PROC}=/proc/" };
    let base = if has("abstractions/base") { "#include <abstractions/base>" } else { "" };
    let name = DEFAULT_APPARMOR;
    format!(
        "{globals}

profile {name} flags=(attach_disconnected,mediate_deleted) {{
  {base}

  network,
  capability,
  file,
  umount,

  # Signals come from the host's own processes and other runtimes, and go to processes of the same profile.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer={name},

  # Files that stand directly in /proc, and everything below it but processes and /proc/sys.
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  # Of /proc/sys only kernel/shm*.
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny mount,

  # Of /sys only fs/cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  ptrace (trace,read,tracedby,readby) peer={name},
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_whole_with_and_without_the_distributions_parts() {
        let with = profile(|_| true);
        assert!(
            with.starts_with("#include <tunables/global>\n") && with.contains("#include <abstractions/base>")
        );
        let without = profile(|_| false);
        assert!(without.starts_with("@{PROC}=/proc/\n") && !without.contains("#include"));
        for rule in ["deny mount,", "deny @{PROC}/kcore rwklx,", "signal (send,receive) peer=docker-default,"]
        {
            assert!(with.contains(rule) && without.contains(rule), "{rule}");
        }
    }

    #[test]
    fn where_it_is_off_nothing_is_loaded() {
        let apparmor = AppArmor::start(false).unwrap();
        assert_eq!(apparmor, AppArmor::Off);
        assert_eq!(apparmor.profiles().unwrap(), "");
        assert_eq!(apparmor.warning(), None);
    }
}
