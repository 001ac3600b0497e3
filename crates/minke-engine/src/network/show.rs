//! Networks and endpoints as the API shows them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use minke_api::container::PortSummary;
use minke_api::network::{
    ConfigReference, EndpointResource, EndpointSettings, Ipam, IpamConfig, IpamStatus, Network as Shown,
    NetworkStatus, PortBinding, PortMap, SubnetStatus,
};
use minke_network::{Driver, Endpoint, Subnet};

use super::{Held, Live};
use crate::container::record::Record;

/// A network; `whole`: with its containers and how many addresses are taken.
pub fn network(held: &Held, whole: bool) -> Shown {
    let network = &held.network;
    Shown {
        name: network.name.clone(),
        id: network.id.clone(),
        created: network.created.clone(),
        scope: "local".into(),
        driver: network.driver.name().into(),
        enable_ipv4: network.ipv4,
        enable_ipv6: network.ipv6,
        ipam: Ipam {
            driver: network.ipam_driver.clone(),
            options: network.ipam_options.clone(),
            config: Some(network.subnets.iter().map(subnet).collect()),
        },
        internal: network.internal,
        attachable: network.attachable,
        ingress: false,
        config_from: ConfigReference { network: network.config_from.clone() },
        config_only: network.config_only,
        containers: whole.then(|| containers(held)),
        options: network.options.clone(),
        labels: network.labels.clone(),
        status: (whole && !network.config_only).then(|| status(held)),
    }
}

fn subnet(subnet: &Subnet) -> IpamConfig {
    IpamConfig {
        subnet: subnet.shown.clone(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: (!subnet.auxiliary.is_empty()).then(|| {
            subnet.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()
        }),
    }
}

fn containers(held: &Held) -> BTreeMap<String, EndpointResource> {
    let shown = |member: &super::Member| {
        let endpoint = &member.endpoint;
        EndpointResource {
            name: member.container_name.clone(),
            endpoint_id: endpoint.id.clone(),
            mac_address: mac(endpoint, held.network.driver),
            ipv4_address: endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
            ipv6_address: endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
        }
    };
    held.endpoints.values().map(|member| (member.endpoint.container.clone(), shown(member))).collect()
}

/// What has no interface of its own has no address.
fn mac(endpoint: &Endpoint, driver: Driver) -> String {
    match driver {
        Driver::Host | Driver::Null => String::new(),
        _ => endpoint.mac.to_string(),
    }
}

fn status(held: &Held) -> NetworkStatus {
    let subnets = held.subnets.iter().map(|(addresses, _)| {
        let status =
            SubnetStatus { ips_in_use: addresses.in_use(), dynamic_ips_available: addresses.available() };
        (addresses.subnet().to_string(), status)
    });
    NetworkStatus { ipam: IpamStatus { subnets: subnets.collect() } }
}

/// The networks of a container: what it asked for, with what it has while it runs.
pub fn endpoints(record: &Record, live: Option<&Live>) -> BTreeMap<String, EndpointSettings> {
    let mut all = record.networks().into_owned();
    for (name, settings) in &mut all {
        if let Some(endpoint) = live.and_then(|live| live.endpoints.get(name)) {
            fill_in(settings, endpoint);
        }
        settings.dns_names = dns_names(record, name, settings);
    }
    all
}

fn fill_in(settings: &mut EndpointSettings, endpoint: &Endpoint) {
    let text = |address: Option<String>| address.unwrap_or_default();
    settings.network_id.clone_from(&endpoint.network);
    settings.endpoint_id.clone_from(&endpoint.id);
    if endpoint.interface.is_empty() {
        return;
    }
    settings.mac_address = endpoint.mac.to_string();
    settings.gateway = text(endpoint.gateway4.map(|address| address.to_string()));
    settings.ip_address = text(endpoint.ipv4.map(|net| net.addr().to_string()));
    settings.ip_prefix_len = endpoint.ipv4.map_or(0, |net| net.prefix_len().into());
    settings.ipv6_gateway = text(endpoint.gateway6.map(|address| address.to_string()));
    settings.global_ipv6_address = text(endpoint.ipv6.map(|net| net.addr().to_string()));
    settings.global_ipv6_prefix_len = endpoint.ipv6.map_or(0, |net| net.prefix_len().into());
}

/// By which names the container is found in a network, its own first; none in those without a resolver.
pub fn dns_names(record: &Record, network: &str, settings: &EndpointSettings) -> Option<Vec<String>> {
    if has_no_names(network) {
        return None;
    }
    let own = [record.name.clone()].into_iter();
    let short = record.id.get(..12).unwrap_or_default().to_owned();
    let all = own
        .chain(settings.aliases.iter().flatten().cloned())
        .chain([short, record.config.hostname.clone()])
        .filter(|name| !name.is_empty());
    let mut seen = BTreeSet::new();
    Some(all.filter(|name| seen.insert(name.clone())).collect())
}

/// Whether containers of a network don't find one another by name.
pub fn has_no_names(network: &str) -> bool {
    matches!(network, "bridge" | "host" | "none")
}

/// A container's ports as inspect shows them while it runs.
pub fn ports(record: &Record, live: Option<&Live>) -> PortMap {
    let Some(live) = live.filter(|live| !live.shared) else { return PortMap::new() };
    let mut all: PortMap =
        record.config.exposed_ports.keys().map(|port| (with_protocol(port), None)).collect();
    for endpoint in live.endpoints.values() {
        for published in &endpoint.published {
            let key = format!("{}/{}", published.container_port, published.protocol);
            let binding = PortBinding {
                host_ip: published.host.ip().to_string(),
                host_port: published.host.port().to_string(),
            };
            all.entry(key).or_default().get_or_insert_default().push(binding);
        }
    }
    all
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

/// A container's ports as the list shows them.
pub fn port_summary(record: &Record, live: Option<&Live>) -> Vec<PortSummary> {
    let mut all = Vec::new();
    for (port, bindings) in ports(record, live) {
        let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        let plain = PortSummary {
            private_port: number.parse().unwrap_or(0),
            protocol: protocol.to_owned(),
            ..PortSummary::default()
        };
        match bindings {
            None => all.push(plain),
            Some(bindings) => all.extend(bindings.into_iter().map(|binding| PortSummary {
                ip: binding.host_ip,
                public_port: binding.host_port.parse().unwrap_or(0),
                ..plain.clone()
            })),
        }
    }
    all
}
