//! The same command lines against dockerd and against minke, by the docker client and by ours: what a user sees has to be
//! the same.
//!
//! The lines are in `differential.txt`. The shapes of JSON are compared as well: each value that dockerd gives at its own
//! API version has to be there, of the same kind, in ours.

#[path = "differential/networks.rs"]
mod networks;
#[path = "differential/registries.rs"]
mod registries;

use std::fs;
use std::path::{Path, PathBuf};

use minke_e2e::cli::{Cli, Output};
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Dockerd, Engine, Minke, escape, http, peers};
use serde_json::Value;

/// The API version of the JSON that is compared: the one of the oldest dockerd that the peers bring.
const API: &str = "1.41";

/// How much of a line's outcome has to be equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    NotTheError,
    OnlyTheCode,
    /// dockerd prints lines in no order.
    AnyOrder,
    /// The line is a path whose JSON is compared, value by value.
    Json,
    /// The line names a container whose network is compared, value by value.
    Network,
    /// The line runs on the engine's host, again until it succeeds.
    OnHost,
    /// The same, once.
    OnHostOnce,
}

fn table(text: &'static str) -> Vec<(Extent, &'static str)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let kinds = [
        ("~ ", Extent::NotTheError),
        ("$ ", Extent::OnlyTheCode),
        ("% ", Extent::AnyOrder),
        ("GET ", Extent::Json),
        ("NET ", Extent::Network),
        ("@ ", Extent::OnHost),
        ("! ", Extent::OnHostOnce),
    ];
    let read = |line: &'static str| {
        let found =
            kinds.iter().find_map(|(mark, extent)| line.strip_prefix(mark).map(|rest| (*extent, rest)));
        found.unwrap_or((Extent::All, line))
    };
    lines.map(read).collect()
}

/// An engine with the test image, a client, and a folder with a few files in which its lines run.
pub struct Side {
    name: &'static str,
    pub engine: Box<dyn Engine>,
    cli: Cli,
    folder: PathBuf,
}

impl Side {
    pub fn start(
        name: &'static str,
        client: Client,
        engine: impl FnOnce(&Path) -> Box<dyn Engine>,
        scratch: &Path,
    ) -> Self {
        Self::start_with((name, client), engine, scratch, &[])
    }

    /// The same with flags of the engine.
    pub fn start_with(
        (name, client): (&'static str, Client),
        engine: impl FnOnce(&Path) -> Box<dyn Engine>,
        scratch: &Path,
        flags: &[&str],
    ) -> Self {
        let places = scratch.join(name);
        let folder = places.join("cwd");
        fs::create_dir_all(folder.join("tree/below")).expect("a folder");
        for (file, text) in [
            ("vars", "FROM_FILE=yes\nEMPTY=\n# no\n"),
            ("labels", "one=1\n"),
            ("tree/leaf", "leaf\n"),
            ("tree/below/leaf", ""),
        ] {
            fs::write(folder.join(file), text).expect("a file");
        }
        let mut engine = engine(&places);
        engine.start(flags);
        let changes = format!("&changes={}&changes={}", escape("CMD [\"sh\"]"), escape("ENV PATH=/bin"));
        let path = format!("/images/create?fromSrc=-&repo=busybox{changes}");
        let answer = http::request(engine.socket(), "POST", &path, "application/x-tar", busybox_tar())
            .expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cli = Cli::new(client, engine.socket(), &places.join("home")).in_folder(&folder);
        Self { name, engine, cli, folder }
    }

    /// Runs a line that has to succeed, and returns its output.
    pub fn ok(&self, line: &str) -> String {
        let output = self.cli.run(line, &[], 60);
        assert_eq!(output.code, 0, "{}: {line}: {}", self.name, output.stderr);
        output.text()
    }

    fn get(&self, path: &str) -> Value {
        http::request(self.engine.socket(), "GET", path, "", &[]).expect("an answer").json()
    }

    /// What a line prints, with what is this side's own replaced.
    fn words(&self, text: &str) -> String {
        let text = text.replace(&self.folder.display().to_string(), "CWD");
        if self.name == "minke" { text.replace("minke", "docker") } else { text }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.engine.sweep();
    }
}

/// Runs a check with dockerd, and with ours by the docker client and by its own.
fn all(check: impl Fn(&Side, &[Side])) {
    all_with(&[], &[], check);
}

/// The same with flags of both engines; ours is executed by the command `inside`.
fn all_with(flags: &[&str], inside: &[&str], check: impl Fn(&Side, &[Side])) {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let ours = |name, client| {
        let engine = |places: &Path| Box::new(Minke::new(places).inside(inside)) as Box<dyn Engine>;
        Side::start_with((name, client), engine, scratch.path(), flags)
    };
    let reference = |places: &Path| Box::new(Dockerd::new(places)) as Box<dyn Engine>;
    let dockerd = Side::start_with(("dockerd", Client::Docker), reference, scratch.path(), flags);
    let mut sides = vec![ours("minke by docker", Client::Docker)];
    if peers::docker_speaks_as_ours("differential.txt by our own command line") {
        sides.push(ours("minke", Client::Minke));
    }
    check(&dockerd, &sides);
}

/// Replaces what differs from one run to the next: ids, times, durations, sizes.
pub fn normalized(text: &str) -> String {
    // What an old client adds, depending on when a failure reaches it.
    let said = |line: &&str| {
        peers::docker_version() >= 28 || !(line.starts_with("time=\"") || line.starts_with("See 'docker "))
    };
    let text = text.lines().filter(said).collect::<Vec<_>>().join("\n");
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
fn difference(extent: Extent, dockerd: (&Side, &Output), minke: (&Side, &Output)) -> Option<String> {
    let of = |name: &str, one: &str, other: &str| {
        let (one, other) = (normalized(&dockerd.0.words(one)), normalized(&minke.0.words(other)));
        (one != other).then(|| format!("{name}\n  dockerd: {one}\n  minke:   {other}"))
    };
    let (dockerd, minke) = (dockerd.1, minke.1);
    if dockerd.code != minke.code {
        let words = format!("{}{}", dockerd.stderr, minke.stderr);
        return Some(format!("code: dockerd {}, minke {}\n  {words}", dockerd.code, minke.code));
    }
    let sorted = |text: String| {
        let mut lines: Vec<&str> = text.lines().collect();
        if extent == Extent::AnyOrder {
            lines.sort_unstable();
        }
        lines.join("\n")
    };
    let output = || of("output", &sorted(dockerd.text()), &sorted(minke.text()));
    let error = || of("error", &dockerd.stderr, &minke.stderr);
    match extent {
        Extent::OnlyTheCode | Extent::Json | Extent::Network => None,
        Extent::NotTheError | Extent::OnHost | Extent::OnHostOnce => output(),
        Extent::All | Extent::AnyOrder => output().or_else(error),
    }
}

#[test]
fn command_lines_do_the_same() {
    all(|dockerd, ours| compare_lines(include_str!("differential.txt"), dockerd, ours));
}

#[test]
fn command_lines_do_the_same_where_users_are_others() {
    let etc = super::userns::etc();
    let inside = super::userns::inside(etc.path());
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    all_with(&["--userns-remap", "default"], &inside, |dockerd, ours| {
        compare_lines(include_str!("differential_userns.txt"), dockerd, ours);
    });
}

fn compare_lines(text: &'static str, dockerd: &Side, ours: &[Side]) {
    let mut found = Vec::new();
    let lines = table(text);
    for (extent, line) in &lines {
        if *extent == Extent::Json {
            let path = format!("/v{API}{line}");
            let reference = dockerd.get(&path);
            let mut values = Vec::new();
            for side in ours {
                compare_values("", &reference, &side.get(&path), &mut values);
            }
            found.extend((!values.is_empty()).then(|| format!("GET {line}\n  {}", values.join("\n  "))));
            continue;
        }
        let reference = dockerd.cli.run(line, &[], 60);
        eprintln!("$ {line}\n{}{}[{}]", reference.text(), reference.stderr, reference.code);
        for side in ours {
            let output = side.cli.run(line, &[], 60);
            let words = difference(*extent, (dockerd, &reference), (side, &output));
            found.extend(words.map(|words| format!("{}: {line}\n  {words}", side.name)));
        }
    }
    assert!(found.is_empty(), "{} differences in {} lines:\n{}", found.len(), lines.len(), found.join("\n"));
}

/// Values that are each engine's own: the end of a path in the JSON.
const OWN_VALUES: &[&str] = &[
    "/Id",
    "/Created",
    "/Pid",
    "/StartedAt",
    "/FinishedAt",
    "/ResolvConfPath",
    "/HostnamePath",
    "/HostsPath",
    "/LogPath",
    "/Hostname",
    "/GraphDriver",
    "/Driver",
    "/Image",
    "/NetworkSettings",
    "/SandboxKey",
    "/AppArmorProfile",
    "/Source",
    "/MaskedPaths",
    "/ReadonlyPaths",
    "/CgroupnsMode",
    "/CgroupParent",
    "/Runtime",
    "/com.docker.network.bridge.name",
    "/com.docker.network.driver.mtu",
];

/// Lists every value of `reference` that `ours` has not.
fn compare_values(path: &str, reference: &Value, ours: &Value, found: &mut Vec<String>) {
    if OWN_VALUES.iter().any(|own| path.ends_with(own)) {
        return;
    }
    match (reference, ours) {
        (Value::Object(reference), Value::Object(ours)) => {
            for (key, value) in reference {
                compare_values(&format!("{path}/{key}"), value, ours.get(key).unwrap_or(&Value::Null), found);
            }
        }
        // The docker client sends them in no order.
        (Value::Array(reference), Value::Array(ours)) if path.ends_with("/Binds") => {
            let sorted = |list: &[Value]| {
                let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
                list.sort_unstable();
                Value::from(list)
            };
            compare_values(
                "/HostConfig/Binds, sorted",
                &sorted(reference).to_string().into(),
                &sorted(ours).to_string().into(),
                found,
            );
        }
        (Value::Array(reference), Value::Array(ours)) if path.ends_with("/Mounts") => {
            // dockerd lists them in no order.
            let find = |target: &Value| ours.iter().find(|one| one["Destination"] == *target);
            for one in reference {
                let other = find(&one["Destination"]).unwrap_or(&Value::Null);
                compare_values(&format!("{path}/{}", one["Destination"]), one, other, found);
            }
        }
        (Value::Array(reference), Value::Array(ours)) if reference.len() == ours.len() => {
            for (number, (value, other)) in reference.iter().zip(ours).enumerate() {
                compare_values(&format!("{path}/{number}"), value, other, found);
            }
        }
        (one, other) if normalized(&one.to_string()) != normalized(&other.to_string()) => {
            found.push(format!("{path}: dockerd has {one}, minke {other}"));
        }
        _ => {}
    }
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
pub fn compare_shape(path: &str, reference: &Value, ours: &Value, found: &mut Vec<String>) {
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
    all(|dockerd, ours| {
        let minke = &ours[0];
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
