//! Other limits, or another restart policy, for a container that may be running: joined with what it has, written to its groups
//! in an order that the kernel takes, and undone where it doesn't.

use std::path::Path;

use minke_api::container::{ContainerUpdateResponse, HostConfig};
use minke_model::restart_policy::RestartPolicy;
use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_spec::plan::CgroupWrite;
use minke_sys::cgroup::Write;

use super::handle::Command;
use super::record::Record;
use super::{devices, notes, resources, scope, settings};
use crate::Engine;
use crate::engine::Shared;

impl Engine {
    /// `POST /containers/{id}/update`; of the body only limits and the restart policy count.
    pub async fn container_update(
        &self,
        reference: &str,
        mut change: HostConfig,
    ) -> Result<ContainerUpdateResponse> {
        let container = self.shared.containers.resolve(reference)?;
        let warnings =
            resources::check(&mut change, &self.shared.enforceable, self.shared.host.found.processors, true)?;
        let asked = &change.restart_policy;
        if !asked.name.is_empty() {
            RestartPolicy::from_parts(&asked.name, asked.maximum_retry_count)?;
        }
        container.ask(|reply| Command::Update { change: Box::new(change), reply }).await?;
        Ok(ContainerUpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
    }
}

/// Docker's frame around what is wrong with a change.
fn refused(id: &str, kind: ErrorKind, words: &str) -> Error {
    Error::new(kind, format!("Cannot update container {id}: {words}"))
}

/// The container's configuration with the change: what a change doesn't name stays.
///
/// # Errors
/// [`ErrorKind::Conflict`] in Docker's words where the two don't go together.
pub fn joined(record: &Record, change: &HostConfig) -> Result<HostConfig> {
    let mut host = record.host_config.clone();
    let conflict = |words: &str| Err(refused(&record.id, ErrorKind::Conflict, words));
    if change.nano_cpus > 0 && host.cpu_period > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if change.nano_cpus > 0 && host.cpu_quota > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if change.cpu_period > 0 && host.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if change.cpu_quota > 0 && host.nano_cpus > 0 {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    // Swap without limit stays so, whatever the memory.
    if change.memory > host.memory_swap && change.memory_swap == 0 && host.memory_swap != -1 {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let numbers = [
        (&mut host.cpu_shares, change.cpu_shares),
        (&mut host.nano_cpus, change.nano_cpus),
        (&mut host.cpu_period, change.cpu_period),
        (&mut host.cpu_quota, change.cpu_quota),
        (&mut host.cpu_realtime_period, change.cpu_realtime_period),
        (&mut host.cpu_realtime_runtime, change.cpu_realtime_runtime),
        (&mut host.memory, change.memory),
        (&mut host.memory_swap, change.memory_swap),
        (&mut host.memory_reservation, change.memory_reservation),
    ];
    for (own, new) in numbers {
        if new != 0 {
            *own = new;
        }
    }
    for (own, new) in
        [(&mut host.cpuset_cpus, &change.cpuset_cpus), (&mut host.cpuset_mems, &change.cpuset_mems)]
    {
        if !new.is_empty() {
            own.clone_from(new);
        }
    }
    if change.blkio_weight != 0 {
        host.blkio_weight = change.blkio_weight;
    }
    if change.pids_limit.is_some_and(|limit| limit != 0) {
        host.pids_limit = change.pids_limit;
    }
    if !change.restart_policy.name.is_empty() {
        if host.auto_remove && change.restart_policy.name != "no" {
            return conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            );
        }
        host.restart_policy.clone_from(&change.restart_policy);
    }
    Ok(host)
}

/// Writes the limits of `new` to the groups of a running container that has those of `record`. Where the kernel refuses one, those
/// before it are taken back.
///
/// # Errors
/// The kernel's reason in Docker's words.
pub fn write_limits(shared: &Shared, record: &Record, generation: u64, new: &HostConfig) -> Result<()> {
    let facts = &shared.host.facts;
    let path = shared.cgroup_path(record, generation);
    // What can't be changed isn't written again either.
    let of = |host: &HostConfig| {
        let limits = HostConfig { oom_kill_disable: None, memory_swappiness: None, ..host.clone() };
        minke_spec::docker::resources(&settings::resources(&limits), facts)
    };
    let failed = |kind, words: &str| refused(&record.id, kind, words);
    let (before, after) = (of(&record.host_config)?, of(new)?);
    let plan = minke_spec::cgroup::plan_update(&path, &before, &after, facts)
        .map_err(|error| failed(error.kind(), error.message()))?;
    let back = minke_spec::cgroup::plan_update(&path, &after, &before, facts).unwrap_or_default();
    scope::change(shared, record, generation, &after)
        .map_err(|error| failed(error.kind(), error.message()))?;
    apply(&plan).map_err(|words| {
        let _ = apply(&back);
        let _ = scope::change(shared, record, generation, &before);
        failed(ErrorKind::System, &words)
    })
}

/// Writes down what an update is about to do to a running container: an engine that is killed in the middle leaves groups and record
/// apart.
///
/// # Errors
/// Where it can't be written.
pub fn note(path: &Path, new: &HostConfig) -> Result<()> {
    let text = serde_json::to_vec(new).context("noting the update")?;
    notes::write(path, &text).context("noting the update")
}

/// Takes back what an update of an engine that was killed has done to the groups and not to the record. Nobody was told that it is done.
pub fn take_back(shared: &Shared, record: &Record, generation: u64) {
    let path = shared.paths(&record.id).updating;
    let Ok(text) = std::fs::read(&path) else { return };
    if let Ok(host_config) = serde_json::from_slice::<HostConfig>(&text) {
        let begun = Record { host_config, ..record.clone() };
        if let Err(error) = write_limits(shared, &begun, generation, &record.host_config) {
            tracing::warn!(container = %record.id, %error, "an update was cut short, and its limits stay");
        }
    }
    let _ = std::fs::remove_file(path);
}

fn apply(writes: &[CgroupWrite]) -> std::result::Result<(), String> {
    for write in writes {
        let one = Write { path: write.path.as_ref(), value: &write.value, optional: write.optional };
        minke_sys::cgroup::apply([one]).map_err(|failure| {
            let reason = devices::words(&failure.source);
            format!("failed to write {:?}: write {}: {reason}", write.value, write.path)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_words(own: HostConfig, change: HostConfig) -> String {
        let first = include_bytes!("record-v1.json");
        let (mut record, _) = Record::parse(first).unwrap();
        (record.id, record.host_config) = ("c1".into(), own);
        match joined(&record, &change) {
            Ok(host) => format!("{} {} {:?}", host.memory, host.memory_swap, host.pids_limit),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let own = HostConfig { memory: 5, memory_swap: 10, pids_limit: Some(3), ..HostConfig::default() };
        assert_eq!(joined_words(own.clone(), HostConfig::default()), "5 10 Some(3)");
        let change = HostConfig { memory: 7, pids_limit: Some(-1), ..HostConfig::default() };
        assert_eq!(joined_words(own, change), "7 10 Some(-1)");
    }

    #[test]
    fn limits_that_do_not_go_together_are_refused_in_dockers_words() {
        let change = HostConfig { memory: 7, ..HostConfig::default() };
        assert_eq!(
            joined_words(HostConfig { memory_swap: 6, ..HostConfig::default() }, change.clone()),
            "Cannot update container c1: Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        );
        assert_eq!(
            joined_words(HostConfig { memory_swap: -1, ..HostConfig::default() }, change),
            "7 -1 None"
        );
        let quota = HostConfig { cpu_quota: 5000, ..HostConfig::default() };
        let cpus = HostConfig { nano_cpus: 1, ..HostConfig::default() };
        assert_eq!(
            joined_words(quota.clone(), cpus.clone()),
            "Cannot update container c1: Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        );
        assert_eq!(
            joined_words(cpus, quota),
            "Cannot update container c1: Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
    }
}
