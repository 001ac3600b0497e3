//! What is measured: a function per group of rows. Durations in ms, rates per second, memory in KiB.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use minke_e2e::{Engine, http, peers, process};
use serde_json::{Value, json};

use crate::bench::{Bar, Contender, Row, Stage, medians, timed};
use crate::{bench_more, bench_network, bench_registry, run};

/// How a group of rows is measured.
pub type Take = fn(&mut Stage) -> Result<Vec<Row>>;

/// A group's name on the command line, and how it is measured.
pub const ROWS: &[(&str, Take)] = &[
    ("run", run_once),
    ("exec", exec),
    ("oci", oci),
    ("list", list),
    ("logs", logs),
    ("files", bench_more::files),
    ("stop", bench_more::stop),
    ("stats", bench_more::stats),
    ("memory", memory),
    ("transfers", bench_registry::transfers),
    ("networks", bench_network::starts),
    ("traffic", bench_network::traffic),
];

/// What the page says below the table.
pub const NOTES: &str = "\
Every container runs without a network (`--network none`) where a row names none. `minke` is our command line with our engine, `docker on minke` the docker\n\
client with our engine, `docker` the docker client with dockerd. The `oci` row runs one bundle whose configuration is the one that\n\
dockerd hands to its runtime, with Docker's seccomp profile. `list` asks for `GET /containers/json` with 50 containers on one\n\
connection. The log rows write 40 MB in lines of 100 bytes from a file and read them back, in MB/s. Memory is the proportional set size (PSS) of every process of an engine.\n\
The rows of transfers have an image of 40 files for each MB, half of whose bytes compress, in layers of gzip, at Debian's registry on the loopback; a push\n\
goes to a registry that has nothing. `MINKE_BENCH_IMAGE_MB` makes the image smaller.\n\
Bytes, connections and names are counted for one second by threads in the network namespaces of containers and of an outsider,\n\
who has one cable to the host.\n";

fn milliseconds(command: &mut Command) -> Result<f64> {
    Ok(timed(command)?.as_secs_f64() * 1000.0)
}

fn run_once(stage: &mut Stage) -> Result<Vec<Row>> {
    let line = "run --rm --network none busybox true";
    let stage = &*stage;
    let mut contenders: Vec<Contender<'_>> = vec![
        ("minke", Box::new(|| milliseconds(&mut stage.own(line)))),
        ("docker", Box::new(|| milliseconds(&mut stage.docker(line)))),
        ("podman", Box::new(|| milliseconds(&mut stage.podman(line)))),
        ("docker on minke", Box::new(|| milliseconds(&mut stage.stock(line)))),
    ];
    let figures = medians(20, &mut contenders)?;
    Ok(vec![Row { what: "`run --rm busybox true`, ms".into(), figures, bar: Bar::ShareOf(1, 1.0 / 20.0) }])
}

fn exec(stage: &mut Stage) -> Result<Vec<Row>> {
    let start = "run -d --network none --name bench busybox sleep 100000";
    let line = "exec bench true";
    {
        let stage = &*stage;
        for mut command in [stage.own(start), stage.docker(start), stage.podman(start)] {
            timed(&mut command)?;
        }
    }
    let figures = {
        let stage = &*stage;
        let mut contenders: Vec<Contender<'_>> = vec![
            ("minke", Box::new(|| milliseconds(&mut stage.own(line)))),
            ("docker", Box::new(|| milliseconds(&mut stage.docker(line)))),
            ("podman", Box::new(|| milliseconds(&mut stage.podman(line)))),
            ("docker on minke", Box::new(|| milliseconds(&mut stage.stock(line)))),
        ];
        medians(20, &mut contenders)?
    };
    stage.clear()?;
    Ok(vec![Row { what: "`exec` of `true`, ms".into(), figures, bar: Bar::ShareOf(1, 1.0 / 12.0) }])
}

fn oci(stage: &mut Stage) -> Result<Vec<Row>> {
    let bundle = bundle(stage)?;
    let minke = peers::minke();
    let state = stage.folder.join("oci");
    let mut number = 0;
    let mut run = |program: &Path, before: &[&str]| -> Result<f64> {
        number += 1;
        let mut command = Command::new(program);
        command.args(before).arg("--root").arg(state.join(program.file_name().unwrap_or_default()));
        command.args(["run", "--bundle"]).arg(&bundle).arg(format!("bench{number}"));
        milliseconds(&mut command)
    };
    // One closure, three contenders: they take turns, so a cell is enough.
    let run = std::cell::RefCell::new(&mut run);
    let mut contenders: Vec<Contender<'_>> = vec![
        ("minke", Box::new(|| (run.borrow_mut())(&minke, &["oci"]))),
        ("crun", Box::new(|| (run.borrow_mut())(Path::new("/usr/bin/crun"), &[]))),
        ("runc", Box::new(|| (run.borrow_mut())(Path::new("/usr/sbin/runc"), &[]))),
    ];
    let figures = medians(40, &mut contenders)?;
    Ok(vec![Row { what: "`oci run` of one bundle, ms".into(), figures, bar: Bar::ShareOf(1, 0.5) }])
}

/// Makes a bundle of what dockerd hands to its runtime: the configuration of a container of its own, freed of its hooks.
fn bundle(stage: &Stage) -> Result<PathBuf> {
    timed(&mut stage.docker("run -d --network none --name bundle busybox sleep 100000"))?;
    let id = run::output(&mut stage.docker("ps -q --no-trunc"))?;
    let made =
        format!("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{}/config.json", id.trim());
    let text = std::fs::read_to_string(&made).with_context(|| made.clone())?;
    let mut config: Value = serde_json::from_str(&text)?;
    stage.clear()?;
    let folder = stage.folder.join("bundle");
    std::fs::create_dir_all(folder.join("rootfs"))?;
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(stage.folder.join("busybox.tar"))
        .arg("-C")
        .arg(folder.join("rootfs"))
        .status()?;
    ensure!(unpacked.success(), "tar: {unpacked}");
    config["root"]["path"] = json!("rootfs");
    config["process"]["args"] = json!(["true"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!("/minke-bench-docker/oci");
    if let Some(keys) = config.as_object_mut() {
        keys.remove("hooks");
    }
    let mounts = config["mounts"].as_array().cloned().unwrap_or_default();
    config["mounts"] = mounts.into_iter().filter(|mount| mount["type"] != "bind").collect();
    std::fs::write(folder.join("config.json"), config.to_string())?;
    Ok(folder)
}

fn list(stage: &mut Stage) -> Result<Vec<Row>> {
    for number in 0..50 {
        let line = format!("run -d --network none --name bench{number} busybox sleep 100000");
        timed(&mut stage.own(&line))?;
        timed(&mut stage.docker(&line))?;
    }
    let (own, docker) = (stage.minke.socket().to_path_buf(), stage.docker_socket());
    let mut contenders: Vec<Contender<'_>> = vec![
        ("minke", Box::new(|| requests_per_second(&own))),
        ("docker", Box::new(|| requests_per_second(&docker))),
    ];
    let figures = medians(6, &mut contenders)?;
    stage.clear()?;
    Ok(vec![Row {
        what: "`GET /containers/json`, 50 containers, per second".into(),
        figures,
        bar: Bar::Times(vec![(1, 16.0)]),
    }])
}

fn requests_per_second(socket: &Path) -> Result<f64> {
    let mut stream = BufReader::new(UnixStream::connect(socket)?);
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        stream.get_mut().write_all(b"GET /v1.41/containers/json HTTP/1.1\r\nHost: docker\r\n\r\n")?;
        skip_answer(&mut stream)?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Reads one answer of a connection that stays open.
fn skip_answer(stream: &mut BufReader<UnixStream>) -> Result<()> {
    let (mut length, mut chunked, mut line) = (0, false, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse()?;
        }
        chunked |= header == "transfer-encoding: chunked";
        if header.is_empty() {
            break;
        }
    }
    if !chunked {
        std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
        return Ok(());
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)?;
        std::io::copy(&mut stream.take(size + 2), &mut std::io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// How much is logged, in MB of lines of 100 bytes: no more than our default bound of a log keeps.
const LOG_MB: u32 = 40;

fn logs(stage: &mut Stage) -> Result<Vec<Row>> {
    // From a file, so that what writes is not what is measured.
    let lines = stage.folder.join("lines");
    std::fs::write(&lines, format!("{}\n", "x".repeat(99)).repeat(LOG_MB as usize * 10_000))?;
    let run = format!("run -d --network none -v {}:/lines --name bench busybox cat /lines", lines.display());
    let write = |engine: &dyn Fn(&str) -> Command| -> Result<f64> {
        let _ = timed(&mut engine("rm -f bench"));
        let start = Instant::now();
        timed(&mut engine(&run))?;
        timed(&mut engine("wait bench"))?;
        Ok(f64::from(LOG_MB) / start.elapsed().as_secs_f64())
    };
    let written = {
        let stage = &*stage;
        let mut contenders: Vec<Contender<'_>> = vec![
            ("minke", Box::new(|| write(&|line| stage.own(line)))),
            ("docker", Box::new(|| write(&|line| stage.docker(line)))),
            ("podman", Box::new(|| write(&|line| stage.podman(line)))),
        ];
        medians(5, &mut contenders)?
    };
    let (own, docker) = (stage.minke.socket().to_path_buf(), stage.docker_socket());
    let read = |socket: &Path| -> Result<f64> {
        let start = Instant::now();
        let answer = http::request(socket, "GET", "/v1.41/containers/bench/logs?stdout=1", "", &[])?;
        ensure!(answer.body.len() > LOG_MB as usize * 1_000_000, "{} bytes were read", answer.body.len());
        Ok(f64::from(LOG_MB) / start.elapsed().as_secs_f64())
    };
    let mut contenders: Vec<Contender<'_>> =
        vec![("minke", Box::new(|| read(&own))), ("docker", Box::new(|| read(&docker)))];
    let readings = medians(5, &mut contenders)?;
    drop(contenders);
    stage.clear()?;
    Ok(vec![
        Row { what: "log written, MB/s".into(), figures: written, bar: Bar::Times(vec![(1, 8.0), (2, 1.5)]) },
        Row { what: "log read, MB/s".into(), figures: readings, bar: Bar::Times(vec![(1, 8.0)]) },
    ])
}

fn memory(stage: &mut Stage) -> Result<Vec<Row>> {
    const COUNT: u64 = 50;
    /// After this long without a client an engine has given back what it doesn't use.
    const RESTED: Duration = Duration::from_secs(20);
    let docker = ["dockerd", "containerd"];
    for _ in 0..100 {
        timed(&mut stage.own("run --rm --network none busybox true"))?; // an engine that has worked, as in use
    }
    timed(&mut stage.docker("run --rm --network none busybox true"))?;
    let engine = stage.minke.pid().context("the engine runs")?;
    let busy = process::pss_kib(engine);
    std::thread::sleep(RESTED);
    let rested = process::pss_kib(engine);
    for _ in 0..10 {
        timed(&mut stage.own("run --rm --network none busybox true"))?;
    }
    let idle = [Stage::memory_kib(&["minke"]), Stage::memory_kib(&docker)];
    for _ in 0..COUNT {
        let line = "run -d --network none busybox sleep 100000";
        timed(&mut stage.own(line))?;
        timed(&mut stage.docker(line))?;
    }
    let full = [Stage::memory_kib(&["minke"]), Stage::memory_kib(&docker)];
    stage.clear()?;
    let each = |index: usize| (full[index].saturating_sub(idle[index]) / COUNT) as f64;
    let figures = |own: f64, other: f64| vec![("minke".to_string(), own), ("docker".to_string(), other)];
    Ok(vec![
        Row {
            what: "memory of an idle engine, KiB".into(),
            figures: figures(rested as f64, idle[1] as f64),
            bar: Bar::Most(15.0 * 1024.0),
        },
        Row {
            what: "the same right after 100 runs, KiB".into(),
            figures: figures(busy as f64, idle[1] as f64),
            bar: Bar::Free,
        },
        Row {
            what: "memory per running container, KiB".into(),
            figures: figures(each(0), each(1)),
            bar: Bar::Most(256.0),
        },
    ])
}
