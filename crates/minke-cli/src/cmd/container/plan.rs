//! From flags to the body of a create request: pure but for what the caller passes in (environment, files, directory).

use std::collections::BTreeMap;

use minke_api::container::{
    BindOptions, ContainerConfig, ContainerCreateRequest, HostConfig, ImageOptions, LogConfig, Mount,
    RestartPolicy, TmpfsOptions, VolumeDriverConfig, VolumeOptions,
};
use minke_api::{Empty, StringMap, StringSet};
use minke_model::mount::{self, VolumeFlag};
use minke_model::{Error, Result, env, restart_policy};

use super::flags::ContainerFlags;

/// What planning needs to know of the world.
pub struct Facts<'a> {
    /// The caller's directory.
    pub directory: &'a str,
    /// The caller's environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file.
    pub read: &'a dyn Fn(&str) -> Result<Vec<u8>>,
    /// Variables that the configuration gives to every container.
    pub proxies: Vec<(String, String)>,
    /// Rows and columns of the caller's terminal.
    pub console: Option<[u32; 2]>,
    /// Whether nothing is attached (`-d`).
    pub detach: bool,
}

/// Plans a container of `image` that runs `command`.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in the words of Docker's client.
pub fn plan_create(
    flags: &ContainerFlags,
    image: &str,
    command: &[String],
    facts: &Facts<'_>,
) -> Result<ContainerCreateRequest> {
    if !["always", "missing", "never"].contains(&flags.pull.as_str()) {
        return Err(Error::invalid(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            flags.pull
        )));
    }
    let mut host = plan_host(flags, facts)?;
    let attached = |name: &str| !facts.detach && flags.attach.iter().any(|stream| stream == name);
    let all = flags.attach.is_empty() && !facts.detach;
    let attach_stdin = attached("stdin") || (all && flags.interactive);
    let volumes: StringSet = flags
        .volume
        .iter()
        .filter_map(|text| match mount::parse_volume_flag(text, facts.directory) {
            Ok(VolumeFlag::Anonymous(target)) => Some((target, Empty {})),
            _ => None,
        })
        .collect();
    let mut config = ContainerConfig {
        hostname: flags.hostname.clone(),
        domainname: flags.domainname.clone(),
        user: flags.user.clone(),
        attach_stdin,
        attach_stdout: attached("stdout") || all,
        attach_stderr: attached("stderr") || all,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: flags.interactive && attach_stdin,
        env: Some(plan_env(flags, facts)?),
        cmd: (!command.is_empty()).then(|| command.to_vec()),
        healthcheck: flags.health.plan()?,
        image: image.to_string(),
        volumes: Some(volumes),
        working_dir: flags.workdir.clone(),
        entrypoint: flags.entrypoint.as_ref().map(|program| vec![program.clone()]),
        labels: Some(plan_labels(flags, facts)?),
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        ..ContainerConfig::default()
    };
    let networks = flags.networks.plan(&mut config, &mut host)?;
    Ok(ContainerCreateRequest { config, host_config: Some(host), networking_config: Some(networks) })
}

fn plan_host(flags: &ContainerFlags, facts: &Facts<'_>) -> Result<HostConfig> {
    let mut binds = Vec::new();
    for text in &flags.volume {
        if let VolumeFlag::Bind(bind) = mount::parse_volume_flag(text, facts.directory)? {
            binds.push(bind);
        }
    }
    let (policy, count) = restart_policy::split_flag(&flags.restart)?;
    if flags.rm && !matches!(policy, "" | "no") {
        return Err(Error::invalid("conflicting options: cannot specify both --restart and --rm"));
    }
    let list = |values: &[String]| (!values.is_empty()).then(|| values.to_vec());
    let mut host = HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        container_id_file: flags.cidfile.clone(),
        log_config: plan_log(flags)?,
        restart_policy: RestartPolicy { name: policy.to_string(), maximum_retry_count: count },
        auto_remove: flags.rm,
        console_size: facts.console.filter(|_| flags.tty).unwrap_or_default(),
        annotations: pairs(&flags.annotation),
        runtime: flags.runtime.clone(),
        cap_add: list(&flags.cap_add),
        cap_drop: list(&flags.cap_drop),
        group_add: list(&flags.group_add),
        privileged: flags.privileged,
        readonly_rootfs: flags.read_only,
        tmpfs: flags
            .tmpfs
            .iter()
            .map(|text| mount::split_tmpfs(text))
            .map(|(path, options)| (path.into(), options.into()))
            .collect(),
        shm_size: flags.shm_size,
        cpu_shares: flags.cpu_shares,
        memory: flags.memory,
        nano_cpus: flags.cpus,
        cpu_period: flags.cpu_period,
        cpu_quota: flags.cpu_quota,
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        memory_reservation: flags.memory_reservation,
        memory_swap: flags.memory_swap,
        pids_limit: flags.pids_limit,
        mounts: flags.mount.iter().map(api_mount).collect(),
        volume_driver: flags.volume_driver.clone(),
        volumes_from: list(&flags.volumes_from),
        init: flags.init.then_some(true),
        ..flags.limits.host_config()?
    };
    flags.security.plan(&mut host)?;
    Ok(host)
}

fn plan_log(flags: &ContainerFlags) -> Result<LogConfig> {
    if flags.log_driver == "none" && !flags.log_opt.is_empty() {
        return Err(Error::invalid("invalid logging opts for driver none"));
    }
    Ok(LogConfig { driver: flags.log_driver.clone(), config: Some(pairs(&flags.log_opt)) })
}

fn plan_env(flags: &ContainerFlags, facts: &Facts<'_>) -> Result<Vec<String>> {
    let mut found = read_lines(&flags.env_file, facts)?;
    found.extend(flags.env.iter().cloned());
    let known: Vec<&str> = found.iter().map(|text| env::split_label(text).0).collect();
    let missing = facts.proxies.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let proxies: Vec<String> = missing.map(|(name, value)| format!("{name}={value}")).collect();
    found.extend(proxies);
    Ok(found)
}

fn plan_labels(flags: &ContainerFlags, facts: &Facts<'_>) -> Result<StringMap> {
    let mut labels = pairs(&read_lines(&flags.label_file, facts)?);
    labels.extend(pairs(&flags.label));
    Ok(labels)
}

fn read_lines(files: &[String], facts: &Facts<'_>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in files {
        let content = (facts.read)(path)?;
        lines.extend(env::parse_file(&content, facts.env).map_err(|error| env::file_error(path, &error))?);
    }
    Ok(lines)
}

/// Splits `name=value`s.
pub fn pairs(texts: &[String]) -> StringMap {
    texts
        .iter()
        .map(|text| env::split_label(text))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn api_mount(mount: &mount::Mount) -> Mount {
    Mount {
        kind: mount.kind.name().to_string(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|bind| BindOptions {
            propagation: bind.propagation.clone(),
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_mountpoint,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
        }),
        volume_options: mount.volume.as_ref().map(|volume| VolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels.iter().cloned().collect(),
            subpath: volume.subpath.clone(),
            driver_config: (!volume.driver.is_empty() || !volume.driver_options.is_empty()).then(|| {
                VolumeDriverConfig {
                    name: volume.driver.clone(),
                    options: volume.driver_options.iter().cloned().collect::<BTreeMap<_, _>>(),
                }
            }),
        }),
        image_options: mount.image.as_ref().map(|image| ImageOptions { subpath: image.subpath.clone() }),
        tmpfs_options: mount.tmpfs.as_ref().map(|tmpfs| TmpfsOptions {
            size_bytes: tmpfs.size_bytes,
            mode: tmpfs.mode,
            ..TmpfsOptions::default()
        }),
    }
}

#[cfg(test)]
mod tests;
