//! The same command lines against dockerd and against minke, by the docker client: what a user sees has to be the same.
//!
//! The lines are in `differential.txt`. The shapes of JSON are compared as well: each value that dockerd gives at its own
//! API version has to be there, of the same kind, in ours.

use std::path::Path;

use minke_e2e::cli::{Cli, Output};
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Dockerd, Engine, Minke, escape, http};
use serde_json::Value;

/// How much of a line's outcome has to be equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    NotTheError,
    OnlyTheCode,
}

fn table() -> Vec<(Extent, &'static str)> {
    let lines = include_str!("differential.txt").lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &'static str| match (line.strip_prefix("~ "), line.strip_prefix("$ ")) {
        (Some(rest), _) => (Extent::NotTheError, rest),
        (_, Some(rest)) => (Extent::OnlyTheCode, rest),
        _ => (Extent::All, line),
    };
    lines.map(read).collect()
}

/// An engine with the test image, and the docker client.
struct Side {
    engine: Box<dyn Engine>,
    cli: Cli,
}

impl Side {
    fn start(mut engine: Box<dyn Engine>, folder: &Path) -> Self {
        engine.start(&[]);
        let changes = format!("&changes={}&changes={}", escape("CMD [\"sh\"]"), escape("ENV PATH=/bin"));
        let path = format!("/images/create?fromSrc=-&repo=busybox{changes}");
        let answer = http::request(engine.socket(), "POST", &path, "application/x-tar", busybox_tar())
            .expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cli = Cli::new(Client::Docker, engine.socket(), &folder.join("home"));
        Self { engine, cli }
    }

    fn get(&self, path: &str) -> Value {
        let answer = http::request(self.engine.socket(), "GET", path, "", &[]).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.engine.sweep();
    }
}

fn both(check: impl Fn(&Side, &Side)) {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let dockerd = Side::start(Box::new(Dockerd::new(scratch.path())), scratch.path());
    let minke = Side::start(Box::new(Minke::new(scratch.path())), scratch.path());
    check(&dockerd, &minke);
}

/// Replaces what differs from one run to the next: ids, times, durations, sizes.
fn normalized(text: &str) -> String {
    let mut result = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let is_hex = word.chars().all(|letter| letter.is_ascii_digit() || ('a'..='f').contains(&letter));
        result += if is_hex && matches!(word.len(), 12 | 64) { "ID" } else { &word };
        word.clear();
        result.push(letter);
    }
    let durations =
        ["Less than a second", "About a minute", "1 second", "2 seconds", "3 seconds", "4 seconds"];
    durations.iter().fold(result, |text, duration| text.replace(duration, "A WHILE")).trim_end().to_string()
}

/// Returns the first difference that counts.
fn difference(extent: Extent, dockerd: &Output, minke: &Output) -> Option<String> {
    let of = |name: &str, one: &str, other: &str| {
        let (one, other) = (normalized(one), normalized(other));
        (one != other).then(|| format!("{name}\n  dockerd: {one}\n  minke:   {other}"))
    };
    if dockerd.code != minke.code {
        let words = format!("{}{}", dockerd.stderr, minke.stderr);
        return Some(format!("code: dockerd {}, minke {}\n  {words}", dockerd.code, minke.code));
    }
    let output = || of("output", &dockerd.text(), &minke.text());
    let error = || of("error", &dockerd.stderr, &minke.stderr);
    match extent {
        Extent::OnlyTheCode => None,
        Extent::NotTheError => output(),
        Extent::All => output().or_else(error),
    }
}

#[test]
fn command_lines_do_the_same() {
    both(|dockerd, minke| {
        let mut found = Vec::new();
        for (extent, line) in table() {
            let (one, other) = (dockerd.cli.run(line, &[], 60), minke.cli.run(line, &[], 60));
            found.extend(difference(extent, &one, &other).map(|words| format!("{line}\n  {words}")));
        }
        assert!(found.is_empty(), "{} of {} lines differ:\n{}", found.len(), table().len(), found.join("\n"));
    });
}

/// Where ours may differ: what the host or the engine's kind decides, and maps whose keys are data.
const OWN: &[&str] = &[
    "/GraphDriver/Data",
    "/Plugins",
    "/Runtimes",
    "/Swarm",
    "/RegistryConfig",
    "/Components",
    "/Containerd",
    "/DriverStatus",
    "/RepoDigests",
];

/// Lists every value of `reference` that is missing from `ours` or of another kind.
fn compare_shape(path: &str, reference: &Value, ours: &Value, found: &mut Vec<String>) {
    if OWN.iter().any(|own| path.ends_with(own)) {
        return;
    }
    match (reference, ours) {
        (Value::Object(reference), Value::Object(ours)) => {
            for (key, value) in reference {
                match ours.get(key) {
                    Some(other) => compare_shape(&format!("{path}/{key}"), value, other, found),
                    None => found.push(format!("{path}/{key} is missing; dockerd has {value}")),
                }
            }
        }
        (Value::Array(reference), Value::Array(ours)) => {
            if let (Some(value), Some(other)) = (reference.first(), ours.first()) {
                compare_shape(&format!("{path}/0"), value, other, found);
            }
        }
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => {
            found.push(format!("{path}: dockerd has {one}, minke {other}"));
        }
        _ => {}
    }
}

#[test]
fn answers_have_the_same_shape() {
    both(|dockerd, minke| {
        let create = "create --network none --name one -it -e A=1 --label l=v --memory 64m --tmpfs /t -v /tmp:/x:ro --cap-add CHOWN busybox sh";
        let run = "run -d --network none --name two busybox sleep 100000";
        for side in [dockerd, minke] {
            for line in [create, run] {
                let output = side.cli.run(line, &[], 60);
                assert_eq!(output.code, 0, "{output:?}");
            }
        }
        let version = dockerd.get("/version")["ApiVersion"].as_str().unwrap_or("1.41").to_string();
        let mut found = Vec::new();
        for path in [
            "/containers/one/json",
            "/containers/two/json",
            "/containers/one/json?size=1",
            "/containers/json?all=1",
            "/containers/json?all=1&size=1",
            "/images/json",
            "/images/busybox/json",
            "/images/busybox/history",
            "/info",
            "/version",
        ] {
            let path = format!("/v{version}{path}");
            compare_shape(&path, &dockerd.get(&path), &minke.get(&path), &mut found);
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    });
}
