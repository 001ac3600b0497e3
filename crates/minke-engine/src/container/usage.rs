//! What a container uses, read from the files of its groups and of its network namespace: for both versions of control groups,
//! with Docker's names. Parsing is pure; [`read`] alone opens files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minke_api::Time;
use minke_api::container::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    ThrottlingData,
};

/// Ticks of the kernel's clock, in nanoseconds: what user space sees is always 100 each second.
const TICK_NS: u64 = 10_000_000;

/// Where to read.
#[derive(Clone, Debug)]
pub struct Places {
    /// The group in the unified hierarchy, if that is the one in use.
    pub v2: Option<PathBuf>,
    /// Version 1: controller and the group's directory in its hierarchy.
    pub v1: Vec<(String, PathBuf)>,
    /// A process of the container whose network counts; `None`: it has none of its own.
    pub network_of: Option<i32>,
    /// The host's memory in bytes: no limit is above it.
    pub memory_bytes: u64,
}

/// Takes a sample; its name, id and sample before are the caller's.
pub fn read(places: &Places) -> ContainerStats {
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut stats = match &places.v2 {
        Some(group) => of_v2(&|file| text(group.join(file))),
        None => of_v1(&|controller, file| {
            let place = places.v1.iter().find(|(name, _)| name == controller);
            place.map(|(_, path)| text(path.join(file))).unwrap_or_default()
        }),
    };
    let limit = &mut stats.memory_stats.limit;
    if *limit == 0 || *limit > places.memory_bytes {
        *limit = places.memory_bytes;
    }
    (stats.cpu_stats.system_cpu_usage, stats.cpu_stats.online_cpus) = of_system(&text("/proc/stat".into()));
    if let Some(pid) = places.network_of {
        stats.networks = of_interfaces(&text(Path::new("/proc").join(pid.to_string()).join("net/dev")));
    }
    stats.read = Time::now();
    stats
}

/// Nanoseconds of all processors, and how many there are.
fn of_system(text: &str) -> (u64, u32) {
    let processors = text.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    });
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks: u64 = all.filter_map(|field| field.parse::<u64>().ok()).sum();
    (ticks * TICK_NS, u32::try_from(processors.count()).unwrap_or(0))
}

/// The counters of /proc/PID/net/dev but for the loopback's.
fn of_interfaces(text: &str) -> BTreeMap<String, NetworkStats> {
    let rows = text.lines().skip(2).filter_map(|line| {
        let (name, fields) = line.split_once(':')?;
        let fields: Vec<u64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let at = |place: usize| fields.get(place).copied().unwrap_or(0);
        let counters = NetworkStats {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), counters))
    });
    rows.filter(|(name, _)| name != "lo").collect()
}

/// `name value` lines.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// A number; `max` and what isn't there are 0.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn of_v1(file: &dyn Fn(&str, &str) -> String) -> ContainerStats {
    let cpu = pairs(&file("cpu", "cpu.stat"));
    let modes = pairs(&file("cpuacct", "cpuacct.stat"));
    let of = |map: &BTreeMap<String, u64>, name: &str| map.get(name).copied().unwrap_or(0);
    let processors = file("cpuacct", "cpuacct.usage_percpu");
    let mut memory = pairs(&file("memory", "memory.stat"));
    memory.retain(|name, _| V1_MEMORY.contains(&name.strip_prefix("total_").unwrap_or(name)));
    let entries = |name: &str| {
        let text = file("blkio", &format!("blkio.{name}_recursive"));
        let text =
            if text.is_empty() { file("blkio", &format!("blkio.throttle.{name}_recursive")) } else { text };
        Some(of_blkio_v1(&text))
    };
    ContainerStats {
        pids_stats: PidsStats {
            current: number(&file("pids", "pids.current")),
            limit: number(&file("pids", "pids.max")),
        },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: entries("io_service_bytes"),
            io_serviced_recursive: entries("io_serviced"),
            io_queue_recursive: Some(Vec::new()),
            io_service_time_recursive: Some(Vec::new()),
            io_wait_time_recursive: Some(Vec::new()),
            io_merged_recursive: Some(Vec::new()),
            io_time_recursive: Some(Vec::new()),
            sectors_recursive: Some(Vec::new()),
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: number(&file("cpuacct", "cpuacct.usage")),
                percpu_usage: Some(
                    processors.split_whitespace().filter_map(|field| field.parse().ok()).collect(),
                ),
                usage_in_kernelmode: of(&modes, "system") * TICK_NS,
                usage_in_usermode: of(&modes, "user") * TICK_NS,
            },
            throttling_data: ThrottlingData {
                periods: of(&cpu, "nr_periods"),
                throttled_periods: of(&cpu, "nr_throttled"),
                throttled_time: of(&cpu, "throttled_time"),
            },
            ..CpuStats::default()
        },
        memory_stats: MemoryStats {
            usage: number(&file("memory", "memory.usage_in_bytes")),
            max_usage: number(&file("memory", "memory.max_usage_in_bytes")),
            stats: memory,
            failcnt: number(&file("memory", "memory.failcnt")),
            limit: number(&file("memory", "memory.limit_in_bytes")),
        },
        ..ContainerStats::default()
    }
}

/// The counters of version 1 that Docker gives, each also with `total_`.
const V1_MEMORY: [&str; 17] = [
    "active_anon",
    "active_file",
    "cache",
    "dirty",
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
    "inactive_anon",
    "inactive_file",
    "mapped_file",
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "rss",
    "rss_huge",
    "unevictable",
    "writeback",
];

/// `8:0 Read 4096` lines; the sum at the end names no disk.
fn of_blkio_v1(text: &str) -> Vec<BlkioEntry> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?, words.next()?);
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_lowercase(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(row).collect()
}

fn of_v2(file: &dyn Fn(&str) -> String) -> ContainerStats {
    let cpu = pairs(&file("cpu.stat"));
    let of = |name: &str| cpu.get(name).copied().unwrap_or(0);
    let events = pairs(&file("memory.events"));
    ContainerStats {
        pids_stats: PidsStats {
            current: number(&file("pids.current")),
            // No limit is the largest number there is.
            limit: match file("pids.max").trim() {
                "max" => u64::MAX,
                text => number(text),
            },
        },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: Some(of_io_v2(&file("io.stat"))),
            ..BlkioStats::default()
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: of("usage_usec") * 1000,
                percpu_usage: None,
                usage_in_kernelmode: of("system_usec") * 1000,
                usage_in_usermode: of("user_usec") * 1000,
            },
            throttling_data: ThrottlingData {
                periods: of("nr_periods"),
                throttled_periods: of("nr_throttled"),
                throttled_time: of("throttled_usec") * 1000,
            },
            ..CpuStats::default()
        },
        memory_stats: MemoryStats {
            usage: number(&file("memory.current")),
            max_usage: 0,
            stats: pairs(&file("memory.stat")),
            failcnt: events.get("oom").copied().unwrap_or(0),
            limit: number(&file("memory.max")),
        },
        ..ContainerStats::default()
    }
}

/// `8:0 rbytes=4096 wbytes=0 ...` lines.
fn of_io_v2(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|numbers| numbers.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for word in words {
            let (op, value) = match word.split_once('=') {
                Some(("rbytes", value)) => ("read", value),
                Some(("wbytes", value)) => ("write", value),
                _ => continue,
            };
            entries.push(BlkioEntry { major, minor, op: op.into(), value: number(value) });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_processors_are_counted_and_summed() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 0\ncpu1 0 0\nintr 5\n";
        assert_eq!(of_system(text), (36 * TICK_NS, 2));
    }

    #[test]
    fn the_loopback_is_no_network() {
        let text = "Inter-|   Receive\n face |bytes\n    lo:  5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 1096 12 1 2 0 0 0 0 7 8 9 10 0 0 0 0\n";
        let found = of_interfaces(text);
        let expected = NetworkStats {
            rx_bytes: 1096,
            rx_packets: 12,
            rx_errors: 1,
            rx_dropped: 2,
            tx_bytes: 7,
            tx_packets: 8,
            tx_errors: 9,
            tx_dropped: 10,
        };
        assert_eq!(found, BTreeMap::from([("eth0".to_owned(), expected)]));
    }

    #[test]
    fn disks_of_both_versions_are_read() {
        let entry = |op: &str, value| BlkioEntry { major: 254, minor: 0, op: op.into(), value };
        let v1 = "254:0 Read 4096\n254:0 Write 8192\nTotal 12288\n";
        assert_eq!(of_blkio_v1(v1), [entry("read", 4096), entry("write", 8192)]);
        let v2 = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n";
        assert_eq!(of_io_v2(v2), [entry("read", 4096), entry("write", 8192)]);
    }

    #[test]
    fn version_2_is_in_nanoseconds_and_without_what_it_does_not_count() {
        let stats = of_v2(&|file| {
            match file {
                "cpu.stat" => "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 9\n",
                "memory.current" => "4096\n",
                "memory.max" | "pids.max" => "max\n",
                "memory.stat" => "anon 1\ninactive_file 2\n",
                "pids.current" => "3\n",
                _ => "",
            }
            .to_owned()
        });
        assert_eq!(stats.cpu_stats.cpu_usage.total_usage, 5000);
        assert_eq!(stats.cpu_stats.cpu_usage.percpu_usage, None);
        assert_eq!(stats.cpu_stats.throttling_data.throttled_time, 9000);
        assert_eq!((stats.memory_stats.usage, stats.memory_stats.limit), (4096, 0));
        assert_eq!(stats.memory_stats.stats["inactive_file"], 2);
        assert_eq!((stats.pids_stats.current, stats.pids_stats.limit), (3, u64::MAX));
        assert_eq!(stats.blkio_stats.io_serviced_recursive, None);
    }
}
