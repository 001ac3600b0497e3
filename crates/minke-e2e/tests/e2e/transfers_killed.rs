//! kill -9 of the engine at random moments of pulls and pushes: the next try goes on where the last one was, by the registry's
//! own count; the images are right; nothing half made stays.
//!
//! `MINKE_E2E_TRANSFERS=100` lengthens it, `MINKE_E2E_SEED=7` repeats what was seen.

use std::time::Duration;

use minke_e2e::registry::{DockerRegistry, Packing, Registry, Stored};
use minke_e2e::rootfs::Tree;
use minke_e2e::session::wait_for_end;
use minke_e2e::{Client, Rig, escape, within};
use serde_json::Value;

/// What may come twice of a blob in which the engine was killed: what the sockets hold, and a chunk.
const LOST_BYTES: u64 = 8 << 20;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Numbers without a pattern, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// A tar of a file that does not compress, and a few that do.
    fn layer(&mut self) -> Vec<u8> {
        let mut tree = Tree::default();
        let noise: Vec<u8> = (0..(200 << 10) + self.below(3 << 20)).map(|_| self.below(256) as u8).collect();
        tree.file(&format!("noise{}", self.below(1000)), 0o644, &noise);
        for number in 0..self.below(40) {
            tree.file(&format!("file{number}"), 0o644, &[b'x'; 3000]);
        }
        tree.finish()
    }
}

fn is_blob(rig: &Rig, digest: &str) -> bool {
    let hex = &digest["sha256:".len()..];
    rig.scratch().join("data/blobs/sha256").join(&hex[..2]).join(hex).exists()
}

/// The bytes that are here of a blob that has not come whole.
fn partial(rig: &Rig, digest: &str) -> u64 {
    let path = rig.scratch().join("data/ingest").join(format!("{}.part", &digest["sha256:".len()..]));
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// The files below a folder of the engine's.
fn files(rig: &Rig, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![rig.scratch().join("data").join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => open.push(entry.path()),
                false => found.push(entry.path().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// Begins `line`, lets the registry transfer `budget` bytes, and kills the engine then or a little later; starts it again.
fn interrupt(rig: &Rig, registry: &Registry, line: &str, budget: u64, later: Duration) {
    registry.cut(Some(budget));
    let session = rig.spawn(line);
    within(60, "the registry has transferred what it may, or all is done", || {
        (registry.is_spent() || wait_for_end(session.pid(), Duration::ZERO)).then_some(())
    });
    std::thread::sleep(later);
    rig.kill_engine();
    registry.cut(None);
    drop(session);
    rig.start_engine();
}

struct Counts {
    here: Vec<(String, u64)>,
    partial: Vec<(String, u64, u64)>,
}

/// What a pull is not to bring again, by the registry's count so far.
fn counts(rig: &Rig, registry: &Registry, image: &Stored) -> Counts {
    let (here, coming): (Vec<&String>, Vec<&String>) =
        image.layers.iter().partition(|layer| is_blob(rig, layer));
    Counts {
        here: here.into_iter().map(|layer| (layer.clone(), registry.bytes_given(layer))).collect(),
        partial: coming
            .into_iter()
            .map(|layer| (layer.clone(), registry.bytes_given(layer), partial(rig, layer)))
            .collect(),
    }
}

impl Counts {
    fn check(&self, registry: &Registry, round: u64) {
        for (layer, before) in &self.here {
            let again = registry.bytes_given(layer) - before;
            assert_eq!(again, 0, "round {round}: {layer} was here, and {again} bytes of it came again");
        }
        for (layer, before, there) in &self.partial {
            let (given, size) = (registry.bytes_given(layer) - before, registry.size(layer));
            assert!(given <= size - there, "round {round}: {given} bytes of {size} with {there} here");
        }
    }
}

fn pull(rig: &Rig, registry: &Registry, chance: &mut Chance, round: u64) -> String {
    let layers: Vec<Vec<u8>> = (0..1 + chance.below(4)).map(|_| chance.layer()).collect();
    let packings = [Packing::Tar, Packing::Gzip, Packing::Zstd];
    let packed: Vec<(&[u8], Packing)> =
        layers.iter().map(|layer| (&layer[..], packings[chance.below(3) as usize])).collect();
    let image = registry.image("pulled", &round.to_string(), &packed);
    let total: u64 = image.layers.iter().map(|layer| registry.size(layer)).sum();
    let name = registry.name(&format!("pulled:{round}"));
    let line = format!("pull -q {name}");
    let kills = 1 + chance.below(2);
    for _ in 0..kills {
        let later = Duration::from_millis(chance.below(40));
        interrupt(rig, registry, &line, chance.below(total + total / 4) + 1, later);
        let before = counts(rig, registry, &image);
        // Nothing is an image that is not all here.
        let found = rig.get(&format!("/images/{}/json", escape(&name)));
        assert!(matches!(found.status, 200 | 404), "{found:?}");
        if found.status == 200 {
            assert!(image.layers.iter().all(|layer| is_blob(rig, layer)), "round {round}: half an image");
        }
        rig.ok(&line);
        before.check(registry, round);
    }
    let found: Value = rig.get(&format!("/images/{}/json", escape(&name))).json();
    assert_eq!(found["Id"], image.config.as_str());
    for layer in &image.layers {
        let (given, size) = (registry.bytes_given(layer), registry.size(layer));
        assert!(given <= size + kills * LOST_BYTES, "round {round}: {given} bytes of {size}");
    }
    name
}

/// The bytes that a push may send: those of the blobs in its manifest, and what a kill may cost.
fn push(rig: &Rig, registry: &Registry, chance: &mut Chance, source: &str, round: u64) {
    let name = registry.name(&format!("pushed:{round}"));
    rig.ok(&format!("tag {source} {name}"));
    let line = format!("push -q {name}");
    let total = rig.get(&format!("/images/{}/json", escape(source))).json()["Size"].as_u64().unwrap_or(0);
    let (before, kills) = (registry.bytes_taken(), 1 + chance.below(2));
    for _ in 0..kills {
        let later = Duration::from_millis(chance.below(40));
        interrupt(rig, registry, &line, chance.below(total + total / 4) + 1, later);
    }
    rig.ok(&line);
    let manifest = registry.document_of("pushed", &round.to_string()).expect("the manifest is there");
    let manifest: Value = serde_json::from_slice(&manifest).expect("it is JSON");
    let mut size = manifest["config"]["size"].as_u64().expect("a size");
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let digest = layer["digest"].as_str().expect("a digest");
        assert!(registry.has(digest), "round {round}");
        assert_eq!(registry.arrivals(digest), 1, "round {round}: {digest} came whole more than once");
        size += layer["size"].as_u64().expect("a size");
    }
    let sent = registry.bytes_taken() - before;
    assert!(sent <= size, "round {round}: {sent} bytes were sent of {size}, with {kills} kills");
    rig.ok(&format!("rmi {name}"));
}

#[test]
fn a_transfer_goes_on_after_the_engine_was_killed_at_any_moment() {
    let rounds = number_of("MINKE_E2E_TRANSFERS").unwrap_or(6);
    let seed = number_of("MINKE_E2E_SEED").unwrap_or(11);
    let (from, to) = (Registry::start(), Registry::start());
    Rig::run(Client::Minke, &[], |rig| {
        eprintln!("--- MINKE_E2E_SEED={seed} MINKE_E2E_TRANSFERS={rounds}");
        rig.ok("image prune -f");
        let before = ["blobs", "layers"].map(|folder| files(rig, folder));
        let mut chance = Chance(seed);
        for round in 0..rounds {
            match chance.below(3) {
                // What was pulled goes out as it came; what was made here is compressed on its way.
                0 => {
                    rig.import("made", &chance.layer(), &[&format!("LABEL round={round}")]);
                    push(rig, &to, &mut chance, "made", round);
                    rig.ok("rmi made");
                }
                1 => {
                    let name = pull(rig, &from, &mut chance, round);
                    push(rig, &to, &mut chance, &name, round);
                    rig.ok(&format!("rmi {name}"));
                }
                _ => {
                    let name = pull(rig, &from, &mut chance, round);
                    rig.ok(&format!("rmi {name}"));
                }
            }
        }
        assert_eq!(rig.ok("run --rm busybox echo runs"), "runs");
        rig.ok("image prune -f");
        within(30, "only what was there before is left", || {
            let left = ["blobs", "layers"].map(|folder| files(rig, folder));
            let half = ["ingest", "uploads"].map(|folder| files(rig, folder));
            (left == before && half.iter().all(Vec::is_empty)).then_some(())
        });
    });
}

/// A tar that does not compress, large enough to come by several connections at once.
fn large_layer(chance: &mut Chance) -> Vec<u8> {
    let mut tree = Tree::default();
    let noise: Vec<u8> = (0..(72 << 20) / 8)
        .flat_map(|_| {
            chance.below(1);
            (chance.0 ^ (chance.0 >> 29)).to_ne_bytes()
        })
        .collect();
    tree.file("noise", 0o644, &noise);
    tree.finish()
}

#[test]
fn a_large_blob_loses_little_when_the_engine_is_killed_in_its_middle() {
    let (from, to) = (Registry::start(), Registry::start());
    let image = from.image("large", "1", &[(&large_layer(&mut Chance(7)), Packing::Tar)]);
    let (layer, later) = (&image.layers[0], Duration::from_millis(20));
    let size = from.size(layer);
    assert!(size > 64 << 20, "{size}");
    Rig::run(Client::Minke, &[], |rig| {
        let (pulled, pushed) = (from.name("large:1"), to.name("large:1"));
        let mut given = 0;
        for budget in [20 << 20, 15 << 20] {
            interrupt(rig, &from, &format!("pull -q {pulled}"), budget, later);
            let (so_far, here) = (from.bytes_given(layer), partial(rig, layer));
            assert!(so_far - given >= (10 << 20), "{so_far} bytes were given");
            assert!(so_far < size && here > 0, "it was killed in the middle: {so_far} {here}");
            given = so_far;
        }
        let (before, here) = (from.bytes_given(layer), partial(rig, layer));
        assert!(before - here <= 2 * LOST_BYTES, "{before} bytes were given, {here} are here");
        rig.ok(&format!("pull -q {pulled}"));
        assert_eq!(from.bytes_given(layer) - before, size - here, "it goes on where it was");
        assert!(from.asked(layer) > 8, "it came in parts by several connections");
        rig.ok(&format!("tag {pulled} {pushed}"));
        for _ in 0..2 {
            interrupt(rig, &to, &format!("push -q {pushed}"), 20 << 20, later);
            assert!(!to.has(layer), "it was killed in the middle");
        }
        rig.ok(&format!("push -q {pushed}"));
        assert_eq!(to.arrivals(layer), 1);
        let (taken, rest) = (to.bytes_taken(), 1 << 20);
        assert!(taken <= size + rest + 2 * LOST_BYTES, "{taken} bytes were sent of {size}");
        rig.ok(&format!("rmi {pulled} {pushed}"));
    });
}

#[test]
fn a_registry_that_gives_up_what_broke_off_gets_it_anew() {
    Rig::run(Client::Minke, &[], |rig| {
        let folder = rig.scratch().join("registry");
        let registry = DockerRegistry::start(&folder, "");
        let name = registry.name("made:1");
        for (round, later) in [0, 10, 30].into_iter().enumerate() {
            rig.import("made", &Chance(round as u64).layer(), &[]);
            rig.ok(&format!("tag made {name}"));
            let session = rig.spawn(&format!("push -q {name}"));
            let uploads = folder.join("data/docker/registry/v2/repositories/made/_uploads");
            within(60, "an upload has begun, or all is done", || {
                let begun = std::fs::read_dir(&uploads).is_ok_and(|entries| entries.count() > 0);
                (begun || wait_for_end(session.pid(), Duration::ZERO)).then_some(())
            });
            std::thread::sleep(Duration::from_millis(later));
            rig.kill_engine();
            drop(session);
            rig.start_engine();
            rig.ok(&format!("push -q {name}"));
            let (digest, _) = registry.manifest("made", "1");
            rig.ok(&format!("rmi made {name}"));
            assert!(rig.ok(&format!("pull {name}")).contains(&digest));
            rig.ok(&format!("rmi {name}"));
        }
        within(10, "no upload is remembered", || files(rig, "uploads").is_empty().then_some(()));
    });
}
