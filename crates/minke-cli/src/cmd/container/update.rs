//! `update`: gives containers other limits, or another restart policy.

use clap::Args;
use minke_api::container::{HostConfig, RestartPolicy};
use minke_model::restart_policy;

use super::flags::parse_cpus;
use super::limits::{parse_bytes, parse_swap, parse_u16};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb, parse_int};
use crate::session::Session;

/// Flags of `update`.
#[derive(Args, Clone, Debug, Default)]
pub struct Update {
    /// Share of the disks' time where it is scarce, 10 to 1000
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true, value_parser = parse_u16)]
    blkio_weight: u16,
    /// Length of a period of the CPU limit, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    cpu_period: i64,
    /// CPU time in each period, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    cpu_quota: i64,
    /// Length of a period of the real-time limit, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    cpu_rt_period: i64,
    /// Real-time CPU time in each period, in microseconds
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    cpu_rt_runtime: i64,
    /// Share of the CPUs where they are scarce
    #[arg(long, short = 'c', value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    cpu_shares: i64,
    /// Number of CPUs that may be used, with decimals
    #[arg(long, value_name = "decimal", default_value = "0", hide_default_value = true, value_parser = parse_cpus)]
    cpus: i64,
    /// CPUs to run on: 0-3, 0,1
    #[arg(long, value_name = "string", default_value = "")]
    cpuset_cpus: String,
    /// Memory nodes to allocate from: 0-3, 0,1
    #[arg(long, value_name = "string", default_value = "")]
    cpuset_mems: String,
    /// Has no effect any more
    #[arg(long, value_name = "bytes", default_value = "0", hide = true, value_parser = parse_bytes)]
    kernel_memory: i64,
    /// Most memory, 512m or 2g
    #[arg(long, short = 'm', value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    memory: i64,
    /// Memory to keep to where it is scarce
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_bytes)]
    memory_reservation: i64,
    /// Most memory and swap together; -1 for any amount of swap
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true, value_parser = parse_swap)]
    memory_swap: i64,
    /// Most processes; -1 for any number
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    pids_limit: i64,
    /// When to start the container again: no, always, unless-stopped, on-failure[:3]
    #[arg(long, value_name = "string", default_value = "")]
    restart: String,
}

impl Update {
    fn change(&self) -> minke_model::Result<HostConfig> {
        let (name, count) = restart_policy::split_flag(&self.restart)?;
        Ok(HostConfig {
            blkio_weight: self.blkio_weight,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            nano_cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            pids_limit: Some(self.pids_limit).filter(|limit| *limit != 0),
            restart_policy: RestartPolicy { name: name.to_owned(), maximum_retry_count: count },
            ..HostConfig::default()
        })
    }
}

impl Verb for Update {
    const SUMMARY: &'static str = "Give containers other limits";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let change = &self.change()?;
        if *change == HostConfig::default() {
            return Err(crate::error::Failure::Plain(
                "you must provide one or more flags when using this command".into(),
            ));
        }
        session
            .each(&arguments, |name| async move {
                let answer = session.engine().container_update(&name, change).await?;
                for warning in answer.warnings.iter().flatten() {
                    session.complain(warning);
                }
                Ok(name)
            })
            .await
    }
}
