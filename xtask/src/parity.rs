//! What of Docker is there: its commands, flags and endpoints beside ours, as the page `docs/parity.md`.
//!
//! Owns: the comparison. Its facts about Docker (names, types, defaults) are tables in `xtask/data`; what ours has is
//! read from the program's own help texts and from the table of endpoints. Never: an opinion that isn't in [`AREAS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::run;

const PAGE: &str = "docs/parity.md";
const FLAGS: &str = include_str!("../data/docker-flags.tsv");
const ENDPOINTS: &str = include_str!("../data/docker-endpoints.tsv");

/// What isn't there yet belongs to one of these areas: by the first words of a command, `--flag` of any command, or the
/// beginning of an endpoint's path. The first row that fits counts.
const AREAS: &[(&str, &str)] = &[
    ("swarm", "swarm"),
    ("node", "swarm"),
    ("service", "swarm"),
    ("stack", "swarm"),
    ("secret", "swarm"),
    ("config", "swarm"),
    ("/swarm", "swarm"),
    ("/nodes", "swarm"),
    ("/services", "swarm"),
    ("/tasks", "swarm"),
    ("/secrets", "swarm"),
    ("/configs", "swarm"),
    ("volume update", "swarm (cluster volumes)"),
    ("volume create --availability", "swarm (cluster volumes)"),
    ("volume create --group", "swarm (cluster volumes)"),
    ("volume create --limit-bytes", "swarm (cluster volumes)"),
    ("volume create --required-bytes", "swarm (cluster volumes)"),
    ("volume create --scope", "swarm (cluster volumes)"),
    ("volume create --secret", "swarm (cluster volumes)"),
    ("volume create --sharing", "swarm (cluster volumes)"),
    ("volume create --topology-preferred", "swarm (cluster volumes)"),
    ("volume create --topology-required", "swarm (cluster volumes)"),
    ("volume create --type", "swarm (cluster volumes)"),
    ("volume ls --cluster", "swarm (cluster volumes)"),
    ("plugin", "plugins"),
    ("/plugins", "plugins"),
    ("network", "networks"),
    ("/networks", "networks"),
    ("port", "networks"),
    ("container port", "networks"),
    ("--add-host", "networks"),
    ("--dns", "networks"),
    ("--dns-option", "networks"),
    ("--dns-search", "networks"),
    ("--expose", "networks"),
    ("--ip", "networks"),
    ("--ip6", "networks"),
    ("--link", "networks"),
    ("--link-local-ip", "networks"),
    ("--mac-address", "networks"),
    ("--network-alias", "networks"),
    ("--publish", "networks"),
    ("--publish-all", "networks"),
    ("build", "build"),
    ("builder", "build"),
    ("image build", "build"),
    ("/build", "build"),
    ("/session", "build"),
    ("/grpc", "build"),
    ("login", "registries"),
    ("logout", "registries"),
    ("pull", "registries"),
    ("push", "registries"),
    ("image pull", "registries"),
    ("image push", "registries"),
    ("search", "registries"),
    ("manifest", "registries"),
    ("trust", "registries"),
    ("/auth", "registries"),
    ("/distribution", "registries"),
    ("/images/search", "registries"),
    ("/images/{name}/push", "registries"),
    ("--platform", "registries"),
    ("--disable-content-trust", "registries"),
    ("create --quiet", "registries"),
    ("run --quiet", "registries"),
    ("container create --quiet", "registries"),
    ("container run --quiet", "registries"),
    ("images --tree", "registries"),
    ("image ls --tree", "registries"),
    ("/images/{name}/attestations", "registries"),
    ("checkpoint", "checkpoints"),
    ("/containers/{id}/checkpoints", "checkpoints"),
    ("--checkpoint", "checkpoints"),
    ("--checkpoint-dir", "checkpoints"),
    ("context", "contexts"),
    ("--use-api-socket", "contexts"),
    ("--isolation", "Windows only"),
    ("/debug/pprof", "Go's own (profiles of its runtime)"),
];

/// Endpoints that are served beside the table: to any path, or on an address of their own.
const BESIDE: &[&str] = &["OPTIONS /{any}", "GET /metrics"];

/// Compares, and writes the page; prints what is open without an area.
pub fn run(words: &[String]) -> Result<()> {
    let program = match words.first() {
        Some(path) => Path::new(path).to_path_buf(),
        None => {
            run::cargo(&["build", "--locked"])?;
            run::target().join("debug/minke")
        }
    };
    let (flags, endpoints) = (flags(&program)?, endpoints()?);
    let page = page(&flags, &endpoints);
    std::fs::write(PAGE, &page).context(PAGE)?;
    let open: Vec<&Row> = flags.iter().chain(&endpoints).filter(|row| row.state == State::Open).collect();
    for row in &open {
        println!("open: {}", row.name);
    }
    println!("{PAGE}: {}; {}", summary("flags", &flags), summary("endpoints", &endpoints));
    Ok(())
}

/// How ours stands to one fact of Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The same.
    There,
    /// There, with another type or default: what differs.
    Other(String),
    /// Not there; it belongs to this area.
    Area(&'static str),
    /// Not there, and no area has it.
    Open,
}

/// One fact: a flag of a command, a command without flags, or an endpoint.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    state: State,
}

/// The state of what isn't there.
fn missing(name: &str, flag: &str) -> State {
    let whole = if flag.is_empty() { name.to_string() } else { format!("{name} {flag}") };
    let fits = |key: &str| {
        key == flag
            || (!key.starts_with("--")
                && (whole == key
                    || whole.starts_with(&format!("{key} "))
                    || key.starts_with('/') && whole.contains(&format!(" {key}"))))
    };
    AREAS.iter().find(|(key, _)| fits(key)).map_or(State::Open, |(_, area)| State::Area(area))
}

/// A flag as a help text shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Flag {
    short: String,
    kind: String,
    default: String,
}

/// Compares the flags of every command.
fn flags(program: &Path) -> Result<Vec<Row>> {
    let mut ours: BTreeMap<String, Option<BTreeMap<String, Flag>>> = BTreeMap::new();
    let mut rows = Vec::new();
    for line in FLAGS.lines().skip(1) {
        let [command, long, short, kind, default] = columns(line)?;
        if !ours.contains_key(command) {
            ours.insert(command.to_string(), help(program, command)?);
        }
        let name = format!("{command} {long}").trim().to_string();
        let state = match ours.get(command).and_then(Option::as_ref) {
            None => missing(command, long),
            Some(_) if long.is_empty() || long == "--help" => State::There,
            Some(known) => match known.get(long) {
                None => missing(command, long),
                Some(flag) => {
                    compare(flag, &Flag { short: short.into(), kind: kind.into(), default: default.into() })
                }
            },
        };
        rows.push(Row { name, state });
    }
    Ok(rows)
}

/// A default counts where both say one.
fn compare(ours: &Flag, docker: &Flag) -> State {
    let mut differences = Vec::new();
    if ours.short != docker.short {
        differences.push(format!("short {:?}, Docker's {:?}", ours.short, docker.short));
    }
    if ours.kind.is_empty() != docker.kind.is_empty() {
        differences.push(format!("takes {:?}, Docker's {:?}", ours.kind, docker.kind));
    }
    if !ours.default.is_empty() && !docker.default.is_empty() && ours.default != docker.default {
        differences.push(format!("default {}, Docker's {}", ours.default, docker.default));
    }
    if differences.is_empty() { State::There } else { State::Other(differences.join(", ")) }
}

/// Returns what a command's help names, `None` where there is no such command.
fn help(program: &Path, command: &str) -> Result<Option<BTreeMap<String, Flag>>> {
    let words = command.split_whitespace().chain(["--help"]);
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("can't start {}", program.display()))?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.lines().filter_map(read_flag).collect()))
}

/// Reads a line such as `  -a, --attach list   Attach to ...`.
fn read_flag(line: &str) -> Option<(String, Flag)> {
    let line = line.strip_prefix("  ")?;
    let (names, words) = line.trim_start().split_once("   ").unwrap_or((line.trim_start(), ""));
    let (short, rest) = match names.split_once(", ") {
        Some((short, rest)) => (short, rest),
        None => ("", names),
    };
    let default =
        words.rsplit_once("(default ").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    let mut names = rest.split_whitespace();
    let long = names.next().filter(|word| word.starts_with("--"))?;
    let kind = names.next().unwrap_or_default();
    Some((
        long.to_string(),
        Flag { short: short.into(), kind: kind.into(), default: default.trim_matches('"').into() },
    ))
}

/// Compares the endpoints.
fn endpoints() -> Result<Vec<Row>> {
    let served = served(&std::fs::read_to_string("crates/minke-api/src/endpoint.rs")?);
    ensure!(!served.is_empty(), "the table of endpoints can't be read");
    let mut rows = Vec::new();
    for line in ENDPOINTS.lines().skip(1) {
        let [method, path, _operation, _parameters] = columns(line)?;
        let name = format!("{method} {path}");
        let plain = plain(path);
        let there = BESIDE.contains(&name.as_str()) || served.contains(&(method.to_string(), plain));
        let state = if there { State::There } else { missing(&name, "") };
        rows.push(Row { name, state });
    }
    Ok(rows)
}

/// Reads the rows of the table of endpoints: method and path without the parameters' names.
fn served(table: &str) -> BTreeSet<(String, String)> {
    let rows = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, method, path) = (words.next()?, words.next()?, words.next()?);
        let path = path.strip_prefix('"')?.strip_suffix('"')?;
        path.starts_with('/').then(|| (method.to_uppercase(), plain(path)))
    });
    rows.collect()
}

/// A path whose parameters have no names.
fn plain(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn columns<const N: usize>(line: &str) -> Result<[&str; N]> {
    let columns: Vec<&str> = line.split('\t').collect();
    <[&str; N]>::try_from(columns).map_err(|_| anyhow::anyhow!("not {N} columns: {line}"))
}

fn count(rows: &[Row], fits: impl Fn(&State) -> bool) -> usize {
    rows.iter().filter(|row| fits(&row.state)).count()
}

fn summary(what: &str, rows: &[Row]) -> String {
    let there = count(rows, |state| matches!(state, State::There | State::Other(_)));
    let open = count(rows, |state| *state == State::Open);
    format!("{there} of {} {what} are there, {open} are open", rows.len())
}

/// The page: totals, then what isn't as Docker has it.
fn page(flags: &[Row], endpoints: &[Row]) -> String {
    let mut page = String::from(
        "# What of Docker is there\n\nMade by `cargo xtask parity` from the flags of the docker command line 28.2.2, the operations of the\n\
         Engine API 1.55, and this program's own help texts and table of endpoints. Nothing here is edited by hand.\n",
    );
    for (title, rows) in [("Flags and commands", flags), ("Endpoints", endpoints)] {
        let _ = writeln!(page, "\n## {title}\n\n{}.\n", summary(&title.to_lowercase(), rows));
        let mut areas: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in rows {
            match &row.state {
                State::Area(area) => areas.entry(area).or_default().push(&row.name),
                State::Open => areas.entry("").or_default().push(&row.name),
                State::There | State::Other(_) => {}
            }
        }
        page.push_str("| not there yet | rows | |\n|---|---|---|\n");
        for (area, names) in &areas {
            let area = if area.is_empty() { "**open**" } else { area };
            let _ = writeln!(page, "| {area} | {} | {} |", names.len(), gathered(names));
        }
        let others: Vec<&Row> = rows.iter().filter(|row| matches!(row.state, State::Other(_))).collect();
        if !others.is_empty() {
            page.push_str("\nThere, but not the same:\n\n");
        }
        for row in others {
            if let State::Other(words) = &row.state {
                let _ = writeln!(page, "- `{}`: {words}", row.name);
            }
        }
    }
    page
}

/// Names in a cell: the flags of one command behind it, each command once.
fn gathered(names: &[&str]) -> String {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        let (command, flag) = match name.find("--") {
            Some(start) => (name[..start].trim_end(), &name[start..]),
            None => (*name, ""),
        };
        match commands.last_mut().filter(|(known, _)| *known == command) {
            Some((_, flags)) => flags.push(flag),
            None => commands.push((command, vec![flag])),
        }
    }
    let shown = commands
        .iter()
        .map(|(command, flags)| format!("`{}`", format!("{command} {}", flags.join(" ")).trim()));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_from_its_line() {
        let flag = |short: &str, kind: &str, default: &str| Flag {
            short: short.into(),
            kind: kind.into(),
            default: default.into(),
        };
        assert_eq!(
            read_flag("  -a, --attach list   Attach"),
            Some(("--attach".into(), flag("-a", "list", "")))
        );
        assert_eq!(read_flag("      --init       Run"), Some(("--init".into(), flag("", "", ""))));
        assert_eq!(
            read_flag("      --sig-proxy   Pass signals on (default true)"),
            Some(("--sig-proxy".into(), flag("", "", "true")))
        );
        assert_eq!(read_flag("  run         Make a container"), None);
    }

    #[test]
    fn what_is_missing_belongs_to_an_area_or_is_open() {
        assert_eq!(missing("swarm init", "--autolock"), State::Area("swarm"));
        assert_eq!(missing("run", "--publish"), State::Area("networks"));
        assert_eq!(missing("GET /networks/{id}", ""), State::Area("networks"));
        assert_eq!(missing("run", "--volume"), State::Open);
        assert_eq!(missing("containers", ""), State::Open);
    }

    #[test]
    fn endpoints_are_the_same_whatever_their_parameter_is_called() {
        let table = "    ImageInspect Get \"/images/{name}/json\" Image Value;\n    other line";
        assert!(served(table).contains(&("GET".into(), plain("/images/{id}/json"))));
    }

    #[test]
    fn flags_of_one_command_stand_together() {
        assert_eq!(gathered(&["run --a", "run --b", "cp"]), "`run --a --b`, `cp`");
    }
}
