//! Making a container: the request joined with its image and Docker's defaults, checked, written down. Nothing of it runs.

use std::collections::BTreeMap;

use minke_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig};
use minke_model::image;
use minke_model::restart_policy::RestartPolicy;
use minke_model::{Error, Result};
use minke_spec::docker::{MASKED_PATHS, READONLY_PATHS};

use crate::enforceable::Enforceable;

/// What checking a request needs to know of the host and the engine.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// Number of processors.
    pub processors: u32,
    /// Control groups are version 2.
    pub cgroup2: bool,
    /// What the host can enforce.
    pub enforceable: &'a Enforceable,
    /// The size of /dev/shm where the request doesn't say, in bytes.
    pub shm_size: i64,
    /// The engine's log driver and its options.
    pub log_driver: &'a str,
    /// Its options.
    pub log_opts: &'a BTreeMap<String, String>,
    /// The IPC mode of containers that choose none.
    pub ipc_mode: &'a str,
    /// The cgroup namespace of containers that choose none; empty: as the host's control groups are.
    pub cgroupns_mode: &'a str,
    /// The runtime of containers that choose none.
    pub runtime: &'a str,
    /// Whether containers get a reaper by default.
    pub init: bool,
    /// systemd makes the control groups.
    pub systemd: bool,
    /// The host's name.
    pub hostname: &'a str,
    /// Paths that only this host has and that are hidden.
    pub thermal_throttle_paths: &'a [String],
}

/// A request that can be kept: complete, checked.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The configuration.
    pub config: ContainerConfig,
    /// The host's part.
    pub host_config: HostConfig,
    /// The policy.
    pub policy: RestartPolicy,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Joins `request` with the image's configuration and the defaults, and checks it. `id` is the container's.
///
/// # Errors
/// Docker's words for what is wrong; what a later version will offer is refused by name.
pub fn prepare(
    request: ContainerCreateRequest,
    image: &image::ContainerConfig,
    id: &str,
    around: &Circumstances<'_>,
) -> Result<Prepared> {
    let mut config = request.config;
    let mut host_config = request.host_config.unwrap_or_default();
    let mut warnings = Vec::new();
    merge_image(&mut config, image);
    if config.entrypoint.iter().chain(&config.cmd).flatten().next().is_none() {
        return Err(Error::invalid("no command specified"));
    }
    check_config(&config)?;
    let policy = check_policy(&host_config)?;
    refuse_what_is_not_offered(&host_config)?;
    super::extra_hosts::check(&host_config)?;
    check_resources(&mut host_config, around, &mut warnings)?;
    if around.systemd && !host_config.cgroup_parent.is_empty() {
        minke_systemd::check_parent(&host_config.cgroup_parent)?;
    }
    network(&mut config, &mut host_config, id, around);
    complete(&mut host_config, around)?;
    Ok(Prepared { config, host_config, policy, warnings })
}

/// Fills in what the image says and the request does not.
pub fn merge_image(config: &mut ContainerConfig, image: &image::ContainerConfig) {
    let entrypoint_given = config.entrypoint.as_ref().is_some_and(|entrypoint| !entrypoint.is_empty());
    if !entrypoint_given {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // An empty word as the entry point takes the image's away.
    if config.entrypoint.as_ref().is_some_and(|words| matches!(words.as_slice(), [word] if word.is_empty())) {
        config.entrypoint = None;
    }
    let env = config.env.get_or_insert_default();
    for variable in image.env.iter().flatten() {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        if !env.iter().any(|own| name(own) == name(variable)) {
            env.push(variable.clone());
        }
    }
    let labels = config.labels.get_or_insert_default();
    for (name, value) in image.labels.iter().flatten() {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for port in image.exposed_ports.iter().flatten().map(|(port, _)| port) {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    for path in image.volumes.iter().flatten().map(|(path, _)| path) {
        config.volumes.get_or_insert_default().entry(path.clone()).or_default();
    }
    if config.volumes.as_ref().is_some_and(|volumes| volumes.is_empty()) {
        config.volumes = None;
    }
    for (own, other) in [
        (&mut config.user, &image.user),
        (&mut config.working_dir, &image.working_dir),
        (&mut config.stop_signal, &image.stop_signal),
    ] {
        if own.is_empty() {
            own.clone_from(other);
        }
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
    super::health::merge(config, image);
}

fn check_config(config: &ContainerConfig) -> Result<()> {
    super::health::check(config)?;
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if !config.stop_signal.is_empty() {
        minke_model::signal::Signal::parse(&config.stop_signal)
            .map_err(|_| Error::invalid(format!("invalid signal: {}", config.stop_signal)))?;
    }
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {variable}")));
        }
        if variable.contains('\0') {
            return Err(Error::invalid(format!("invalid environment variable: {variable:?}")));
        }
    }
    Ok(())
}

fn check_policy(host_config: &HostConfig) -> Result<RestartPolicy> {
    let asked = &host_config.restart_policy;
    let policy = RestartPolicy::from_parts(&asked.name, asked.maximum_retry_count)?;
    if host_config.auto_remove && policy != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(policy)
}

/// Every option that this version doesn't act on is an error: never ignored.
fn refuse_what_is_not_offered(host_config: &HostConfig) -> Result<()> {
    if !matches!(host_config.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!(
            "invalid isolation: {:?} - linux only supports 'default'",
            host_config.isolation
        )));
    }
    Ok(())
}

fn check_resources(
    host_config: &mut HostConfig,
    around: &Circumstances<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    warnings.extend(super::resources::check(host_config, around.enforceable, around.processors, false)?);
    if host_config.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host_config.oom_score_adj
        )));
    }
    if host_config.annotations.contains_key("") {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    match host_config.storage_opt.keys().find(|option| !is_size(option)) {
        Some(option) => Err(Error::invalid(format!("Unknown option {option}"))),
        None => Ok(()),
    }
}

fn is_size(option: &str) -> bool {
    option.eq_ignore_ascii_case("size")
}

/// How much the container may write into its own layer, if it says: `--storage-opt size=`, as it is written.
pub fn layer_size(host_config: &HostConfig) -> Option<&str> {
    host_config.storage_opt.iter().find(|(option, _)| is_size(option)).map(|(_, size)| size.as_str())
}

/// The network that it gets, and the host name that goes with it.
fn network(config: &mut ContainerConfig, host_config: &mut HostConfig, id: &str, around: &Circumstances<'_>) {
    if host_config.network_mode.is_empty() {
        host_config.network_mode = "default".into();
    }
    // Whether a network or another container is there is looked at elsewhere.
    if host_config.network_mode == "host" && config.hostname.is_empty() {
        around.hostname.clone_into(&mut config.hostname);
    }
    if config.hostname.is_empty() {
        config.hostname = id[..12].to_owned();
    }
}

/// What Docker writes into a host configuration that doesn't say.
fn complete(host_config: &mut HostConfig, around: &Circumstances<'_>) -> Result<()> {
    let log = &mut host_config.log_config;
    if log.driver.is_empty() {
        around.log_driver.clone_into(&mut log.driver);
        let config = log.config.get_or_insert_default();
        for (key, value) in around.log_opts {
            config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    log.config.get_or_insert_default();
    super::log_settings::check(log)?;
    if host_config.shm_size == 0 {
        host_config.shm_size = around.shm_size;
    }
    if host_config.ipc_mode.is_empty() {
        host_config.ipc_mode = around.ipc_mode.into();
    }
    if host_config.cgroupns_mode.is_empty() {
        let own = if around.cgroup2 && !host_config.privileged { "private" } else { "host" };
        host_config.cgroupns_mode =
            if around.cgroupns_mode.is_empty() { own } else { around.cgroupns_mode }.into();
    }
    if host_config.runtime.is_empty() {
        host_config.runtime = around.runtime.into();
    }
    if host_config.restart_policy.name.is_empty() {
        host_config.restart_policy.name = "no".into();
    }
    if host_config.pids_limit.is_some_and(|limit| limit <= 0) {
        host_config.pids_limit = None;
    }
    if host_config.init.is_none() && around.init {
        host_config.init = Some(true);
    }
    if !host_config.privileged {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        if host_config.masked_paths.is_none() {
            host_config.masked_paths = Some([&owned(&MASKED_PATHS), around.thermal_throttle_paths].concat());
        }
        if host_config.readonly_paths.is_none() {
            host_config.readonly_paths = Some(owned(&READONLY_PATHS));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    fn prepared(request: ContainerCreateRequest) -> Result<Prepared> {
        let image = image::ContainerConfig {
            cmd: words("sh"),
            env: words("PATH=/bin A=1"),
            working_dir: "/srv".into(),
            ..Default::default()
        };
        let log_opts = BTreeMap::new();
        let around = Circumstances {
            processors: 2,
            cgroup2: true,
            systemd: false,
            enforceable: &super::super::resources::tests::everything(),
            shm_size: 64 << 20,
            log_driver: "json-file",
            log_opts: &log_opts,
            init: false,
            runtime: "minke",
            ipc_mode: "private",
            cgroupns_mode: "",
            hostname: "host",
            thermal_throttle_paths: &[],
        };
        prepare(request, &image, "0123456789abcdef", &around)
    }

    #[test]
    fn the_image_fills_in_what_the_request_leaves_out() {
        let mut request = ContainerCreateRequest::default();
        request.config.env = words("A=2 B=3");
        let prepared = prepared(request).unwrap();
        assert_eq!(prepared.config.cmd, words("sh"));
        assert_eq!(prepared.config.env, words("A=2 B=3 PATH=/bin"));
        assert_eq!(prepared.config.working_dir, "/srv");
        assert_eq!(prepared.config.hostname, "0123456789ab");
        assert_eq!(prepared.host_config.shm_size, 64 << 20);
    }

    #[test]
    fn an_entry_point_of_the_request_drops_the_images_command() {
        let mut request = ContainerCreateRequest::default();
        request.config.entrypoint = words("echo");
        assert_eq!(prepared(request).unwrap().config.cmd, None);
    }

    #[test]
    fn bad_requests_are_refused_in_dockers_words() {
        type Change = fn(&mut ContainerCreateRequest);
        fn host(request: &mut ContainerCreateRequest) -> &mut HostConfig {
            request.host_config.get_or_insert_default()
        }
        let cases: [(Change, &str); 4] = [
            (|request| host(request).memory = 1 << 20, "Minimum memory limit allowed is 6MB"),
            (
                |request| host(request).nano_cpus = 3_000_000_000,
                "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ),
            (
                |request| {
                    host(request).auto_remove = true;
                    host(request).restart_policy.name = "always".into();
                },
                "can't create 'AutoRemove' container with restart policy",
            ),
            (
                |request| request.config.working_dir = "x".into(),
                "the working directory 'x' is invalid, it needs to be an absolute path",
            ),
        ];
        for (change, expected) in cases {
            let mut request = ContainerCreateRequest::default();
            change(&mut request);
            assert_eq!(prepared(request).unwrap_err().message(), expected);
        }
    }
}
