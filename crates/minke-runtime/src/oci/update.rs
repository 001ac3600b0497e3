//! `update`: other limits for a running container.

use std::path::{Path, PathBuf};

use minke_model::size;
use minke_spec::host::CgroupMode;
use minke_spec::plan::CgroupWrite;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::arguments::{Given, Global};
use super::state::{Directory, Status, read_limited};
use super::{Failure, failed, host, scope};

/// The longest text of limits that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// Where a flag's number goes: below which key, by which name, and whether it is a number of bytes.
const NUMBERS: [(&str, &str, &str, bool); 13] = [
    ("blkio-weight", "blockIO", "weight", false),
    ("cpu-period", "cpu", "period", false),
    ("cpu-quota", "cpu", "quota", false),
    ("cpu-burst", "cpu", "burst", false),
    ("cpu-share", "cpu", "shares", false),
    ("cpu-rt-period", "cpu", "realtimePeriod", false),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", false),
    ("cpu-idle", "cpu", "idle", false),
    ("kernel-memory-tcp", "memory", "kernelTCP", true),
    ("memory", "memory", "limit", true),
    ("memory-reservation", "memory", "reservation", true),
    ("memory-swap", "memory", "swap", true),
    ("pids-limit", "pids", "limit", false),
];

/// Changes the limits of a container.
pub fn update(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    if directory.status(&state) == Status::Stopped {
        return Err(Failure::new("container not running"));
    }
    let asked = asked(given)?;
    let mut facts = host::facts()?;
    if let CgroupMode::V2 { own, .. } = &mut facts.cgroups {
        *own = own.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    }
    let mut spec = directory.read_spec()?;
    let before = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let before = serde_json::to_value(before).map_err(failed("reading the limits"))?;
    let written = to_write(&asked, &before, matches!(facts.cgroups, CgroupMode::V2 { .. }));
    let resources: LinuxResources = serde_json::from_value(written).map_err(failed("reading the limits"))?;
    let old: LinuxResources = serde_json::from_value(before.clone()).map_err(failed("reading the limits"))?;
    let writes = minke_spec::cgroup::plan_update(&state.cgroups_path, &old, &resources, &facts)?;
    if !state.unit.is_empty() {
        scope::change(&state.unit, &resources)?;
    }
    apply(&writes)?;
    let mut after = before;
    merge(&mut after, &asked);
    let after: LinuxResources = serde_json::from_value(after).map_err(failed("reading the limits"))?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(Some(after));
    }
    directory.write_spec(&spec)
}

fn asked(given: &Given) -> Result<Value, Failure> {
    let mut value = match given.get("resources") {
        None => json!({}),
        Some(path) => {
            let path = if path == "-" { PathBuf::from("/dev/stdin") } else { path.into() };
            serde_json::from_slice(&read_limited(&path, LIMIT_BYTES)?)
                .map_err(failed(path.display().to_string()))?
        }
    };
    for (flag, group, key, in_bytes) in NUMBERS {
        if let Some(text) = given.get(flag) {
            let number = if in_bytes { bytes(text) } else { text.parse().ok() };
            let number = number.ok_or_else(|| Failure::new(format!("invalid value for {flag}: {text:?}")))?;
            value[group][key] = json!(number);
        }
    }
    for (flag, key) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(text) = given.get(flag) {
            value["cpu"][key] = json!(text);
        }
    }
    Ok(value)
}

fn bytes(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(number) => Some(number),
        Err(_) => size::parse_binary(text).ok(),
    }
}

/// What is written: what is asked, with what one file of version 2 says together, and swap that can't be less than memory.
fn to_write(asked: &Value, before: &Value, v2: bool) -> Value {
    let mut value = asked.clone();
    let cpu = &asked["cpu"];
    if v2 && (!cpu["period"].is_null() || !cpu["quota"].is_null()) {
        for key in ["period", "quota"] {
            if cpu[key].is_null() && !before["cpu"][key].is_null() {
                value["cpu"][key] = before["cpu"][key].clone();
            }
        }
    }
    let memory = &asked["memory"];
    if memory["limit"] == json!(-1) && memory["swap"].is_null() {
        value["memory"]["swap"] = json!(-1);
    }
    if v2 && memory["limit"].is_null() && memory["swap"].as_i64().is_some_and(|swap| swap > 0) {
        value["memory"]["limit"] = before["memory"]["limit"].clone();
    }
    value
}

fn merge(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (key, more) in more {
                merge(fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), more);
            }
        }
        (value, more) => *value = more.clone(),
    }
}

/// Writes all; what the kernel refuses because of another value is tried again after the others.
fn apply(writes: &[CgroupWrite]) -> Result<(), Failure> {
    let mut left: Vec<&CgroupWrite> = writes.iter().collect();
    loop {
        let mut refused = Vec::new();
        let mut last = None;
        let count = left.len();
        for write in left {
            match minke_sys::cgroup::write_value(Path::new(&write.path), &write.value) {
                Ok(()) => {}
                Err(error) if write.optional && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    last =
                        Some(failed(format!("failed to write {:?} to {}", write.value, write.path))(error));
                    refused.push(write);
                }
            }
        }
        match last {
            None => return Ok(()),
            Some(failure) if refused.len() == count => return Err(failure),
            Some(_) => left = refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_of_version_2_is_written_with_what_it_said_before() {
        let before = json!({"cpu": {"period": 1000, "quota": 500}, "memory": {"limit": 64}});
        let asked = json!({"cpu": {"quota": 600}, "memory": {"swap": 128}});
        let expected = json!({"cpu": {"period": 1000, "quota": 600}, "memory": {"limit": 64, "swap": 128}});
        assert_eq!(to_write(&asked, &before, true), expected);
        assert_eq!(to_write(&asked, &before, false), asked);
        let unlimited = to_write(&json!({"memory": {"limit": -1}}), &before, false);
        assert_eq!(unlimited, json!({"memory": {"limit": -1, "swap": -1}}));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            (bytes("50M"), bytes("-1"), bytes("7"), bytes("x")),
            (Some(50 << 20), Some(-1), Some(7), None)
        );
    }
}
