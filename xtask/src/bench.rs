//! Our figures beside those of docker, podman and crun, taken in turns so that the machine's moods hit all alike.
//!
//! All of it runs inside `tools/peers enter`: the reference tools are at hand there, and nothing is left on the host.
//! `bench_rows` has the rows; this file has the stage, the clock and the report.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use minke_e2e::cli::Cli;
use minke_e2e::{Client, Engine, Minke, peers, process, rootfs, within};

use crate::{bench_rows, run};

/// Set in the process that does the measuring.
const INSIDE: &str = "MINKE_BENCH_INSIDE";

/// One line of the report.
pub struct Row {
    /// What was measured, with its unit.
    pub what: String,
    /// Each contender with its figure, ours first.
    pub figures: Vec<(String, f64)>,
    /// What our figure has to reach.
    pub bar: Bar,
}

/// A bound on our figure.
pub enum Bar {
    /// At most this share of the figure of the contender at the index.
    ShareOf(usize, f64),
    /// At most these shares of the figures of contenders named by index.
    Shares(Vec<(usize, f64)>),
    /// At least this many times the figure of each contender named by index.
    Times(Vec<(usize, f64)>),
    /// At most this much.
    Most(f64),
    /// No bar: a figure that explains another.
    Free,
}

/// Runs the rows whose names are given, or all of them.
pub fn run(names: &[String]) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return measure(names);
    }
    run::cargo(&["build", "--release", "--locked"])?;
    let folder = run::target().join("peers");
    run::check(
        run::as_root("tools/peers")
            .arg("fetch")
            .arg(&folder)
            .args(["docker", "podman", "crun", "runc", "busybox", "registry"]),
    )?;
    let state = run::target().join("bench");
    let mut command = run::as_root("tools/peers");
    command.arg("enter").arg(&folder).arg(&state).arg("env").arg(format!("{INSIDE}=1"));
    command
        .arg(format!("MINKE_E2E_DOCKER={}", peers::docker().display()))
        .arg(std::env::current_exe()?)
        .arg("bench")
        .args(names);
    let outcome = run::check(&mut command);
    run::check(run::as_root("rm").arg("-rf").arg(&state))?;
    outcome
}

fn measure(names: &[String]) -> Result<()> {
    let mut stage = Stage::new()?;
    let mut rows = Vec::new();
    for (name, take) in bench_rows::ROWS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("--- {name}");
            rows.extend(take(&mut stage)?);
        }
    }
    let report = report(&rows);
    println!("{report}");
    if names.is_empty() {
        std::fs::write("docs/bench.md", page(&report)?)?;
    }
    Ok(())
}

/// The engines that are measured, and the places they use.
pub struct Stage {
    /// Where everything is.
    pub folder: PathBuf,
    /// Our engine.
    pub minke: Minke,
    dockerd: Child,
}

impl Stage {
    fn new() -> Result<Self> {
        let folder = run::target().join("bench/stage");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let tar = folder.join("busybox.tar");
        std::fs::write(&tar, rootfs::busybox_tar())?;
        let mut minke = Minke::new(&folder);
        // A host that forwards already: an engine that turns it on keeps others' packets back, also podman's.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        minke.start(&[minke_e2e::engine::NETWORKS_HERE]);
        let socket = folder.join("docker.sock");
        let mut dockerd = Command::new("dockerd");
        dockerd.arg("--data-root").arg(folder.join("docker")).arg("--pidfile").arg(folder.join("docker.pid"));
        dockerd.arg("-H").arg(format!("unix://{}", socket.display())).args([
            "--cgroup-parent",
            "/minke-bench-docker",
            "-l",
            "warn",
        ]);
        let dockerd = dockerd
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("dockerd.log"))?)
            .spawn()?;
        within(60, "dockerd answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
        let stage = Self { folder, minke, dockerd };
        let import = format!("import -c 'CMD [\"sh\"]' -c 'ENV PATH=/bin' {} busybox", tar.display());
        for mut command in [stage.own(&import), stage.docker(&import)] {
            timed(&mut command)?;
        }
        timed(
            Command::new("podman")
                .args(["import", "-c", "CMD [\"sh\"]", "-c", "ENV PATH=/bin"])
                .arg(&tar)
                .arg("busybox"),
        )?;
        Ok(stage)
    }

    /// Our command line, to our engine.
    pub fn own(&self, line: &str) -> Command {
        Cli::new(Client::Minke, self.minke.socket(), &self.folder.join("home")).command(line)
    }

    /// The docker client, to our engine.
    pub fn stock(&self, line: &str) -> Command {
        Cli::new(Client::Docker, self.minke.socket(), &self.folder.join("home")).command(line)
    }

    /// The docker client, to dockerd.
    pub fn docker(&self, line: &str) -> Command {
        Cli::new(Client::Docker, &self.docker_socket(), &self.folder.join("home")).command(line)
    }

    /// podman.
    pub fn podman(&self, line: &str) -> Command {
        let mut command = Command::new("podman");
        command.args(line.split(' '));
        command
    }

    /// dockerd's address.
    pub fn docker_socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Removes all containers of all engines.
    pub fn clear(&self) -> Result<()> {
        let _ = timed(self.podman("rm --all --force --time 0").stdin(Stdio::null()));
        for engine in [Self::own, Self::docker] {
            let ids = run::output(&mut engine(self, "ps -aq --no-trunc"))?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                timed(&mut engine(self, &format!("rm -f {}", ids.join(" "))))?;
            }
        }
        Ok(())
    }

    /// The memory of all processes with one of the names, in KiB.
    pub fn memory_kib(names: &[&str]) -> u64 {
        let named = process::all()
            .into_iter()
            .filter(|pid| names.iter().any(|name| process::program(*pid).starts_with(name)));
        named.map(process::pss_kib).sum()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.clear();
        self.minke.stop();
        self.minke.sweep();
        process::signal(self.dockerd.id() as i32, process::Signal::TERM);
        let _ = self.dockerd.wait();
        minke_e2e::census::remove_cgroups("minke-bench-docker");
    }
}

/// Runs a command that has to succeed, and returns how long it took.
pub fn timed(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let status = child.wait()?;
    let taken = start.elapsed();
    if !status.success() {
        let mut words = String::new();
        let _ = child.stderr.take().map(|mut pipe| std::io::Read::read_to_string(&mut pipe, &mut words));
        ensure!(status.success(), "{command:?}: {status}: {words}");
    }
    Ok(taken)
}

/// One who is measured: its name, and what it does once.
pub type Contender<'a> = (&'a str, Box<dyn FnMut() -> Result<f64> + 'a>);

/// Lets all do their work in turns, forward and backward, `rounds` times; returns each one's median.
pub fn medians(rounds: usize, contenders: &mut [Contender<'_>]) -> Result<Vec<(String, f64)>> {
    let mut taken = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let figure = (contenders[index].1)()?;
            if round > 0 {
                taken[index].push(figure); // the first round warms up
            }
        }
    }
    Ok(contenders
        .iter()
        .zip(taken)
        .map(|((name, _), mut figures)| (name.to_string(), median(&mut figures)))
        .collect())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

fn report(rows: &[Row]) -> String {
    let mut text = String::from("| what | figures | ratio | bar | |\n|---|---|---|---|---|\n");
    for row in rows {
        let own = row.figures[0].1;
        let figures: Vec<String> =
            row.figures.iter().map(|(name, figure)| format!("{name} {}", rounded(*figure))).collect();
        let (ratio, bar, reached) = match &row.bar {
            Bar::ShareOf(index, share) => {
                let ratio = own / row.figures[*index].1;
                (
                    format!("{ratio:.3} of {}", row.figures[*index].0),
                    format!("at most {share:.3}"),
                    ratio <= *share,
                )
            }
            Bar::Shares(bounds) => {
                let of = |index: usize| own / row.figures[index].1;
                let ratios: Vec<String> = bounds
                    .iter()
                    .map(|(index, _)| format!("{:.3} of {}", of(*index), row.figures[*index].0))
                    .collect();
                let bars: Vec<String> = bounds.iter().map(|(_, share)| format!("{share:.3}")).collect();
                (
                    ratios.join(", "),
                    format!("at most {}", bars.join(", ")),
                    bounds.iter().all(|(index, share)| of(*index) <= *share),
                )
            }
            Bar::Times(bounds) => {
                let of = |index: usize| own / row.figures[index].1;
                let ratios: Vec<String> = bounds
                    .iter()
                    .map(|(index, _)| format!("{} x {}", near_one(of(*index)), row.figures[*index].0))
                    .collect();
                let bars: Vec<String> = bounds.iter().map(|(_, times)| format!("{times:.1}")).collect();
                (
                    ratios.join(", "),
                    format!("at least {}", bars.join(", ")),
                    bounds.iter().all(|(index, times)| of(*index) >= *times),
                )
            }
            Bar::Most(most) => (String::new(), format!("at most {}", rounded(*most)), own <= *most),
            Bar::Free => Default::default(),
        };
        let verdict = match (&row.bar, reached) {
            (Bar::Free, _) => "",
            (_, true) => "reached",
            (_, false) => "**missed**",
        };
        let _ = writeln!(text, "| {} | {} | {ratio} | {bar} | {verdict} |", row.what, figures.join(", "));
    }
    text
}

/// A ratio, exact enough to see on which side of one it is.
fn near_one(ratio: f64) -> String {
    if ratio < 2.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

fn rounded(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}

/// The page that is kept: the table, the machine, and how to repeat it.
fn page(table: &str) -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let versions = std::fs::read_to_string(run::target().join("peers/.peers/versions"))?;
    let versions: Vec<&str> = versions
        .lines()
        .filter(|line| ["docker.io ", "podman ", "crun "].iter().any(|name| line.starts_with(name)))
        .collect();
    let client = run::output(Command::new(peers::docker()).arg("--version"))?;
    Ok(format!(
        "# Measured beside docker, podman and crun\n\n{table}\n\
         Medians of runs taken in turns on one machine: {processors} processors, kernel {}, cgroup {}; {}; {}.\n\
         Absolute figures drift with the machine; the ratios are what counts.\n\n\
         To repeat it: `cargo xtask bench` (as root, or with sudo); `cargo xtask bench run exec` takes single rows.\n\
         The reference tools are loaded as the distribution's packages below `target/peers` and run apart; nothing is installed.\n\n\
         {}",
        kernel.trim(),
        if v2 { "v2" } else { "v1" },
        versions.join(", "),
        client.trim(),
        bench_rows::NOTES
    ))
}
