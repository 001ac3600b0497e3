//! The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf: the host's own files joined with what the container asks for.

use std::net::IpAddr;

use minke_model::Result;
use minke_network::Driver;
use minke_spec::etc;

use super::links;
use super::record::Record;
use crate::engine::Shared;
use crate::network::{Live, texts};

/// The three texts.
pub struct Files {
    /// /etc/hostname.
    pub hostname: String,
    /// /etc/hosts.
    pub hosts: String,
    /// /etc/resolv.conf.
    pub resolv_conf: String,
}

/// What is going on with the container's network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It is the host's.
    Host,
    /// Its own, at a start.
    Own,
    /// Its own, while it runs.
    Changing,
}

/// The texts for a container; `live`: what its run has of networks.
///
/// # Errors
/// An `--add-host` that isn't a name and an address; at a start, a link to a container that doesn't run.
pub fn files(shared: &Shared, record: &Record, network: Network, live: Option<&Live>) -> Result<Files> {
    let host = network == Network::Host;
    let own = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let extra = record.host_config.extra_hosts.clone().unwrap_or_default();
    let hosts = match host && extra.is_empty() {
        true => own("/etc/hosts"),
        false => {
            let extra = texts::extra_hosts(&extra, &host_gateways(shared))?;
            let is_on_bridge = live.is_some_and(|live| live.endpoints.contains_key("bridge"));
            let mut rows = match is_on_bridge {
                true => links::hosts(shared, record, network == Network::Own)?,
                false => Vec::new(),
            };
            rows.extend(live.map(|live| texts::own_hosts(record, live)).unwrap_or_default());
            etc::hosts(&etc::HostsSettings { own: &rows, extra: &extra })?
        }
    };
    let resolving = texts::Resolving::of(record, &shared.networks.options);
    let resolv_conf = match live.is_some_and(texts::has_resolver) {
        true => resolving.behind_netd(&own("/etc/resolv.conf")),
        false => etc::resolv_conf(&own("/etc/resolv.conf"), &resolving.settings(host)),
    };
    Ok(Files { hostname: etc::hostname(&record.config.hostname), hosts, resolv_conf })
}

/// What `host-gateway` means: as the daemon was told, else the default bridge's addresses.
fn host_gateways(shared: &Shared) -> Vec<IpAddr> {
    let told = &shared.networks.options.host_gateway_ips;
    if !told.is_empty() {
        return told.clone();
    }
    let bridge = shared.networks.find("bridge").ok();
    let subnets =
        bridge.iter().filter(|network| network.driver == Driver::Bridge).flat_map(|one| &one.subnets);
    subnets.filter_map(|subnet| subnet.gateway).collect()
}
