//! Resources of a configuration as values for control group files, for both versions: two tables, one row per file.
//! Runtime specification: config-linux.md "Control groups"; files: the kernel's admin-guide/cgroup-v1 and cgroup-v2.
//! Conversions between the versions' scales are those that runc and crun share. Never writes a file.

use minke_model::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::devices::{self, DeviceRule};
use crate::host::{CgroupHierarchy, CgroupMode, HostFacts};
use crate::mounts::normalise;
use crate::plan::{CgroupPlan, CgroupWrite};

/// The most values of the `unified` map, and the longest of them in bytes.
const UNIFIED_LIMIT: usize = 1024;

/// What a row's file gets: no value where the resource isn't limited, else one write per value.
type Values = Result<Vec<String>>;

/// One control group file.
struct Row {
    /// The v1 controller, or what must be enabled on v2.
    controller: &'static str,
    file: &'static str,
    /// A kernel without the file is no failure.
    optional: bool,
    values: fn(&Limits<'_>) -> Values,
}

const fn row(controller: &'static str, file: &'static str, values: fn(&Limits<'_>) -> Values) -> Row {
    Row { controller, file, optional: false, values }
}

const fn optional(controller: &'static str, file: &'static str, values: fn(&Limits<'_>) -> Values) -> Row {
    Row { controller, file, optional: true, values }
}

/// Version 1, in the order of writing.
const V1: &[Row] = &[
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
const V2: &[Row] = &[
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
struct Limits<'a> {
    resources: &'a LinuxResources,
    memory: LinuxMemory,
    cpu: LinuxCpu,
    block_io: LinuxBlockIo,
}

impl<'a> Limits<'a> {
    fn new(resources: &'a LinuxResources) -> Self {
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
fn weight_of_shares(shares: u64) -> u64 {
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
fn io_weight(weight: u16) -> u64 {
    if weight == 0 { 0 } else { 1 + u64::from(weight).saturating_sub(10) * 9999 / 990 }
}

fn weight_devices(limits: &Limits<'_>) -> Values {
    let rows = limits.block_io.weight_device().as_deref().unwrap_or_default();
    Ok(rows
        .iter()
        .filter_map(|row| Some(format!("{}:{} {}", row.major(), row.minor(), row.weight()?)))
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

/// The name of a v1 hierarchy's directory, as in `/sys/fs/cgroup/cpu,cpuacct`.
pub(crate) fn directory_name(hierarchy: &CgroupHierarchy) -> &str {
    hierarchy.mountpoint.rsplit('/').next().unwrap_or_default()
}

/// Decides where a container's groups are and what is written into them.
///
/// `path` is the configuration's `cgroupsPath`: absolute from the mount point, or relative to the engine's own group.
/// `rules` are the device rules in order. Without a path there is no plan, and limits are an error.
pub(crate) fn plan_cgroup(
    path: Option<&str>,
    resources: &LinuxResources,
    rules: &[DeviceRule],
    host: &HostFacts,
) -> Result<CgroupPlan> {
    let limits = Limits::new(resources);
    let Some(path) = path else {
        let limited =
            V2.iter().chain(V1).any(|row| !(row.values)(&limits).is_ok_and(|values| values.is_empty()));
        if limited || resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
            return Err(Error::invalid("resources are limited, but cgroupsPath is missing"));
        }
        return Ok(CgroupPlan::default());
    };
    match &host.cgroups {
        CgroupMode::V1 { hierarchies } => {
            let mut plan = plan_v1(path, &limits, hierarchies)?;
            if !host.in_user_namespace {
                plan.writes.extend(device_writes(path, rules, hierarchies)?);
            }
            Ok(plan)
        }
        CgroupMode::V2 { mountpoint, controllers, own } => {
            let mut plan = plan_v2(&limits, &V2Place { mountpoint, controllers, path: &place(path, own)? })?;
            if !host.in_user_namespace {
                plan.device_program = devices::program(rules)?;
            }
            Ok(plan)
        }
    }
}

/// A group's path from its hierarchy's mount point; never the root itself.
fn place(path: &str, own: &str) -> Result<String> {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{own}/{path}") };
    let full = normalise(&full, "cgroup path")?;
    if full == "/" || path.is_empty() {
        return Err(Error::invalid("invalid cgroup path: it names the root"));
    }
    Ok(full)
}

fn find<'a>(hierarchies: &'a [CgroupHierarchy], controller: &str) -> Option<&'a CgroupHierarchy> {
    hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
}

fn plan_v1(path: &str, limits: &Limits<'_>, hierarchies: &[CgroupHierarchy]) -> Result<CgroupPlan> {
    if limits.resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(Error::invalid("invalid configuration: cannot use unified on cgroup v1"));
    }
    let mut plan = CgroupPlan::default();
    for hierarchy in hierarchies {
        plan.v1.push(format!("{}{}", hierarchy.mountpoint, place(path, &hierarchy.own)?));
    }
    if let Some(hierarchy) = find(hierarchies, "cpuset") {
        let mut directory = hierarchy.mountpoint.clone();
        for part in place(path, &hierarchy.own)?.split('/').skip(1) {
            directory = format!("{directory}/{part}");
            plan.inherit.extend(["cpuset.cpus", "cpuset.mems"].map(|file| format!("{directory}/{file}")));
        }
    }
    let mut add = |controller: &str, file: &str, optional: bool, values: Vec<String>| -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let hierarchy = find(hierarchies, controller).ok_or_else(|| {
            Error::system(format!("cannot set {file}: the cgroup controller {controller} is not mounted"))
        })?;
        let directory = format!("{}{}", hierarchy.mountpoint, place(path, &hierarchy.own)?);
        plan.writes.extend(values.into_iter().map(|value| CgroupWrite {
            path: format!("{directory}/{file}"),
            value,
            optional,
        }));
        Ok(())
    };
    for row in V1 {
        add(row.controller, row.file, row.optional, (row.values)(limits)?)?;
    }
    for (size, limit) in huge_pages(limits)? {
        add("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), false, vec![limit.clone()])?;
        add("hugetlb", &format!("hugetlb.{size}.rsvd.limit_in_bytes"), true, vec![limit])?;
    }
    Ok(plan)
}

fn device_writes(
    path: &str,
    rules: &[DeviceRule],
    hierarchies: &[CgroupHierarchy],
) -> Result<Vec<CgroupWrite>> {
    let Some(hierarchy) = find(hierarchies, "devices") else { return Ok(Vec::new()) };
    let directory = format!("{}{}", hierarchy.mountpoint, place(path, &hierarchy.own)?);
    let writes = devices::writes(rules)?;
    Ok(writes
        .into_iter()
        .map(|write| CgroupWrite {
            path: format!("{directory}/devices.{}", if write.allow { "allow" } else { "deny" }),
            value: write.value,
            optional: write.optional,
        })
        .collect())
}

struct V2Place<'a> {
    mountpoint: &'a str,
    controllers: &'a [String],
    path: &'a str,
}

fn plan_v2(limits: &Limits<'_>, place: &V2Place<'_>) -> Result<CgroupPlan> {
    let directory = format!("{}{}", place.mountpoint, place.path);
    let mut writes = Vec::new();
    let mut needed: Vec<&str> = Vec::new();
    let mut add = |controller: &'static str, file: &str, optional: bool, values: Vec<String>| {
        if !values.is_empty() && !optional && !needed.contains(&controller) {
            needed.push(controller);
        }
        writes.extend(values.into_iter().map(|value| CgroupWrite {
            path: format!("{directory}/{file}"),
            value,
            optional,
        }));
    };
    for row in V2 {
        add(row.controller, row.file, row.optional, (row.values)(limits)?);
    }
    for (size, limit) in huge_pages(limits)? {
        add("hugetlb", &format!("hugetlb.{size}.max"), false, vec![limit.clone()]);
        add("hugetlb", &format!("hugetlb.{size}.rsvd.max"), true, vec![limit]);
    }
    for (file, value) in unified(limits.resources)? {
        writes.push(CgroupWrite { path: format!("{directory}/{file}"), value, optional: false });
    }
    let mut plan =
        CgroupPlan { v2: Some(directory), writes: enable(&needed, place)?, ..CgroupPlan::default() };
    plan.writes.append(&mut writes);
    Ok(plan)
}

/// Turns controllers on in every group above the container's: all that are there in one write, which fails as a whole where
/// one can't be had, so then again those that the limits need.
fn enable(needed: &[&str], place: &V2Place<'_>) -> Result<Vec<CgroupWrite>> {
    if let Some(missing) = needed.iter().find(|name| !place.controllers.iter().any(|known| known == *name)) {
        return Err(Error::system(format!("the cgroup controller {missing} is not available")));
    }
    let all: Vec<String> = place.controllers.iter().map(|name| format!("+{name}")).collect();
    let all = all.join(" ");
    let mut writes = Vec::new();
    let mut directory = place.mountpoint.to_owned();
    for part in place.path.split('/').skip(1) {
        let path = format!("{directory}/cgroup.subtree_control");
        let alone = needed.iter().map(|name| format!("+{name}"));
        for value in std::iter::once(all.clone()).filter(|all| !all.is_empty()).chain(alone) {
            writes.push(CgroupWrite { path: path.clone(), value, optional: true });
        }
        directory = format!("{directory}/{part}");
    }
    Ok(writes)
}

fn huge_pages(limits: &Limits<'_>) -> Result<Vec<(String, String)>> {
    let rows = limits.resources.hugepage_limits().as_deref().unwrap_or_default();
    rows.iter()
        .map(|row| {
            let size = row.page_size();
            let fine = size.len() < 16 && size.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !fine || size.is_empty() {
                return Err(Error::invalid(format!("invalid huge page size {size:?}")));
            }
            Ok((size.clone(), row.limit().to_string()))
        })
        .collect()
}

/// The `unified` map: plain file names and their values, in the order of names.
fn unified(resources: &LinuxResources) -> Result<Vec<(String, String)>> {
    let Some(map) = resources.unified() else { return Ok(Vec::new()) };
    if map.len() > UNIFIED_LIMIT {
        return Err(Error::invalid("too many unified resources"));
    }
    let mut rows: Vec<(String, String)> =
        map.iter().map(|(file, value)| (file.clone(), value.clone())).collect();
    rows.sort();
    for (file, _) in &rows {
        if file.contains('/') || file.contains('\0') {
            return Err(Error::invalid(format!(
                "unified resource {file:?} must be a file name (no slashes)"
            )));
        }
        if !file.contains('.') {
            return Err(Error::invalid(format!(
                "unified resource {file:?} must be in the form CONTROLLER.PARAMETER"
            )));
        }
    }
    Ok(rows)
}

/// Computes the writes that change the limits of a running container's groups, in an order that works whichever way they go.
///
/// `path` is as in the configuration; only what `resources` names is written.
pub fn plan_update(path: &str, resources: &LinuxResources, host: &HostFacts) -> Result<Vec<CgroupWrite>> {
    let mut writes =
        plan_cgroup(Some(path), resources, &[], &HostFacts { in_user_namespace: true, ..host.clone() })?
            .writes;
    writes.retain(|write| !write.path.ends_with("/cgroup.subtree_control"));
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: serde_json::Value, host: &HostFacts) -> Result<String> {
        let resources: LinuxResources = serde_json::from_value(json).expect("resources");
        let plan = plan_cgroup(
            Some("/docker/c1"),
            &resources,
            &[],
            &HostFacts { in_user_namespace: true, ..host.clone() },
        )?;
        let rows = plan.writes.iter().map(|write| {
            let file = write.path.rsplit_once('/').expect("a path").1;
            format!("{file}{} = {}", if write.optional { "?" } else { "" }, write.value)
        });
        Ok(rows.filter(|row| !row.starts_with("cgroup.subtree_control")).collect::<Vec<_>>().join("\n"))
    }

    fn everything() -> serde_json::Value {
        serde_json::json!({
            "memory": {"limit": 268435456, "swap": 536870912, "reservation": 134217728, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0", "burst": 1000},
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 500,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "rdma": {"mlx5": {"hcaHandles": 3, "hcaObjects": 10000}}
        })
    }

    #[test]
    fn version_1_files_get_the_configuration_s_own_numbers() {
        let mut host = HostFacts::example_v1();
        if let CgroupMode::V1 { hierarchies } = &mut host.cgroups {
            hierarchies.push(CgroupHierarchy {
                mountpoint: "/sys/fs/cgroup/rdma".into(),
                controllers: vec!["rdma".into()],
                own: "/".into(),
            });
        }
        insta::assert_snapshot!(plan(everything(), &host).expect("plan"), @r#"
        cpuset.cpus = 0-1
        cpuset.mems = 0
        cpu.shares = 512
        cpu.cfs_period_us = 100000
        cpu.cfs_quota_us = 50000
        cpu.cfs_burst_us = 1000
        memory.limit_in_bytes = 268435456
        memory.memsw.limit_in_bytes = 536870912
        memory.soft_limit_in_bytes = 134217728
        memory.swappiness = 10
        pids.max = 100
        blkio.weight? = 500
        blkio.bfq.weight? = 500
        blkio.weight_device? = 8:0 300
        blkio.bfq.weight_device? = 8:0 300
        blkio.throttle.read_bps_device = 8:0 1048576
        blkio.throttle.write_iops_device = 8:0 100
        rdma.max = mlx5 hca_handle=3 hca_object=10000
        hugetlb.2MB.limit_in_bytes = 4194304
        hugetlb.2MB.rsvd.limit_in_bytes? = 4194304
        "#);
    }

    #[test]
    fn version_2_files_get_converted_numbers() {
        insta::assert_snapshot!(plan(everything(), &HostFacts::example_v2()).expect("plan"), @r#"
        cpuset.cpus = 0-1
        cpuset.mems = 0
        cpu.weight = 59
        cpu.max = 50000 100000
        cpu.max.burst = 1000
        memory.swap.max = 268435456
        memory.max = 268435456
        memory.low = 134217728
        pids.max = 100
        io.bfq.weight? = 500
        io.weight? = 4950
        io.bfq.weight? = 8:0 300
        io.max = 8:0 rbps=1048576
        io.max = 8:0 wiops=100
        rdma.max = mlx5 hca_handle=3 hca_object=10000
        hugetlb.2MB.max = 4194304
        hugetlb.2MB.rsvd.max? = 4194304
        "#);
    }

    #[test]
    fn shares_become_weights_on_the_curve_through_the_defaults() {
        for (shares, weight) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (1024, 100),
            (512, 59),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn io_weights_span_the_whole_scale() {
        for (weight, expected) in [(0, 0), (10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(weight), expected, "{weight}");
        }
    }

    #[test]
    fn swap_is_memory_and_swap_less_memory() {
        let host = HostFacts::example_v2();
        for (limit, swap, expected) in [
            (100, 300, Ok("memory.swap.max = 200\nmemory.max = 100")),
            (100, 100, Ok("memory.swap.max = 0\nmemory.max = 100")),
            (100, 0, Ok("memory.max = 100")),
            (100, -1, Ok("memory.swap.max = max\nmemory.max = 100")),
            (-1, 0, Ok("memory.swap.max = max\nmemory.max = max")),
            (100, 50, Err("memory+swap limit should be >= memory limit")),
            (0, 50, Err("unable to set swap limit without memory limit")),
        ] {
            let made = plan(serde_json::json!({"memory": {"limit": limit, "swap": swap}}), &host);
            assert_eq!(made.as_deref().map_err(|error| error.message()), expected, "{limit} {swap}");
        }
    }

    #[test]
    fn unlimited_memory_unlimits_swap_on_version_1() {
        let made =
            plan(serde_json::json!({"memory": {"limit": -1}}), &HostFacts::example_v1()).expect("plan");
        assert_eq!(made, "memory.limit_in_bytes = -1\nmemory.memsw.limit_in_bytes = -1");
    }

    #[test]
    fn unified_values_are_plain_files_of_version_2() {
        let v2 = HostFacts::example_v2();
        let json = |file: &str| serde_json::json!({"unified": {file: "1"}});
        assert_eq!(plan(json("memory.high"), &v2).expect("plan"), "memory.high = 1");
        for (file, host, message) in [
            ("../x.y", &v2, "unified resource \"../x.y\" must be a file name (no slashes)"),
            ("memory", &v2, "unified resource \"memory\" must be in the form CONTROLLER.PARAMETER"),
            (
                "memory.high",
                &HostFacts::example_v1(),
                "invalid configuration: cannot use unified on cgroup v1",
            ),
        ] {
            assert_eq!(plan(json(file), host).expect_err("refused").to_string(), message);
        }
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error() {
        let mut host = HostFacts::example_v2();
        if let CgroupMode::V2 { controllers, .. } = &mut host.cgroups {
            controllers.retain(|name| name != "pids");
        }
        let error = plan(serde_json::json!({"pids": {"limit": 3}}), &host).expect_err("refused");
        assert_eq!(error.to_string(), "the cgroup controller pids is not available");
    }

    #[test]
    fn controllers_are_enabled_from_the_top_down_to_the_parent() {
        let resources = serde_json::from_value(serde_json::json!({"pids": {"limit": 3}})).expect("resources");
        let plan = plan_cgroup(Some("a/../c1"), &resources, &[], &HostFacts::example_v2()).expect("plan");
        let rows: Vec<String> =
            plan.writes.iter().map(|write| format!("{} {}", write.path, write.value)).collect();
        insta::assert_snapshot!(rows.join("\n"), @r#"
        /sys/fs/cgroup/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
        /sys/fs/cgroup/cgroup.subtree_control +pids
        /sys/fs/cgroup/system.slice/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
        /sys/fs/cgroup/system.slice/cgroup.subtree_control +pids
        /sys/fs/cgroup/system.slice/minke.service/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
        /sys/fs/cgroup/system.slice/minke.service/cgroup.subtree_control +pids
        /sys/fs/cgroup/system.slice/minke.service/c1/pids.max 3
        "#);
    }

    #[test]
    fn relative_paths_are_below_the_engine_s_group_and_the_root_is_nobody_s() {
        assert_eq!(place("/x/../docker/c1", "/engine").expect("place"), "/docker/c1");
        assert_eq!(place("c1", "/engine").expect("place"), "/engine/c1");
        assert!(place("/..", "/engine").is_err());
        assert!(place("", "/").is_err());
    }

    #[test]
    fn cpuset_parents_come_before_their_children() {
        let resources = LinuxResources::default();
        let plan = plan_cgroup(Some("/docker/c1"), &resources, &[], &HostFacts::example_v1()).expect("plan");
        assert_eq!(
            plan.inherit,
            [
                "/sys/fs/cgroup/cpuset/docker/cpuset.cpus",
                "/sys/fs/cgroup/cpuset/docker/cpuset.mems",
                "/sys/fs/cgroup/cpuset/docker/c1/cpuset.cpus",
                "/sys/fs/cgroup/cpuset/docker/c1/cpuset.mems",
            ]
        );
    }
}
