//! The rules of the project that no other tool checks: edges between crates, sizes, first lines, the table of endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// Which crates of the project each one may use. ARCHITECTURE.md says why.
const EDGES: &[(&str, &[&str])] = &[
    ("minke", &["minke-cli", "minke-server", "minke-runtime", "minke-network"]),
    ("minke-cli", &["minke-client", "minke-api", "minke-model", "minke-registry"]),
    ("minke-server", &["minke-engine", "minke-api", "minke-model", "minke-sys", "minke-systemd"]),
    (
        "minke-engine",
        &[
            "minke-api",
            "minke-model",
            "minke-network",
            "minke-store",
            "minke-content",
            "minke-registry",
            "minke-spec",
            "minke-sys",
            "minke-systemd",
        ],
    ),
    ("minke-client", &["minke-api", "minke-model", "minke-registry"]),
    ("minke-store", &["minke-content", "minke-model", "minke-sys", "minke-api"]),
    ("minke-network", &["minke-api", "minke-model", "minke-sys"]),
    ("minke-registry", &["minke-content", "minke-model"]),
    ("minke-runtime", &["minke-spec", "minke-sys", "minke-model", "minke-systemd"]),
    ("minke-shim", &["minke-runtime", "minke-spec", "minke-sys"]),
    ("minke-spec", &["minke-model"]),
    ("minke-content", &["minke-model"]),
    ("minke-api", &["minke-model"]),
    ("minke-systemd", &["minke-spec", "minke-model"]),
    ("minke-sys", &[]),
    ("minke-model", &[]),
    ("minke-e2e", &["minke-registry", "minke-model", "minke-network"]),
    ("xtask", &["minke-e2e"]),
];

/// What the shim may be made of: nothing with a standard library, a thread or an async runtime.
const IN_SHIM: &[&str] = &[
    "minke-shim",
    "minke-runtime",
    "minke-sys",
    "minke-spec",
    "rustix",
    "linux-raw-sys",
    "bitflags",
    "libc",
    "postcard",
    "cobs",
    "serde",
    "serde_core",
    "linked_list_allocator",
    "thiserror", // cobs's, without std
];

/// Operations that another one's client method covers: the same with a GET, for several images, by another protocol.
const COVERED: &[&str] = &["SystemPingHead", "ImageGet", "ContainerAttachWebsocket"];

/// Lines that a file of code may have; one that holds a table may have more.
const FILE_LINES: usize = 600;

/// The only crates that may contain `unsafe`.
const UNSAFE_IN: &[&str] = &["crates/minke-sys/", "crates/minke-shim/"];

/// Checks all rules, and lists everything that breaks one.
pub fn check() -> Result<()> {
    let mut broken = Vec::new();
    edges(&mut broken)?;
    shim(&mut broken)?;
    let files = tracked()?;
    for file in &files {
        // Test vectors may be any bytes.
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let text = String::from_utf8_lossy(&bytes);
        if file.extension().is_some_and(|kind| kind == "rs") {
            code(file, &text, &mut broken);
        }
        places(file, &text, &mut broken);
    }
    endpoints(&files, &mut broken)?;
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}\ntidy: {} rules are broken", broken.join("\n"), broken.len());
}

/// Every edge between two crates of the project is an allowed one.
fn edges(broken: &mut Vec<String>) -> Result<()> {
    let mut cargo = run::cargo_command();
    let text = run::output(cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            broken.push(format!("{name}: the crate isn't in the table of edges of xtask/src/tidy.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            if allowed.contains_key(used) && used != name && !may.contains(&used) {
                broken.push(format!("{name} uses {used}, which the table of edges doesn't allow"));
            }
        }
    }
    Ok(())
}

/// The shim is linked from a few small crates without a standard library.
fn shim(broken: &mut Vec<String>) -> Result<()> {
    let mut cargo = run::cargo_command();
    cargo.args([
        "tree",
        "--package",
        "minke-shim",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p} {f}",
        "--locked",
    ]);
    let lines: BTreeSet<String> = run::output(&mut cargo)?.lines().map(str::to_string).collect();
    for line in lines {
        let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if !IN_SHIM.contains(&name) {
            broken.push(format!("minke-shim links {name}"));
        }
        let features = rest.rsplit(' ').next().unwrap_or_default();
        if name != "serde_core"
            && features.split(',').any(|feature| feature == "std")
            && !features.contains('/')
        {
            broken.push(format!("minke-shim links {name} with the feature std"));
        }
    }
    Ok(())
}

/// Returns the project's files, without those that no person reads.
fn tracked() -> Result<Vec<PathBuf>> {
    let skipped = ["Cargo.lock", "LICENSE", "NOTICE"];
    let fits = |path: &PathBuf| {
        let name = path.display().to_string();
        !skipped.contains(&name.as_str()) && !name.contains("/fixtures/") && !name.ends_with(".bin")
    };
    Ok(files()?.into_iter().filter(fits).filter(|path| path.is_file()).collect())
}

/// Returns the files under version control; all files of the folder where it came without git, as an archive.
fn files() -> Result<Vec<PathBuf>> {
    let git = Command::new("git").args(["rev-parse", "--git-dir"]).output();
    if git.is_ok_and(|answer| answer.status.success()) {
        return Ok(run::output(Command::new("git").args(["ls-files"]))?.lines().map(PathBuf::from).collect());
    }
    let mut found = Vec::new();
    below(Path::new(""), &mut found)?;
    Ok(found)
}

/// Adds the files below `folder` (empty: here), but for what is built and what is hidden.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let read = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(read)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() { below(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// What holds for a file of Rust.
fn code(file: &Path, text: &str, broken: &mut Vec<String>) {
    let name = file.display();
    // A file of tests belongs to the file that it tests.
    if !text.starts_with("//!") && !text.starts_with("#![") && !file.ends_with("tests.rs") {
        broken.push(format!("{name}: does not open with //! and what it owns"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES && !is_table(text) {
        broken.push(format!("{name}: {lines} lines; which two things does it do?"));
    }
    let may_be_unsafe = UNSAFE_IN.iter().any(|folder| file.starts_with(folder));
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") || trimmed.contains('"') {
            continue;
        }
        if !may_be_unsafe && (trimmed.contains("unsafe {") || trimmed.starts_with("unsafe ")) {
            broken.push(format!("{name}:{}: unsafe belongs to minke-sys", number + 1));
        }
        if trimmed.starts_with("#[ignore") {
            broken.push(format!("{name}:{}: a test is there to be run", number + 1));
        }
    }
}

/// A table has rows that are alike, and few functions.
fn is_table(text: &str) -> bool {
    let functions =
        text.lines().filter(|line| line.trim_start().trim_start_matches("pub ").starts_with("fn ")).count();
    functions * 100 < text.lines().count()
}

/// No place of one machine, and no host to load from, is named.
fn places(file: &Path, text: &str, broken: &mut Vec<String>) {
    // Written apart, so that this file doesn't break its own rule.
    let words = [
        concat!("/ho", "me/user"),
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("../sha", "red"),
        concat!("deb.deb", "ian.org"),
    ];
    for word in words {
        if let Some(line) = text.lines().position(|line| line.contains(word)) {
            broken.push(format!("{}:{}: names {word}", file.display(), line + 1));
        }
    }
}

/// Every row of the table of endpoints is served, has a method of the client, and occurs in an end-to-end test or its table.
fn endpoints(files: &[PathBuf], broken: &mut Vec<String>) -> Result<()> {
    let table =
        std::fs::read_to_string("crates/minke-api/src/endpoint.rs").context("the table of endpoints")?;
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("table! {"))
        .skip(1)
        .take_while(|line| *line != "}");
    let rows = rows.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.len() == 5).then(|| (words[0].to_string(), words[2].trim_matches('"').to_string()))
    });
    let text_of = |folder: &str| -> Result<String> {
        let files = files
            .iter()
            .filter(|file| file.starts_with(folder) && file.extension().is_some_and(|kind| kind == "rs"));
        Ok(files.map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?.join("\n"))
    };
    let (server, client, tests) = (
        text_of("crates/minke-server/src/")?,
        text_of("crates/minke-client/src/")?,
        text_of("crates/minke-e2e/tests/")?,
    );
    for (operation, path) in rows {
        for (side, text) in [("no route of minke-server", &server), ("no method of minke-client", &client)] {
            let is_named =
                text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == operation);
            if !is_named && !COVERED.contains(&operation.as_str()) {
                broken.push(format!("{operation}: {side} names it"));
            }
        }
        // The part after the parameter, or all of it, stands in a test that goes by the API or by a command of its name.
        let last = path.rsplit('/').next().unwrap_or_default();
        let last = if last.starts_with('{') { path.split('/').nth(1).unwrap_or_default() } else { last };
        if !tests.contains(last) {
            broken.push(format!("{operation}: no end-to-end test mentions {last}"));
        }
    }
    Ok(())
}
