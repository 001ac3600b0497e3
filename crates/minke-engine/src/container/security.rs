//! `--security-opt`: what the words mean, decided before anything is kept. Pure.

use minke_api::container::HostConfig;
use minke_model::{Error, Result};
use minke_spec::docker::Seccomp;

/// The profile that Docker's own tools load into AppArmor.
pub const DEFAULT_APPARMOR: &str = "docker-default";

/// The word for no profile.
const UNCONFINED: &str = "unconfined";

/// What a container may do, beyond its capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// It can't gain privileges.
    pub no_new_privileges: bool,
    /// Its filter of system calls.
    pub seccomp: Seccomp,
    /// The AppArmor profile that it names.
    pub apparmor: AppArmor,
    /// What it says of its SELinux label: `user:u`, `disable` and so on; empty where it says nothing.
    pub labels: Vec<String>,
    /// It may write to its control groups.
    pub writable_cgroups: bool,
}

/// The modes of `--security-opt apparmor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AppArmor {
    /// [`DEFAULT_APPARMOR`] where it is loaded.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one.
    Named(String),
}

/// What the engine's own settings say where a container says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// Containers can't gain privileges.
    pub no_new_privileges: bool,
    /// `unconfined`, `builtin` (also empty), or a profile's text.
    pub seccomp_profile: &'a str,
}

/// Reads the options in order; the last word counts.
///
/// # Errors
/// Docker's words for one that isn't understood.
pub fn parse(options: &[String], defaults: Defaults<'_>) -> Result<Security> {
    let mut security = Security {
        no_new_privileges: defaults.no_new_privileges,
        seccomp: seccomp(defaults.seccomp_profile),
        ..Security::default()
    };
    for option in options {
        let refused = |number: u8| Error::invalid(format!("invalid --security-opt {number}: {option:?}"));
        match option.as_str() {
            "no-new-privileges" => {
                security.no_new_privileges = true;
                continue;
            }
            "disable" => {
                security.labels.push("disable".into());
                continue;
            }
            _ => {}
        }
        let (key, value) =
            option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(|| refused(1))?;
        match key {
            "label" => security.labels.push(value.to_owned()),
            "apparmor" => {
                security.apparmor = match value {
                    "" => AppArmor::Default,
                    UNCONFINED => AppArmor::Unconfined,
                    name => AppArmor::Named(name.to_owned()),
                }
            }
            "seccomp" => security.seccomp = seccomp(value),
            "no-new-privileges" => security.no_new_privileges = boolean(value).ok_or_else(|| refused(2))?,
            "writable-cgroups" => security.writable_cgroups = boolean(value).ok_or_else(|| refused(2))?,
            _ => return Err(refused(2)),
        }
    }
    Ok(security)
}

fn seccomp(value: &str) -> Seccomp {
    match value {
        "" | "builtin" | "default" => Seccomp::Default,
        "unconfined" => Seccomp::Unconfined,
        profile => Seccomp::Profile(profile.to_owned()),
    }
}

/// A boolean as Go reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Security {
    /// The AppArmor profile of a container that is not privileged; `is_loaded` is asked for the default one only.
    pub fn apparmor_profile(&self, is_loaded: impl FnOnce(&str) -> bool) -> Option<String> {
        match &self.apparmor {
            AppArmor::Named(name) => Some(name.clone()),
            AppArmor::Unconfined => None,
            AppArmor::Default => is_loaded(DEFAULT_APPARMOR).then(|| DEFAULT_APPARMOR.to_owned()),
        }
    }
}

/// The AppArmor profile of a container that has run, as `inspect` shows it.
pub fn shown_profile(host: &HostConfig) -> String {
    let options = host.security_opt.as_deref().unwrap_or_default();
    match parse(options, Defaults::default()).unwrap_or_default().apparmor {
        _ if host.privileged => UNCONFINED.into(),
        AppArmor::Unconfined => UNCONFINED.into(),
        AppArmor::Default => DEFAULT_APPARMOR.into(),
        AppArmor::Named(name) => name,
    }
}

/// Whether the kernel's list of profiles has `name`, in any mode.
pub fn is_loaded(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<Security> {
        parse(&options.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), Defaults::default())
    }

    #[test]
    fn the_last_word_counts() {
        let security = read(&["no-new-privileges", "no-new-privileges=false", "seccomp=unconfined"]).unwrap();
        assert_eq!((security.no_new_privileges, security.seccomp), (false, Seccomp::Unconfined));
        assert_eq!(read(&["seccomp={\"a\":1}"]).unwrap().seccomp, Seccomp::Profile("{\"a\":1}".into()));
        assert_eq!(read(&["seccomp=builtin"]).unwrap().seccomp, Seccomp::Default);
        assert!(read(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert_eq!(read(&["label=user:u", "disable"]).unwrap().labels, ["user:u", "disable"]);
        assert!(read(&["writable-cgroups=true"]).unwrap().writable_cgroups);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let words = |option: &str| read(&[option]).unwrap_err().message().to_owned();
        assert_eq!(words("nonsense"), "invalid --security-opt 1: \"nonsense\"");
        assert_eq!(words("nonsense=1"), "invalid --security-opt 2: \"nonsense=1\"");
        assert_eq!(words("no-new-privileges=maybe"), "invalid --security-opt 2: \"no-new-privileges=maybe\"");
    }

    #[test]
    fn the_engine_s_defaults_stand_where_nothing_is_said() {
        let defaults = Defaults { no_new_privileges: true, seccomp_profile: "unconfined" };
        let security = parse(&[], defaults).unwrap();
        assert_eq!((security.no_new_privileges, security.seccomp), (true, Seccomp::Unconfined));
        let own = parse(&["seccomp=builtin".into()], defaults).unwrap();
        assert_eq!(own.seccomp, Seccomp::Default);
    }

    #[test]
    fn a_profile_is_used_where_it_is_loaded() {
        let list = "docker-default (enforce)\n/usr/bin/man (complain)\n";
        assert!(is_loaded(list, "docker-default") && is_loaded(list, "/usr/bin/man"));
        assert!(!is_loaded(list, "docker") && !is_loaded("", "docker-default"));
        let profile = |option: &str| read(&[option]).unwrap().apparmor_profile(|name| is_loaded(list, name));
        assert_eq!(profile("apparmor=mine"), Some("mine".into()));
        assert_eq!(profile("apparmor=unconfined"), None);
        assert_eq!(profile("label=disable"), Some("docker-default".into()));
    }
}
