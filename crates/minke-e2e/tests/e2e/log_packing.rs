//! A log's older files packed (`--log-opt compress=true`, and the `local` driver by default), and read, followed and rotated meanwhile.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use minke_e2e::{Client, Rig, case, once, within};

/// The folder of a container's log.
fn folder(rig: &Rig, name: &str) -> PathBuf {
    let file = rig.inspect(name)["LogPath"].as_str().expect("a path").to_owned();
    Path::new(&file).parent().expect("a folder").to_owned()
}

/// The log's files that are there: what stands behind the current one's name, and their sizes.
fn files(folder: &Path, current: &str) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (_, end) = name.split_once(current)?;
            // One that is renamed this moment.
            Some((end.to_owned(), entry.metadata().ok()?.len()))
        })
        .collect();
    found.sort();
    found
}

/// Waits until all older files are packed, at least so many; returns their names' ends.
fn await_packed(folder: &Path, current: &str, least: usize) -> Vec<String> {
    within(30, "the older files are packed", || {
        let mut names: Vec<String> = files(folder, current).into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !name.is_empty());
        (names.len() >= least && names.iter().all(|name| name.ends_with(".gz"))).then_some(names)
    })
}

fn numbers(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no number: {line:?}"))).collect()
}

/// Checks that a text's lines are the numbers from 1 to `last`.
fn counts_to(text: &str, last: u32) {
    let expected: Vec<u32> = (1..=last).collect();
    let found = numbers(text);
    let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert!(
        wrong.is_none() && found.len() == expected.len(),
        "{} lines instead of {last}, the first wrong one: {wrong:?}",
        found.len()
    );
}

const JSON: &str = "--log-opt compress=true --log-opt max-size=20k --log-opt max-file=200";

#[test]
fn older_files_are_gzip_under_docker_s_names_and_read_in_every_way() {
    case(|rig| {
        rig.ok(&format!("run -d --name one {JSON} busybox seq 1 5000"));
        rig.ok("wait one");
        let folder = folder(rig, "one");
        let names = await_packed(&folder, "-json.log", 10);
        assert!(names.contains(&".1.gz".to_owned()), "{names:?}");
        let file = files(&folder, "-json.log").into_iter().find(|(name, _)| name == ".1.gz");
        assert!(file.is_some_and(|(_, size)| (50..10_000).contains(&size)), "it is smaller");
        counts_to(&rig.ok("logs one"), 5000);
        let all: Vec<u32> = (1..=5000).collect();
        for tail in [1, 7, 300, 1000, 4999] {
            assert_eq!(numbers(&rig.ok(&format!("logs --tail {tail} one"))), all[5000 - tail..], "{tail}");
        }
        counts_to(&rig.ok("logs --tail 5000 one"), 5000);
        counts_to(&rig.ok("logs --tail 6000 one"), 5000);
        counts_to(&rig.ok("logs -f one"), 5000);
        let lines = rig.ok("logs -t one");
        let (time, _) = lines.lines().nth(2500).and_then(|line| line.split_once(' ')).expect("a time");
        let count = |flag: &str| {
            let since = |line: &&str| line.split_once(' ').is_some_and(|(at, _)| at >= time);
            let until = |line: &&str| line.split_once(' ').is_some_and(|(at, _)| at <= time);
            match flag {
                "--since" => lines.lines().filter(since).count(),
                _ => lines.lines().filter(until).count(),
            }
        };
        for flag in ["--since", "--until"] {
            assert_eq!(rig.ok(&format!("logs {flag} {time} one")).lines().count(), count(flag), "{flag}");
        }
        assert_eq!(rig.ok("logs --since 2100-01-01 one"), "");
        // The next run goes on in the same files.
        rig.ok("start one");
        rig.ok("wait one");
        await_packed(&folder, "-json.log", 20);
        assert_eq!(rig.ok("logs one").lines().count(), 10_000);
        rig.ok("rm one");
        assert!(!folder.exists());
    });
}

#[test]
fn the_header_says_when_the_last_entry_was_written() {
    once(|rig| {
        rig.ok("run --name one --log-opt compress=1 --log-opt max-size=20k --log-opt max-file=3 busybox seq 1 700");
        let folder = folder(rig, "one");
        await_packed(&folder, "-json.log", 1);
        let name = std::fs::read_dir(&folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with("-json.log.1.gz"))
            .expect("a packed file");
        let mut head = vec![0; 80];
        std::fs::File::open(&name).and_then(|mut file| file.read_exact(&mut head)).expect("readable");
        assert_eq!(head[..4], [0x1f, 0x8b, 8, 4], "gzip with an extra field");
        let extra = &head[12..12 + usize::from(head[10])];
        let facts: serde_json::Value = serde_json::from_slice(extra).expect("JSON");
        let time = facts["lastTime"].as_str().expect("a time");
        let busybox = format!("busybox zcat {}", name.display());
        let words: Vec<&str> = busybox.split(' ').skip(1).collect();
        let unpacked =
            std::process::Command::new(minke_e2e::peers::busybox()).args(words).output().expect("busybox");
        let text = String::from_utf8_lossy(&unpacked.stdout).into_owned();
        assert!(unpacked.status.success() && text.lines().last().is_some_and(|line| line.contains(time)));
    });
}

#[test]
fn who_follows_reads_each_line_once_while_the_log_is_rotated_and_packed() {
    once(|rig| {
        let last = 20_000;
        for (name, log) in [
            ("one", "--log-opt compress=true --log-opt max-size=20k --log-opt max-file=500"),
            ("two", "--log-driver local --log-opt max-size=20k --log-opt max-file=500"),
        ] {
            rig.ok(&format!("run -d -i --name {name} {log} busybox sh -c 'read x; seq 1 {last}; read x'"));
            let followers: Vec<_> = (0..3).map(|_| rig.spawn(&format!("logs -f {name}"))).collect();
            let mut gate = rig.spawn(&format!("attach {name}"));
            gate.write(b"go\n");
            followers[0].expect("\n1000\n");
            let late = rig.spawn(&format!("logs -f {name}"));
            followers[0].expect(&format!("\n{last}\n"));
            gate.write(b"end\n");
            for follower in followers.into_iter().chain([late]) {
                counts_to(&follower.wait().text(), last);
            }
            counts_to(&rig.ok(&format!("logs {name}")), last);
        }
        await_packed(&folder(rig, "one"), "-json.log", 50);
        counts_to(&rig.ok("logs one"), last);
    });
}

#[test]
fn the_local_driver_packs_unless_told_not_to() {
    case(|rig| {
        let log = "--log-driver local --log-opt max-size=20k --log-opt max-file=100";
        rig.ok(&format!("run -d --name one {log} busybox seq 1 5000"));
        rig.ok(&format!("run -d --name two {log} --log-opt compress=false busybox seq 1 5000"));
        let ids = ["one", "two"].map(|name| {
            rig.ok(&format!("wait {name}"));
            rig.inspect(name)["Id"].as_str().expect("an id").to_owned()
        });
        let [one, two] = ids.map(|id| rig.marks().data_root.join("containers").join(id).join("local-logs"));
        await_packed(&one, "container.log", 5);
        assert!(files(&two, "container.log").iter().all(|(name, _)| !name.ends_with(".gz")));
        for name in ["one", "two"] {
            counts_to(&rig.ok(&format!("logs {name}")), 5000);
            for tail in [3, 2000] {
                let expected: Vec<u32> = (5001 - tail..=5000).collect();
                assert_eq!(numbers(&rig.ok(&format!("logs --tail {tail} {name}"))), expected);
            }
        }
        assert_eq!(rig.ok("logs --since 2100-01-01 one"), "");
    });
}

#[test]
fn no_line_is_lost_or_doubled_when_engines_are_killed_while_they_pack() {
    Rig::run(Client::Minke, &[], |rig| {
        let last = 30_000;
        let log = "--log-opt compress=true --log-opt max-size=20k --log-opt max-file=500";
        let work = format!("i=0; while [ $i -lt {last} ]; do i=$((i+1)); echo $i; done; read x");
        rig.ok(&format!("run -d -i --name one {log} busybox sh -c '{work}'"));
        let folder = folder(rig, "one");
        let packed = || files(&folder, "-json.log").iter().filter(|(name, _)| name.ends_with(".gz")).count();
        for _ in 0..4 {
            let before = packed();
            within(30, "some are packed", || {
                (packed() > before || rig.ok("logs --tail 1 one") == last.to_string()).then_some(())
            });
            rig.kill_engine();
            rig.start_engine();
        }
        within(60, "all is written", || (rig.ok("logs --tail 1 one") == last.to_string()).then_some(()));
        counts_to(&rig.ok("logs one"), last);
        await_packed(&folder, "-json.log", 60);
        counts_to(&rig.ok("logs one"), last);
        // One that is gone when the container ends: the older files wait for the next.
        rig.kill_engine();
        rig.start_engine();
        rig.ok("rm -f one");
        let left = std::fs::read_dir(rig.marks().data_root.join("packing")).expect("a folder").count();
        assert_eq!(left, 0, "nothing is left of what was begun");
    });
}

#[test]
fn a_packed_log_takes_no_more_files_than_asked_for() {
    once(|rig| {
        rig.ok("run -d -i --name one --log-opt compress=true --log-opt max-size=20k --log-opt max-file=4 busybox sh -c 'seq 1 30000; read x'");
        let folder = folder(rig, "one");
        within(30, "all is written", || {
            let found = files(&folder, "-json.log");
            // Of two forms of one file, one is about to go.
            let mut places: Vec<&str> = found.iter().map(|(name, _)| name.trim_end_matches(".gz")).collect();
            places.dedup();
            assert!(places.len() <= 4 && found.iter().all(|(_, size)| *size < 22_000), "{found:?}");
            (rig.ok("logs --tail 1 one") == "30000").then_some(())
        });
        assert_eq!(await_packed(&folder, "-json.log", 3), [".1.gz", ".2.gz", ".3.gz"]);
        let seen = numbers(&rig.ok("logs one"));
        assert!(seen.len() > 500 && seen.last() == Some(&30_000));
        assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]), "without a gap");
    });
}

#[test]
fn what_can_not_be_packed_is_refused_in_docker_s_words() {
    case(|rig| {
        for options in
            ["compress=true", "compress=true --log-opt max-file=3", "compress=true --log-opt max-size=1m"]
        {
            rig.fails(
                &format!("run --rm --log-opt {options} busybox true"),
                125,
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            );
        }
        rig.fails(
            "run --rm --log-driver local --log-opt max-file=1 busybox true",
            125,
            "compression cannot be enabled when max file count is 1",
        );
        rig.fails(
            "run --rm --log-opt compress=x busybox true",
            125,
            "strconv.ParseBool: parsing \"x\": invalid syntax",
        );
    });
}
