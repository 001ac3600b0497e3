//! What limits this host can hold containers to: looked for once, in the groups that the engine has made for itself.

use std::path::{Path, PathBuf};

use minke_spec::host::CgroupMode;
use minke_sys::cgroup::Group;

use crate::host::Host;

/// One flag for each limit that a host may lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforceable {
    /// Control groups are version 2.
    pub cgroup2: bool,
    /// Memory.
    pub memory: bool,
    /// Memory and swap.
    pub swap: bool,
    /// The soft limit of memory.
    pub memory_reservation: bool,
    /// Version 1 only.
    pub memory_swappiness: bool,
    /// Version 1 only.
    pub oom_kill_disable: bool,
    /// Shares of the processors.
    pub cpu_shares: bool,
    /// Time of the processors.
    pub cpu_quota: bool,
    /// Real-time scheduling; version 1 only.
    pub cpu_realtime: bool,
    /// Choice of processors and memory nodes.
    pub cpuset: bool,
    /// The number of processes.
    pub pids: bool,
    /// Shares of the disks.
    pub blkio_weight: bool,
    /// Shares of single disks.
    pub blkio_weight_device: bool,
    /// Rates of single disks.
    pub blkio_throttle: bool,
    /// The processors that there are, as a list of ranges.
    pub cpus: String,
    /// The memory nodes that there are.
    pub mems: String,
}

impl Enforceable {
    /// Looks, in `group`, which stands beside those of containers: some files are in no root.
    pub fn probe(host: &Host, group: &Group) -> Self {
        match &host.facts.cgroups {
            CgroupMode::V1 { hierarchies } => {
                let directory = |controller: &str| -> Option<&PathBuf> {
                    let has = |names: &[String]| names.iter().any(|name| name == controller);
                    let place = hierarchies.iter().position(|hierarchy| has(&hierarchy.controllers))?;
                    group.v1.get(place)
                };
                Self::of_v1(&directory, host.facts.swap_accounting)
            }
            CgroupMode::V2 { mountpoint, controllers, .. } => {
                let has = |name: &str| controllers.iter().any(|known| known == name);
                Self::of_v2(Path::new(mountpoint), &has, host.facts.swap_accounting)
            }
        }
    }

    fn of_v1<'a>(directory: &dyn Fn(&str) -> Option<&'a PathBuf>, swap: bool) -> Self {
        let has = |controller: &str, files: &[&str]| {
            directory(controller).is_some_and(|path| files.iter().any(|file| path.join(file).exists()))
        };
        let text = |file: &str| {
            let path = directory("cpuset").map(|path| path.join(file)).unwrap_or_default();
            std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
        };
        Self {
            cgroup2: false,
            memory: has("memory", &["memory.limit_in_bytes"]),
            swap,
            memory_reservation: has("memory", &["memory.soft_limit_in_bytes"]),
            memory_swappiness: has("memory", &["memory.swappiness"]),
            oom_kill_disable: has("memory", &["memory.oom_control"]),
            cpu_shares: has("cpu", &["cpu.shares"]),
            cpu_quota: has("cpu", &["cpu.cfs_quota_us"]),
            cpu_realtime: has("cpu", &["cpu.rt_runtime_us"]),
            cpuset: has("cpuset", &["cpuset.cpus"]),
            pids: has("pids", &["pids.max"]),
            blkio_weight: has("blkio", &["blkio.weight", "blkio.bfq.weight"]),
            blkio_weight_device: has("blkio", &["blkio.weight_device", "blkio.bfq.weight_device"]),
            blkio_throttle: has("blkio", &["blkio.throttle.write_bps_device"]),
            cpus: text("cpuset.cpus"),
            mems: text("cpuset.mems"),
        }
    }

    fn of_v2(mountpoint: &Path, has: &dyn Fn(&str) -> bool, swap: bool) -> Self {
        let text =
            |file: &str| std::fs::read_to_string(mountpoint.join(file)).unwrap_or_default().trim().to_owned();
        // Which of the two schedulers that know weights the kernel was built with shows where their own files are.
        let cost = mountpoint.join("io.cost.qos").exists();
        let fair_queues = Path::new("/sys/module/bfq").exists();
        Self {
            cgroup2: true,
            memory: has("memory"),
            swap: swap && has("memory"),
            memory_reservation: has("memory"),
            memory_swappiness: false,
            oom_kill_disable: false,
            cpu_shares: has("cpu"),
            cpu_quota: has("cpu"),
            cpu_realtime: false,
            cpuset: has("cpuset"),
            pids: has("pids"),
            blkio_weight: has("io") && (cost || fair_queues),
            blkio_weight_device: has("io") && (cost || fair_queues),
            blkio_throttle: has("io"),
            cpus: text("cpuset.cpus.effective"),
            mems: text("cpuset.mems.effective"),
        }
    }

    /// What `info` warns of, in Docker's words.
    pub fn warnings(&self) -> Vec<String> {
        let rows = [
            (self.memory, "No memory limit support"),
            (self.swap, "No swap limit support"),
            (self.cgroup2 || self.oom_kill_disable, "No oom kill disable support"),
            (self.cpu_quota, "No cpu cfs quota support"),
            (self.cpu_quota, "No cpu cfs period support"),
            (self.cpu_shares, "No cpu shares support"),
            (self.cpuset, "No cpuset support"),
        ];
        let disks = if self.cgroup2 { self.disk_words_of_v2() } else { self.disk_words_of_v1() };
        let missing = rows.into_iter().chain(disks).filter(|(there, _)| !there);
        missing.map(|(_, words)| format!("WARNING: {words}")).collect()
    }

    fn disk_words_of_v2(&self) -> Vec<(bool, &'static str)> {
        vec![
            (self.blkio_weight, "No io.weight support"),
            (self.blkio_weight_device, "No io.weight (per device) support"),
            (self.blkio_throttle, "No io.max (rbps) support"),
            (self.blkio_throttle, "No io.max (wbps) support"),
            (self.blkio_throttle, "No io.max (riops) support"),
            (self.blkio_throttle, "No io.max (wiops) support"),
        ]
    }

    /// Weights are no row: version 1 has had them with one scheduler only since long, and nobody can do anything about it.
    fn disk_words_of_v1(&self) -> Vec<(bool, &'static str)> {
        vec![
            (self.blkio_throttle, "No blkio throttle.read_bps_device support"),
            (self.blkio_throttle, "No blkio throttle.write_bps_device support"),
            (self.blkio_throttle, "No blkio throttle.read_iops_device support"),
            (self.blkio_throttle, "No blkio throttle.write_iops_device support"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_told_in_the_words_of_its_version() {
        let all = Enforceable {
            memory: true,
            swap: true,
            oom_kill_disable: true,
            cpu_shares: true,
            cpu_quota: true,
            cpuset: true,
            ..Enforceable::default()
        };
        let first = |can: &Enforceable| can.warnings().first().cloned();
        let v2 = Enforceable { cgroup2: true, ..all.clone() };
        assert_eq!(first(&v2).as_deref(), Some("WARNING: No io.weight support"));
        assert_eq!(v2.warnings().len(), 6);
        assert_eq!(first(&all).as_deref(), Some("WARNING: No blkio throttle.read_bps_device support"));
        let throttled = Enforceable { blkio_throttle: true, ..all };
        assert_eq!(throttled.warnings(), Vec::<String>::new());
    }
}
