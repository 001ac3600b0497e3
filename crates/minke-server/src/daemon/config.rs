//! The daemon's settings: flags as `dockerd` has them, the configuration file, and what both together mean.
//! Pure but for reading the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use minke_engine::{NetworkOptions, RegistryOptions};
use minke_model::{Context as _, Error, Result};
use serde::Deserialize;

use super::isolation::{self, Isolation, IsolationFile, IsolationFlags};
use super::limits::{self, ContainerLimits, LimitFile, LimitFlags};
use super::networks::{self, NetworkWords};
use super::registries::{self, RegistryFile, RegistryFlags};
use super::runtimes::{self, RuntimeFile, RuntimeFlags, Runtimes};

/// Runs the engine in the foreground.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "minke daemon", disable_version_flag = true)]
pub struct Flags {
    /// Where images, containers and volumes are kept.
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Where the state of what runs is kept, best on a tmpfs.
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// Where the engine's process id is written.
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Where the API listens: `unix://PATH`, `tcp://ADDRESS:PORT`; may be given several times.
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    pub hosts: Vec<String>,
    /// A JSON file with settings; one that is named must be there.
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// The group that may use the unix socket.
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Log what the engine does in detail.
    #[arg(short = 'D', long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub debug: Option<bool>,
    /// How much is logged: debug, info, warn, error or fatal.
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How the log is written: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// The log driver of containers that don't choose one.
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// An option of that log driver, `key=value`; may be given several times.
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// Labels of the engine, `key=value`; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The control group below which containers are put; with the systemd cgroup driver, a slice.
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Limits and devices of containers that don't say.
    #[command(flatten)]
    pub limits: LimitFlags,
    /// What keeps containers from the host.
    #[command(flatten)]
    pub isolation: IsolationFlags,
    /// Networks.
    #[command(flatten)]
    pub networks: NetworkWords,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registries: RegistryFlags,
    /// Other OCI runtimes.
    #[command(flatten)]
    pub runtimes: RuntimeFlags,
    /// Containers run a reaper as their first process.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub init: Option<bool>,
    /// Containers can't gain privileges.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub no_new_privileges: Option<bool>,
    /// System call filter of containers that choose none: builtin, unconfined or a profile's file
    #[arg(long, value_name = "string")]
    pub seccomp_profile: Option<String>,
    /// IPC mode of containers that choose none: private or shareable
    #[arg(long, value_name = "string")]
    pub default_ipc_mode: Option<String>,
    /// Cgroup namespace of containers that choose none: private or host
    #[arg(long, value_name = "string")]
    pub default_cgroupns_mode: Option<String>,
    /// Keep containers running while the engine is down. They always are: only `true` is possible.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub live_restore: Option<bool>,
    /// How long containers may take to end at a shutdown of the host, in seconds.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub shutdown_timeout: Option<i64>,
    /// How containers' layers are joined: `overlay2`, or `copy` for hosts where overlays can't be stacked.
    #[arg(short = 's', long, value_name = "DRIVER")]
    pub storage_driver: Option<String>,
    /// Where Prometheus finds the engine's numbers: `ADDRESS:PORT`.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<String>,
    /// The lowest API version served.
    #[arg(long, value_name = "VERSION", env = "DOCKER_MIN_API_VERSION")]
    pub min_api_version: Option<String>,
    /// TCP listeners use TLS.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub tls: Option<bool>,
    /// TCP listeners use TLS and ask clients for a certificate.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub tlsverify: Option<bool>,
    /// The authority that clients' certificates must come from.
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The engine's certificate.
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Check the settings and end.
    #[arg(long)]
    pub validate: bool,
    /// A descriptor that gets one byte when the API listens.
    #[arg(long, value_name = "FD", hide = true)]
    pub ready_fd: Option<i32>,
}

/// The configuration file, as far as its keys mean something here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    hosts: Vec<String>,
    group: Option<String>,
    debug: Option<bool>,
    log_level: Option<String>,
    log_format: Option<String>,
    log_driver: Option<String>,
    log_opts: BTreeMap<String, String>,
    labels: Vec<String>,
    cgroup_parent: Option<String>,
    #[serde(flatten)]
    limits: LimitFile,
    #[serde(flatten)]
    isolation: IsolationFile,
    #[serde(flatten)]
    networks: NetworkWords,
    #[serde(flatten)]
    registries: RegistryFile,
    #[serde(flatten)]
    runtimes: RuntimeFile,
    init: Option<bool>,
    no_new_privileges: Option<bool>,
    seccomp_profile: Option<String>,
    default_ipc_mode: Option<String>,
    default_cgroupns_mode: Option<String>,
    live_restore: Option<bool>,
    shutdown_timeout: Option<i64>,
    storage_driver: Option<String>,
    metrics_addr: Option<String>,
    min_api_version: Option<String>,
    tls: Option<bool>,
    tlsverify: Option<bool>,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
}

/// Keys of [`File`]; any other but those of networks is refused by name.
const KEYS: [&str; 43] = [
    "cdi-spec-dirs",
    "cgroup-parent",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "data-root",
    "debug",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "exec-opts",
    "exec-root",
    "group",
    "hosts",
    "init",
    "insecure-registries",
    "labels",
    "live-restore",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "min-api-version",
    "no-new-privileges",
    "pidfile",
    "proxies",
    "registry-mirrors",
    "runtimes",
    "seccomp-profile",
    "selinux-enabled",
    "shutdown-timeout",
    "storage-driver",
    "tls",
    "tlscacert",
    "tlscert",
    "tlskey",
    "tlsverify",
    "userns-remap",
];

/// Where things are when nobody says otherwise.
#[derive(Clone, Debug)]
pub struct Places {
    /// The data root.
    pub data_root: PathBuf,
    /// The exec root.
    pub exec_root: PathBuf,
    /// The socket.
    pub host: String,
    /// The pid file.
    pub pidfile: PathBuf,
    /// The configuration file; it may be missing.
    pub config_file: PathBuf,
}

impl Places {
    /// minke's own.
    pub fn minke() -> Self {
        Self {
            data_root: "/var/lib/minke".into(),
            exec_root: "/run/minke".into(),
            host: "unix:///run/minke/minke.sock".into(),
            pidfile: "/run/minke/minke.pid".into(),
            config_file: "/etc/minke/daemon.json".into(),
        }
    }

    /// For a program called `dockerd`: Docker's socket, pid file and configuration, but minke's data.
    pub fn dockerd() -> Self {
        Self {
            host: "unix:///var/run/docker.sock".into(),
            pidfile: "/var/run/docker.pid".into(),
            config_file: "/etc/docker/daemon.json".into(),
            ..Self::minke()
        }
    }
}

/// Everything the daemon has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data root.
    pub data_root: PathBuf,
    /// The exec root.
    pub exec_root: PathBuf,
    /// The pid file.
    pub pidfile: PathBuf,
    /// Where the API listens.
    pub hosts: Vec<String>,
    /// The socket's group.
    pub group: Option<String>,
    /// Detailed logging, and `Debug` in info.
    pub debug: bool,
    /// A `tracing` level.
    pub log_level: String,
    /// Log lines are JSON.
    pub log_json: bool,
    /// The default log driver.
    pub log_driver: String,
    /// Its options.
    pub log_opts: BTreeMap<String, String>,
    /// The engine's labels.
    pub labels: Vec<String>,
    /// The control group above containers.
    pub cgroup_parent: Option<String>,
    /// What containers get that don't say.
    pub limits: ContainerLimits,
    /// What keeps them from the host.
    pub isolation: Isolation,
    /// How registries are spoken to.
    pub registries: RegistryOptions,
    /// Networks.
    pub networks: NetworkOptions,
    /// Other OCI runtimes, and which one is usual.
    pub runtimes: Runtimes,
    /// Containers get a reaper.
    pub init: bool,
    /// Containers can't gain privileges.
    pub no_new_privileges: bool,
    /// The filter of containers that choose none: `builtin`, `unconfined` or a profile's text.
    pub seccomp_profile: String,
    /// The IPC mode of containers that choose none.
    pub default_ipc_mode: String,
    /// The cgroup namespace of containers that choose none; empty: as the host's control groups are.
    pub default_cgroupns_mode: String,
    /// Seconds that containers have at the host's shutdown.
    pub shutdown_timeout_s: i64,
    /// The storage driver, if one is asked for.
    pub storage_driver: Option<String>,
    /// Where the engine's numbers are served, if anywhere.
    pub metrics_addr: Option<String>,
    /// The lowest API version.
    pub min_api_version: Option<String>,
    /// TLS for TCP listeners.
    pub tls: Option<TlsFiles>,
    /// Only check.
    pub validate: bool,
    /// Gets one byte when the API listens.
    pub ready_fd: Option<i32>,
}

/// The files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority of clients' certificates; without it clients need none.
    pub client_ca: Option<PathBuf>,
    /// The engine's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Reads the file that `flags` or `places` name and joins it with the flags.
///
/// # Errors
/// A file that isn't there though it was named, isn't JSON, has an unknown key, or says what a flag says too.
pub fn settings(flags: Flags, places: &Places) -> Result<Settings> {
    let path = flags.config_file.clone().unwrap_or_else(|| places.config_file.clone());
    let failed = || format!("unable to configure the engine with file {}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && flags.config_file.is_none() => {
            String::new()
        }
        Err(error) => return Err(error).with_context(failed),
    };
    let file = parse_file(&text, &flags).with_context(failed)?;
    join(flags, file, places)
}

fn parse_file(text: &str, flags: &Flags) -> Result<File> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    let value: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    let unknown: Vec<&str> = value
        .keys()
        .map(String::as_str)
        .filter(|key| !KEYS.contains(key) && !networks::KEYS.contains(key))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::invalid(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )));
    }
    let mut twice: Vec<String> = value
        .iter()
        .filter(|(key, _)| given(flags, key))
        .map(|(key, value)| format!("{key}: (from flag, from file: {value})"))
        .collect();
    twice.extend(value.get("proxies").into_iter().flat_map(|file| flags.registries.proxies.twice(file)));
    if !twice.is_empty() {
        return Err(Error::invalid(format!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            twice.join(", ")
        )));
    }
    serde_json::from_value(serde_json::Value::Object(value))
        .map_err(|error| Error::invalid(error.to_string()))
}

/// Whether a flag says what the file's `key` says. Lists and maps of both are joined, but for the hosts.
fn given(flags: &Flags, key: &str) -> bool {
    match key {
        "data-root" => flags.data_root.is_some(),
        "exec-root" => flags.exec_root.is_some(),
        "pidfile" => flags.pidfile.is_some(),
        "hosts" => !flags.hosts.is_empty(),
        "group" => flags.group.is_some(),
        "debug" => flags.debug.is_some(),
        "log-level" => flags.log_level.is_some(),
        "log-format" => flags.log_format.is_some(),
        "log-driver" => flags.log_driver.is_some(),
        "log-opts" => !flags.log_opts.is_empty(),
        "cgroup-parent" => flags.cgroup_parent.is_some(),
        "init" => flags.init.is_some(),
        "no-new-privileges" => flags.no_new_privileges.is_some(),
        "seccomp-profile" => flags.seccomp_profile.is_some(),
        "default-ipc-mode" => flags.default_ipc_mode.is_some(),
        "default-cgroupns-mode" => flags.default_cgroupns_mode.is_some(),
        "live-restore" => flags.live_restore.is_some(),
        "shutdown-timeout" => flags.shutdown_timeout.is_some(),
        "storage-driver" => flags.storage_driver.is_some(),
        "metrics-addr" => flags.metrics_addr.is_some(),
        "tls" => flags.tls.is_some(),
        "tlsverify" => flags.tlsverify.is_some(),
        "tlscacert" => flags.tlscacert.is_some(),
        "tlscert" => flags.tlscert.is_some(),
        "tlskey" => flags.tlskey.is_some(),
        key => {
            flags.limits.gives(key)
                || flags.isolation.gives(key)
                || flags.networks.gives(key)
                || flags.registries.gives(key)
                || flags.runtimes.gives(key)
        }
    }
}

/// A filter's profile by its text, where it is named by its file.
fn seccomp_profile(named: Option<String>) -> Result<String> {
    match named.as_deref() {
        None | Some("" | "builtin" | "default") => Ok("builtin".into()),
        Some("unconfined") => Ok("unconfined".into()),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Error::invalid(format!("opening seccomp profile ({path}) failed: {error}"))),
    }
}

fn one_of(key: &str, mode: String, known: &[&str]) -> Result<String> {
    match known.contains(&mode.as_str()) {
        true => Ok(mode),
        false => Err(Error::invalid(format!("{key} can't be {mode:?}"))),
    }
}

fn join(flags: Flags, file: File, places: &Places) -> Result<Settings> {
    if flags.live_restore.or(file.live_restore) == Some(false) {
        return Err(Error::invalid(
            "live-restore can't be false: containers always go on while the engine is down; \"minke daemon stop --containers\" ends them too",
        ));
    }
    let mut log_opts = file.log_opts.clone();
    for option in &flags.log_opts {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid log option {option:?}: it must be key=value")))?;
        log_opts.insert(key.to_owned(), value.to_owned());
    }
    let debug = flags.debug.or(file.debug).unwrap_or(false);
    let log_level = flags.log_level.clone().or(file.log_level.clone()).unwrap_or_else(|| "info".into());
    let log_level = match log_level.as_str() {
        "debug" | "info" | "warn" | "error" => log_level,
        "fatal" | "panic" => "error".into(),
        other => return Err(Error::invalid(format!("invalid logging level: {other}"))),
    };
    let tls = tls_files(&flags, &file)?;
    let limits = limits::join(&flags.limits, &file.limits)?;
    let isolation = isolation::join(&flags.isolation, &file.isolation)?;
    let registries = registries::join(&flags.registries, &file.registries)?;
    let networks = networks::join(&flags.networks, &file.networks)?;
    let runtimes = runtimes::join(&flags.runtimes, &file.runtimes)?;
    let mut hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
    if hosts.is_empty() {
        hosts.push(places.host.clone());
    }
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Ok(Settings {
        data_root: absolute(flags.data_root.or(file.data_root).unwrap_or_else(|| places.data_root.clone())),
        exec_root: absolute(flags.exec_root.or(file.exec_root).unwrap_or_else(|| places.exec_root.clone())),
        pidfile: absolute(flags.pidfile.or(file.pidfile).unwrap_or_else(|| places.pidfile.clone())),
        hosts,
        group: flags.group.or(file.group),
        debug,
        log_level: if debug { "debug".into() } else { log_level },
        log_json: flags.log_format.or(file.log_format).as_deref() == Some("json"),
        log_driver: flags.log_driver.or(file.log_driver).unwrap_or_else(|| "json-file".into()),
        log_opts,
        labels: [file.labels, flags.labels].concat(),
        cgroup_parent: flags.cgroup_parent.or(file.cgroup_parent),
        limits,
        isolation,
        registries,
        networks,
        runtimes,
        init: flags.init.or(file.init).unwrap_or(false),
        no_new_privileges: flags.no_new_privileges.or(file.no_new_privileges).unwrap_or(false),
        seccomp_profile: seccomp_profile(flags.seccomp_profile.or(file.seccomp_profile))?,
        default_ipc_mode: one_of(
            "default-ipc-mode",
            flags.default_ipc_mode.or(file.default_ipc_mode).unwrap_or_else(|| "private".into()),
            &["private", "shareable"],
        )?,
        default_cgroupns_mode: one_of(
            "default-cgroupns-mode",
            flags.default_cgroupns_mode.or(file.default_cgroupns_mode).unwrap_or_default(),
            &["", "private", "host"],
        )?,
        shutdown_timeout_s: flags.shutdown_timeout.or(file.shutdown_timeout).unwrap_or(15),
        storage_driver: flags.storage_driver.or(file.storage_driver),
        metrics_addr: flags.metrics_addr.or(file.metrics_addr),
        min_api_version: flags.min_api_version.or(file.min_api_version),
        tls,
        validate: flags.validate,
        ready_fd: flags.ready_fd,
    })
}

fn tls_files(flags: &Flags, file: &File) -> Result<Option<TlsFiles>> {
    let verify = flags.tlsverify.or(file.tlsverify).unwrap_or(false);
    if !verify && !flags.tls.or(file.tls).unwrap_or(false) {
        return Ok(None);
    }
    let need = |flag: &Option<PathBuf>, key: &Option<PathBuf>, name: &str| {
        flag.clone().or_else(|| key.clone()).ok_or_else(|| {
            Error::invalid(format!("TLS needs --{name}: the file has no default place for an engine"))
        })
    };
    Ok(Some(TlsFiles {
        client_ca: if verify { Some(need(&flags.tlscacert, &file.tlscacert, "tlscacert")?) } else { None },
        certificate: need(&flags.tlscert, &file.tlscert, "tlscert")?,
        key: need(&flags.tlskey, &file.tlskey, "tlskey")?,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(arguments: &[&str], file: &str) -> Result<Settings> {
        let flags = Flags::try_parse_from([&["minke daemon"], arguments].concat()).unwrap();
        let file = parse_file(file, &flags)?;
        join(flags, file, &Places::minke())
    }

    #[test]
    fn defaults_are_the_places_of_minke() {
        let settings = read(&[], "").unwrap();
        assert_eq!(settings.hosts, ["unix:///run/minke/minke.sock"]);
        assert_eq!(settings.data_root, Path::new("/var/lib/minke"));
        assert_eq!(settings.log_level, "info");
    }

    #[test]
    fn unknown_and_double_settings_are_refused_by_name() {
        let error = read(&[], r#"{"unknown-option": 1}"#).unwrap_err();
        assert_eq!(
            error.message(),
            "the following directives don't match any configuration option: unknown-option"
        );
        let error = read(&["--debug"], r#"{"debug": false}"#).unwrap_err();
        assert!(
            error.message().starts_with("the following directives are specified both as a flag"),
            "{error}"
        );
    }

    #[test]
    fn files_and_flags_are_joined() {
        let settings =
            read(&["--log-opt", "max-size=1m"], r#"{"hosts":["unix:///x"],"debug":true}"#).unwrap();
        assert_eq!((settings.hosts, settings.debug), (vec!["unix:///x".to_owned()], true));
        assert_eq!(settings.log_opts["max-size"], "1m");
    }

    #[test]
    fn every_key_is_known_to_the_file() {
        let mut sorted = KEYS;
        sorted.sort_unstable();
        assert_eq!(sorted, KEYS);
    }
}
