//! Networks, by the same lines on dockerd and on ours, each in a network namespace of its own. The lines are in `networks.txt`;
//! the engines go through them side by side.

use std::process::Command;
use std::time::{Duration, Instant};

use minke_e2e::engine::NETWORKS;

use super::*;

/// Both engines' default bridge has this subnet, and what nobody names comes from this pool: so addresses can be compared.
const FLAGS: [&str; 5] =
    [NETWORKS, "--bip", "172.17.0.1/16", "--default-address-pool", "base=10.200.0.0/16,size=24"];

/// How long a line of the host is tried again.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a line led to.
enum Outcome {
    Said(Output),
    Has(Value),
}

/// From here on the time of a line is shown.
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn lines_on_networks_do_the_same() {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let ours = |name, client| {
        let engine = |places: &Path| Box::new(Minke::new(places)) as Box<dyn Engine>;
        Side::start_with((name, client), engine, scratch.path(), &FLAGS)
    };
    let reference = |places: &Path| Box::new(Dockerd::new(places)) as Box<dyn Engine>;
    let mut sides = vec![
        Side::start_with(("dockerd", Client::Docker), reference, scratch.path(), &FLAGS),
        ours("minke by docker", Client::Docker),
    ];
    if peers::docker_speaks_as_ours("networks.txt by our own command line") {
        sides.push(ours("minke", Client::Minke));
    }
    let lines = table(include_str!("networks.txt"));
    let outcomes: Vec<Vec<Outcome>> = std::thread::scope(|scope| {
        let lines = &lines;
        let threads: Vec<_> = sides
            .iter_mut()
            .map(|side| {
                scope.spawn(move || lines.iter().map(|line| outcome(side, *line)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no line panics")).collect()
    });
    let mut found = Vec::new();
    for (at, (extent, line)) in lines.iter().enumerate() {
        let reference = &outcomes[0][at];
        if let Outcome::Said(said) = reference {
            eprintln!("$ {line}\n{}{}[{}]", said.text(), said.stderr, said.code);
        }
        for (side, outcomes) in sides.iter().zip(&outcomes).skip(1) {
            let words = compare(*extent, (&sides[0], reference), (side, &outcomes[at]));
            found.extend(words.map(|words| format!("{}: {line}\n  {words}", side.name)));
        }
    }
    assert!(found.is_empty(), "{} differences in {} lines:\n{}", found.len(), lines.len(), found.join("\n"));
}

fn outcome(side: &Side, (extent, line): (Extent, &str)) -> Outcome {
    let begin = Instant::now();
    let outcome = outcome_of(side, (extent, line));
    if begin.elapsed() > SLOW {
        eprintln!("{} took {:?}: {line}", side.name, begin.elapsed());
    }
    outcome
}

fn outcome_of(side: &Side, (extent, line): (Extent, &str)) -> Outcome {
    match extent {
        Extent::Json => Outcome::Has(side.get(&format!("/v{API}{line}"))),
        Extent::Network => {
            let found = side.get(&format!("/v{API}/containers/{line}/json"));
            Outcome::Has(found["NetworkSettings"].clone())
        }
        Extent::OnHostOnce => Outcome::Said(on_host(side, line)),
        Extent::OnHost => {
            let end = Instant::now() + PATIENCE;
            loop {
                let said = on_host(side, line);
                if said.code == 0 || Instant::now() > end {
                    return Outcome::Said(said);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        _ => Outcome::Said(side.cli.run(line, &[], 60)),
    }
}

/// Runs an applet of busybox in the engine's network namespace.
fn on_host(side: &Side, line: &str) -> Output {
    let pid = side.engine.pid().expect("the engine runs");
    let words = shell_words::split(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg(peers::busybox()).args(words);
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn compare(extent: Extent, dockerd: (&Side, &Outcome), ours: (&Side, &Outcome)) -> Option<String> {
    match (dockerd.1, ours.1) {
        (Outcome::Said(reference), Outcome::Said(said)) => {
            let plain = |said: &Output| Output {
                code: said.code,
                stdout: without_choices(&said.text()).into_bytes(),
                stderr: without_choices(&said.stderr),
            };
            difference(extent, (dockerd.0, &plain(reference)), (ours.0, &plain(said)))
        }
        (Outcome::Has(reference), Outcome::Has(value)) => {
            let mut found = Vec::new();
            compare_values("", &by_name(reference), &by_name(value), &mut found);
            (!found.is_empty()).then(|| found.join("\n  "))
        }
        _ => unreachable!("the extent decides what a line leads to"),
    }
}

/// The networks whose containers' addresses follow from what came and went before, with the first and last number of those.
const CHOSEN: [(&str, u8, u8); 3] = [("172.17.0.", 2, 255), ("10.210.1.", 2, 255), ("10.210.2.", 129, 253)];

/// Text without what an engine chooses: those addresses, and the hardware addresses that follow from them.
fn without_choices(text: &str) -> String {
    let mut text = text.to_owned();
    for (net, first, last) in CHOSEN {
        let octets = net.trim_end_matches('.').split('.').filter_map(|octet| octet.parse::<u8>().ok());
        let mac = octets.fold("02:42:".to_owned(), |mac, octet| mac + &format!("{octet:02x}:"));
        for number in (first..=last).rev() {
            text = text.replace(&format!("{net}{number}"), &format!("{net}N"));
            text = text.replace(&format!("{mac}{number:02x}"), &format!("{mac}NN"));
        }
    }
    text.lines().filter(|line| *line != "exit status 1").map(|line| format!("{line}\n")).collect()
}

/// A network's containers by their names: their ids are each engine's own.
fn by_name(network: &Value) -> Value {
    let mut network: Value = serde_json::from_str(&without_choices(&network.to_string())).expect("JSON");
    if let Some(settings) = network.as_object_mut() {
        // Kept, or not, after the end.
        settings.remove("SandboxID");
    }
    if let Some(containers) = network.get_mut("Containers").and_then(Value::as_object_mut) {
        *containers = std::mem::take(containers)
            .into_iter()
            .map(|(id, one)| (one["Name"].as_str().map_or(id, str::to_owned), one))
            .collect();
    }
    network
}
