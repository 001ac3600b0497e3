//! Profiles in Docker's format: which rules hold depends on the container's capabilities, the architecture and the kernel.
//! The default profile is data/seccomp-docker.json.

use minke_model::{Context, Error, Result};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use crate::capabilities;
use crate::host::{Architecture, HostFacts};

/// Docker's default profile; data/NOTICE says where it is from.
const DOCKER_PROFILE: &str = include_str!("../../data/seccomp-docker.json");

/// The longest profile in bytes.
const TEXT_LIMIT: usize = 1024 * 1024;
/// The most rules, and the most names of them together.
const RULE_LIMIT: usize = 4096;
const NAME_LIMIT: usize = 65_536;

/// A profile as Docker reads it from a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<Arch>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<ArchMap>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    // Text, since a profile names architectures that the specification's types may lack.
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    sub_architectures: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    name: String,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<LinuxSeccompArg>,
    #[serde(default, deserialize_with = "null_is_empty")]
    includes: Condition,
    #[serde(default, deserialize_with = "null_is_empty")]
    excludes: Condition,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default, deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    min_kernel: String,
}

/// Go writes empty lists and objects as null.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

/// Returns Docker's default profile.
pub fn docker_profile() -> Result<Profile> {
    parse_profile(DOCKER_PROFILE)
}

/// Reads a profile; errors are in Docker's words.
pub fn parse_profile(text: &str) -> Result<Profile> {
    if text.len() > TEXT_LIMIT {
        return Err(Error::invalid(format!("the seccomp profile is longer than {TEXT_LIMIT} bytes")));
    }
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("decoding seccomp profile failed: {error}")))?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::invalid(
            "'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    if profile.syscalls.iter().any(|rule| !rule.name.is_empty() && !rule.names.is_empty()) {
        return Err(Error::invalid(
            "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
        ));
    }
    let names: usize = profile.syscalls.iter().map(|rule| rule.names.len()).sum();
    if profile.syscalls.len() > RULE_LIMIT || names > NAME_LIMIT {
        return Err(Error::invalid("the seccomp profile has too many rules"));
    }
    Ok(profile)
}

impl Profile {
    /// Picks the rules that hold for a container with these capabilities (a mask) on this host.
    pub fn resolve(&self, capabilities: u64, host: &HostFacts) -> Result<LinuxSeccomp> {
        let names = capabilities::names(capabilities);
        let mut syscalls = Vec::with_capacity(self.syscalls.len());
        for rule in &self.syscalls {
            if rule.holds(&names, host)? {
                syscalls.push(rule.resolved());
            }
        }
        let mut filter = LinuxSeccomp::default();
        filter
            .set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(Some(self.architectures(host.architecture)).filter(|list| !list.is_empty()))
            .set_flags(self.flags.clone())
            .set_listener_path(self.listener_path.clone().filter(|path| !path.is_empty()).map(Into::into))
            .set_listener_metadata(self.listener_metadata.clone().filter(|text| !text.is_empty()))
            .set_syscalls(Some(syscalls));
        Ok(filter)
    }

    /// The conventions to cover: those listed, or those that the map has for the host's.
    fn architectures(&self, host: Architecture) -> Vec<Arch> {
        let native = match host {
            Architecture::X86_64 => "SCMP_ARCH_X86_64",
            Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
        };
        let parse = |name: &String| serde_json::from_value(serde_json::Value::String(name.clone())).ok();
        let mapped = self.arch_map.iter().filter(|row| row.architecture == native);
        let mapped = mapped.flat_map(|row| std::iter::once(&row.architecture).chain(&row.sub_architectures));
        self.architectures.iter().copied().chain(mapped.filter_map(parse)).collect()
    }
}

impl Rule {
    fn holds(&self, capabilities: &[String], host: &HostFacts) -> Result<bool> {
        let arch = match host.architecture {
            Architecture::X86_64 => "amd64",
            Architecture::Aarch64 => "arm64",
        };
        let has = |list: &[String], name: &str| list.iter().any(|known| known == name);
        let reached = |version: &str| Ok::<bool, Error>(host.kernel >= parse_kernel(version)?);
        let (with, without) = (&self.includes, &self.excludes);
        let excluded = has(&without.arches, arch)
            || without.caps.iter().any(|name| has(capabilities, name))
            || (!without.min_kernel.is_empty() && reached(&without.min_kernel)?);
        let included = (with.arches.is_empty() || has(&with.arches, arch))
            && with.caps.iter().all(|name| has(capabilities, name))
            && (with.min_kernel.is_empty() || reached(&with.min_kernel)?);
        Ok(included && !excluded)
    }

    fn resolved(&self) -> LinuxSyscall {
        let names = if self.name.is_empty() { self.names.clone() } else { vec![self.name.clone()] };
        let mut rule = LinuxSyscall::default();
        rule.set_names(names)
            .set_action(self.action)
            .set_errno_ret(self.errno_ret)
            .set_args(Some(self.args.clone()).filter(|args| !args.is_empty()));
        rule
    }
}

/// Reads a kernel version such as `4.8`.
fn parse_kernel(text: &str) -> Result<(u32, u32)> {
    let numbers =
        text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers
        .ok_or("not in the form X.Y")
        .context(format!("invalid kernel version in the seccomp profile: {text:?}"))
}
