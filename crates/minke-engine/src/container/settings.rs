//! From a container's record to the settings its start plan is made of. Pure but for bind sources that have to be made.

use minke_api::container::HostConfig;
use minke_model::Result;
use minke_model::ulimit::Ulimit as ModelUlimit;
use minke_spec::docker::{
    BindMount, ContainerSettings, ExecSettings as SpecExec, IpcMode, MountSettings, Namespace, ProcessUser,
    Resources, Ulimit, UserNamespace, Writability,
};

use super::devices::Devices;
use super::namespaces::Joined;
use super::paths::ContainerPaths;
use super::record::Record;
use super::security::{self, Defaults};
use crate::exec::ExecSettings;

/// What a start decides beyond the record.
pub struct Start<'a> {
    /// Whom the process runs as.
    pub user: ProcessUser,
    /// Its files.
    pub paths: &'a ContainerPaths,
    /// Its control group, from the mount point.
    pub cgroup_path: String,
    /// What the engine says of security.
    pub security: Defaults<'a>,
    /// Its SELinux labels are used.
    pub labelled: bool,
    /// The AppArmor profiles that are loaded, as the kernel lists them; empty without AppArmor.
    pub apparmor_profiles: String,
    /// Its user namespace, if it isn't the host's.
    pub users: Option<UserNamespace>,
    /// What it joins of other containers.
    pub joined: Joined,
    /// The devices of the host, for a privileged container.
    pub host_devices: Vec<minke_spec::docker::Device>,
    /// A directory that is the root as it is.
    pub root_path: String,
    /// Limits of each process where the container sets none of that name.
    pub ulimits: &'a [ModelUlimit],
    /// The devices that the container was given, as they are on the host now.
    pub devices: Devices,
    /// The variables that tell of those that it has links to.
    pub linked: Vec<String>,
}

/// The settings of a start, with all its mounts.
pub fn of(record: &Record, start: Start<'_>, wanted: Vec<MountSettings>) -> Result<ContainerSettings> {
    let mut mounts = network_files(start.joined.network_files.as_ref().unwrap_or(start.paths));
    mounts.extend(wanted);
    mounts.extend(start.devices.mounts.iter().cloned());
    Ok(ContainerSettings { mounts, ..without_mounts(record, start)? })
}

/// The settings of a start but for its mounts.
pub fn without_mounts(record: &Record, start: Start<'_>) -> Result<ContainerSettings> {
    let config = &record.config;
    let host = &record.host_config;
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default(), start.security)?;
    let (joined, labelled) = (start.joined, start.labelled);
    let apparmor_profile = security
        .apparmor_profile(|name| security::is_loaded(&start.apparmor_profiles, name))
        .filter(|_| !host.privileged);
    Ok(ContainerSettings {
        args: record.command(),
        env: start
            .linked
            .iter()
            .chain(config.env.iter().flatten())
            .chain(&start.devices.env)
            .cloned()
            .collect(),
        cwd: config.working_dir.clone(),
        user: ProcessUser { groups: [start.user.groups, start.devices.groups].concat(), ..start.user },
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        tty: config.tty,
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        privileged: host.privileged,
        readonly_rootfs: host.readonly_rootfs,
        network: namespace(&host.network_mode, joined.network),
        pid: namespace(&host.pid_mode, joined.pid),
        ipc: match (host.ipc_mode.as_str(), joined.ipc, joined.shm) {
            (_, Some((path, shm)), _) => IpcMode::Join { path, shm },
            (_, _, Some(shm)) => IpcMode::Shareable { shm },
            ("host", ..) => IpcMode::Host,
            ("none", ..) => IpcMode::None,
            _ => IpcMode::Private,
        },
        uts: if host.uts_mode == "host" { Namespace::Host } else { Namespace::Private },
        cgroup_namespace: Some(if host.cgroupns_mode == "host" {
            Namespace::Host
        } else {
            Namespace::Private
        }),
        user_namespace: start.users,
        time_namespace: false,
        mounts: Vec::new(),
        resources: Resources {
            blkio_weight_devices: start.devices.weights,
            device_read_bps: start.devices.read_bps,
            device_write_bps: start.devices.write_bps,
            device_read_iops: start.devices.read_iops,
            device_write_iops: start.devices.write_iops,
            ..resources(&record.host_config)
        },
        devices: start.devices.nodes,
        net_devices: start.devices.net_devices,
        device_rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        host_devices: start.host_devices,
        shm_size: host.shm_size.unsigned_abs(),
        init: host.init.unwrap_or(false),
        no_new_privileges: security.no_new_privileges,
        seccomp: security.seccomp,
        apparmor_profile,
        writable_cgroups: security.writable_cgroups,
        selinux_label: Some(record.process_label.clone()).filter(|label| labelled && !label.is_empty()),
        mount_label: record.file_label().filter(|_| labelled),
        oom_score_adj: i32::try_from(host.oom_score_adj).unwrap_or_default(),
        ulimits: ulimits(record, start.ulimits),
        sysctls: host.sysctls.clone(),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        cgroup_path: start.cgroup_path,
        root_path: start.root_path,
        annotations: host.annotations.clone(),
    })
}

fn namespace(mode: &str, joined: Option<String>) -> Namespace {
    match (mode, joined) {
        (_, Some(path)) => Namespace::Join(path),
        ("host", None) => Namespace::Host,
        _ => Namespace::Private,
    }
}

/// The settings of an exec in a container.
pub fn of_exec(exec: &ExecSettings, user: ProcessUser) -> SpecExec {
    SpecExec {
        args: exec.command.clone(),
        env: exec.env.clone(),
        cwd: exec.working_dir.clone(),
        user: Some(user),
        tty: exec.tty,
        privileged: exec.privileged,
    }
}

fn network_files(paths: &ContainerPaths) -> Vec<MountSettings> {
    [
        (&paths.resolv_conf, "/etc/resolv.conf"),
        (&paths.hostname, "/etc/hostname"),
        (&paths.hosts, "/etc/hosts"),
    ]
    .map(|(source, target)| {
        MountSettings::Bind(BindMount {
            source: source.to_string_lossy().into_owned(),
            target: target.into(),
            writability: Writability::Writable,
            propagation: String::new(),
            non_recursive: false,
        })
    })
    .into()
}

/// The container's limits of each process, and those of the engine that it doesn't set.
fn ulimits(record: &Record, defaults: &[ModelUlimit]) -> Vec<Ulimit> {
    let own = record.host_config.ulimits.as_deref().unwrap_or_default();
    let usual = defaults.iter().filter(|limit| !own.iter().any(|known| known.name == limit.name));
    let of = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    own.iter()
        .map(|limit| of(&limit.name, limit.soft, limit.hard))
        .chain(usual.map(|limit| of(&limit.name, limit.soft, limit.hard)))
        .collect()
}

/// The limits of a container's groups but for those of single devices.
pub fn resources(host: &HostConfig) -> Resources {
    Resources {
        memory: host.memory,
        memory_swap: host.memory_swap,
        memory_reservation: host.memory_reservation,
        memory_swappiness: host.memory_swappiness,
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpu_realtime_period: host.cpu_realtime_period,
        cpu_realtime_runtime: host.cpu_realtime_runtime,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        pids_limit: host.pids_limit,
        blkio_weight: host.blkio_weight,
        ..Resources::default()
    }
}
