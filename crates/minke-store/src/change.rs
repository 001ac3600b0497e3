//! The instructions that `import --change` and `commit --change` take: a Dockerfile's instructions that touch
//! only the configuration (Dockerfile reference). [`parse_changes`] checks, [`apply_changes`] acts on a value.

mod words;

use minke_model::image::{ContainerConfig, Empty, Healthcheck};
use minke_model::{Error, Result};
use std::collections::BTreeMap;
use words::{Pair, expand, split_pairs};

/// One instruction, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(Instruction);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Instruction {
    Cmd(Vec<String>),
    Entrypoint(Vec<String>),
    Env(Vec<Pair>),
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Onbuild(String),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// Reads `--change` lines, each one instruction; empty lines and comments mean nothing.
pub fn parse_changes(lines: &[String]) -> Result<Vec<Change>> {
    let lines = lines.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse_change).collect()
}

/// Applies instructions in order. An entrypoint forgets a command that was not given here as well.
pub fn apply_changes(changes: &[Change], config: &mut ContainerConfig) {
    let mut cmd_set = false;
    for Change(instruction) in changes {
        match instruction {
            Instruction::Cmd(args) => {
                config.cmd = Some(args.clone());
                cmd_set = true;
            }
            Instruction::Entrypoint(args) => {
                config.entrypoint = Some(args.clone());
                if !cmd_set {
                    config.cmd = None;
                }
            }
            Instruction::Env(pairs) => apply_env(pairs, config),
            Instruction::Expose(ports) => {
                let ports = ports.iter().map(|port| (expand(port, &config.env), Empty {}));
                config.exposed_ports.get_or_insert_default().extend(ports);
            }
            Instruction::Healthcheck(healthcheck) => config.healthcheck = Some(healthcheck.clone()),
            Instruction::Label(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|pair| (expand(&pair.name, &config.env), expand(&pair.value, &config.env)));
                config.labels.get_or_insert_default().extend(pairs);
            }
            Instruction::Onbuild(trigger) => config.on_build.get_or_insert_default().push(trigger.clone()),
            Instruction::StopSignal(signal) => config.stop_signal = expand(signal, &config.env),
            Instruction::User(user) => config.user = expand(user, &config.env),
            Instruction::Volume(paths) => {
                let paths = paths.iter().map(|path| (expand(path, &config.env), Empty {}));
                config.volumes.get_or_insert_default().extend(paths);
            }
            Instruction::Workdir(path) => {
                config.working_dir = join_directory(&config.working_dir, &expand(path, &config.env));
            }
        }
    }
}

/// Variables of one line see those before the line, not each other.
fn apply_env(pairs: &[Pair], config: &mut ContainerConfig) {
    let before = config.env.clone();
    let env = config.env.get_or_insert_default();
    for pair in pairs {
        let name = expand(&pair.name, &before);
        let line = format!("{name}={}", expand(&pair.value, &before));
        match env.iter_mut().find(|line| line.split('=').next() == Some(&name)) {
            Some(place) => *place = line,
            None => env.push(line),
        }
    }
}

fn join_directory(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn parse_change(line: &str) -> Result<Change> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (keyword, rest) = (name.to_ascii_uppercase(), rest.trim());
    let needs = |what: &str| Error::invalid(format!("{keyword} requires {what}"));
    let at_least_one = || needs("at least one argument");
    let known = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    if !known.contains(&keyword.as_str()) {
        return Err(Error::invalid(format!("{} is not a valid change command", name.to_ascii_lowercase())));
    }
    if rest.is_empty() && !matches!(keyword.as_str(), "CMD" | "ENTRYPOINT") {
        let single = matches!(keyword.as_str(), "USER" | "WORKDIR" | "STOPSIGNAL");
        return Err(if single { needs("exactly one argument") } else { at_least_one() });
    }
    Ok(Change(match keyword.as_str() {
        "CMD" => Instruction::Cmd(exec_or_shell(rest)),
        "ENTRYPOINT" => Instruction::Entrypoint(exec_or_shell(rest)),
        "ENV" => Instruction::Env(split_pairs("ENV", rest)?),
        "LABEL" => Instruction::Label(split_pairs("LABEL", rest)?),
        "EXPOSE" => Instruction::Expose(parse_ports(rest)?),
        "HEALTHCHECK" => Instruction::Healthcheck(parse_healthcheck(rest)?),
        "ONBUILD" => Instruction::Onbuild(parse_trigger(rest)?),
        "STOPSIGNAL" => Instruction::StopSignal(parse_signal(rest)?),
        "USER" => Instruction::User(rest.to_owned()),
        "VOLUME" => Instruction::Volume(parse_volumes(rest)?),
        _ => Instruction::Workdir(rest.to_owned()),
    }))
}

/// A JSON list of strings as it is; anything else is a line for the shell.
fn exec_or_shell(rest: &str) -> Vec<String> {
    match json_list(rest) {
        Some(list) => list,
        None if rest.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()],
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn parse_volumes(rest: &str) -> Result<Vec<String>> {
    let paths = json_list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
    match paths.iter().any(|path| path.trim().is_empty()) {
        true => Err(Error::invalid("VOLUME specified can not be an empty string")),
        false => Ok(paths),
    }
}

fn parse_trigger(rest: &str) -> Result<String> {
    let first = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match first.as_str() {
        "ONBUILD" => Err(Error::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "MAINTAINER" | "FROM" => Err(Error::invalid(format!("{first} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(rest.to_owned()),
    }
}

fn parse_signal(rest: &str) -> Result<String> {
    let name = rest.strip_prefix("SIG").unwrap_or(rest);
    let shaped =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte)) || rest.contains('$');
    let number = rest.parse::<u32>().ok();
    match shaped && number.is_none_or(|number| (1..=64).contains(&number)) {
        true => Ok(rest.to_owned()),
        false => Err(Error::invalid(format!("invalid signal: {rest}"))),
    }
}

/// `80`, `80/udp`, `8000-8010`, each as `port/protocol`.
fn parse_ports(rest: &str) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for word in rest.split_whitespace() {
        if word.contains('$') {
            ports.push(word.to_owned());
            continue;
        }
        let invalid = || Error::invalid(format!("invalid containerPort: {word}"));
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(Error::invalid(format!("invalid proto: {protocol}")));
        }
        let range = range.rsplit(':').next().unwrap_or(range);
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if first > last {
            return Err(invalid());
        }
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

fn parse_healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut healthcheck = Healthcheck::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) =
            flag.split_once('=').ok_or_else(|| Error::invalid(format!("missing a value on flag: {flag}")))?;
        match name {
            "interval" => healthcheck.interval = parse_duration(name, value)?,
            "timeout" => healthcheck.timeout = parse_duration(name, value)?,
            "start-period" => healthcheck.start_period = parse_duration(name, value)?,
            "start-interval" => healthcheck.start_interval = parse_duration(name, value)?,
            "retries" => {
                let retries = value.parse().ok().filter(|retries| *retries >= 0);
                healthcheck.retries =
                    retries.ok_or_else(|| Error::invalid(format!("--retries cannot be {value}")))?;
            }
            _ => return Err(Error::invalid(format!("unknown flag: {name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let line = line.trim();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if line.is_empty() => healthcheck.test = vec!["NONE".to_owned()],
        "NONE" => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if line.is_empty() => return Err(Error::invalid("missing command after HEALTHCHECK CMD")),
        "CMD" => {
            healthcheck.test = match json_list(line) {
                Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
                None => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            }
        }
        other => return Err(Error::invalid(format!("unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    }
    Ok(healthcheck)
}

/// Go's durations (`1m30s`, `500ms`, `1.5h`) in nanoseconds; at least a millisecond, or 0.
fn parse_duration(name: &str, text: &str) -> Result<i64> {
    let invalid = || Error::invalid(format!("time: invalid duration {text:?}"));
    let units: BTreeMap<&str, f64> =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)].into();
    let mut total = 0.0;
    let mut rest = text;
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * units.get(&rest[..end]).ok_or_else(invalid)?;
        rest = &rest[end..];
    }
    let nanos = total as i64;
    match nanos == 0 || nanos >= 1_000_000 {
        true => Ok(nanos),
        false => Err(Error::invalid(format!("Interval {name:?} cannot be less than 1ms"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &[&str]) -> ContainerConfig {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut config = ContainerConfig::default();
        apply_changes(&parse_changes(&lines).unwrap(), &mut config);
        config
    }

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn commands_are_lists_or_lines_for_the_shell() {
        assert_eq!(config(&[r#"CMD ["sh", "-l"]"#]).cmd, strings(&["sh", "-l"]));
        assert_eq!(config(&["cmd echo hi"]).cmd, strings(&["/bin/sh", "-c", "echo hi"]));
        let both = config(&["CMD x", r#"ENTRYPOINT ["/e"]"#]);
        assert_eq!((both.cmd, both.entrypoint), (strings(&["/bin/sh", "-c", "x"]), strings(&["/e"])));
    }

    #[test]
    fn variables_are_set_replaced_and_expanded() {
        let config = config(&["ENV A=1 B='x y'", "ENV A=2", "ENV C $A and more", "ENV D=${Z:-none}"]);
        assert_eq!(config.env, strings(&["A=2", "B=x y", "C=2 and more", "D=none"]));
    }

    #[test]
    fn the_other_instructions_fill_their_fields() {
        let config = config(&[
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL a=b \"c d\"=e",
            "USER me",
            "VOLUME /a /b",
            "WORKDIR /w",
            "WORKDIR x/../y",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl x",
        ]);
        let ports: Vec<_> = config.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(
            config.labels.unwrap().into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("c d".into(), "e".into())]
        );
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("me", "/w/y"));
        assert_eq!(config.volumes.unwrap().len(), 2);
        assert_eq!((config.stop_signal.as_str(), config.on_build), ("SIGINT", strings(&["RUN x"])));
        let healthcheck = config.healthcheck.unwrap();
        assert_eq!((healthcheck.interval, healthcheck.retries), (90_000_000_000, 3));
        assert_eq!(healthcheck.test, ["CMD-SHELL", "curl x"]);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for (line, message) in [
            ("RUN x", "run is not a valid change command"),
            ("USER", "USER requires exactly one argument"),
            ("ENV", "ENV requires at least one argument"),
            ("EXPOSE x", "invalid containerPort: x"),
            ("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ] {
            assert_eq!(parse_changes(&[line.to_owned()]).unwrap_err().message(), message);
        }
    }
}
