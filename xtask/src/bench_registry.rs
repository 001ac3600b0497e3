//! What is measured with registries and archives: pull, push, save and load of an image of many files. The registry is Debian's,
//! on the loopback of the world in which all of it runs.

use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use minke_e2e::registry::{DockerRegistry, Packing, Registry};
use minke_e2e::rootfs::Tree;
use minke_e2e::{Engine, process, within};

use crate::bench::{Bar, Contender, Row, Stage, medians, timed};

/// The image's size in MB, unless `MINKE_BENCH_IMAGE_MB` says another one.
const IMAGE_MB: usize = 500;
/// Files for each MB.
const FILES_PER_MB: usize = 40;
/// How often each is measured.
const ROUNDS: usize = 3;

fn image_mb() -> usize {
    std::env::var("MINKE_BENCH_IMAGE_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(IMAGE_MB)
}

/// A layer of so many files, half of each of which compresses.
fn layer(number: usize, files: usize, bytes: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut tree = Tree::default();
    for file in 0..files {
        let folder = file / 100;
        if file % 100 == 0 {
            tree.folder(&format!("layer{number}-{folder}/"), 0o755);
        }
        let mut content = vec![b'a'; bytes];
        for byte in &mut content[..bytes / 2] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 33) as u8;
        }
        tree.file(&format!("layer{number}-{folder}/{file}"), 0o644, &content);
    }
    tree.finish()
}

/// Puts an image of `layers` layers into a registry; gives its name.
fn prepare(stage: &Stage, registry: &DockerRegistry, layers: usize) -> Result<String> {
    let files = image_mb() * FILES_PER_MB / layers;
    let bytes = 1_000_000 / FILES_PER_MB;
    let made: Vec<Vec<u8>> = (0..layers).map(|number| layer(number, files, bytes)).collect();
    let source = Registry::start();
    let packed: Vec<(&[u8], Packing)> = made.iter().map(|tar| (&tar[..], Packing::Gzip)).collect();
    let stored = source.image_for("bench", &packed, "amd64", false);
    source.name_it("bench", "1", &stored.manifest);
    let name = registry.name(&format!("bench{layers}:1"));
    timed(&mut stage.own(&format!("image copy -q {} {name}", source.name("bench:1"))))?;
    Ok(name)
}

/// A contender's name, and what makes a command of a line.
type Side<'a> = (&'static str, Box<dyn Fn(&str) -> Command + 'a>);

fn sides(stage: &Stage) -> [Side<'_>; 3] {
    [
        ("minke", Box::new(|line: &str| stage.own(line))),
        ("docker", Box::new(|line: &str| stage.docker(line))),
        // podman asks for TLS unless it is told.
        (
            "podman",
            Box::new(|line: &str| {
                let line = match line.split_once(' ') {
                    Some((verb @ ("pull" | "push"), rest)) => format!("{verb} --tls-verify=false {rest}"),
                    _ => line.to_owned(),
                };
                stage.podman(&line)
            }),
        ),
    ]
}

/// Measures a line of each contender; `before` is done first and not timed, `after` later.
fn each(
    stage: &Stage,
    before: impl Fn(&dyn Fn(&str) -> Command) -> Result<()>,
    line: impl Fn() -> String,
    after: impl Fn(&dyn Fn(&str) -> Command) -> Result<()>,
) -> Result<Vec<(String, f64)>> {
    let sides = sides(stage);
    let (before, line, after) = (&before, &line, &after);
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for (name, side) in &sides {
        contenders.push((
            name,
            Box::new(move || {
                before(side)?;
                settle(stage);
                let taken = timed(&mut side(&line()))?.as_secs_f64() * 1000.0;
                after(side)?;
                Ok(taken)
            }),
        ));
    }
    medians(ROUNDS, &mut contenders)
}

/// Waits until our engine has unlinked what was removed: it is not to be paid for by whoever is next.
fn settle(stage: &Stage) {
    let trash = stage.minke.data_root().join("trash");
    within(120, "what was removed is gone", || {
        std::fs::read_dir(&trash).map_or(true, |entries| entries.count() == 0).then_some(())
    });
}

fn row(what: String, figures: Vec<(String, f64)>) -> Row {
    Row { what, figures, bar: Bar::ShareOf(1, 0.5) }
}

/// `pull`, `push`, `save` and `load` of one image in 5 and in 20 layers; what the engine holds while it pulls.
pub fn transfers(stage: &mut Stage) -> Result<Vec<Row>> {
    let stage = &*stage;
    let registry = DockerRegistry::start(&stage.folder.join("registry"), "");
    let size = image_mb();
    let mut rows = Vec::new();
    let remove = |side: &dyn Fn(&str) -> Command, name: &str| {
        // The first time it is not there.
        let _ = timed(&mut side(&format!("rmi -f {name}")));
    };
    let nothing = |_: &dyn Fn(&str) -> Command| Ok(());
    for layers in [5, 20] {
        let name = prepare(stage, &registry, layers)?;
        let of = |what: &str| format!("`{what}` of {size} MB in {layers} layers, ms");
        let before = |side: &dyn Fn(&str) -> Command| {
            remove(side, &name);
            Ok(())
        };
        rows.push(row(of("pull"), each(stage, before, || format!("pull -q {name}"), nothing)?));
        rows.push(memory(stage, &name, layers)?);
        rows.push(row(of("push"), push(stage, &name, layers)?));
        let archive = stage.folder.join("archive.tar");
        let before = |_: &dyn Fn(&str) -> Command| {
            let _ = std::fs::remove_file(&archive);
            Ok(())
        };
        let save = || format!("save -o {} {name}", archive.display());
        rows.push(row(of("save"), each(stage, before, save, nothing)?));
        let before = |side: &dyn Fn(&str) -> Command| {
            // Each loads what it has saved itself.
            let _ = std::fs::remove_file(&archive);
            timed(&mut side(&save()))?;
            remove(side, &name);
            Ok(())
        };
        rows.push(row(
            of("load"),
            each(stage, before, || format!("load -i {}", archive.display()), nothing)?,
        ));
        let _ = std::fs::remove_file(&archive);
        for (_, side) in sides(stage) {
            remove(&side, &name);
        }
    }
    Ok(rows)
}

/// A push to a registry that has nothing, each time another one.
fn push(stage: &Stage, name: &str, layers: usize) -> Result<Vec<(String, f64)>> {
    let number = Cell::new(0);
    let place = std::cell::RefCell::new(None);
    let target =
        || place.borrow().as_ref().map_or(String::new(), |(_, name): &(DockerRegistry, String)| name.clone());
    let before = |side: &dyn Fn(&str) -> Command| {
        number.set(number.get() + 1);
        let folder = stage.folder.join(format!("target-{layers}-{}", number.get()));
        let registry = DockerRegistry::start(&folder, "");
        let target = registry.name("bench:1");
        timed(&mut side(&format!("tag {name} {target}")))?;
        place.replace(Some((registry, target)));
        Ok(())
    };
    let after = |side: &dyn Fn(&str) -> Command| {
        timed(&mut side(&format!("rmi {}", target())))?;
        place.replace(None);
        let folder = stage.folder.join(format!("target-{layers}-{}", number.get()));
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())
    };
    each(stage, before, || format!("push -q {}", target()), after)
}

/// The most that the engine holds of its own while it pulls.
fn memory(stage: &Stage, name: &str, layers: usize) -> Result<Row> {
    let _ = timed(&mut stage.own(&format!("rmi -f {name}")));
    settle(stage);
    let pid = stage.minke.pid().context("the engine runs")?;
    let (most, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let pulled = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(process::pss_kib(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let pulled = timed(&mut stage.own(&format!("pull -q {name}")));
        over.store(true, Ordering::Relaxed);
        pulled
    });
    pulled?;
    let most = most.into_inner();
    ensure!(most > 0, "the engine's memory was not seen");
    Ok(Row {
        what: format!("memory of the engine while it pulls {} MB in {layers} layers, KiB", image_mb()),
        figures: vec![("minke".into(), most as f64)],
        bar: Bar::Most(100.0 * 1024.0),
    })
}
