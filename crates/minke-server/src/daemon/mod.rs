//! The daemon as a process: settings, pid file, signals, listeners. What it serves is the engine's.

mod config;
mod isolation;
mod limits;
mod networks;
mod pidfile;
mod proxies;
mod registries;
mod runtimes;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
pub use minke_engine::Build;
use minke_engine::{Engine, EngineOptions};
use minke_model::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

pub use config::{Flags, Places, Settings, TlsFiles};

use crate::{Listener, TlsSettings};

/// Threads that serve requests: work that takes time is done on threads that come and go.
const WORKER_THREADS: usize = 2;
/// The most threads for blocking work at once.
const BLOCKING_THREADS: usize = 32;

/// What the program carries for the engine.
#[derive(Clone, Copy)]
pub struct Embedded {
    /// The shim's program.
    pub shim: &'static [u8],
    /// What it was built from.
    pub build: Build,
}

/// Runs the daemon in the foreground until it is told to end. `arguments` are those after the word `daemon`; `embedded` is
/// what the program carries.
pub fn main(program: &str, arguments: Vec<OsString>, places: &Places, embedded: Embedded) -> ExitCode {
    let name = OsString::from(program);
    let flags = match Flags::try_parse_from(std::iter::once(name).chain(arguments)) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 1 } else { 0 });
        }
    };
    match run(flags, places, embedded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{program}: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(flags: Flags, places: &Places, embedded: Embedded) -> Result<()> {
    let settings = config::settings(flags, places)?;
    if settings.validate {
        println!("configuration OK");
        return Ok(());
    }
    start_logging(&settings);
    raise_open_files();
    minke_sys::heap::share_between_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(serve(settings, embedded));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Allows as many open files as the caller may: what a shell is content with is too few for an engine, and for the containers
/// that don't say how many they want. Docker's engine does the same.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "can't allow more open files");
    }
}

fn start_logging(settings: &Settings) {
    let level = settings.log_level.parse().unwrap_or(LevelFilter::INFO);
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // A second call in one process would fail; there is none.
    let _ = if settings.log_json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}

async fn serve(settings: Settings, embedded: Embedded) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening to signals")?;
    // Stops containers too: what `minke daemon stop --containers` sends.
    let mut quit = signal(SignalKind::quit()).context("listening to signals")?;
    let _hangup = signal(SignalKind::hangup()).context("listening to signals")?;
    let pidfile = pidfile::Pidfile::write(&settings.pidfile)?;
    let engine = Engine::start(engine_options(&settings, embedded)).await?;
    let mut listeners = Vec::new();
    for host in &settings.hosts {
        let tls = settings.tls.as_ref().map(|files| TlsSettings {
            cert: files.certificate.clone(),
            key: files.key.clone(),
            client_ca: files.client_ca.clone(),
        });
        listeners.push(Listener::bind_for_group(host, tls, settings.group.as_deref()).await?);
        tracing::info!(%host, "listening");
    }
    let counted = crate::connection::Scope::default();
    if let Some(address) = &settings.metrics_addr {
        let listener = Listener::bind_plain(address).await?;
        tracing::info!(address = listener.address(), "serving metrics");
        tokio::spawn(crate::metrics::serve(engine.clone(), listener, counted.clone()));
    }
    tell_ready(settings.ready_fd);
    if let Err(error) = minke_systemd::ready() {
        tracing::warn!(%error, "the service manager can't be told that the engine listens");
    }
    let stop_containers = std::sync::atomic::AtomicBool::new(false);
    let shutdown = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => stop_containers.store(true, std::sync::atomic::Ordering::Relaxed),
        }
        tracing::info!("ending");
    };
    crate::serve(engine.clone(), listeners, shutdown).await?;
    counted.ending.cancel();
    counted.dropped.cancel();
    engine.shutdown(stop_containers.into_inner(), settings.shutdown_timeout_s).await;
    drop(pidfile);
    Ok(())
}

fn engine_options(settings: &Settings, embedded: Embedded) -> EngineOptions {
    EngineOptions {
        data_root: settings.data_root.clone(),
        exec_root: settings.exec_root.clone(),
        shim: embedded.shim,
        build: embedded.build,
        debug: settings.debug,
        log_driver: settings.log_driver.clone(),
        log_opts: settings.log_opts.clone(),
        labels: settings.labels.clone(),
        cgroup_parent: settings.cgroup_parent.clone(),
        cgroup_driver: settings.limits.cgroup_driver,
        ulimits: settings.limits.ulimits.clone(),
        shm_size: settings.limits.shm_size,
        realtime: settings.limits.realtime,
        cdi_spec_dirs: settings.limits.cdi_spec_dirs.clone(),
        init: settings.init,
        no_new_privileges: settings.no_new_privileges,
        seccomp_profile: settings.seccomp_profile.clone(),
        default_ipc_mode: settings.default_ipc_mode.clone(),
        default_cgroupns_mode: settings.default_cgroupns_mode.clone(),
        userns_remap: settings.isolation.userns_remap.clone(),
        selinux_enabled: settings.isolation.selinux_enabled,
        registry: settings.registries.clone(),
        network: settings.networks.clone(),
        runtimes: settings.runtimes.others.clone(),
        default_runtime: settings.runtimes.default.clone(),
        storage_driver: settings.storage_driver.clone(),
    }
}

/// Writes one byte to whoever waits for the daemon to listen.
fn tell_ready(fd: Option<i32>) {
    let Some(fd) = fd else { return };
    if let Some(file) = minke_sys::descriptor::inherited(fd) {
        let _ = std::fs::File::from(file).write_all(b"1");
    }
}
