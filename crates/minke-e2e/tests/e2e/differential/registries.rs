//! Lines about registries, in `registries.txt`: each side has Debian's registry beside its engine, one for everybody and one
//! with a password.

use std::fs;

use minke_e2e::EngineKind;
use minke_e2e::registry::{DockerRegistry, PASSWORDS};

use super::{Extent, Output, Side, all, difference, normalized, table};

/// A side with its registries.
struct Place<'a> {
    side: &'a Side,
    open: DockerRegistry,
    guarded: DockerRegistry,
}

impl<'a> Place<'a> {
    fn beside(side: &'a Side) -> Self {
        let folder = side.folder.parent().expect("the folder is in the side's").join("registries");
        fs::create_dir_all(&folder).expect("a folder");
        let users = folder.join("users");
        fs::write(&users, PASSWORDS).expect("a file");
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display());
        // The reference engine has a loopback of its own.
        let pid = side.engine.pid().filter(|_| side.engine.kind() == EngineKind::Dockerd);
        let start = |name: &str, more: &str| DockerRegistry::start_beside(&folder.join(name), more, pid);
        Self { side, open: start("open", ""), guarded: start("guarded", &auth) }
    }

    fn run(&self, line: &str) -> Output {
        let line = line.replace("GUARDED", self.guarded.address()).replace("REG", self.open.address());
        let mut output = self.side.cli.run(&line, &[], 60);
        output.stdout = self.words(&output.text()).into_bytes();
        output.stderr = self.words(&output.stderr);
        output
    }

    /// What a line prints, without addresses and without the steps that are told of only where they take a while.
    fn words(&self, text: &str) -> String {
        let text = text.replace(self.guarded.address(), "GUARDED").replace(self.open.address(), "REG");
        let passing = [": Waiting", ": Preparing", ": Verifying Checksum", ": Download complete"];
        let stays = |line: &&str| !passing.iter().any(|step| line.ends_with(step));
        let lines = text.lines().filter(stays).map(without_choice);
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A line without what is each engine's own choice: how well layers are compressed, which repository gives one away.
fn without_choice(line: &str) -> &str {
    match (line.split_once(" size: "), line.split_once(": Mounted from ")) {
        (Some((rest, _)), _) if line.contains(": digest: sha256:") => rest,
        (_, Some((_, from))) => &line[..line.len() - from.len()],
        _ => line,
    }
}

#[test]
fn images_go_to_registries_and_come_from_them_the_same() {
    all(|dockerd, ours| {
        let reference = Place::beside(dockerd);
        let ours: Vec<Place> = ours.iter().map(Place::beside).collect();
        let lines = table(include_str!("registries.txt"));
        let mut found = Vec::new();
        for (extent, line) in &lines {
            let expected = reference.run(line);
            eprintln!("$ {line}\n{}\n{}[{}]", expected.text(), expected.stderr, expected.code);
            for place in &ours {
                let output = place.run(line);
                // Rows of progress come in no order, on whichever stream they are.
                let (one, other) = match extent {
                    Extent::AnyOrder => (sorted(&expected), sorted(&output)),
                    _ => (expected.clone(), output),
                };
                let words = difference(*extent, (dockerd, &one), (place.side, &other));
                found.extend(words.map(|words| format!("{}: {line}\n  {words}", place.side.name)));
            }
        }
        let count = (found.len(), lines.len());
        assert!(found.is_empty(), "{} differences in {} lines:\n{}", count.0, count.1, found.join("\n"));
    });
}

fn sorted(output: &Output) -> Output {
    let sort = |text: &str| {
        let text = normalized(text);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    Output { stdout: sort(&output.text()).into_bytes(), stderr: sort(&output.stderr), ..output.clone() }
}
