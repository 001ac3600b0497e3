//! The docker client and ours against one engine: the same command line gives the same code, output and error. The lines are
//! in `same_words.txt`. The engine is the same for both, so what differs is the client's doing.

use minke_e2e::cli::{Cli, Output};
use minke_e2e::{Client, Rig, by_docker, peers};

/// How much of a line's outcome has to be equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// It only prepares.
    Nothing,
    Code,
    NotTheError,
    All,
}

fn table() -> impl Iterator<Item = (Extent, &'static str)> {
    let lines = include_str!("same_words.txt").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| match line.split_at(2) {
        ("! ", rest) => (Extent::Nothing, rest),
        ("$ ", rest) => (Extent::Code, rest),
        ("~ ", rest) => (Extent::NotTheError, rest),
        _ => (Extent::All, line),
    })
}

/// Replaces what differs from one run to the next: the program's name, ids, durations.
fn normalized(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let is_id = bare.chars().all(|letter| letter.is_ascii_digit() || ('a'..='f').contains(&letter));
        words.push(match bare {
            "docker" => word.replacen("docker", "minke", 1),
            id if is_id && matches!(id.len(), 12 | 64) => word.replacen(id, "ID", 1),
            _ => word.to_string(),
        });
    }
    let long = ["Less than a second ago", "About a minute ago", "About an hour ago"];
    let mut text = long.iter().fold(words.concat(), |text, known| text.replace(known, "A WHILE ago"));
    for unit in ["seconds", "second", "minutes", "minute"] {
        while let Some(end) = text.find(&format!(" {unit} ago")) {
            let begin = text[..end].rfind(|letter: char| !letter.is_ascii_digit()).map_or(0, |at| at + 1);
            text.replace_range(begin..end + unit.len() + 5, "A WHILE ago");
        }
    }
    let durations = [
        "Less than a second",
        "About a minute",
        "1 second",
        "2 seconds",
        "3 seconds",
        "4 seconds",
        "5 seconds",
    ];
    let text = durations.iter().fold(text, |text, known| text.replace(known, "A WHILE"));
    // Columns are as wide as the widest duration was.
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn difference(extent: Extent, docker: &Output, minke: &Output) -> Option<String> {
    if docker.code != minke.code {
        let words = format!("{}{}", docker.stderr, minke.stderr);
        return Some(format!("code: docker {}, minke {}\n{words}", docker.code, minke.code));
    }
    let of = |name: &str, one: &str, other: &str| {
        let (one, other) = (normalized(one), normalized(other));
        (one != other).then(|| format!("{name}\n--- docker\n{one}--- minke\n{other}"))
    };
    let raw = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let output = || of("output", &raw(docker), &raw(minke));
    match extent {
        Extent::Nothing | Extent::Code => None,
        Extent::NotTheError => output(),
        Extent::All => output().or_else(|| of("error", &docker.stderr, &minke.stderr)),
    }
}

/// Runs the lines and lists those whose outcomes differ.
fn differences(rig: &Rig) -> Vec<String> {
    let home = rig.scratch().join("home");
    let (docker, minke) =
        (Cli::new(Client::Docker, rig.socket(), &home), Cli::new(Client::Minke, rig.socket(), &home));
    let mut found = Vec::new();
    for (extent, line) in table() {
        let one = docker.run(line, &[], 60);
        if extent == Extent::Nothing {
            assert!(one.code < 125, "{line}: {one:?}");
            continue;
        }
        let other = minke.run(line, &[], 60);
        found.extend(difference(extent, &one, &other).map(|words| format!("==== {line}\n{words}")));
    }
    found
}

#[test]
fn the_docker_client_and_ours_say_the_same() {
    by_docker(|rig| {
        if rig.kind() == minke_e2e::EngineKind::Dockerd {
            return; // ours is compared with the docker client, at the engine that both are used with
        }
        if !peers::docker_speaks_as_ours("same_words.txt") {
            return;
        }
        let found = differences(rig);
        assert!(
            found.is_empty(),
            "{} of {} lines differ:\n{}",
            found.len(),
            table().count(),
            found.join("\n")
        );
    });
}

/// The outcome of a line by a client that has a home of its own and no engine.
pub fn at_home(client: Client, home: &std::path::Path, line: &str) -> Output {
    let program = match client {
        Client::Minke => peers::minke(),
        Client::Docker => peers::docker().to_path_buf(),
    };
    let mut command = std::process::Command::new(program);
    command.args(shell_words::split(line).expect("a line of a shell")).env("HOME", home).current_dir(home);
    for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "MINKE_HOST", "MINKE_CONFIG"] {
        command.env_remove(variable);
    }
    let ended = command.stdin(std::process::Stdio::null()).output().expect("the client starts");
    // The default socket is each program's own, and so is the home.
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(&home.display().to_string(), "HOME");
        text.replace("/var/run/docker.sock", "SOCKET").replace("/run/minke/minke.sock", "SOCKET")
    };
    Output {
        code: ended.status.code().unwrap_or(-1),
        stdout: plain(&ended.stdout).into_bytes(),
        stderr: plain(&ended.stderr),
    }
}

#[test]
fn contexts_are_made_and_used_in_the_same_words() {
    if !peers::docker_speaks_as_ours("context_words.txt") {
        return;
    }
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let homes = ["docker-home", "minke-home"].map(|name| scratch.path().join(name));
    homes.iter().for_each(|home| std::fs::create_dir(home).expect("a home"));
    let mut found = Vec::new();
    let lines = include_str!("context_words.txt").lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (one, other) =
            (at_home(Client::Docker, &homes[0], line), at_home(Client::Minke, &homes[1], line));
        found.extend(difference(Extent::All, &one, &other).map(|words| format!("==== {line}\n{words}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let ours = at_home(Client::Docker, &homes[1], "context inspect cc new");
    assert_eq!(ours.code, 0, "the docker client reads what ours has written: {ours:?}");
}

/// Asks bash for the completions of a line whose last word is typed half.
fn completions(program: &str, folder: &std::path::Path, line: &str) -> Vec<String> {
    let script = format!(
        "PATH={}:$PATH; source <({program} completion bash); COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _{program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        folder.display()
    );
    let ended = std::process::Command::new("bash").arg("-c").arg(script).output().expect("bash starts");
    String::from_utf8_lossy(&ended.stdout).lines().map(str::to_string).collect()
}

#[test]
fn a_link_named_docker_is_our_command_line_and_dockerd_our_engine() {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    for name in ["docker", "dockerd", "minke"] {
        std::os::unix::fs::symlink(peers::minke(), scratch.path().join(name)).expect("a link");
    }
    let said = |name: &str, words: &[&str]| {
        let ended =
            std::process::Command::new(scratch.path().join(name)).args(words).output().expect("it starts");
        String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned()
    };
    assert!(said("docker", &["--version"]).starts_with("Docker version "));
    assert!(said("docker", &["run"]).contains("Usage:  docker run [OPTIONS] IMAGE"));
    assert!(said("dockerd", &["--help"]).contains("dockerd"), "the engine's own help");
    assert!(said("dockerd", &["--nope"]).contains("dockerd"));
    assert_eq!(completions("docker", scratch.path(), "docker volume pr"), ["prune"]);
    assert_eq!(completions("minke", scratch.path(), "minke run --sig"), ["--sig-proxy"]);
    assert_eq!(completions("minke", scratch.path(), "minke rena"), ["rename"]);
}
