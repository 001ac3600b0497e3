//! Resources of a configuration as values for control group files, for both versions: two tables, one row per file.
//! Runtime specification: config-linux.md "Control groups"; files: the kernel's admin-guide/cgroup-v1 and cgroup-v2.
//! Conversions between the versions' scales are those that runc and crun share. Never writes a file.

mod tables;
#[cfg(test)]
mod tests;

use minke_model::{Error, Result};
use oci_spec::runtime::LinuxResources;

use crate::devices::{self, DeviceRule};
use crate::host::{CgroupHierarchy, CgroupMode, HostFacts};
use crate::mounts::normalise;
use crate::plan::{CgroupPlan, CgroupWrite};
use tables::{Limits, V1, V2};
pub use tables::{io_weight, weight_of_shares};

/// The most values of the `unified` map, and the longest of them in bytes.
const UNIFIED_LIMIT: usize = 1024;

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
    let writes = devices::writes(rules)?;
    let Some(hierarchy) = find(hierarchies, "devices") else {
        // Rules that nothing enforces would be a hole.
        return match writes.iter().all(|write| write.optional) {
            true => Ok(Vec::new()),
            false => {
                Err(Error::system("cannot set device rules: the cgroup controller devices is not mounted"))
            }
        };
    };
    let directory = format!("{}{}", hierarchy.mountpoint, place(path, &hierarchy.own)?);
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

/// Computes the writes that change the limits of a running container's groups from `old` to `new`, in an order that the kernel takes.
///
/// `path` is as in the configuration; only what `new` names is written.
pub fn plan_update(
    path: &str,
    old: &LinuxResources,
    new: &LinuxResources,
    host: &HostFacts,
) -> Result<Vec<CgroupWrite>> {
    // Device rules are no limits: they stay as they are.
    let host = HostFacts { in_user_namespace: true, ..host.clone() };
    let plan = |resources| -> Result<Vec<CgroupWrite>> {
        let mut writes = plan_cgroup(Some(path), resources, &[], &host)?.writes;
        writes.retain(|write| !write.path.ends_with("/cgroup.subtree_control"));
        Ok(writes)
    };
    let mut writes = plan(new)?;
    let before = plan(old).unwrap_or_default();
    // Version 1 never lets the first be above the second: what grows makes room first.
    for (inner, outer, unset) in [
        ("/memory.limit_in_bytes", "/memory.memsw.limit_in_bytes", i64::MAX),
        ("/cpu.rt_runtime_us", "/cpu.rt_period_us", 0),
    ] {
        let place = |name: &str| writes.iter().position(|write| write.path.ends_with(name));
        let (Some(inside), Some(outside)) = (place(inner), place(outer)) else { continue };
        let number = |write: &CgroupWrite| match write.value.parse() {
            Ok(-1) => i64::MAX,
            Ok(value) => value,
            Err(_) => unset,
        };
        let was = before.iter().find(|write| write.path.ends_with(inner)).map_or(unset, number);
        if (number(&writes[inside]) > was) != (outside < inside) {
            writes.swap(inside, outside);
        }
    }
    Ok(writes)
}
