//! The part of the daemon's settings that is about the limits and devices of containers which don't say themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use minke_engine::{CgroupDriver, Realtime};
use minke_model::ulimit::Ulimit;
use minke_model::{Error, Result};
use serde::Deserialize;

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct LimitFlags {
    /// Real-time processor time for all containers together: the length of a period in microseconds (cgroup v1).
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<i64>,
    /// The real-time processor time in each period, in microseconds (cgroup v1).
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<i64>,
    /// A limit of each process of containers that don't set it, `nofile=1024:2048`; may be given several times.
    #[arg(long = "default-ulimit", value_name = "NAME=SOFT:HARD", value_parser = parse_ulimit)]
    pub default_ulimits: Vec<Ulimit>,
    /// The size of /dev/shm where a container doesn't say.
    #[arg(long, value_name = "BYTES")]
    pub default_shm_size: Option<String>,
    /// Where vendors describe their devices (CDI); may be given several times.
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Options of the runtime; known is `native.cgroupdriver=cgroupfs` (or `systemd`).
    #[arg(long = "exec-opt", value_name = "KEY=VALUE")]
    pub exec_opts: Vec<String>,
}

impl LimitFlags {
    /// Whether a flag says what the file's `key` says; lists of both are joined, but for folders.
    pub fn gives(&self, key: &str) -> bool {
        match key {
            "cpu-rt-period" => self.cpu_rt_period.is_some(),
            "cpu-rt-runtime" => self.cpu_rt_runtime.is_some(),
            "default-shm-size" => self.default_shm_size.is_some(),
            "cdi-spec-dirs" => !self.cdi_spec_dirs.is_empty(),
            _ => false,
        }
    }
}

/// The keys of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LimitFile {
    cpu_rt_period: Option<i64>,
    cpu_rt_runtime: Option<i64>,
    default_ulimits: BTreeMap<String, FileUlimit>,
    default_shm_size: Option<FileSize>,
    cdi_spec_dirs: Vec<PathBuf>,
    exec_opts: Vec<String>,
}

/// A limit as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileUlimit {
    name: String,
    soft: i64,
    hard: i64,
}

/// A size as the file has it: a number or words.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum FileSize {
    Bytes(i64),
    Words(String),
}

fn parse_ulimit(text: &str) -> std::result::Result<Ulimit, String> {
    Ulimit::parse(text).map_err(|error| error.to_string())
}

/// What containers get that don't say.
#[derive(Clone, Debug)]
pub struct ContainerLimits {
    /// Real-time processor time for all containers together.
    pub realtime: Realtime,
    /// Who makes the control groups of containers.
    pub cgroup_driver: CgroupDriver,
    /// Limits of each process of containers that don't set them.
    pub ulimits: Vec<Ulimit>,
    /// The size of /dev/shm where a container doesn't say.
    pub shm_size: i64,
    /// Where vendors describe their devices.
    pub cdi_spec_dirs: Vec<PathBuf>,
}

/// Joins what flags and file say.
///
/// # Errors
/// Values that can't be read, and options of the runtime that aren't known.
pub fn join(flags: &LimitFlags, file: &LimitFile) -> Result<ContainerLimits> {
    let cgroup_driver = cgroup_driver(file.exec_opts.iter().chain(&flags.exec_opts))?;
    let of_file = |(name, limit): (&String, &FileUlimit)| {
        let name = if limit.name.is_empty() { name } else { &limit.name };
        Ulimit::parse(&format!("{name}={}:{}", limit.soft, limit.hard))
    };
    let mut ulimits = file.default_ulimits.iter().map(of_file).collect::<Result<Vec<_>>>()?;
    for limit in &flags.default_ulimits {
        ulimits.retain(|known| known.name != limit.name);
        ulimits.push(limit.clone());
    }
    let shm_size = match (&flags.default_shm_size, &file.default_shm_size) {
        (Some(text), _) | (None, Some(FileSize::Words(text))) => minke_model::size::parse_binary(text)?,
        (None, Some(FileSize::Bytes(bytes))) => *bytes,
        (None, None) => 64 << 20,
    };
    if shm_size <= 0 {
        return Err(Error::invalid(format!("invalid default-shm-size: {shm_size}")));
    }
    let chosen =
        if flags.cdi_spec_dirs.is_empty() { &file.cdi_spec_dirs } else { &flags.cdi_spec_dirs }.clone();
    Ok(ContainerLimits {
        realtime: Realtime {
            period_us: flags.cpu_rt_period.or(file.cpu_rt_period).unwrap_or(0),
            runtime_us: flags.cpu_rt_runtime.or(file.cpu_rt_runtime).unwrap_or(0),
        },
        cgroup_driver,
        ulimits,
        shm_size,
        // An empty word takes the usual folders away.
        cdi_spec_dirs: match chosen.as_slice() {
            [] => vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            _ => chosen.into_iter().filter(|path| path.as_os_str() != "").collect(),
        },
    })
}

/// Which driver makes control groups; of several words the last counts.
fn cgroup_driver<'a>(options: impl Iterator<Item = &'a String>) -> Result<CgroupDriver> {
    let mut driver = CgroupDriver::default();
    for option in options {
        driver = match option.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs" | "")) => CgroupDriver::Cgroupfs,
            Some(("native.cgroupdriver", "systemd")) => CgroupDriver::Systemd,
            Some(("native.cgroupdriver", other)) => {
                return Err(Error::invalid(format!("native.cgroupdriver option {other} not supported")));
            }
            _ => return Err(Error::invalid(format!("Unknown option: {option:?}"))),
        };
    }
    Ok(driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flags_limit_wins_over_the_files_of_its_name() {
        let text = r#"{"default-ulimits":{"nofile":{"Name":"nofile","Soft":5,"Hard":6},"core":{"Soft":0,"Hard":0}},"default-shm-size":"8m"}"#;
        let file: LimitFile = serde_json::from_str(text).unwrap();
        let flags =
            LimitFlags { default_ulimits: vec![Ulimit::parse("nofile=9").unwrap()], ..LimitFlags::default() };
        let limits = join(&flags, &file).unwrap();
        let shown: Vec<_> =
            limits.ulimits.iter().map(|limit| (limit.name.as_str(), limit.soft, limit.hard)).collect();
        assert_eq!(shown, [("core", 0, 0), ("nofile", 9, 9)]);
        assert_eq!(limits.shm_size, 8 << 20);
        assert_eq!(limits.cdi_spec_dirs.len(), 2);
    }

    #[test]
    fn the_driver_of_control_groups_is_chosen_by_its_name() {
        let driver = |option: &str| {
            let flags = LimitFlags { exec_opts: vec![option.into()], ..LimitFlags::default() };
            join(&flags, &LimitFile::default()).map(|limits| limits.cgroup_driver)
        };
        assert_eq!(driver("native.cgroupdriver=cgroupfs").unwrap(), CgroupDriver::Cgroupfs);
        assert_eq!(driver("native.cgroupdriver=systemd").unwrap(), CgroupDriver::Systemd);
        let refused = driver("native.cgroupdriver=x").unwrap_err();
        assert_eq!(refused.message(), "native.cgroupdriver option x not supported");
        assert!(driver("x=y").is_err());
        let file: LimitFile =
            serde_json::from_str(r#"{"exec-opts":["native.cgroupdriver=systemd"]}"#).unwrap();
        let limits = join(&LimitFlags::default(), &file).unwrap();
        assert_eq!(limits.cgroup_driver, CgroupDriver::Systemd);
    }
}
