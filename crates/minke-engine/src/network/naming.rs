//! What netd is told: who is called what in which network, how a container's questions are answered, and which ports it serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use minke_network::netd::{self, Change, Given, Named, Port, Process, Resolver, Sandbox, Snapshot};
use minke_network::{Endpoint, names::Neighbour};
use minke_sys::procfs::Procfs;

use super::join::has_interface;
use super::{Live, settle, show, texts};
use crate::container::record::Record;
use crate::engine::Shared;

/// The host's own configuration of its resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Tells netd of a run: before it has a process, and again when it has one.
pub fn tell_netd(shared: &Shared, record: &Record, live: &Live, pid: Option<i32>, given: Vec<Given>) {
    let Some(change) = change(shared, record, live, pid) else { return };
    drop(shared.netd.change(change, given));
}

/// What of a run is netd's; nothing for one that has neither names nor ports.
fn change(shared: &Shared, record: &Record, live: &Live, pid: Option<i32>) -> Option<Change> {
    let mut change = Change::default();
    for (name, endpoint) in live.endpoints.iter().filter(|(_, one)| has_interface(one)) {
        if show::has_no_names(name) {
            continue;
        }
        change.networks.insert(endpoint.network.clone(), Some(netd::Network { name: name.clone() }));
        change.named.insert(endpoint.id.clone(), Some(named(record, name, endpoint)));
    }
    let sandbox = Sandbox {
        run: live.generation,
        process: pid.and_then(process),
        resolver: texts::has_resolver(live).then(|| resolver(shared, record, live)),
        ports: live.endpoints.values().flat_map(|one| ports(shared, one)).collect(),
    };
    if sandbox.resolver.is_none() && sandbox.ports.is_empty() {
        return None;
    }
    change.sandboxes.insert(record.id.clone(), Some(sandbox));
    Some(change)
}

/// Takes a run away.
pub fn forget(shared: &Shared, record: &Record, live: &Live) {
    let mut change = Change::default();
    let snapshot = shared.netd.snapshot();
    for endpoint in live.endpoints.values().filter(|one| snapshot.named.contains_key(&one.id)) {
        change.named.insert(endpoint.id.clone(), None);
    }
    if snapshot.sandboxes.get(&record.id).is_some_and(|sandbox| sandbox.run == live.generation) {
        change.sandboxes.insert(record.id.clone(), None);
    }
    if change != Change::default() {
        drop(shared.netd.change(change, Vec::new()));
    }
}

/// Takes one endpoint's names away while its container goes on.
pub fn forget_endpoint(shared: &Shared, endpoint: &Endpoint) {
    let named = BTreeMap::from([(endpoint.id.clone(), None)]);
    drop(shared.netd.change(Change { named, ..Change::default() }, Vec::new()));
}

/// Tells netd what all containers that run have: at the engine's start.
pub fn tell_all(shared: &Shared) {
    let mut snapshot = Snapshot::default();
    for container in shared.containers.all() {
        let view = container.view();
        let (Some(live), Some(run)) = (view.live(), view.lifecycle.run()) else { continue };
        if let Some(change) = change(shared, &view.record, live, Some(run.pid)) {
            snapshot.apply(change);
        }
    }
    drop(shared.netd.replace(snapshot, Vec::new()));
}

fn process(pid: i32) -> Option<Process> {
    let start_ticks = Procfs::host().ok()?.start_time_ticks(pid).ok()?;
    Some(Process { pid, start_ticks })
}

fn named(record: &Record, network: &str, endpoint: &Endpoint) -> Named {
    let settings = record.networks().get(network).cloned().unwrap_or_default();
    let names = show::dns_names(record, network, &settings).unwrap_or_default();
    Named {
        network: endpoint.network.clone(),
        sandbox: record.id.clone(),
        neighbour: Neighbour { name: record.name.clone(), names, addresses: endpoint.addresses().collect() },
    }
}

fn resolver(shared: &Shared, record: &Record, live: &Live) -> Resolver {
    let host = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let resolving = texts::Resolving::of(record, &shared.networks.options);
    let mut with_names: Vec<(&String, &Endpoint)> =
        live.endpoints.iter().filter(|(name, one)| has_interface(one) && !show::has_no_names(name)).collect();
    with_names.sort_by_key(|(name, endpoint)| (!endpoint.default4, (*name).clone()));
    let asked = record.networks();
    let links = with_names.iter().flat_map(|(name, _)| {
        let settings = asked.get(*name);
        settings.into_iter().flat_map(|settings| settings.links.iter().flatten())
    });
    let links: BTreeMap<String, String> = links
        .filter_map(|link| settle::split_link(link).ok())
        .map(|(target, alias)| {
            let name = shared.containers.resolve(target).map(|found| found.view().record.name.clone());
            (alias.to_owned(), name.unwrap_or_else(|_| target.to_owned()))
        })
        .collect();
    Resolver {
        networks: with_names.iter().map(|(_, endpoint)| endpoint.network.clone()).collect(),
        links,
        upstreams: resolving.upstreams(&host),
        ndots_set: resolving.sets_ndots(),
        may_forward: live.endpoints.values().any(|one| one.gateway4.is_some() || one.gateway6.is_some()),
    }
}

/// An endpoint's ports; where the kernel carries none of it, or not all, user space does.
fn ports(shared: &Shared, endpoint: &Endpoint) -> Vec<Port> {
    let options = &shared.networks.options;
    let target = |published: &minke_network::ports::Published| {
        let v4 = endpoint.ipv4.map(|net| std::net::IpAddr::V4(net.addr()));
        let v6 = endpoint.ipv6.map(|net| std::net::IpAddr::V6(net.addr()));
        let address = if published.host.is_ipv6() { v6.or(v4) } else { v4 };
        address.map(|address| SocketAddr::new(address, published.container_port))
    };
    let carried = options.userland_proxy || !options.iptables;
    let port = |published: &minke_network::ports::Published| Port {
        target: target(published).filter(|_| carried),
        published: published.clone(),
    };
    endpoint.published.iter().map(port).collect()
}
