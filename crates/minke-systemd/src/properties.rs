//! Limits and device rules of a configuration as a unit's properties, so that the service manager writes the same values as we
//! do whenever it writes any: the names and scales that runc's driver uses on cgroup v2, systemd.resource-control(5). Pure, but
//! for the host's list of device numbers.

use minke_model::{Error, Result};
use minke_spec::cgroup::{io_weight, weight_of_shares};
use minke_spec::devices::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};
use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

use crate::message::Value;

/// A property's name and value.
pub type Property = (String, Value);

/// No limit, as the service manager writes it.
const INFINITY: u64 = u64::MAX;
/// The period of a quota that names none, in microseconds.
const USUAL_PERIOD: u64 = 100_000;
/// The highest number that a list of processors may name.
const HIGHEST: usize = 8191;

/// All that the unit of a container gets: its limits, and its device rules where a unit can say them.
///
/// # Errors
/// As [`limit_properties`].
pub fn container_properties(resources: &LinuxResources, rules: &[DeviceRule]) -> Result<Vec<Property>> {
    let mut found = limit_properties(resources)?;
    let majors = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    found.extend(device_properties(rules, &majors).unwrap_or_default());
    Ok(found)
}

/// The limits of a configuration that a unit can have; the others are written to files alone.
///
/// # Errors
/// Lists of processors that can't be read.
pub fn limit_properties(resources: &LinuxResources) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    memory(resources, &mut found);
    processors(resources, &mut found)?;
    match resources.pids().map(|pids| pids.limit()) {
        Some(limit) if limit > 0 => add(&mut found, "TasksMax", Value::U64(limit.unsigned_abs())),
        Some(limit) if limit < 0 => add(&mut found, "TasksMax", Value::U64(INFINITY)),
        _ => {}
    }
    block_io(resources, &mut found);
    unified(resources, &mut found)?;
    Ok(found)
}

fn add(found: &mut Vec<Property>, name: &str, value: Value) {
    found.retain(|(known, _)| known != name);
    found.push((name.to_owned(), value));
}

/// A number of bytes; -1 is none at all.
fn bytes(limit: i64) -> Value {
    Value::U64(u64::try_from(limit).unwrap_or(INFINITY))
}

fn memory(resources: &LinuxResources, found: &mut Vec<Property>) {
    let Some(memory) = resources.memory() else { return };
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    if let Some(limit) = given(memory.limit()) {
        add(found, "MemoryMax", bytes(limit));
    }
    if let Some(reservation) = given(memory.reservation()) {
        add(found, "MemoryLow", bytes(reservation));
    }
    // A configuration counts memory and swap together, a unit swap alone.
    match (given(memory.limit()), given(memory.swap())) {
        (_, Some(-1)) | (Some(-1), None) => add(found, "MemorySwapMax", Value::U64(INFINITY)),
        (Some(limit), Some(swap)) if limit > 0 && swap >= limit => {
            add(found, "MemorySwapMax", bytes(swap - limit));
        }
        _ => {}
    }
}

fn processors(resources: &LinuxResources, found: &mut Vec<Property>) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        add(found, "CPUWeight", Value::U64(weight_of_shares(shares)));
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if period != 0 {
        add(found, "CPUQuotaPeriodUSec", Value::U64(period));
    }
    if quota != 0 || period != 0 {
        add(found, "CPUQuotaPerSecUSec", Value::U64(per_second(quota, period)));
    }
    for (list, name) in [(cpu.cpus(), "AllowedCPUs"), (cpu.mems(), "AllowedMemoryNodes")] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            add(found, name, Value::Bytes(bits(list)?));
        }
    }
    Ok(())
}

/// A quota as microseconds of each second, in the whole percents that a unit has.
fn per_second(quota: i64, period: u64) -> u64 {
    let period = if period == 0 { USUAL_PERIOD } else { period };
    match u64::try_from(quota) {
        Ok(quota) if quota > 0 => quota.saturating_mul(1_000_000).div_euclid(period).next_multiple_of(10_000),
        _ => INFINITY,
    }
}

/// A list such as `0-2,5` as bits, the lowest number first.
fn bits(list: &str) -> Result<Vec<u8>> {
    let invalid = || Error::invalid(format!("invalid cpuset list: {list:?}"));
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number <= HIGHEST);
    let mut bits = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first).ok_or_else(invalid)?, number(last).ok_or_else(invalid)?);
        if first > last {
            return Err(invalid());
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1u8 << (bit % 8);
        }
    }
    if bits.is_empty() { Err(invalid()) } else { Ok(bits) }
}

fn block_io(resources: &LinuxResources, found: &mut Vec<Property>) {
    let Some(block) = resources.block_io() else { return };
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        add(found, "IOWeight", Value::U64(io_weight(weight)));
    }
    let rates = |rows: Option<&Vec<LinuxThrottleDevice>>| -> Vec<(String, u64)> {
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| (format!("/dev/block/{}:{}", row.major(), row.minor()), row.rate())).collect()
    };
    for (rows, name) in [
        (rates(block.throttle_read_bps_device().as_ref()), "IOReadBandwidthMax"),
        (rates(block.throttle_write_bps_device().as_ref()), "IOWriteBandwidthMax"),
        (rates(block.throttle_read_iops_device().as_ref()), "IOReadIOPSMax"),
        (rates(block.throttle_write_iops_device().as_ref()), "IOWriteIOPSMax"),
    ] {
        if !rows.is_empty() {
            add(found, name, Value::Weights(rows));
        }
    }
}

/// Files of cgroup v2 by their names, as far as a unit has a property for them.
fn unified(resources: &LinuxResources, found: &mut Vec<Property>) -> Result<()> {
    for (file, value) in resources.unified().iter().flatten() {
        let number = || match value.trim() {
            "max" => Ok(INFINITY),
            text => text.parse().map_err(|_| {
                Error::invalid(format!("unified resource {file:?} value conversion error: {text:?}"))
            }),
        };
        let name = match file.as_str() {
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "cpu.weight" => "CPUWeight",
            "pids.max" => "TasksMax",
            "cpuset.cpus" => {
                add(found, "AllowedCPUs", Value::Bytes(bits(value)?));
                continue;
            }
            "cpuset.mems" => {
                add(found, "AllowedMemoryNodes", Value::Bytes(bits(value)?));
                continue;
            }
            _ => continue,
        };
        add(found, name, Value::U64(number()?));
    }
    Ok(())
}

/// Device rules as a unit's list: what is refused is what no row names. `None` where a unit can't say it, for an exception
/// from what is allowed; our own program on the group decides in any case, and both have to allow.
///
/// `majors` is the text of `/proc/devices`, by which a unit names all devices of a major number.
fn device_properties(rules: &[DeviceRule], majors: &str) -> Option<Vec<Property>> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut everything = false;
    for (number, rule) in rules.iter().enumerate() {
        let all = rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none();
        match (all, rule.allow) {
            (true, allow) if rule.access == MKNOD | READ | WRITE => {
                rows.clear();
                everything = allow;
            }
            (_, true) => rows.extend(allowed(rule, majors)?),
            (_, false) => {
                let meets = |other: &DeviceRule| {
                    other.allow && other.access & rule.access != 0 && other.overlaps(rule)
                };
                if rules[..number].iter().any(meets) {
                    return None;
                }
            }
        }
    }
    let policy = if everything { "auto" } else { "strict" };
    if everything {
        rows.clear();
    }
    Some(vec![
        ("DevicePolicy".into(), Value::Text(policy.into())),
        ("DeviceAllow".into(), Value::Pairs(Vec::new())), // the list before it is empty
        ("DeviceAllow".into(), Value::Pairs(rows)),
    ])
}

/// The rows of one rule.
fn allowed(rule: &DeviceRule, majors: &str) -> Option<Vec<(String, String)>> {
    let rights: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .into_iter()
        .filter_map(|(bit, letter)| (rule.access & bit != 0).then_some(letter))
        .collect();
    let kinds = match rule.kind {
        Some(kind) => vec![kind],
        None => vec![DeviceKind::Block, DeviceKind::Character],
    };
    let mut rows = Vec::new();
    for kind in kinds {
        let word = if kind == DeviceKind::Block { "block" } else { "char" };
        match (rule.major, rule.minor) {
            (None, None) => rows.push((format!("{word}-*"), rights.clone())),
            (Some(major), Some(minor)) => rows.push((format!("/dev/{word}/{major}:{minor}"), rights.clone())),
            // A major number whose driver isn't there has no device yet either.
            (Some(major), None) => {
                rows.extend(
                    driver(kind, major, majors).map(|name| (format!("{word}-{name}"), rights.clone())),
                );
            }
            (None, Some(_)) => return None,
        }
    }
    Some(rows)
}

/// The driver's name of a major number.
fn driver(kind: DeviceKind, major: u32, majors: &str) -> Option<&str> {
    let (characters, blocks) = majors.split_once("Block devices:").unwrap_or((majors, ""));
    let part = if kind == DeviceKind::Block { blocks } else { characters };
    part.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> String {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let rows = limit_properties(&resources).unwrap();
        rows.iter().map(|(name, value)| format!("{name} {value:?}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn limits_have_the_names_and_scales_of_units() {
        assert_eq!(
            of(r#"{"memory":{"limit":100,"swap":300,"reservation":50},"pids":{"limit":7}}"#),
            "MemoryMax U64(100), MemoryLow U64(50), MemorySwapMax U64(200), TasksMax U64(7)"
        );
        assert_eq!(
            of(r#"{"cpu":{"shares":1024,"quota":150000,"period":100000,"cpus":"0-1,9"}}"#),
            "CPUWeight U64(100), CPUQuotaPeriodUSec U64(100000), CPUQuotaPerSecUSec U64(1500000), AllowedCPUs Bytes([3, 2])"
        );
        assert_eq!(
            of(r#"{"memory":{"limit":-1}}"#),
            format!("MemoryMax U64({INFINITY}), MemorySwapMax U64({INFINITY})")
        );
        assert_eq!(of(r#"{"pids":{"limit":-1}}"#), format!("TasksMax U64({INFINITY})"));
        assert_eq!(of("{}"), "");
        assert_eq!(of(r#"{"unified":{"memory.high":"max"}}"#), format!("MemoryHigh U64({INFINITY})"));
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_percents() {
        assert_eq!(per_second(3333, 100_000), 40_000);
        assert_eq!(per_second(50_000, 0), 500_000);
        assert_eq!(per_second(-1, 100_000), INFINITY);
    }

    #[test]
    fn lists_of_processors_that_make_no_sense_are_refused() {
        for list in ["3-1", "x", "9999999", ","] {
            assert!(bits(list).is_err(), "{list}");
        }
    }

    const MAJORS: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";

    fn rule(allow: bool, kind: Option<DeviceKind>, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: MKNOD | READ | WRITE }
    }

    #[test]
    fn device_rules_become_rows_that_name_what_is_allowed() {
        let character = Some(DeviceKind::Character);
        let rules = [
            rule(false, None, None, None),
            rule(true, character, Some(1), Some(3)),
            rule(true, character, Some(136), None),
            rule(true, Some(DeviceKind::Block), None, None),
            rule(true, character, Some(200), None),
            rule(false, character, Some(10), Some(229)), // what no rule before has allowed
        ];
        let rows = device_properties(&rules, MAJORS).unwrap();
        assert_eq!(rows[0], ("DevicePolicy".into(), Value::Text("strict".into())));
        let pairs = [("/dev/char/1:3", "rwm"), ("char-pts", "rwm"), ("block-*", "rwm")];
        let pairs = pairs.map(|(path, rights)| (path.to_owned(), rights.to_owned())).to_vec();
        assert_eq!(rows[2], ("DeviceAllow".into(), Value::Pairs(pairs)));
    }

    #[test]
    fn everything_is_allowed_by_no_policy_and_exceptions_are_left_to_the_program() {
        let rows = device_properties(&[rule(true, None, None, None)], MAJORS).unwrap();
        assert_eq!(rows[0], ("DevicePolicy".into(), Value::Text("auto".into())));
        let exception = [rule(true, None, None, None), rule(false, Some(DeviceKind::Block), Some(8), None)];
        assert_eq!(device_properties(&exception, MAJORS), None);
    }
}
