//! Which file takes which limit, for both versions, and the conversions between their scales: a new resource is a new row.

use minke_model::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

/// What a row's file gets: no value where the resource isn't limited, else one write per value.
pub(super) type Values = Result<Vec<String>>;

/// One control group file.
pub(super) struct Row {
    /// The v1 controller, or what must be enabled on v2.
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    /// A kernel without the file is no failure.
    pub(super) optional: bool,
    pub(super) values: fn(&Limits<'_>) -> Values,
}

const fn row(controller: &'static str, file: &'static str, values: fn(&Limits<'_>) -> Values) -> Row {
    Row { controller, file, optional: false, values }
}

const fn optional(controller: &'static str, file: &'static str, values: fn(&Limits<'_>) -> Values) -> Row {
    Row { controller, file, optional: true, values }
}

/// Version 1, in the order of writing.
pub(super) const V1: &[Row] = &[
    row("cpuset", "cpuset.cpus", |l| text(l.cpu.cpus().as_deref())),
    row("cpuset", "cpuset.mems", |l| text(l.cpu.mems().as_deref())),
    row("cpu", "cpu.shares", |l| positive(l.cpu.shares())),
    row("cpu", "cpu.rt_period_us", |l| positive(l.cpu.realtime_period())),
    row("cpu", "cpu.rt_runtime_us", |l| nonzero(l.cpu.realtime_runtime())),
    row("cpu", "cpu.cfs_period_us", |l| positive(l.cpu.period())),
    row("cpu", "cpu.cfs_quota_us", |l| nonzero(l.cpu.quota())),
    row("cpu", "cpu.cfs_burst_us", |l| number(l.cpu.burst())),
    row("cpu", "cpu.idle", |l| number(l.cpu.idle())),
    row("memory", "memory.limit_in_bytes", |l| nonzero(l.memory.limit())),
    row("memory", "memory.memsw.limit_in_bytes", memory_and_swap_v1),
    row("memory", "memory.soft_limit_in_bytes", |l| nonzero(l.memory.reservation())),
    row("memory", "memory.kmem.tcp.limit_in_bytes", |l| nonzero(l.memory.kernel_tcp())),
    row("memory", "memory.oom_control", |l| flag(l.memory.disable_oom_killer())),
    row("memory", "memory.swappiness", swappiness),
    row("pids", "pids.max", pids),
    optional("blkio", "blkio.weight", |l| weight(l.block_io.weight())),
    optional("blkio", "blkio.bfq.weight", |l| weight(l.block_io.weight())),
    optional("blkio", "blkio.leaf_weight", |l| weight(l.block_io.leaf_weight())),
    optional("blkio", "blkio.weight_device", weight_devices),
    optional("blkio", "blkio.bfq.weight_device", weight_devices),
    optional("blkio", "blkio.leaf_weight_device", leaf_weight_devices),
    row("blkio", "blkio.throttle.read_bps_device", |l| {
        rates(l.block_io.throttle_read_bps_device().as_ref(), "")
    }),
    row("blkio", "blkio.throttle.write_bps_device", |l| {
        rates(l.block_io.throttle_write_bps_device().as_ref(), "")
    }),
    row("blkio", "blkio.throttle.read_iops_device", |l| {
        rates(l.block_io.throttle_read_iops_device().as_ref(), "")
    }),
    row("blkio", "blkio.throttle.write_iops_device", |l| {
        rates(l.block_io.throttle_write_iops_device().as_ref(), "")
    }),
    row("net_cls", "net_cls.classid", |l| {
        positive(l.resources.network().as_ref().and_then(|network| network.class_id()).map(u64::from))
    }),
    row("net_prio", "net_prio.ifpriomap", interface_priorities),
    row("rdma", "rdma.max", rdma),
];

/// Version 2, in the order of writing.
pub(super) const V2: &[Row] = &[
    row("cpuset", "cpuset.cpus", |l| text(l.cpu.cpus().as_deref())),
    row("cpuset", "cpuset.mems", |l| text(l.cpu.mems().as_deref())),
    row("cpu", "cpu.weight", |l| positive(l.cpu.shares().map(weight_of_shares))),
    row("cpu", "cpu.idle", |l| number(l.cpu.idle())),
    row("cpu", "cpu.max", cpu_max),
    row("cpu", "cpu.max.burst", |l| number(l.cpu.burst())),
    row("memory", "memory.swap.max", swap_v2),
    row("memory", "memory.max", |l| max_or(l.memory.limit())),
    row("memory", "memory.low", |l| max_or(l.memory.reservation())),
    row("pids", "pids.max", pids),
    optional("io", "io.bfq.weight", |l| weight(l.block_io.weight())),
    optional("io", "io.weight", |l| positive(l.block_io.weight().map(io_weight))),
    optional("io", "io.bfq.weight", weight_devices),
    row("io", "io.max", |l| rates(l.block_io.throttle_read_bps_device().as_ref(), "rbps=")),
    row("io", "io.max", |l| rates(l.block_io.throttle_write_bps_device().as_ref(), "wbps=")),
    row("io", "io.max", |l| rates(l.block_io.throttle_read_iops_device().as_ref(), "riops=")),
    row("io", "io.max", |l| rates(l.block_io.throttle_write_iops_device().as_ref(), "wiops=")),
    row("rdma", "rdma.max", rdma),
];

/// The resources with their absent parts filled in.
pub(super) struct Limits<'a> {
    pub(super) resources: &'a LinuxResources,
    memory: LinuxMemory,
    cpu: LinuxCpu,
    block_io: LinuxBlockIo,
}

impl<'a> Limits<'a> {
    pub(super) fn new(resources: &'a LinuxResources) -> Self {
        Self {
            resources,
            memory: resources.memory().unwrap_or_default(),
            cpu: resources.cpu().clone().unwrap_or_default(),
            block_io: resources.block_io().clone().unwrap_or_default(),
        }
    }
}

fn one(value: impl ToString) -> Values {
    Ok(vec![value.to_string()])
}

fn number(value: Option<impl ToString>) -> Values {
    Ok(value.map(|value| value.to_string()).into_iter().collect())
}

fn positive(value: Option<u64>) -> Values {
    number(value.filter(|value| *value != 0))
}

fn nonzero(value: Option<i64>) -> Values {
    number(value.filter(|value| *value != 0))
}

fn weight(value: Option<u16>) -> Values {
    positive(value.map(u64::from))
}

/// A number of version 2, where -1 is written as a word.
fn max_or(value: Option<i64>) -> Values {
    match value {
        None | Some(0) => Ok(Vec::new()),
        Some(-1) => one("max"),
        Some(value) => one(value),
    }
}

fn flag(value: Option<bool>) -> Values {
    number(value.filter(|value| *value).map(u8::from))
}

fn text(value: Option<&str>) -> Values {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(Vec::new()) };
    if value.len() > 4096 || !value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b',' | b'-' | b' ')) {
        return Err(Error::invalid(format!("invalid cpuset list: {value:?}")));
    }
    one(value)
}

fn swappiness(limits: &Limits<'_>) -> Values {
    match limits.memory.swappiness() {
        None => Ok(Vec::new()),
        // Docker's -1, which stands in the configuration as an unsigned number.
        Some(u64::MAX) => Ok(Vec::new()),
        Some(value @ 0..=100) => one(value),
        Some(value) => {
            Err(Error::invalid(format!("invalid memory swappiness value: {value} (valid range is 0-100)")))
        }
    }
}

/// Memory and swap together; with memory unlimited and swap unsaid, swap is unlimited too.
fn memory_and_swap_v1(limits: &Limits<'_>) -> Values {
    match (limits.memory.limit(), limits.memory.swap()) {
        (Some(-1), None | Some(0)) => one(-1),
        (_, swap) => nonzero(swap),
    }
}

/// Swap alone, as version 2 counts.
fn swap_v2(limits: &Limits<'_>) -> Values {
    let limit = limits.memory.limit().unwrap_or(0);
    match (limit, limits.memory.swap().unwrap_or(0)) {
        (-1, 0) | (_, -1) => one("max"),
        (_, 0) => Ok(Vec::new()),
        (0 | -1, _) => Err(Error::invalid("unable to set swap limit without memory limit")),
        (limit, swap) if limit < 0 => {
            Err(Error::invalid(format!("invalid memory value: {limit} (memory+swap {swap})")))
        }
        (limit, swap) if swap < limit => Err(Error::invalid("memory+swap limit should be >= memory limit")),
        (limit, swap) => one(swap - limit),
    }
}

fn pids(limits: &Limits<'_>) -> Values {
    match limits.resources.pids().map(|pids| pids.limit()) {
        None | Some(0) => Ok(Vec::new()),
        Some(limit) if limit < 0 => one("max"),
        Some(limit) => one(limit),
    }
}

fn cpu_max(limits: &Limits<'_>) -> Values {
    let (quota, period) = (limits.cpu.quota().unwrap_or(0), limits.cpu.period().unwrap_or(0));
    if quota == 0 && period == 0 {
        return Ok(Vec::new());
    }
    let quota = if quota > 0 { quota.to_string() } else { "max".into() };
    one(format!("{quota} {}", if period == 0 { 100_000 } else { period }))
}

/// Version 1's shares (2 to 262,144, 1,024 by default) as version 2's weight (1 to 10,000, 100 by default), by the curve
/// through these three pairs.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            10f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// Version 1's weight (10 to 1,000) on version 2's scale (1 to 10,000).
pub fn io_weight(weight: u16) -> u64 {
    if weight == 0 { 0 } else { 1 + u64::from(weight).saturating_sub(10) * 9999 / 990 }
}

fn weight_devices(limits: &Limits<'_>) -> Values {
    let rows = limits.block_io.weight_device().as_deref().unwrap_or_default();
    Ok(rows
        .iter()
        .filter_map(|row| Some(format!("{}:{} {}", row.major(), row.minor(), row.weight()?)))
        .collect())
}

fn leaf_weight_devices(limits: &Limits<'_>) -> Values {
    let rows = limits.block_io.weight_device().as_deref().unwrap_or_default();
    Ok(rows
        .iter()
        .filter_map(|row| Some(format!("{}:{} {}", row.major(), row.minor(), row.leaf_weight()?)))
        .collect())
}

fn rates(rows: Option<&Vec<LinuxThrottleDevice>>, key: &str) -> Values {
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    Ok(rows.iter().map(|row| format!("{}:{} {key}{}", row.major(), row.minor(), row.rate())).collect())
}

fn interface_priorities(limits: &Limits<'_>) -> Values {
    let network = limits.resources.network().as_ref();
    let rows = network.and_then(|network| network.priorities().as_deref()).unwrap_or_default();
    Ok(rows.iter().map(|row| format!("{} {}", row.name(), row.priority())).collect())
}

fn rdma(limits: &Limits<'_>) -> Values {
    let Some(devices) = limits.resources.rdma() else { return Ok(Vec::new()) };
    let mut rows: Vec<String> = Vec::new();
    for (device, limit) in devices {
        let mut row = device.clone();
        for (key, value) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(value) = value {
                row.push_str(&format!(" {key}={value}"));
            }
        }
        rows.push(row);
    }
    rows.sort();
    Ok(rows)
}
