//! Devices that vendors describe in files (Container Device Interface, SPEC.md): found by name, and what they add to a container.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use minke_api::container::DeviceRequest;
use minke_model::cdi::{DeviceName, check_kind};
use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_spec::docker::{BindMount, Device, MountSettings, ProcessUser, Writability};
use minke_spec::plan::NetDevice;
use minke_spec::shim::{Hook, HookStage};
use serde::Deserialize;

use super::devices::words;

/// Kinds that `--gpus` means, in the order of preference.
const GPUS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];
/// The longest description, in bytes, and the most of them in a folder.
const FILE_LIMIT: u64 = 4 << 20;
const COUNT_LIMIT: usize = 1000;

/// What devices add to a container.
#[derive(Debug, Default)]
pub struct Injected {
    /// Variables.
    pub env: Vec<String>,
    /// Nodes, with what may be done to them.
    pub nodes: Vec<Device>,
    /// Mounts.
    pub mounts: Vec<MountSettings>,
    /// Groups of the process.
    pub groups: Vec<u32>,
    /// Programs that are run beside it.
    pub hooks: Vec<Hook>,
    /// Interfaces of the host that become its own.
    pub net_devices: Vec<NetDevice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(rename = "cdiVersion")]
    version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<DeviceSpec>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceSpec {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<MountSpec>,
    hooks: Vec<HookSpec>,
    #[serde(alias = "additionalGIDs")]
    additional_gids: Vec<u32>,
    intel_rdt: Option<serde_json::Value>,
    net_devices: Vec<NetDeviceSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NetDeviceSpec {
    host_interface_name: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Node {
    path: String,
    host_path: String,
    #[serde(rename = "type")]
    kind: String,
    major: Option<u32>,
    minor: Option<u32>,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MountSpec {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct HookSpec {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

/// A device: its description, and which one there.
type Place = (Rc<Spec>, usize);

/// The devices that descriptions in some folders name.
#[derive(Debug, Default)]
pub struct Catalog {
    /// By kind and name; `None`: two files of one folder describe it.
    devices: BTreeMap<(String, String), Option<Place>>,
}

impl Catalog {
    /// Reads the folders; a later one's word counts more. A file that can't be read is told in the log and left out.
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut catalog = Self::default();
        for folder in folders {
            let mut found = Self::default();
            for file in files(folder) {
                match read_file(&file) {
                    Ok(spec) => found.add(spec),
                    Err(error) => tracing::warn!(file = %file.display(), %error, "left out"),
                }
            }
            catalog.devices.append(&mut found.devices);
        }
        catalog
    }

    fn add(&mut self, spec: Spec) {
        let spec = Rc::new(spec);
        for (place, device) in spec.devices.iter().enumerate() {
            let key = (spec.kind.clone(), device.name.clone());
            let value = if self.devices.contains_key(&key) { None } else { Some((spec.clone(), place)) };
            self.devices.insert(key, value);
        }
    }

    /// The qualified names that requests to device drivers mean.
    ///
    /// # Errors
    /// Docker's words where nothing serves one.
    pub fn names(&self, requests: &[DeviceRequest]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for request in requests {
            let ids = request.device_ids.as_deref().unwrap_or_default();
            let wants_gpu = request.capabilities.iter().flatten().flatten().any(|name| name == "gpu");
            let kind = GPUS.iter().find(|kind| self.devices.keys().any(|(known, _)| known == *kind));
            match (request.driver.as_str(), kind) {
                ("cdi", _) => names.extend(ids.iter().cloned()),
                ("" | "nvidia" | "amd", Some(kind)) if wants_gpu => {
                    let qualified = |id: &String| match DeviceName::parse(id) {
                        Some(_) => id.clone(),
                        None => format!("{kind}={id}"),
                    };
                    match request.count {
                        _ if !ids.is_empty() => names.extend(ids.iter().map(qualified)),
                        count if count < 0 => names.push(format!("{kind}=all")),
                        count => names.extend((0..count.min(1024)).map(|number| format!("{kind}={number}"))),
                    }
                }
                _ => return Err(no_driver(request)),
            }
        }
        Ok(names)
    }

    /// What the devices of these names add to a container whose process runs as `user`.
    ///
    /// # Errors
    /// Names that nothing describes, descriptions that aren't served, nodes that aren't there.
    pub fn inject(&self, names: &[String], user: &ProcessUser) -> Result<Injected> {
        let mut unresolved = Vec::new();
        let mut found = Vec::new();
        for name in names {
            let device = DeviceName::parse(name)
                .and_then(|parts| self.devices.get(&(parts.kind.to_owned(), parts.device.to_owned())));
            match device {
                Some(Some(device)) => found.push((name, device)),
                _ => unresolved.push(name.as_str()),
            }
        }
        if !unresolved.is_empty() {
            return Err(failed(&format!("unresolvable CDI devices {}", unresolved.join(", "))));
        }
        let mut injected = Injected::default();
        let mut seen: Vec<&Rc<Spec>> = Vec::new();
        for (name, (spec, place)) in found {
            if !seen.iter().any(|known| Rc::ptr_eq(known, spec)) {
                injected.add(name, &spec.container_edits, user)?;
                seen.push(spec);
            }
            injected.add(name, &spec.devices[*place].container_edits, user)?;
        }
        Ok(injected)
    }
}

fn failed(words: &str) -> Error {
    Error::new(ErrorKind::System, format!("CDI device injection failed: {words}"))
}

fn no_driver(request: &DeviceRequest) -> Error {
    let all = request.capabilities.iter().flatten();
    let capabilities: Vec<String> = all.map(|names| format!("[{}]", names.join(" "))).collect();
    Error::new(
        ErrorKind::System,
        format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            capabilities.join(" ")
        ),
    )
}

/// The descriptions of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json" || kind == "yaml"))
        .take(COUNT_LIMIT)
        .collect();
    files.sort();
    files
}

fn read_file(path: &Path) -> Result<Spec> {
    let size = std::fs::metadata(path).context("reading a device description")?.len();
    if size > FILE_LIMIT {
        return Err(Error::invalid(format!("it is longer than {FILE_LIMIT} bytes")));
    }
    let text = std::fs::read_to_string(path).context("reading a device description")?;
    parse(&text, path.extension().is_some_and(|kind| kind == "yaml"))
}

fn parse(text: &str, yaml: bool) -> Result<Spec> {
    let spec: Spec = if yaml {
        yaml_serde::from_str(text).map_err(|error| Error::invalid(error.to_string()))?
    } else {
        serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?
    };
    check_kind(&spec.kind)?;
    let major = spec.version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    if major.is_none_or(|major| major > 1) {
        return Err(Error::invalid(format!("CDI version {:?} is not known", spec.version)));
    }
    Ok(spec)
}

impl Injected {
    fn add(&mut self, name: &str, edits: &Edits, user: &ProcessUser) -> Result<()> {
        if edits.intel_rdt.is_some() {
            tracing::warn!(
                device = name,
                "its intelRdt is ignored: the container shares the host's resctrl groups"
            );
        }
        for described in &edits.hooks {
            self.hooks.push(hook(described).map_err(|reason| failed(&format!("{name}: {reason}")))?);
        }
        for described in &edits.net_devices {
            self.add_interface(described).map_err(|reason| failed(&format!("{name}: {reason}")))?;
        }
        self.env.extend(edits.env.iter().cloned());
        for described in &edits.device_nodes {
            self.nodes.push(node(described, user).map_err(|reason| failed(&format!("{name}: {reason}")))?);
        }
        self.mounts.extend(edits.mounts.iter().map(mount));
        self.groups.extend(edits.additional_gids.iter().copied().filter(|group| *group != 0));
        Ok(())
    }

    fn add_interface(&mut self, described: &NetDeviceSpec) -> Result<(), String> {
        let NetDeviceSpec { host_interface_name: host_name, name } = described;
        for (what, value) in [("HostInterfaceName", host_name), ("Name", name)] {
            if value.is_empty() {
                return Err(format!("invalid linux net device, empty {what}"));
            }
        }
        let device = NetDevice { host_name: host_name.clone(), name: name.clone() };
        // A device that is asked for twice is given once.
        if self.net_devices.contains(&device) {
            return Ok(());
        }
        for known in &self.net_devices {
            if known.host_name == *host_name {
                return Err(format!(
                    "invalid linux net device, duplicate HostInterfaceName {host_name:?} with names {name:?} and {:?}",
                    known.name
                ));
            }
            if known.name == *name && !name.contains('%') {
                return Err(format!(
                    "invalid linux net device, duplicate Name {name:?} with HostInterfaceName {host_name:?} and {:?}",
                    known.host_name
                ));
            }
        }
        self.net_devices.push(device);
        Ok(())
    }
}

fn hook(described: &HookSpec) -> Result<Hook, String> {
    let stage = HookStage::parse(&described.hook_name)
        .ok_or_else(|| format!("invalid hook name {:?}", described.hook_name))?;
    if !described.path.starts_with('/') {
        return Err(format!("invalid hook {}: path {:?} is not absolute", stage.name(), described.path));
    }
    if let Some(entry) = described.env.iter().find(|entry| !entry.contains('=')) {
        return Err(format!("invalid hook {}: invalid environment variable {entry:?}", stage.name()));
    }
    let timeout_s = match described.timeout {
        None => 0,
        Some(seconds) => u32::try_from(seconds)
            .map_err(|_| format!("invalid hook {}: invalid timeout {seconds}", stage.name()))?,
    };
    Ok(Hook {
        stage,
        path: described.path.clone(),
        args: described.args.clone(),
        env: (!described.env.is_empty()).then(|| described.env.clone()),
        timeout_s,
    })
}

/// A node as described; what isn't is as on the host.
fn node(described: &Node, user: &ProcessUser) -> Result<Device, String> {
    let host_path = if described.host_path.is_empty() { &described.path } else { &described.host_path };
    let own = |id: u32, host: u32| if id > 0 { id } else { host };
    let known = match (described.kind.as_str(), described.major, described.minor) {
        (kind @ ("b" | "c" | "u" | "p"), Some(major), Some(minor)) => {
            Some((if kind == "b" { 'b' } else { 'c' }, major, minor))
        }
        _ => None,
    };
    let metadata = std::fs::metadata(host_path);
    let (kind, major, minor) = match (known, &metadata) {
        (Some(known), _) => known,
        (None, Err(error)) => return Err(format!("stat {host_path}: {}", words(error))),
        (None, Ok(metadata)) => {
            super::devices::number_of(metadata).ok_or_else(|| format!("{host_path}: not a device node"))?
        }
    };
    let host = metadata.ok();
    Ok(Device {
        path: described.path.clone(),
        kind,
        major,
        minor,
        mode: described
            .file_mode
            .unwrap_or_else(|| host.as_ref().map_or(0o666, |metadata| metadata.mode() & 0o7777)),
        uid: described
            .uid
            .unwrap_or_else(|| own(user.uid, host.as_ref().map_or(0, |metadata| metadata.uid()))),
        gid: described
            .gid
            .unwrap_or_else(|| own(user.gid, host.as_ref().map_or(0, |metadata| metadata.gid()))),
        access: match described.permissions.as_str() {
            "" => "rwm".into(),
            // Making a node is allowed to everybody; nothing comes of it without the other two.
            "none" => "m".into(),
            rights => rights.into(),
        },
    })
}

fn mount(described: &MountSpec) -> MountSettings {
    let has = |name: &str| described.options.iter().any(|option| option == name);
    if described.kind == "tmpfs" {
        return MountSettings::Tmpfs {
            target: described.container_path.clone(),
            options: described.options.join(","),
        };
    }
    let propagations = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
    let propagation = propagations.into_iter().find(|name| has(name)).unwrap_or_default();
    MountSettings::Bind(BindMount {
        source: described.host_path.clone(),
        target: described.container_path.clone(),
        writability: if has("ro") { Writability::ReadOnlyNonRecursive } else { Writability::Writable },
        propagation: propagation.into(),
        non_recursive: has("bind") && !has("rbind"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(text: &str, yaml: bool) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.add(parse(text, yaml).unwrap());
        catalog
    }

    const JSON: &str = r#"{
        "cdiVersion": "0.6.0", "kind": "vendor.com/net",
        "devices": [
            {"name": "a", "containerEdits": {"deviceNodes": [{"path": "/dev/a", "type": "c", "major": 9, "minor": 1, "permissions": "r"}]}},
            {"name": "hooked", "containerEdits": {"intelRdt": {"closID": "x"}, "hooks": [{"hookName": "createContainer", "path": "/bin/x", "args": ["x", "y"], "timeout": 3}]}},
            {"name": "wrong", "containerEdits": {"hooks": [{"hookName": "someday", "path": "/bin/x"}]}},
            {"name": "cable", "containerEdits": {"netDevices": [{"hostInterfaceName": "ens1", "name": "net0"}]}},
            {"name": "other", "containerEdits": {"netDevices": [{"hostInterfaceName": "ens2", "name": "net0"}]}},
            {"name": "again", "containerEdits": {"netDevices": [{"hostInterfaceName": "ens1", "name": "net1"}]}},
            {"name": "nameless", "containerEdits": {"netDevices": [{"hostInterfaceName": "ens3"}]}},
            {"name": "near", "containerEdits": {"hooks": [{"hookName": "poststop", "path": "bin/x"}]}}
        ],
        "containerEdits": {"env": ["A=1"], "mounts": [{"hostPath": "/h", "containerPath": "/c", "options": ["ro", "bind"]}], "additionalGids": [0, 7]}
    }"#;

    #[test]
    fn a_device_brings_its_own_edits_and_those_of_its_description_once() {
        let names = ["vendor.com/net=a".to_owned(), "vendor.com/net=a".to_owned()];
        let injected = catalog(JSON, false).inject(&names, &ProcessUser::default()).unwrap();
        assert_eq!(injected.env, ["A=1"]);
        assert_eq!(injected.groups, [7]);
        assert_eq!(injected.mounts.len(), 1);
        let device = &injected.nodes[0];
        assert_eq!(
            (device.path.as_str(), device.major, device.minor, device.access.as_str()),
            ("/dev/a", 9, 1, "r")
        );
    }

    #[test]
    fn hooks_come_with_the_device() {
        let names = ["vendor.com/net=hooked".to_owned()];
        let injected = catalog(JSON, false).inject(&names, &ProcessUser::default()).unwrap();
        let expected = Hook {
            stage: HookStage::CreateContainer,
            path: "/bin/x".into(),
            args: vec!["x".into(), "y".into()],
            env: None,
            timeout_s: 3,
        };
        assert_eq!(injected.hooks, [expected]);
    }

    #[test]
    fn interfaces_come_with_the_device_each_once() {
        let injected = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("vendor.com/net={name}")).collect();
            let injected = catalog(JSON, false).inject(&names, &ProcessUser::default());
            injected.map(|injected| injected.net_devices).map_err(|error| error.message().to_owned())
        };
        let cable = NetDevice { host_name: "ens1".into(), name: "net0".into() };
        assert_eq!(injected(&["cable", "cable"]).unwrap(), [cable]);
        let begin = "CDI device injection failed: vendor.com/net=";
        for (names, words) in [
            (
                ["cable", "other"],
                "other: invalid linux net device, duplicate Name \"net0\" with HostInterfaceName \"ens2\" and \"ens1\"",
            ),
            (
                ["cable", "again"],
                "again: invalid linux net device, duplicate HostInterfaceName \"ens1\" with names \"net1\" and \"net0\"",
            ),
            (["cable", "nameless"], "nameless: invalid linux net device, empty Name"),
        ] {
            assert_eq!(injected(&names).unwrap_err(), format!("{begin}{words}"));
        }
    }

    #[test]
    fn a_description_in_yaml_is_read_too() {
        let text = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    env: [X=0]\n- name: all\n  containerEdits:\n    env: [X=all]\n";
        let catalog = catalog(text, true);
        let all = DeviceRequest {
            count: -1,
            capabilities: Some(vec![vec!["gpu".into()]]),
            ..DeviceRequest::default()
        };
        let one = DeviceRequest { count: 1, ..all.clone() };
        let names = catalog.names(&[all, one]).unwrap();
        assert_eq!(names, ["nvidia.com/gpu=all", "nvidia.com/gpu=0"]);
        assert_eq!(catalog.inject(&names, &ProcessUser::default()).unwrap().env, ["X=all", "X=0"]);
    }

    #[test]
    fn what_is_not_there_or_not_served_is_refused_by_name() {
        let refused = |name: &str| {
            let error = catalog(JSON, false).inject(&[name.to_owned()], &ProcessUser::default()).unwrap_err();
            error.message().to_owned()
        };
        assert_eq!(
            refused("vendor.com/net=b"),
            "CDI device injection failed: unresolvable CDI devices vendor.com/net=b"
        );
        assert!(refused("vendor.com/net=wrong").contains("invalid hook name \"someday\""));
        assert!(refused("vendor.com/net=near").contains("path \"bin/x\" is not absolute"));
        let gpu = DeviceRequest { capabilities: Some(vec![vec!["gpu".into()]]), ..DeviceRequest::default() };
        assert_eq!(
            Catalog::default().names(&[gpu]).unwrap_err().message(),
            "could not select device driver \"\" with capabilities: [[gpu]]"
        );
        assert!(parse(&JSON.replace("\"kind\"", "\"sort\""), false).is_err());
    }
}
