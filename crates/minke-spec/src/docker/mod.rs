//! Docker's view of a container as an OCI runtime configuration, as dockerd writes it, and from there as a start plan.
//! Pure: names, volumes and users are resolved by whoever calls.

mod defaults;
mod mounts;
mod resources;
mod settings;
#[cfg(test)]
mod tests;

pub use defaults::{MASKED_PATHS, PATH, READONLY_PATHS, SHM_SIZE};
pub use settings::*;

use std::collections::HashMap;
use std::path::PathBuf;

use minke_model::{Context, Error, Result};
use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType,
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, LinuxNetDevice, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec, User,
};

use crate::capabilities::{self, Adjustment};
use crate::compile::compile;
use crate::devices::parse_access;
use crate::host::{CgroupMode, HostFacts};
use crate::plan::{ProcessPlan, StartPlan};
use crate::process::plan_process;
use crate::seccomp::{self, ProgramCache};
pub use resources::resources;

/// The runtime specification that the generated configurations follow.
const OCI_VERSION: &str = "1.3.0";

/// Decides the start of a container: its configuration, compiled. The filter comes from the cache where it can.
pub fn plan_start(settings: &ContainerSettings, host: &HostFacts, cache: &ProgramCache) -> Result<StartPlan> {
    let mut plan = compile(&generate(settings, host)?, host)?;
    set_filter(&mut plan.process, settings, host, cache)?;
    plan.init = settings.init;
    Ok(plan)
}

/// Decides one more process in a container that was started with `settings`.
pub fn plan_exec(
    exec: &ExecSettings,
    settings: &ContainerSettings,
    host: &HostFacts,
    cache: &ProgramCache,
) -> Result<ProcessPlan> {
    let mut plan = plan_process(&exec_process(exec, settings, host)?, host)?;
    plan.create_cwd = false;
    // The container's own filter, also for a privileged process in it.
    set_filter(&mut plan, settings, host, cache)?;
    Ok(plan)
}

/// Writes the configuration of one more process in a container that was started with `settings`.
pub fn exec_process(exec: &ExecSettings, settings: &ContainerSettings, host: &HostFacts) -> Result<Process> {
    let mut merged = settings.clone();
    merged.args = exec.args.clone();
    merged.env = replace_or_append(environment(settings, false), &exec.env);
    merged.tty = exec.tty;
    if !exec.cwd.is_empty() {
        merged.cwd = exec.cwd.clone();
    }
    if let Some(user) = &exec.user {
        merged.user = user.clone();
        if !exec.env.iter().chain(&settings.env).any(|row| row.starts_with("HOME=")) {
            merged.env.retain(|row| !row.starts_with("HOME="));
        }
    }
    merged.privileged |= exec.privileged;
    process(&merged, host)
}

fn set_filter(
    plan: &mut ProcessPlan,
    settings: &ContainerSettings,
    host: &HostFacts,
    cache: &ProgramCache,
) -> Result<()> {
    let profile = match (&settings.seccomp, settings.privileged) {
        (Seccomp::Unconfined, _) | (Seccomp::Default, true) => return Ok(()),
        (Seccomp::Default, false) => None,
        (Seccomp::Profile(text), _) => Some(text.as_str()),
    };
    (plan.seccomp, plan.seccomp_flags) =
        cache.program(profile, container_capabilities(settings, host)?, host)?;
    Ok(())
}

/// Writes the whole configuration, with the filter as Docker resolves it: for other runtimes and for people to read.
pub fn generate_with_filter(settings: &ContainerSettings, host: &HostFacts) -> Result<Spec> {
    let mut spec = generate(settings, host)?;
    let profile = match (&settings.seccomp, settings.privileged) {
        (Seccomp::Unconfined, _) | (Seccomp::Default, true) => return Ok(spec),
        (Seccomp::Default, false) => seccomp::docker_profile()?,
        (Seccomp::Profile(text), _) => seccomp::parse_profile(text)?,
    };
    let filter = profile.resolve(container_capabilities(settings, host)?, host)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(filter));
    }
    Ok(spec)
}

/// Writes the configuration without its filter.
pub fn generate(settings: &ContainerSettings, host: &HostFacts) -> Result<Spec> {
    let mounts = mounts::plan_mounts(settings)?;
    let mut root = Root::default();
    root.set_path(PathBuf::from(&settings.root_path)).set_readonly(Some(settings.readonly_rootfs));
    let in_users = settings.user_namespace.is_some();
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into())
        .set_root(Some(root))
        .set_mounts(Some(mounts.list))
        .set_process(Some(process(settings, host)?))
        .set_hostname((settings.uts != Namespace::Host).then(|| settings.hostname.clone()))
        // In a user namespace the kernel's parameter is out of reach.
        .set_domainname(
            Some(settings.domainname.clone()).filter(|name| sets_domainname(settings, name) && in_users),
        )
        .set_hooks(None)
        .set_annotations(annotations(settings))
        .set_linux(Some(linux(settings, host, mounts.root_propagation)?));
    Ok(spec)
}

fn sets_domainname(settings: &ContainerSettings, name: &str) -> bool {
    !name.is_empty() && settings.uts != Namespace::Host
}

fn annotations(settings: &ContainerSettings) -> Option<HashMap<String, String>> {
    let rows = &settings.annotations;
    (!rows.is_empty()).then(|| rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The capabilities of a container as a mask.
fn container_capabilities(settings: &ContainerSettings, host: &HostFacts) -> Result<u64> {
    let adjustment =
        Adjustment { add: &settings.cap_add, drop: &settings.cap_drop, privileged: settings.privileged };
    capabilities::adjust(&adjustment, host.capabilities)
}

fn process(settings: &ContainerSettings, host: &HostFacts) -> Result<Process> {
    let mut user = User::default();
    user.set_uid(settings.user.uid)
        .set_gid(settings.user.gid)
        .set_additional_gids(Some(settings.user.groups.clone()).filter(|groups| !groups.is_empty()));
    let set = capability_set(container_capabilities(settings, host)?)?;
    let mut sets = LinuxCapabilities::default();
    // Whoever isn't root loses the others at execve; Docker says so from the start.
    let root = settings.user.uid == 0;
    sets.set_bounding(Some(set.clone()))
        .set_effective(root.then(|| set.clone()))
        .set_permitted(root.then_some(set))
        .set_inheritable(None)
        .set_ambient(None);
    let cwd = if settings.cwd.is_empty() { "/" } else { &settings.cwd };
    let mut env = environment(settings, settings.tty);
    let home = &settings.user.home;
    if !home.is_empty() && !env.iter().any(|row| row.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    let mut process = Process::default();
    process
        .set_terminal(settings.tty.then_some(true))
        .set_user(user)
        .set_args(Some(settings.args.clone()))
        .set_env(Some(env))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(sets))
        .set_rlimits(Some(rlimits(&settings.ulimits)?).filter(|rows| !rows.is_empty()))
        .set_no_new_privileges(settings.no_new_privileges.then_some(true))
        .set_apparmor_profile(settings.apparmor_profile.clone())
        .set_selinux_label(settings.selinux_label.clone())
        .set_oom_score_adj(Some(settings.oom_score_adj));
    Ok(process)
}

fn capability_set(mask: u64) -> Result<Capabilities> {
    let names = capabilities::names(mask);
    let bare = names.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name));
    bare.map(|name| Capability::try_from(name).map_err(|error| Error::system(format!("{name}: {error}"))))
        .collect()
}

/// The variables of a container's process without `HOME`.
fn environment(settings: &ContainerSettings, tty: bool) -> Vec<String> {
    let mut env = vec![defaults::PATH.to_owned(), format!("HOSTNAME={}", settings.hostname)];
    if tty {
        env.push("TERM=xterm".into());
    }
    replace_or_append(env, &settings.env)
}

/// Puts variables over others: each takes its namesake's place or stands at the end; a bare name removes.
fn replace_or_append(mut env: Vec<String>, over: &[String]) -> Vec<String> {
    fn name(row: &str) -> &str {
        row.split_once('=').map_or(row, |(name, _)| name)
    }
    for row in over {
        let place = env.iter().position(|known| name(known) == name(row));
        match (place, row.contains('=')) {
            (Some(index), true) => env[index] = row.clone(),
            (Some(index), false) => {
                env.remove(index);
            }
            (None, true) => env.push(row.clone()),
            (None, false) => {}
        }
    }
    env
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    ulimits
        .iter()
        .map(|ulimit| {
            let kind = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
            let kind: PosixRlimitType = serde_json::from_value(serde_json::Value::String(kind))
                .map_err(|_| Error::invalid(format!("invalid ulimit type: {}", ulimit.name)))?;
            // -1 becomes the kernel's RLIM_INFINITY.
            let limit =
                PosixRlimitBuilder::default().typ(kind).soft(ulimit.soft as u64).hard(ulimit.hard as u64);
            limit.build().context("invalid ulimit")
        })
        .collect()
}

fn linux(settings: &ContainerSettings, host: &HostFacts, propagation: Option<String>) -> Result<Linux> {
    let devices = if settings.privileged { merged_devices(settings) } else { settings.devices.clone() };
    let mut resources = resources(&settings.resources, host)?;
    resources.set_devices(Some(device_rows(settings)?));
    let hidden = |own: &Option<Vec<String>>, usual: &[&str], more: &[String]| {
        let list = match own {
            Some(list) => list.clone(),
            None => usual.iter().map(|path| (*path).to_owned()).chain(more.iter().cloned()).collect(),
        };
        Some(list).filter(|_| !settings.privileged)
    };
    let mut linux = Linux::default();
    linux
        .set_sysctl(Some(sysctls(settings)).filter(|map| !map.is_empty()))
        .set_resources(Some(resources))
        .set_cgroups_path(Some(PathBuf::from(&settings.cgroup_path)).filter(|path| path.as_os_str() != ""))
        .set_namespaces(Some(namespaces(settings, host)))
        .set_devices(Some(devices.iter().map(linux_device).collect()))
        .set_net_devices(net_devices(settings))
        .set_rootfs_propagation(propagation)
        .set_mount_label(settings.mount_label.clone())
        .set_masked_paths(hidden(
            &settings.masked_paths,
            &defaults::MASKED_PATHS,
            &host.thermal_throttle_paths,
        ))
        .set_readonly_paths(hidden(&settings.readonly_paths, &defaults::READONLY_PATHS, &[]));
    if let Some(users) = &settings.user_namespace {
        linux
            .set_uid_mappings(Some(users.uids.iter().map(id_mapping).collect()))
            .set_gid_mappings(Some(users.gids.iter().map(id_mapping).collect()));
    }
    Ok(linux)
}

fn net_devices(settings: &ContainerSettings) -> Option<HashMap<String, LinuxNetDevice>> {
    let row = |device: &crate::plan::NetDevice| {
        let mut row = LinuxNetDevice::default();
        row.set_name(Some(device.name.clone()));
        (device.host_name.clone(), row)
    };
    let rows = &settings.net_devices;
    (!rows.is_empty()).then(|| rows.iter().map(row).collect())
}

fn id_mapping((inside, outside, count): &(u32, u32, u32)) -> LinuxIdMapping {
    let row = LinuxIdMappingBuilder::default().container_id(*inside).host_id(*outside).size(*count);
    // Every field has a default.
    row.build().unwrap_or_default()
}

/// The host's devices, with those that were asked for under another name beside them.
fn merged_devices(settings: &ContainerSettings) -> Vec<Device> {
    let mut devices = settings.host_devices.clone();
    for device in &settings.devices {
        if !devices.iter().any(|known| known.path == device.path) {
            devices.push(device.clone());
        }
    }
    devices
}

fn device_type(kind: char) -> LinuxDeviceType {
    match kind {
        'b' => LinuxDeviceType::B,
        'p' => LinuxDeviceType::P,
        _ => LinuxDeviceType::C,
    }
}

fn linux_device(device: &Device) -> LinuxDevice {
    let mut row = LinuxDevice::default();
    row.set_path(PathBuf::from(&device.path))
        .set_typ(device_type(device.kind))
        .set_major(device.major.into())
        .set_minor(device.minor.into())
        .set_file_mode(Some(device.mode))
        .set_uid(Some(device.uid))
        .set_gid(Some(device.gid));
    row
}

fn device_rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    (major, minor): (Option<i64>, Option<i64>),
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor).set_access(Some(access.into()));
    rule
}

/// The device rules of a container, as the start plan has them.
///
/// # Errors
/// Rules that can't be read.
pub fn device_rules(settings: &ContainerSettings) -> Result<Vec<crate::devices::DeviceRule>> {
    crate::devices::parse_rules(&device_rows(settings)?)
}

fn device_rows(settings: &ContainerSettings) -> Result<Vec<LinuxDeviceCgroup>> {
    let mut rules = vec![device_rule(false, None, (None, None), "rwm")];
    for (allow, major, minor) in defaults::DEVICE_RULES {
        rules.push(device_rule(allow, Some(LinuxDeviceType::C), (Some(major), Some(minor)), "rwm"));
    }
    if settings.privileged {
        rules.push(device_rule(true, None, (None, None), "rwm"));
        return Ok(rules);
    }
    for device in &settings.devices {
        let access = if device.access.is_empty() { "rwm" } else { &device.access };
        let numbers = (Some(device.major.into()), Some(device.minor.into()));
        rules.push(device_rule(true, Some(device_type(device.kind)), numbers, access));
    }
    for rule in &settings.device_rules {
        rules.push(parse_device_rule(rule)?);
    }
    Ok(rules)
}

/// Reads a rule of `--device-cgroup-rule`: kind, numbers or `*`, rights.
fn parse_device_rule(rule: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || Error::invalid(format!("invalid device cgroup rule format: '{rule}'"));
    let words: Vec<&str> = rule.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return Err(wrong()) };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let number = |text: &str| match text {
        "*" => Ok(Some(-1)),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    if access.is_empty() || access.len() > 3 || parse_access(access).is_err() {
        return Err(wrong());
    }
    Ok(device_rule(true, Some(kind), (number(major)?, number(minor)?), access))
}

fn sysctls(settings: &ContainerSettings) -> HashMap<String, String> {
    let mut map = HashMap::new();
    if settings.network == Namespace::Private {
        let usual = defaults::NETWORK_SYSCTLS.into_iter();
        // Groups that a user namespace doesn't have can't be given the right to ping.
        let usual =
            usual.filter(|(key, _)| settings.user_namespace.is_none() || !key.ends_with("ping_group_range"));
        map.extend(usual.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    if sets_domainname(settings, &settings.domainname) && settings.user_namespace.is_none() {
        map.insert("kernel.domainname".into(), settings.domainname.clone());
    }
    map.extend(settings.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())));
    map
}

fn namespaces(settings: &ContainerSettings, host: &HostFacts) -> Vec<LinuxNamespace> {
    let ipc = match &settings.ipc {
        IpcMode::Private | IpcMode::None | IpcMode::Shareable { .. } => Namespace::Private,
        IpcMode::Host => Namespace::Host,
        IpcMode::Join { path, .. } => Namespace::Join(path.clone()),
    };
    let cgroup = settings.cgroup_namespace.clone().unwrap_or(match host.cgroups {
        CgroupMode::V1 { .. } => Namespace::Host,
        CgroupMode::V2 { .. } => Namespace::Private,
    });
    let user = match &settings.user_namespace {
        None => Namespace::Host,
        Some(UserNamespace { join: None, .. }) => Namespace::Private,
        Some(UserNamespace { join: Some(path), .. }) => Namespace::Join(path.clone()),
    };
    let time = if settings.time_namespace { Namespace::Private } else { Namespace::Host };
    let all = [
        (LinuxNamespaceType::Mount, &Namespace::Private),
        (LinuxNamespaceType::Network, &settings.network),
        (LinuxNamespaceType::Uts, &settings.uts),
        (LinuxNamespaceType::Pid, &settings.pid),
        (LinuxNamespaceType::Ipc, &ipc),
        (LinuxNamespaceType::User, &user),
        (LinuxNamespaceType::Time, &time),
        (LinuxNamespaceType::Cgroup, &cgroup),
    ];
    let mut list = Vec::with_capacity(all.len());
    for (kind, wanted) in all {
        let path = match wanted {
            Namespace::Host => continue,
            Namespace::Private => None,
            Namespace::Join(path) => Some(PathBuf::from(path)),
        };
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(path);
        list.push(namespace);
    }
    list
}
