//! The limits of a container as the configuration words them.

use minke_model::{Context, Error, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDeviceBuilder,
    LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::settings::Resources;
use crate::host::{CgroupMode, HostFacts};

/// Writes the limits; what the host can't count is left out, as Docker does after a warning.
pub fn resources(wanted: &Resources, host: &HostFacts) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    let pids = wanted.pids_limit.map(|limit| {
        let mut pids = LinuxPids::default();
        pids.set_limit(if limit <= 0 { -1 } else { limit });
        pids
    });
    resources
        .set_memory(Some(memory(wanted, host)).filter(|memory| *memory != LinuxMemory::default()))
        .set_cpu(Some(cpu(wanted)?).filter(|cpu| *cpu != LinuxCpu::default()))
        .set_pids(pids)
        .set_block_io(Some(block_io(wanted)?).filter(|block_io| *block_io != LinuxBlockIo::default()));
    Ok(resources)
}

fn memory(wanted: &Resources, host: &HostFacts) -> LinuxMemory {
    let v1 = matches!(host.cgroups, CgroupMode::V1 { .. });
    let swap = match wanted.memory_swap {
        0 if wanted.memory > 0 => wanted.memory.saturating_mul(2),
        swap => swap,
    };
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(Some(wanted.memory).filter(|value| *value > 0))
        .set_reservation(Some(wanted.memory_reservation).filter(|value| *value > 0))
        .set_swap(Some(swap).filter(|value| *value > 0 && host.swap_accounting))
        .set_swappiness(wanted.memory_swappiness.filter(|value| *value >= 0 && v1).map(|value| value as u64))
        .set_disable_oom_killer(Some(true).filter(|_| wanted.oom_kill_disable && v1));
    memory
}

fn cpu(wanted: &Resources) -> Result<LinuxCpu> {
    if wanted.cpu_shares < 0 {
        return Err(Error::invalid("shares: invalid argument"));
    }
    let (mut period, mut quota) = (wanted.cpu_period, wanted.cpu_quota);
    if wanted.nano_cpus > 0 {
        period = 100_000;
        quota = (i128::from(wanted.nano_cpus) * 100_000 / 1_000_000_000) as i64;
    }
    let positive = |value: i64| Some(value as u64).filter(|_| value > 0);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(positive(wanted.cpu_shares))
        .set_period(positive(period))
        .set_quota(Some(quota).filter(|value| *value != 0))
        .set_realtime_period(positive(wanted.cpu_realtime_period))
        .set_realtime_runtime(Some(wanted.cpu_realtime_runtime).filter(|value| *value != 0))
        .set_cpus(Some(wanted.cpuset_cpus.clone()).filter(|list| !list.is_empty()))
        .set_mems(Some(wanted.cpuset_mems.clone()).filter(|list| !list.is_empty()));
    Ok(cpu)
}

fn block_io(wanted: &Resources) -> Result<LinuxBlockIo> {
    let weights = wanted.blkio_weight_devices.iter().map(|(major, minor, weight)| {
        let row = LinuxWeightDeviceBuilder::default().major(*major).minor(*minor).weight(*weight);
        row.build().context("invalid blkio weight")
    });
    let weights = weights.collect::<Result<Vec<LinuxWeightDevice>>>()?;
    let rates = |rows: &[(i64, i64, u64)]| {
        let rows = rows.iter().map(|(major, minor, rate)| {
            let row = LinuxThrottleDeviceBuilder::default().major(*major).minor(*minor).rate(*rate);
            row.build().context("invalid blkio rate")
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    };
    let mut block_io = LinuxBlockIo::default();
    block_io
        .set_weight(Some(wanted.blkio_weight).filter(|weight| *weight != 0))
        .set_weight_device(Some(weights).filter(|rows| !rows.is_empty()))
        .set_throttle_read_bps_device(rates(&wanted.device_read_bps)?)
        .set_throttle_write_bps_device(rates(&wanted.device_write_bps)?)
        .set_throttle_read_iops_device(rates(&wanted.device_read_iops)?)
        .set_throttle_write_iops_device(rates(&wanted.device_write_iops)?);
    Ok(block_io)
}
