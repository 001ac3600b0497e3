//! `state`, `list` and `ps`.

use std::io::Write as _;
use std::process::Command;

use serde_json::ser::{PrettyFormatter, Serializer};

use super::arguments::{Given, Global};
use super::state::{Directory, Status};
use super::{Failure, failed};

/// Prints a container's state.
pub fn print_state(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    let owner = directory.owner();
    let text = serde_json::to_string_pretty(&state.shown(directory.status(&state), &owner));
    println!("{}", text.map_err(failed("writing the state"))?);
    Ok(())
}

/// Lists containers.
pub fn list(global: &Global, given: &Given) -> Result<(), Failure> {
    let format = given.get("format").unwrap_or("table");
    if !matches!(format, "table" | "json") {
        return Err(Failure::new("invalid format option"));
    }
    let found: Vec<_> = Directory::all(global)
        .into_iter()
        .filter_map(|directory| {
            let state = directory.read().ok()?;
            Some((directory.status(&state), directory.owner(), state))
        })
        .collect();
    if given.has("quiet") {
        found.iter().for_each(|(.., state)| println!("{}", state.id));
        return Ok(());
    }
    if format == "json" {
        let rows: Vec<_> = found.iter().map(|(status, owner, state)| state.shown(*status, owner)).collect();
        let text = if rows.is_empty() { Ok("null".into()) } else { serde_json::to_string(&rows) };
        println!("{}", text.map_err(failed("writing the list"))?);
        return Ok(());
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    rows.extend(found.iter().map(|(status, owner, state)| {
        let pid = if *status == Status::Stopped { 0 } else { state.pid };
        let bundle = state.bundle.display().to_string();
        [
            state.id.clone(),
            pid.to_string(),
            status.word().into(),
            bundle,
            state.created.clone(),
            owner.clone(),
        ]
    }));
    print!("{}", table(&rows));
    Ok(())
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(9) + 3;
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// Lists the processes of a container by the host's `ps`.
pub fn processes(global: &Global, given: &Given) -> Result<(), Failure> {
    let (id, rest) = given.id_and_rest()?;
    let directory = Directory::open(global, id)?;
    let pids = directory.read()?.group().pids();
    match given.get("format").unwrap_or("table") {
        "json" => {
            println!("{}", serde_json::to_string(&pids).map_err(failed("writing the list"))?);
            return Ok(());
        }
        "table" => {}
        _ => return Err(Failure::new("invalid format option")),
    }
    let options: Vec<&str> =
        if rest.is_empty() { vec!["-ef"] } else { rest.iter().map(String::as_str).collect() };
    let output = Command::new("ps").args(options).output().map_err(failed("ps"))?;
    if !output.status.success() {
        return Err(Failure::new(format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{head}").map_err(failed("writing the list"))?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            writeln!(out, "{line}").map_err(failed("writing the list"))?;
        }
    }
    Ok(())
}

/// Renders JSON as configurations are usually laid out, with tabs.
pub fn with_tabs(value: &serde_json::Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut writer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
    serde::Serialize::serialize(value, &mut writer).map_err(failed("writing JSON"))?;
    String::from_utf8(bytes).map_err(failed("writing JSON"))
}
