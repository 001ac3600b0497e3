//! The fields whose Go type shows in templates: what `null` prints as, and which fields are there for a template although the
//! engine leaves them out of its JSON while they are zero. A table; nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;

/// The zero of a Go type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Prints `<nil>`.
    Pointer,
    /// Prints `[]`.
    List,
    /// Prints `map[]`.
    Map,
    /// Prints nothing.
    Text,
    /// Prints `false`.
    Bool,
}

const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "Tags",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];

const MAPS: &[&str] = &[
    "Annotations",
    "Config",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Field of which object, and its zero; the empty name is the object itself.
const OMITTED: &[(&str, &str, Zero)] = &[
    ("", "SizeRw", Zero::Pointer),
    ("", "SizeRootFs", Zero::Pointer),
    ("State", "Health", Zero::Pointer),
    ("HostConfig", "Annotations", Zero::Map),
    ("HostConfig", "Init", Zero::Pointer),
    ("HostConfig", "Mounts", Zero::List),
    ("HostConfig", "Runtime", Zero::Text),
    ("HostConfig", "StorageOpt", Zero::Map),
    ("HostConfig", "Sysctls", Zero::Map),
    ("HostConfig", "Tmpfs", Zero::Map),
    ("Config", "ArgsEscaped", Zero::Bool),
    ("Config", "ExposedPorts", Zero::Map),
    ("Config", "Healthcheck", Zero::Pointer),
    ("Config", "NetworkDisabled", Zero::Bool),
    ("Config", "Shell", Zero::List),
    ("Config", "StopSignal", Zero::Text),
    ("Config", "StopTimeout", Zero::Pointer),
];

/// What `null` stands for in a field.
pub fn null(field: &str) -> Zero {
    if LISTS.contains(&field) {
        Zero::List
    } else if MAPS.contains(&field) {
        Zero::Map
    } else {
        Zero::Pointer
    }
}

/// The fields that the object in `within` has for a template beyond those in its JSON.
pub fn omitted(within: &str, entries: &BTreeMap<Arc<str>, Value>) -> Vec<(&'static str, Zero)> {
    // Other objects are called Config too: a log's options, which have no Env.
    if within == "Config" && !entries.contains_key("Env") {
        return Vec::new();
    }
    // The outermost object is a container where it has a host's settings; lists' elements have no name either.
    if within.is_empty() && !entries.contains_key("HostConfig") {
        return Vec::new();
    }
    let of_object = OMITTED.iter().filter(|(object, _, _)| *object == within);
    of_object.map(|(_, field, kind)| (*field, *kind)).collect()
}
