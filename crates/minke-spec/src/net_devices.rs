//! Interfaces of the host that a container gets (OCI runtime specification, config-linux.md "Network Devices").

use std::collections::BTreeSet;

use minke_model::{Error, Result};
use oci_spec::runtime::Linux;

use crate::plan::NetDevice;

/// What the kernel takes as a name (`IFNAMSIZ`, with its zero).
const NAME_LIMIT: usize = 15;

/// Decides which interfaces are moved under which names: in the order of their names on the host.
///
/// # Errors
/// The field's words where the container has no network namespace of its own, and for names that no interface can have.
pub fn plan_net_devices(linux: &Linux, own_network: bool) -> Result<Vec<NetDevice>> {
    let asked = linux.net_devices().iter().flatten();
    let mut devices: Vec<NetDevice> = asked
        .map(|(host_name, device)| {
            let name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(host_name);
            NetDevice { host_name: host_name.clone(), name: name.clone() }
        })
        .collect();
    devices.sort_by(|one, other| one.host_name.cmp(&other.host_name));
    if !devices.is_empty() && !own_network {
        return Err(Error::invalid("unable to move network devices without a private NET namespace"));
    }
    let mut names = BTreeSet::new();
    for device in &devices {
        for name in [&device.host_name, &device.name] {
            if !is_name(name) {
                return Err(Error::invalid(format!("invalid network device name {name:?}")));
            }
        }
        if device.host_name.contains('%') || !is_template_or_plain(&device.name) {
            return Err(Error::invalid(format!("invalid network device name {:?}", device.name)));
        }
        if !device.name.contains('%') && !names.insert(&device.name) {
            return Err(Error::invalid(format!("two network devices are to be called {:?}", device.name)));
        }
    }
    Ok(devices)
}

/// Whether the kernel takes it as an interface's name.
fn is_name(name: &str) -> bool {
    let odd = |byte: u8| matches!(byte, b'/' | b':' | 0 | 0x0b) || byte.is_ascii_whitespace();
    !name.is_empty() && name.len() <= NAME_LIMIT && name != "." && name != ".." && !name.bytes().any(odd)
}

/// At most one place for a number, and no other use of its sign.
fn is_template_or_plain(name: &str) -> bool {
    name.matches('%').count() == name.matches("%d").count() && name.matches('%').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(devices: Value) -> Result<Vec<NetDevice>, String> {
        let linux: Linux = serde_json::from_value(json!({"netDevices": devices})).unwrap();
        plan_net_devices(&linux, true).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn an_interface_keeps_its_name_or_gets_another() {
        let planned =
            planned(json!({"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": "card"}})).unwrap();
        let names: Vec<_> = planned.iter().map(|one| (one.host_name.as_str(), one.name.as_str())).collect();
        assert_eq!(names, [("eth0", "eth0"), ("eth1", "net%d"), ("eth2", "card")]);
    }

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for wrong in ["", "..", "a/b", "a b", "a:b", "longer-than-all-of-them", "a%db%d", "a%s", "%"] {
            let devices = if wrong.is_empty() { json!({"": {}}) } else { json!({"eth0": {"name": wrong}}) };
            let words = planned(devices).unwrap_err();
            assert_eq!(words, format!("invalid network device name {wrong:?}"));
        }
        assert!(planned(json!({"eth%d": {}})).is_err());
        let twice = planned(json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}})).unwrap_err();
        assert_eq!(twice, "two network devices are to be called \"x\"");
    }

    #[test]
    fn who_shares_the_hosts_network_gets_none() {
        let linux: Linux = serde_json::from_value(json!({"netDevices": {"eth0": {}}})).unwrap();
        let error = plan_net_devices(&linux, false).unwrap_err();
        assert_eq!(error.message(), "unable to move network devices without a private NET namespace");
        assert_eq!(plan_net_devices(&Linux::default(), false).unwrap(), []);
    }
}
