//! The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf: the host's own files joined with what the container asks for.

use std::net::IpAddr;

use minke_model::Result;
use minke_network::Driver;
use minke_spec::etc;

use super::record::Record;
use crate::engine::Shared;
use crate::network::{Live, settle, texts};

/// The three texts.
pub struct Files {
    /// /etc/hostname.
    pub hostname: String,
    /// /etc/hosts.
    pub hosts: String,
    /// /etc/resolv.conf.
    pub resolv_conf: String,
}

/// The texts for a container; `host`: it shares the host's network; `live`: what its run has of networks.
///
/// # Errors
/// An `--add-host` that isn't a name and an address, a link to a container that doesn't run.
pub fn files(shared: &Shared, record: &Record, host: bool, live: Option<&Live>) -> Result<Files> {
    let own = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let extra = record.host_config.extra_hosts.clone().unwrap_or_default();
    let hosts = match host && extra.is_empty() {
        true => own("/etc/hosts"),
        false => {
            let extra = texts::extra_hosts(&extra, &host_gateways(shared))?;
            let mut rows = linked(shared, record, live)?;
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

/// The rows of links on the default bridge, which has no resolver: the name, and what the other is called.
fn linked(shared: &Shared, record: &Record, live: Option<&Live>) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    if live.is_none_or(|live| !live.endpoints.contains_key("bridge")) {
        return Ok(rows);
    }
    for link in record.host_config.links.iter().flatten() {
        let (target, alias) = settle::split_link(link)?;
        let view = shared.containers.resolve(target)?.view();
        let Some(endpoint) = view.live().and_then(|live| live.endpoints.get("bridge")) else {
            return Err(minke_model::Error::invalid(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                view.record.name, record.name
            )));
        };
        let names = format!("{alias} {} {}", view.record.config.hostname, view.record.name);
        rows.extend(endpoint.addresses().map(|address| (address.to_string(), names.clone())));
    }
    Ok(rows)
}
