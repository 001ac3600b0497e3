//! The settings that keep containers from the host: `--userns-remap` and `--selinux-enabled`.

use clap::Args;
use minke_model::Result;
use minke_model::idmap::IdMap;
use serde::Deserialize;

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct IsolationFlags {
    /// Containers' root is another user on the host: `default`, or `USER[:GROUP]` with ranges in /etc/subuid and /etc/subgid.
    #[arg(long, value_name = "USER[:GROUP]")]
    pub userns_remap: Option<String>,
    /// Containers get SELinux labels.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub selinux_enabled: Option<bool>,
}

impl IsolationFlags {
    /// Whether a flag says what the file's `key` says.
    pub fn gives(&self, key: &str) -> bool {
        match key {
            "userns-remap" => self.userns_remap.is_some(),
            "selinux-enabled" => self.selinux_enabled.is_some(),
            _ => false,
        }
    }
}

/// The keys of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct IsolationFile {
    userns_remap: Option<String>,
    selinux_enabled: Option<bool>,
}

/// What both together mean.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// The ids of containers.
    pub userns_remap: Option<IdMap>,
    /// Containers get SELinux labels.
    pub selinux_enabled: bool,
}

/// Joins what flags and file say.
///
/// # Errors
/// A user, a group or ranges that aren't there.
pub fn join(flags: &IsolationFlags, file: &IsolationFile) -> Result<Isolation> {
    let remap = flags.userns_remap.as_ref().or(file.userns_remap.as_ref());
    Ok(Isolation {
        userns_remap: minke_engine::read_remap(remap.map_or("", String::as_str))?,
        selinux_enabled: flags.selinux_enabled.or(file.selinux_enabled).unwrap_or(false),
    })
}
