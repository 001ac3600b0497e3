//! What two samples of a container say, as `stats` shows it. Pure.

use std::sync::Arc;

use gotmpl::Value;
use minke_api::container::{BlkioEntry, ContainerStats, MemoryStats};
use minke_model::size;

use crate::format::list::{Kind, Row, row};
use crate::format::text::short_id;

/// The table.
pub const KIND: Kind = Kind {
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    go_type: "*container.StatsContext",
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

/// What is known of one container.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// As the caller named it.
    pub asked: String,
    /// The latest sample, with the one before it in its `precpu_stats`; `None`: nothing has been heard yet.
    pub sample: Option<ContainerStats>,
}

impl Known {
    /// The container's line; `full`: the whole id.
    pub fn row(&self, full: bool) -> Row {
        let Some(sample) = &self.sample else { return self.silent() };
        if sample.read.is_zero() {
            return self.idle(sample, full);
        }
        let memory = used_memory(&sample.memory_stats);
        let limit = sample.memory_stats.limit as f64;
        let share = if limit > 0.0 { memory / limit * 100.0 } else { 0.0 };
        let received: u64 = sample.networks.values().map(|counters| counters.rx_bytes).sum();
        let sent: u64 = sample.networks.values().map(|counters| counters.tx_bytes).sum();
        let disk = |op: &str| -> u64 {
            let rows: &[BlkioEntry] =
                sample.blkio_stats.io_service_bytes_recursive.as_deref().unwrap_or_default();
            rows.iter().filter(|entry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value).sum()
        };
        let decimal = |bytes: u64| size::render_decimal_short(bytes as f64);
        self.cells(
            sample,
            full,
            [
                format!("{:.2}%", processor_share(sample)),
                format!("{} / {}", size::render_binary(memory), size::render_binary(limit)),
                format!("{share:.2}%"),
                format!("{} / {}", decimal(received), decimal(sent)),
                format!("{} / {}", decimal(disk("read")), decimal(disk("write"))),
                sample.pids_stats.current.to_string(),
            ],
        )
    }

    fn silent(&self) -> Row {
        let unknown = ["--", "-- / --", "--", "--", "--", "--"].map(str::to_owned);
        self.cells(
            &ContainerStats { id: "--".into(), name: "--".into(), ..Default::default() },
            true,
            unknown,
        )
    }

    fn idle(&self, sample: &ContainerStats, full: bool) -> Row {
        let nothing = ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"].map(str::to_owned);
        self.cells(sample, full, nothing)
    }

    fn cells(&self, sample: &ContainerStats, full: bool, cells: [String; 6]) -> Row {
        let [cpu, memory, share, network, disk, processes] = cells;
        let mut fields = row([
            ("Container", self.asked.clone()),
            ("ID", if full { sample.id.clone() } else { short_id(&sample.id) }),
            ("Name", sample.name.trim_start_matches('/').to_owned()),
            ("CPUPerc", cpu),
            ("MemUsage", memory),
            ("MemPerc", share),
            ("NetIO", network),
            ("BlockIO", disk),
        ]);
        fields.insert(Arc::from("PIDs"), Value::String(processes.into()));
        fields
    }
}

/// The share of one processor's time, in percent: of two, twice as much can be had.
fn processor_share(sample: &ContainerStats) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    // The clock is finer than the kernel's count of ticks.
    let elapsed = sample.read.as_nanos() - sample.preread.as_nanos();
    if !sample.preread.is_zero() && elapsed > 0 {
        return used.max(0.0) / elapsed as f64 * 100.0;
    }
    let all = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let processors = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.as_ref().map_or(0, Vec::len) as f64,
        count => f64::from(count),
    };
    if used > 0.0 && all > 0.0 { used / all * processors * 100.0 } else { 0.0 }
}

/// Memory without what the kernel would give back at once.
fn used_memory(memory: &MemoryStats) -> f64 {
    let spare = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.stats.get(*name));
    let spare = spare.copied().filter(|spare| *spare < memory.usage).unwrap_or(0);
    (memory.usage - spare) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::list::Format;

    fn printed(known: &Known, flag: &str) -> String {
        Format::choose(&KIND, flag, "", false).render(&KIND, vec![known.row(false)]).unwrap()
    }

    #[test]
    fn a_line_is_dockers() {
        let mut sample =
            ContainerStats { id: "c76a614822aedaf8".into(), name: "/web".into(), ..Default::default() };
        sample.read = minke_api::Time::now();
        sample.memory_stats.usage = 6 << 20;
        sample.memory_stats.limit = 64 << 20;
        sample.memory_stats.stats.insert("inactive_file".into(), 2 << 20);
        sample.cpu_stats.cpu_usage.total_usage = 1_500;
        sample.cpu_stats.system_cpu_usage = 4_000;
        sample.cpu_stats.online_cpus = 2;
        sample.precpu_stats.cpu_usage.total_usage = 500;
        sample.precpu_stats.system_cpu_usage = 2_000;
        sample.pids_stats.current = 3;
        let known = Known { asked: "web".into(), sample: Some(sample) };
        assert_eq!(
            printed(&known, ""),
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS\n\
             c76a614822ae   web       100.00%   4MiB / 64MiB        6.25%     0B / 0B   0B / 0B     3\n"
        );
        assert_eq!(
            printed(&known, "{{.Container}} {{.CPUPerc}} {{.MemPerc}} {{.PIDs}}"),
            "web 100.00% 6.25% 3\n"
        );
    }

    #[test]
    fn the_share_of_a_processor_is_that_of_the_time_between_two_samples() {
        let mut sample = ContainerStats {
            preread: minke_api::Time::from_nanos(1_000_000_000),
            read: minke_api::Time::from_nanos(3_000_000_000),
            ..ContainerStats::default()
        };
        sample.precpu_stats.cpu_usage.total_usage = 500;
        sample.cpu_stats.cpu_usage.total_usage = 1_000_000_500;
        assert_eq!(processor_share(&sample), 50.0);
    }

    #[test]
    fn one_that_does_not_run_uses_nothing() {
        let sample =
            ContainerStats { id: "c76a614822aedaf8".into(), name: "/web".into(), ..Default::default() };
        let known = Known { asked: "web".into(), sample: Some(sample) };
        assert_eq!(printed(&known, "{{.ID}} {{.MemUsage}}"), "c76a614822ae 0B / 0B\n");
        let silent = Known { asked: "web".into(), sample: None };
        assert_eq!(printed(&silent, "{{.Container}} {{.CPUPerc}} {{.MemUsage}}"), "web -- -- / --\n");
    }
}
