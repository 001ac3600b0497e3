//! Five hundred images of a seed, each with something in it that wants out: the host stays as it was, and the engine answers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use minke_e2e::hostile::{self, Hostile};
use minke_e2e::{EngineKind, Response, Rig, http, once};
use serde_json::{Value, json};

const IMAGES: u64 = 500;

/// What the engine may ever have used of memory, in KiB.
const MEMORY: u64 = 256 << 10;

/// A folder with known content, for the images to aim at.
fn canaries(rig: &Rig) -> std::path::PathBuf {
    let aim = rig.scratch().join("canary");
    fs::create_dir_all(aim.join("folder")).expect("the scratch folder takes folders");
    fs::write(aim.join("one"), "root:x:4242:4242::/:/bin/true\n").expect("a file");
    fs::write(aim.join("folder/two"), "two").expect("a file");
    fs::set_permissions(aim.join("one"), fs::Permissions::from_mode(0o640)).expect("its mode");
    fs::write(aim.join("program"), "#!/bin/sh\n").expect("a file");
    symlink("one", aim.join("link")).expect("a link");
    aim
}

/// Everything that can be seen of a tree; a change's time can't be set back.
fn picture(folder: &Path, found: &mut BTreeMap<String, String>) {
    let meta = fs::symlink_metadata(folder).expect("it is there");
    let content = if meta.is_file() { fs::read(folder).expect("it is readable") } else { Vec::new() };
    let numbers = (
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    );
    found.insert(folder.display().to_string(), format!("{numbers:?} {content:?}"));
    if meta.is_dir() {
        for entry in fs::read_dir(folder).expect("it is readable").flatten() {
            picture(&entry.path(), found);
        }
    }
}

fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    picture(folder, &mut found);
    found
}

/// The same images every time, unless a seed is given: what goes wrong can be repeated.
fn seed() -> u64 {
    let said = std::env::var("MINKE_E2E_SEED").ok();
    said.map_or(7, |text| text.parse().expect("MINKE_E2E_SEED is a number"))
}

/// What became of the images.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    created: u64,
    ended_well: u64,
}

/// Takes one image in; returns its name, or nothing where it was refused with a reason.
fn take_in(rig: &Rig, number: u64, image: &Hostile) -> Option<String> {
    let name = format!("hostile{number}");
    let path = match image.is_archive {
        true => "/images/load?quiet=1".to_owned(),
        false => format!(
            "/images/create?fromSrc=-&repo={name}&changes={}",
            minke_e2e::escape("CMD [\"/bin/true\"]")
        ),
    };
    let answer = rig.request("POST", &path, "application/x-tar", &image.body);
    let text = answer.text();
    let lines = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if answer.status != 200 {
        has_reason(&answer, &image.what);
        println!("{number}: {}: refused: {:.200}", image.what, answer.message());
        return None;
    }
    if let Some(error) = lines().find_map(|line| line["error"].as_str().map(str::to_owned)) {
        assert!(!error.is_empty() && !error.contains("panic"), "{}: {text}", image.what);
        println!("{number}: {}: refused: {error:.200}", image.what);
        return None;
    }
    let told = text.split("Loaded image: ").nth(1).or_else(|| text.split("Loaded image ID: ").nth(1));
    let told = told.and_then(|rest| rest.split(['\\', '"', '\n']).next()).map(str::to_owned);
    if image.is_archive { told } else { Some(name) }
}

/// A refusal says why, and is none of the program's own mistakes.
fn has_reason(answer: &Response, what: &str) {
    let message = answer.message();
    assert!(answer.status >= 400 && !message.is_empty() && !message.contains("panic"), "{what}: {answer:?}");
}

/// Creates and runs a container of an image.
fn run(rig: &Rig, image: &str, what: &str, tally: &mut Tally) {
    let answer = rig.post("/containers/create", &json!({"Image": image}));
    if answer.status != 201 {
        return has_reason(&answer, what);
    }
    tally.created += 1;
    let id = answer.json()["Id"].as_str().expect("an id").to_owned();
    let start = rig.post(&format!("/containers/{id}/start"), &Value::Null);
    if start.status == 204 {
        let wait = rig.post(&format!("/containers/{id}/wait"), &Value::Null);
        tally.ended_well += u64::from(wait.json()["StatusCode"] == 0);
    } else {
        has_reason(&start, what);
    }
    let answer = rig.delete(&format!("/containers/{id}?force=1&v=1"));
    assert_eq!(answer.status, 204, "{what}: {answer:?}");
}

/// The most memory that the engine ever had, in KiB.
pub(crate) fn memory(rig: &Rig) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", rig.engine_pid())).expect("the engine runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Asks the engine again and again, until `over`.
pub(crate) fn ping(socket: &Path, over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = http::request(socket, "GET", "/_ping", "", &[]).expect("the engine answers");
        assert_eq!(answer.status, 200);
        longest = longest.max(asked.elapsed());
        std::thread::park_timeout(Duration::from_millis(30));
    }
    longest
}

#[test]
fn no_image_reaches_the_host() {
    let seed = seed();
    println!("MINKE_E2E_SEED={seed}");
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let aim = canaries(rig);
        let before = tree(&aim);
        let over = AtomicBool::new(false);
        let mut tally = Tally::default();
        let longest = std::thread::scope(|scope| {
            let pinging = scope.spawn(|| ping(rig.socket(), &over));
            // Ends also where an image's assertion fails, or the scope would wait for ever.
            let ends = Ends(&over);
            for number in 0..IMAGES {
                let image = hostile::image(seed, number, &aim);
                let Some(name) = take_in(rig, number, &image) else {
                    tally.refused += 1;
                    continue;
                };
                tally.accepted += 1;
                // Every second one is run, for the time it takes.
                if tally.accepted % 2 == 0 {
                    run(rig, &name, &format!("{number}: {}", image.what), &mut tally);
                }
                if number % 16 == 0 {
                    assert_eq!(
                        tree(&aim),
                        before,
                        "MINKE_E2E_SEED={seed}, image {number} or before: {}",
                        image.what
                    );
                }
            }
            drop(ends);
            pinging.join().expect("the engine answered all along")
        });
        let peak = memory(rig);
        println!("{tally:?}, longest ping {longest:?}, {peak} KiB at most");
        assert_eq!(tree(&aim), before, "MINKE_E2E_SEED={seed}");
        assert!(tally.accepted * 3 >= IMAGES && tally.ended_well * 10 >= IMAGES, "{tally:?}");
        assert!(peak < MEMORY, "{peak} KiB");
        assert_eq!(rig.ok("run --rm busybox echo well"), "well");
    });
}

/// Sets a flag when it goes.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
