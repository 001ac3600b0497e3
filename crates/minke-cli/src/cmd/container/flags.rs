//! The flags that `run` and `create` share, and how single values are read. What they amount to is `plan.rs`.

use clap::Args;
use minke_model::env;
use minke_model::mount::{self, Mount};

use super::limits::{parse_bytes, parse_swap};
use crate::grammar::parse_int;

/// Flags that Docker has and that are not offered yet.
pub const NOT_OFFERED: &[(&str, &str)] = &[("--isolation", ""), ("--use-api-socket", "")];

/// Flags of `run` and `create`.
#[derive(Args, Clone, Debug, Default)]
pub struct ContainerFlags {
    /// Add an annotation, passed on to the runtime
    #[arg(long, value_name = "map")]
    pub annotation: Vec<String>,
    /// Attach to this stream: stdin, stdout or stderr
    #[arg(long, short = 'a', value_name = "list", value_parser = parse_stream)]
    pub attach: Vec<String>,
    /// Give a capability in addition
    #[arg(long, value_name = "list")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "list")]
    pub cap_drop: Vec<String>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub cidfile: String,
    /// Length of a period of the CPU limit, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub cpu_period: i64,
    /// CPU time in each period, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub cpu_quota: i64,
    /// Share of the CPUs where they are scarce
    #[arg(long, short = 'c', value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub cpu_shares: i64,
    /// Number of CPUs that may be used, with decimals
    #[arg(long, value_name = "decimal", default_value = "0", hide_default_value = true, value_parser = parse_cpus)]
    pub cpus: i64,
    /// CPUs to run on: 0-3, 0,1
    #[arg(long, value_name = "string", default_value = "")]
    pub cpuset_cpus: String,
    /// Memory nodes to allocate from: 0-3, 0,1
    #[arg(long, value_name = "string", default_value = "")]
    pub cpuset_mems: String,
    /// NIS domain name
    #[arg(long, value_name = "string", default_value = "")]
    pub domainname: String,
    /// Program to run instead of the image's entrypoint; empty for none
    #[arg(long, value_name = "string")]
    pub entrypoint: Option<String>,
    /// Set a variable; a name alone takes the caller's value
    #[arg(long, short = 'e', value_name = "list", value_parser = parse_env)]
    pub env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "list")]
    pub env_file: Vec<String>,
    /// Add a group
    #[arg(long, value_name = "list")]
    pub group_add: Vec<String>,
    #[command(flatten)]
    pub health: super::health::HealthFlags,
    #[command(flatten)]
    pub security: super::security::SecurityFlags,
    /// Host name inside the container
    #[arg(long, short = 'h', value_name = "string", default_value = "")]
    pub hostname: String,
    /// Run a small init that passes signals on and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Keep standard input open, also where nothing is attached
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// Add a label
    #[arg(long, short = 'l', value_name = "list", value_parser = parse_label)]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "list")]
    pub label_file: Vec<String>,
    #[command(flatten)]
    pub limits: super::limits::LimitFlags,
    /// Where the output is logged: json-file, local or none
    #[arg(long, value_name = "string", default_value = "")]
    pub log_driver: String,
    /// Option of the log: max-size=10m, max-file=3
    #[arg(long, value_name = "list")]
    pub log_opt: Vec<String>,
    /// Most memory, 512m or 2g
    #[arg(long, short = 'm', value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    pub memory: i64,
    /// Memory to keep to where it is scarce
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    pub memory_reservation: i64,
    /// Most memory and swap together; -1 for any amount of swap
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_swap)]
    pub memory_swap: i64,
    /// Mount something: type=bind,src=/a,dst=/b,readonly
    #[arg(long, value_name = "mount", value_parser = parse_mount)]
    pub mount: Vec<Mount>,
    /// Name of the container
    #[arg(long, value_name = "string", default_value = "")]
    pub name: String,
    #[command(flatten)]
    pub networks: super::networking::NetworkFlags,
    /// Most processes; -1 for any number
    #[arg(long, value_name = "int", value_parser = parse_int)]
    pub pids_limit: Option<i64>,
    /// Platform of the image: linux/arm64
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub platform: String,
    /// Give the container all rights over the host
    #[arg(long)]
    pub privileged: bool,
    /// When to fetch the image: always, missing or never
    #[arg(long, value_name = "string", default_value = "missing")]
    pub pull: String,
    /// Say nothing while an image is fetched
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// When to start the container again: no, always, unless-stopped, on-failure[:3]
    #[arg(long, value_name = "string", default_value = "no")]
    pub restart: String,
    /// Remove the container when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Runtime of the container: runc and io.containerd.runc.v2 are names of minke's own, the only one
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub runtime: String,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    pub shm_size: i64,
    /// Signal that stops the container
    #[arg(long, value_name = "string", default_value = "")]
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL
    #[arg(long, value_name = "int", value_parser = parse_int)]
    pub stop_timeout: Option<i64>,
    /// Mount a file system in memory: /path[:options]
    #[arg(long, value_name = "list")]
    pub tmpfs: Vec<String>,
    /// Does nothing: images are never checked for signatures
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = crate::grammar::parse_bool, action = clap::ArgAction::Set)]
    #[allow(dead_code, reason = "taken, and without a meaning")]
    pub disable_content_trust: bool,
    /// Give the process a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// User to run as: name or number[:group]
    #[arg(long, short = 'u', value_name = "string", default_value = "")]
    pub user: String,
    /// Mount a directory or a volume: /host:/container[:ro], name:/container, /container
    #[arg(long, short = 'v', value_name = "list")]
    pub volume: Vec<String>,
    /// Driver that keeps volumes which are made for -v
    #[arg(long, value_name = "string", default_value = "")]
    pub volume_driver: String,
    /// Mount what another container mounts: name[:ro]
    #[arg(long, value_name = "list")]
    pub volumes_from: Vec<String>,
    /// Directory to run in
    #[arg(long, short = 'w', value_name = "string", default_value = "")]
    pub workdir: String,
}

fn parse_mount(text: &str) -> Result<Mount, String> {
    mount::parse_mount_flag(text).map_err(|error| error.to_string())
}

/// Reads one `--env`.
pub fn parse_env(text: &str) -> Result<String, String> {
    env::parse_variable(text, crate::session::env).map_err(|error| error.to_string())
}

fn parse_label(text: &str) -> Result<String, String> {
    if env::split_label(text).0.is_empty() {
        Err(format!("invalid label '{text}': empty name"))
    } else {
        Ok(text.into())
    }
}

fn parse_stream(text: &str) -> Result<String, String> {
    let name = text.to_lowercase();
    if ["stdin", "stdout", "stderr"].contains(&name.as_str()) {
        Ok(name)
    } else {
        Err("valid streams are STDIN, STDOUT and STDERR".into())
    }
}

/// Reads a number of CPUs, a decimal or a fraction, as billionths.
pub fn parse_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (top, bottom) = match text.split_once('/') {
        Some((top, bottom)) => (decimal(top).ok_or_else(invalid)?, decimal(bottom).ok_or_else(invalid)?),
        None => (decimal(text).ok_or_else(invalid)?, (1, 1)),
    };
    let numerator =
        top.0.checked_mul(bottom.1).and_then(|n| n.checked_mul(1_000_000_000)).ok_or_else(invalid)?;
    let denominator = top.1.checked_mul(bottom.0).filter(|n| *n != 0).ok_or_else(invalid)?;
    if numerator % denominator != 0 {
        return Err("value is too precise".into());
    }
    i64::try_from(numerator / denominator).map_err(|_| invalid())
}

/// A decimal as a fraction.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    if all.is_empty() || all.len() > 24 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((sign * all.parse::<i128>().ok()?, 10i128.pow(u32::try_from(part.len()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_decimals_or_fractions() {
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus(".5"), Ok(500_000_000));
        assert_eq!(parse_cpus("1/2"), Ok(500_000_000));
        assert_eq!(parse_cpus("-1"), Ok(-1_000_000_000));
        assert_eq!(parse_cpus("1.1234567891"), Err("value is too precise".into()));
        assert_eq!(parse_cpus("1.5.5"), Err("failed to parse 1.5.5 as a rational number".into()));
        assert_eq!(parse_cpus("x"), Err("failed to parse x as a rational number".into()));
    }
}
