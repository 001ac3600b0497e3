//! The limits of a request: checked as Docker checks them, in its order and words. What the host can't enforce is taken out, and
//! the caller is told. Pure.

use minke_api::container::HostConfig;
use minke_model::{Error, Result};

use crate::enforceable::Enforceable;

/// The least memory limit, in bytes.
const LEAST_MEMORY: i64 = 6 << 20;
/// The most numbers that a list of processors may name.
const CPUSET_LIMIT: u32 = 8192;

/// Checks limits, of a new container or (with `update`) a change of some.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in Docker's words.
pub fn check(host: &mut HostConfig, can: &Enforceable, processors: u32, update: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if !update && host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if !update {
        host.oom_kill_disable.get_or_insert(false);
    }
    memory(host, can, update, &mut warnings)?;
    memory_details(host, can, &mut warnings)?;
    processes(host, can, &mut warnings);
    cpu(host, can, processors, &mut warnings)?;
    cpuset(host, can, &mut warnings)?;
    block_io(host, can, &mut warnings)?;
    Ok(warnings)
}

fn invalid<T>(words: &str) -> Result<T> {
    Err(Error::invalid(words))
}

/// Tells that the host lacks something, in Docker's frame; `lost` is what becomes of the limit.
fn lacks(warnings: &mut Vec<String>, what: &str, lost: &str) {
    warnings.push(format!("Your kernel does not support {what} or the cgroup is not mounted. {lost}"));
}

fn memory(host: &mut HostConfig, can: &Enforceable, update: bool, warnings: &mut Vec<String>) -> Result<()> {
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && !can.memory {
        lacks(warnings, "memory limit capabilities", "Limitation discarded.");
        (host.memory, host.memory_swap) = (0, -1);
    }
    if host.memory > 0 && host.memory_swap != -1 && !can.swap {
        lacks(warnings, "swap limit capabilities", "Memory limited without swap.");
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 && !update {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    Ok(())
}

fn memory_details(host: &mut HostConfig, can: &Enforceable, warnings: &mut Vec<String>) -> Result<()> {
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if host.memory_swappiness.is_some() && !can.memory_swappiness {
        lacks(warnings, "memory swappiness capabilities", "Memory swappiness discarded.");
        host.memory_swappiness = None;
    }
    if let Some(value) = host.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return invalid(&format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if host.memory_reservation > 0 && !can.memory_reservation {
        lacks(warnings, "memory soft limit capabilities", "Limitation discarded.");
        host.memory_reservation = 0;
    }
    if host.memory_reservation > 0 && host.memory_reservation < LEAST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if host.memory_reservation > 0 && host.memory > 0 && host.memory < host.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if !can.oom_kill_disable {
        if host.oom_kill_disable == Some(true) {
            warnings
                .push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        }
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn processes(host: &mut HostConfig, can: &Enforceable, warnings: &mut Vec<String>) {
    if let Some(limit) = host.pids_limit.filter(|_| !can.pids) {
        if limit > 0 {
            lacks(warnings, "PIDs limit capabilities", "PIDs limit discarded.");
        }
        host.pids_limit = None;
    }
}

fn cpu(host: &mut HostConfig, can: &Enforceable, processors: u32, warnings: &mut Vec<String>) -> Result<()> {
    for (other, name) in [(host.cpu_period, "CPU Period"), (host.cpu_quota, "CPU Quota")] {
        if host.nano_cpus > 0 && other > 0 {
            return invalid(&format!("Conflicting options: Nano CPUs and {name} cannot both be set"));
        }
    }
    if host.nano_cpus > 0 && !can.cpu_quota {
        return invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    let most = i64::from(processors) * 1_000_000_000;
    if host.nano_cpus < 0 || host.nano_cpus > most {
        return invalid(&format!(
            "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        ));
    }
    if host.cpu_shares < 0 {
        return invalid("shares: invalid argument");
    }
    if host.cpu_shares > 0 && !can.cpu_shares {
        lacks(warnings, "CPU shares", "Shares discarded.");
        host.cpu_shares = 0;
    }
    match host.cpu_shares {
        1 => return invalid("the minimum allowed cpu-shares is 2"),
        262_145.. => return invalid("the maximum allowed cpu-shares is 262144"),
        _ => {}
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !can.cpu_quota {
        warnings
            .push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".to_owned());
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        host.cpu_percent = 0;
    }
    realtime(host, can)
}

fn realtime(host: &HostConfig, can: &Enforceable) -> Result<()> {
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if (period != 0 || runtime != 0) && !can.cpu_realtime {
        return invalid("Your kernel does not support CPU real-time scheduler");
    }
    if period != 0 && runtime != 0 && runtime > period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

fn cpuset(host: &mut HostConfig, can: &Enforceable, warnings: &mut Vec<String>) -> Result<()> {
    if (!host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty()) && !can.cpuset {
        lacks(warnings, "cpuset", "Cpuset discarded.");
        (host.cpuset_cpus, host.cpuset_mems) = (String::new(), String::new());
    }
    for (asked, there, short, long) in [
        (&host.cpuset_cpus, &can.cpus, "cpus", "CPUs"),
        (&host.cpuset_mems, &can.mems, "mems", "memory nodes"),
    ] {
        let numbers = parse_list(asked).map_err(|reason| {
            Error::invalid(format!("Invalid value {asked} for cpuset {short}: {reason}"))
        })?;
        // A list that can't be read says nothing about what there is.
        let Ok(known) = parse_list(there) else { continue };
        if numbers.iter().any(|number| !known.contains(number)) {
            return invalid(&format!(
                "Requested {long} are not available - requested {asked}, available: {there}"
            ));
        }
    }
    Ok(())
}

/// The numbers of a list such as `0-3,7`.
fn parse_list(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || format!("invalid format: {text}");
    let number = |text: &str| match text.parse::<u32>().map_err(|_| wrong())? {
        number if number < CPUSET_LIMIT => Ok(number),
        _ => Err(format!("value of out range, maximum is {CPUSET_LIMIT}")),
    };
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(wrong());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

fn block_io(host: &mut HostConfig, can: &Enforceable, warnings: &mut Vec<String>) -> Result<()> {
    if host.blkio_weight > 0 && !can.blkio_weight {
        lacks(warnings, "Block I/O weight", "Weight discarded.");
        host.blkio_weight = 0;
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if host.io_maximum_bandwidth != 0 || host.io_maximum_iops != 0 {
        return invalid(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    if host.blkio_weight_device.as_ref().is_some_and(|rows| !rows.is_empty()) && !can.blkio_weight_device {
        lacks(warnings, "Block I/O weight_device", "Weight-device discarded.");
        host.blkio_weight_device = Some(Vec::new());
    }
    let rates = [
        (&mut host.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (&mut host.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
        (&mut host.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (&mut host.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
    ];
    for (rows, what, lost) in rates {
        if rows.as_ref().is_some_and(|rows| !rows.is_empty()) && !can.blkio_throttle {
            lacks(warnings, what, &format!("{lost} discarded."));
            *rows = Some(Vec::new());
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
