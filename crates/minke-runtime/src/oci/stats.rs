//! What a container uses, read from its control groups in the words and units of the field's `events`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::state::State;

/// A kernel's clock tick in nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// Reads everything.
pub fn read(state: &State) -> Value {
    let group = Files { v1: &state.v1, v2: if state.v1.is_empty() { state.v2.as_deref() } else { None } };
    json!({
        "cpu": if group.v2.is_some() { group.cpu_v2() } else { group.cpu_v1() },
        "cpuset": {},
        "memory": if group.v2.is_some() { group.memory_v2() } else { group.memory_v1() },
        "pids": group.pids(),
        "blkio": group.blkio(),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null
    })
}

struct Files<'a> {
    v1: &'a [PathBuf],
    v2: Option<&'a Path>,
}

impl Files<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let mut paths = self.v1.iter().map(PathBuf::as_path).chain(self.v2);
        paths.find_map(|path| std::fs::read_to_string(path.join(name)).ok())
    }

    /// A number; what has no limit is the largest one.
    fn number(&self, name: &str) -> u64 {
        let text = self.text(name).unwrap_or_default();
        let text = text.trim();
        if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
    }

    fn table(&self, name: &str) -> Map<String, Value> {
        let text = self.text(name).unwrap_or_default();
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        rows.filter_map(|(key, value)| Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?))))
            .collect()
    }

    fn cpu_v1(&self) -> Value {
        let per: Vec<u64> = self
            .text("cpuacct.usage_percpu")
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let split = self.table("cpuacct.stat");
        let ticks = |key: &str| split.get(key).and_then(Value::as_u64).unwrap_or(0) * TICK_NS;
        let throttled = self.table("cpu.stat");
        json!({
            "usage": {
                "total": self.number("cpuacct.usage"), "percpu": per, "kernel": ticks("system"), "user": ticks("user")
            },
            "throttling": throttling(&throttled, "throttled_time", 1)
        })
    }

    fn cpu_v2(&self) -> Value {
        let stat = self.table("cpu.stat");
        let ns = |key: &str| stat.get(key).and_then(Value::as_u64).unwrap_or(0) * 1000;
        json!({
            "usage": { "total": ns("usage_usec"), "kernel": ns("system_usec"), "user": ns("user_usec") },
            "throttling": throttling(&stat, "throttled_usec", 1000)
        })
    }

    fn memory_v1(&self) -> Value {
        let raw = self.table("memory.stat");
        let entry = |stem: &str| {
            let file = |end: &str| self.number(&format!("memory.{stem}{end}"));
            json!({
                "limit": file("limit_in_bytes"), "usage": file("usage_in_bytes"), "max": file("max_usage_in_bytes"),
                "failcnt": file("failcnt")
            })
        };
        json!({
            "cache": raw.get("cache").cloned().unwrap_or(json!(0)), "usage": entry(""), "swap": entry("memsw."),
            "kernel": entry("kmem."), "kernelTCP": entry("kmem.tcp."), "raw": raw
        })
    }

    fn memory_v2(&self) -> Value {
        let raw = self.table("memory.stat");
        let failures = self.table("memory.events").get("max").cloned().unwrap_or(json!(0));
        let (memory, swap) = (self.number("memory.current"), self.number("memory.swap.current"));
        let (memory_limit, swap_limit) = (self.number("memory.max"), self.number("memory.swap.max"));
        json!({
            "cache": raw.get("file").cloned().unwrap_or(json!(0)),
            "usage": { "limit": memory_limit, "usage": memory, "max": self.number("memory.peak"), "failcnt": failures },
            // As version 1 counts: memory and swap together.
            "swap": { "limit": memory_limit.saturating_add(swap_limit), "usage": memory + swap, "failcnt": 0 },
            "kernel": { "limit": 0, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": raw
        })
    }

    fn pids(&self) -> Value {
        let limit = self.number("pids.max");
        json!({ "current": self.number("pids.current"), "limit": if limit == u64::MAX { 0 } else { limit } })
    }

    fn blkio(&self) -> Value {
        let mut value = Map::new();
        for (key, file) in [
            ("ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive"),
            ("ioServicedRecursive", "blkio.throttle.io_serviced_recursive"),
        ] {
            let rows = self.text(file).map(|text| text.lines().filter_map(block_row).collect::<Vec<_>>());
            if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
                value.insert(key.into(), Value::Array(rows));
            }
        }
        if let Some(text) = self.text("io.stat") {
            let (mut bytes, mut count) = (Vec::new(), Vec::new());
            for line in text.lines() {
                io_rows(line, &mut bytes, &mut count);
            }
            value.insert("ioServiceBytesRecursive".into(), Value::Array(bytes));
            value.insert("ioServicedRecursive".into(), Value::Array(count));
        }
        Value::Object(value)
    }
}

fn throttling(table: &Map<String, Value>, time: &str, unit: u64) -> Value {
    let number = |key: &str| table.get(key).and_then(Value::as_u64).unwrap_or(0);
    json!({
        "periods": number("nr_periods"), "throttledPeriods": number("nr_throttled"), "throttledTime": number(time) * unit
    })
}

/// `8:0 Read 4096` of version 1.
fn block_row(line: &str) -> Option<Value> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (operation, value) = (words.next()?, words.next()?.parse::<u64>().ok()?);
    let number = |text: &str| text.parse::<u64>().ok();
    Some(json!({ "major": number(major)?, "minor": number(minor)?, "op": operation, "value": value }))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...` of version 2.
fn io_rows(line: &str, bytes: &mut Vec<Value>, count: &mut Vec<Value>) {
    let mut words = line.split_whitespace();
    let Some((major, minor)) = words.next().and_then(|word| word.split_once(':')) else { return };
    let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>()) else { return };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        let row =
            |operation: &str| json!({ "major": major, "minor": minor, "op": operation, "value": value });
        match key {
            "rbytes" => bytes.push(row("Read")),
            "wbytes" => bytes.push(row("Write")),
            "rios" => count.push(row("Read")),
            "wios" => count.push(row("Write")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_versions_are_read() {
        let row = block_row("8:16 Read 4096").expect("a row");
        assert_eq!(row, json!({"major": 8, "minor": 16, "op": "Read", "value": 4096}));
        assert_eq!(block_row("Total 4096"), None);
        let (mut bytes, mut count) = (Vec::new(), Vec::new());
        io_rows("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0", &mut bytes, &mut count);
        assert_eq!((bytes.len(), count.len(), &count[1]["value"]), (2, 2, &json!(4)));
    }
}
