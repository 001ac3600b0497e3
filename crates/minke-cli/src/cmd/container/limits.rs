//! The flags of `run` and `create` about devices and about limits beyond memory and processors, and what they amount to.

use clap::Args;
use minke_api::container::{DeviceMapping, DeviceRequest, HostConfig, ThrottleDevice, WeightDevice};
use minke_model::cdi::DeviceName;
use minke_model::size;
use minke_model::ulimit::Ulimit;

use super::gpus;
use crate::grammar::parse_int;

/// Kernel parameters that a container may have of its own, whole or by their beginning.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const SYSCTL_PREFIXES: [&str; 2] = ["net.", "fs.mqueue."];

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct LimitFlags {
    /// Share of the disks' time where it is scarce, 10 to 1000; 0 for the usual one
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true, value_parser = parse_u16)]
    pub blkio_weight: u16,
    /// Share of one disk's time: /dev/sda:200
    #[arg(long, value_name = "list", value_parser = parse_weight)]
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Control group below which the container's own is made
    #[arg(long, value_name = "string", default_value = "")]
    pub cgroup_parent: String,
    /// Length of a period of the real-time limit, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub cpu_rt_period: i64,
    /// Real-time CPU time in each period, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub cpu_rt_runtime: i64,
    /// Give a device: /dev/x[:/dev/inside][:rwm], or vendor.com/class=name
    #[arg(long, value_name = "list", value_parser = parse_device)]
    pub device: Vec<String>,
    /// Allow devices by number: c 42:* rmw
    #[arg(long, value_name = "list", value_parser = parse_device_rule)]
    pub device_cgroup_rule: Vec<String>,
    /// Most bytes read from a disk each second: /dev/sda:1mb
    #[arg(long, value_name = "list", value_parser = parse_bytes_rate)]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Most reads from a disk each second: /dev/sda:100
    #[arg(long, value_name = "list", value_parser = parse_count_rate)]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Most bytes written to a disk each second: /dev/sda:1mb
    #[arg(long, value_name = "list", value_parser = parse_bytes_rate)]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Most writes to a disk each second: /dev/sda:100
    #[arg(long, value_name = "list", value_parser = parse_count_rate)]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// Give GPUs: all, a number, or "device=0,1"
    #[arg(long, value_name = "gpu-request", value_parser = gpus::parse)]
    pub gpus: Option<DeviceRequest>,
    /// Has no effect any more
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    pub kernel_memory: i64,
    /// How readily memory is swapped out, 0 to 100 (cgroup v1)
    #[arg(long, value_name = "int", value_parser = parse_int)]
    pub memory_swappiness: Option<i64>,
    /// Let processes wait for memory instead of killing them (cgroup v1)
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Place among the victims of memory shortage, -1000 to 1000
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pub oom_score_adj: i64,
    /// Option of the storage driver: size=10g
    #[arg(long, value_name = "list")]
    pub storage_opt: Vec<String>,
    /// Set a kernel parameter of the container's own: net.core.somaxconn=1024
    #[arg(long, value_name = "map", value_parser = parse_sysctl)]
    pub sysctl: Vec<String>,
    /// Limit each process: nofile=1024:2048
    #[arg(long, value_name = "ulimit", value_parser = parse_ulimit)]
    pub ulimit: Vec<Ulimit>,
}

impl LimitFlags {
    /// What they say of the host's part; everything else is as in the default.
    ///
    /// # Errors
    /// In the words of Docker's client.
    pub fn host_config(&self) -> minke_model::Result<HostConfig> {
        if let Some(value) = self.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
            return Err(minke_model::Error::invalid(format!(
                "invalid value: {value}. Valid memory swappiness range is 0-100"
            )));
        }
        let vendors = |device: &&String| DeviceName::parse(device).is_some();
        let vendor_devices: Vec<String> = self.device.iter().filter(vendors).cloned().collect();
        let mut requests: Vec<DeviceRequest> = self.gpus.iter().cloned().collect();
        if !vendor_devices.is_empty() {
            requests.push(DeviceRequest {
                driver: "cdi".into(),
                device_ids: Some(vendor_devices),
                ..DeviceRequest::default()
            });
        }
        let devices = self.device.iter().filter(|device| !vendors(device)).map(|device| mapping(device));
        // The last of a name wins.
        let mut ulimits: Vec<Ulimit> = Vec::new();
        for limit in &self.ulimit {
            ulimits.retain(|known| known.name != limit.name);
            ulimits.push(limit.clone());
        }
        Ok(HostConfig {
            blkio_weight: self.blkio_weight,
            blkio_weight_device: Some(self.blkio_weight_device.clone()),
            blkio_device_read_bps: Some(self.device_read_bps.clone()),
            blkio_device_write_bps: Some(self.device_write_bps.clone()),
            blkio_device_read_iops: Some(self.device_read_iops.clone()),
            blkio_device_write_iops: Some(self.device_write_iops.clone()),
            cgroup_parent: self.cgroup_parent.clone(),
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            devices: Some(devices.collect()),
            device_cgroup_rules: some(self.device_cgroup_rule.clone()),
            device_requests: some(requests),
            memory_swappiness: self.memory_swappiness.filter(|value| *value >= 0),
            oom_kill_disable: Some(self.oom_kill_disable),
            oom_score_adj: self.oom_score_adj,
            storage_opt: super::plan::pairs(&self.storage_opt),
            sysctls: super::plan::pairs(&self.sysctl),
            ulimits: Some(ulimits.into_iter().map(api_ulimit).collect()),
            ..HostConfig::default()
        })
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn api_ulimit(limit: Ulimit) -> minke_api::container::Ulimit {
    minke_api::container::Ulimit { name: limit.name, hard: limit.hard, soft: limit.soft }
}

/// Reads a size in bytes.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    size::parse_binary(text).map_err(|error| error.to_string())
}

/// Reads a size in bytes, or -1.
pub fn parse_swap(text: &str) -> Result<i64, String> {
    size::parse_binary_or_unlimited(text).map_err(|error| error.to_string())
}

/// Reads a small whole number in Go's words.
pub fn parse_u16(text: &str) -> Result<u16, String> {
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if numeric { "value out of range" } else { "invalid syntax" };
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {text:?}: {reason}"))
}

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    Ulimit::parse(text).map_err(|error| error.to_string())
}

fn parse_sysctl(text: &str) -> Result<String, String> {
    let name = text.split_once('=').map(|(name, _)| name);
    let known = name.is_some_and(|name| {
        SYSCTLS.contains(&name) || SYSCTL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    if known { Ok(text.into()) } else { Err(format!("sysctl '{text}' is not allowed")) }
}

fn device_path(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

fn parse_weight(text: &str) -> Result<WeightDevice, String> {
    let (path, value) = device_path(text)?;
    let weight = value.parse::<u16>().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    let weight = weight.ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.into(), weight })
}

fn parse_bytes_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = device_path(text)?;
    let rate = size::parse_binary(value).ok().and_then(|rate| u64::try_from(rate).ok());
    let rate = rate.ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.into(), rate })
}

fn parse_count_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = device_path(text)?;
    let rate = value.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.into(), rate })
}

fn parse_device_rule(text: &str) -> Result<String, String> {
    let wrong = || format!("invalid device cgroup format '{text}'");
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, rights] = words[..] else { return Err(wrong()) };
    let number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let fine = ["a", "b", "c"].contains(&kind)
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&rights.len())
        && rights.chars().all(|right| "rwm".contains(right));
    if fine { Ok(text.into()) } else { Err(wrong()) }
}

fn is_device_mode(text: &str) -> bool {
    let distinct = text.chars().enumerate().all(|(place, right)| !text[..place].contains(right));
    !text.is_empty() && distinct && text.chars().all(|right| "rwm".contains(right))
}

/// Checks a `--device`; what it means is [`mapping`].
fn parse_device(text: &str) -> Result<String, String> {
    if DeviceName::parse(text).is_some() {
        return Ok(text.into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let inside = match parts[..] {
        [path] => path,
        [path, mode] if is_device_mode(mode) => path,
        [_, inside] => inside,
        [_, inside, mode] if is_device_mode(mode) => inside,
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if parts[0].is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(text.into())
}

fn mapping(text: &str) -> DeviceMapping {
    let parts: Vec<&str> = text.split(':').collect();
    let (inside, mode) = match parts[..] {
        [_, mode] if is_device_mode(mode) => ("", mode),
        [_, inside] => (inside, ""),
        [_, inside, mode] => (inside, mode),
        _ => ("", ""),
    };
    let or = |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
    DeviceMapping {
        path_on_host: parts[0].into(),
        path_in_container: or(inside, parts[0]),
        cgroup_permissions: or(mode, "rwm"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_place_inside_and_rights() {
        let shown = |text: &str| {
            let mapping = mapping(&parse_device(text).unwrap());
            format!("{} {} {}", mapping.path_on_host, mapping.path_in_container, mapping.cgroup_permissions)
        };
        assert_eq!(shown("/dev/a"), "/dev/a /dev/a rwm");
        assert_eq!(shown("/dev/a:r"), "/dev/a /dev/a r");
        assert_eq!(shown("/dev/a:/dev/b"), "/dev/a /dev/b rwm");
        assert_eq!(shown("/dev/a:/dev/b:mr"), "/dev/a /dev/b mr");
    }

    #[test]
    fn bad_values_are_refused_in_dockers_words() {
        let cases = [
            (parse_device("a").err(), "a is not an absolute path"),
            (parse_device("/dev/null:/dev/x:rq").err(), "bad mode specified: rq"),
            (parse_device_rule("x").err(), "invalid device cgroup format 'x'"),
            (parse_device_rule("c 1:2 rwmz").err(), "invalid device cgroup format 'c 1:2 rwmz'"),
            (parse_bytes_rate("/dev/nope").err(), "bad format: /dev/nope"),
            (parse_weight("/dev/a:3000").err(), "invalid weight for device: /dev/a:3000"),
            (parse_sysctl("kernel.foo=1").err(), "sysctl 'kernel.foo=1' is not allowed"),
            (parse_sysctl("kernel.shmmax").err(), "sysctl 'kernel.shmmax' is not allowed"),
        ];
        for (error, words) in cases {
            assert_eq!(error.as_deref(), Some(words));
        }
    }

    #[test]
    fn vendors_devices_are_a_request_of_their_own() {
        let flags = LimitFlags {
            device: vec!["/dev/a".into(), "vendor.com/class=x".into()],
            ..LimitFlags::default()
        };
        let host = flags.host_config().unwrap();
        assert_eq!(host.devices.unwrap().len(), 1);
        assert_eq!(host.device_requests.unwrap()[0].device_ids, Some(vec!["vendor.com/class=x".into()]));
    }
}
