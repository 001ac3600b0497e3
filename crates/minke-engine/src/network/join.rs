//! The networks of a run: addresses and ports are taken, links made while everything else is prepared, and given back at its end.
//!
//! ```text
//!   begin: addresses, ports, the file --> link: interfaces, resolver, rules --> the container starts --> finish
//!     '---------------- dropped before it is kept: all is given back ----------------'
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::network::EndpointSettings;
use minke_model::{Error, Result};
use minke_network::link::Namespace;
use minke_network::netd::{Given, Reservations, Sockets};
use minke_network::options::BridgeOptions;
use minke_network::ports::Reach;
use minke_network::{Driver, Endpoint, Network};

use super::allocate::{Who, choose_way_out};
use super::{Live, host_access, lock, naming, publish, texts};
use crate::container::links;
use crate::container::record::Record;
use crate::engine::{Shared, random_hex};

/// A run's networks, given back unless they are kept.
pub struct Joining {
    shared: Arc<Shared>,
    record: Arc<Record>,
    live: Option<Live>,
    given: Vec<Given>,
}

/// What was made in a container's namespace.
pub struct Linked {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    sockets: Option<Sockets>,
}

/// Takes what a run needs; nothing is made in the kernel but reservations of ports.
///
/// # Errors
/// Docker's words for a network, an address or a port that can't be had.
pub fn begin(shared: &Arc<Shared>, record: &Arc<Record>, generation: u64) -> Result<Joining> {
    let mut joining =
        Joining { shared: shared.clone(), record: record.clone(), live: None, given: Vec::new() };
    let mode = &record.host_config.network_mode;
    let Some(primary) = shared.networks.name_of_mode(mode) else { return Ok(joining) };
    let path = shared.paths(&record.id).networks;
    let asked = record.networks();
    let order = in_order(primary, &asked);
    let before = asked.keys().any(|name| !is_private(name)).then(|| Live::read(&path)).flatten();
    for endpoint in before.iter().flat_map(|live| live.endpoints.values()) {
        shared.ground.clear(&shared.networks, endpoint);
    }
    let who = Who { container: &record.id, name: &record.name, before: before.as_ref() };
    let endpoints = shared.allocate(who, &order, &BTreeMap::new())?;
    let mut live = Live {
        generation,
        sandbox: random_hex(32)?,
        endpoints,
        shared: primary == "host",
        holder: record.name.clone(),
    };
    choose_way_out(&mut live.endpoints, |name| asked.get(name).map_or(0, |one| one.gw_priority));
    // From here on, dropping it gives everything back.
    joining.live = Some(live);
    if let Some(live) = joining.live.as_mut().filter(|live| live.endpoints.values().any(has_interface)) {
        link_names(shared, record, live);
        joining.given = publish_ports(shared, record, live)?;
        live.endpoints.values().for_each(|endpoint| shared.networks.update(endpoint));
        live.write(&path)?;
    }
    Ok(joining)
}

/// The first network, then the others by name.
fn in_order<'a>(
    primary: &str,
    asked: &'a BTreeMap<String, EndpointSettings>,
) -> Vec<(&'a str, &'a EndpointSettings)> {
    let mut all: Vec<(&str, &EndpointSettings)> =
        asked.iter().map(|(name, settings)| (name.as_str(), settings)).collect();
    all.sort_by_key(|(name, settings)| {
        let is_primary =
            *name == primary || (!primary.is_empty() && settings.network_id.starts_with(primary));
        (!is_primary, *name)
    });
    all
}

/// Whether a network is one without interfaces of its own.
pub fn is_private(network: &str) -> bool {
    matches!(network, "host" | "none")
}

/// Whether an endpoint has an interface of its own.
pub fn has_interface(endpoint: &Endpoint) -> bool {
    !endpoint.interface.is_empty()
}

/// Notes which ports others reach by links, and whom this container has links to.
fn link_names(shared: &Shared, record: &Record, live: &mut Live) {
    let exposed = record.config.exposed_ports.keys().filter_map(|port| publish::exposed(port).ok());
    let exposed: Vec<_> = exposed.flatten().map(|(port, protocol)| (protocol, port)).collect();
    let targets: Vec<String> =
        links::of(shared, record).into_iter().map(|(target, _)| target.id.clone()).collect();
    for (name, endpoint) in &mut live.endpoints {
        endpoint.exposed.clone_from(&exposed);
        if name == "bridge" {
            endpoint.linked.clone_from(&targets);
        }
    }
}

/// Publishes the container's ports at the endpoint that has the way out.
fn publish_ports(shared: &Shared, record: &Record, live: &mut Live) -> Result<Vec<Given>> {
    let wanted = publish::wanted(&record.config, &record.host_config)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let holder = live.holder.clone();
    let chosen = live.endpoints.iter_mut().find(|(_, one)| one.default4 || one.default6);
    let Some((name, endpoint)) = chosen else { return Ok(Vec::new()) };
    let network = shared.networks.find(name)?;
    if network.driver != Driver::Bridge {
        return Ok(Vec::new());
    }
    let options = BridgeOptions::parse(&network.options)?;
    let host_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let reach = Reach {
        default_address: options.host_binding.or(shared.networks.options.ip),
        v4: endpoint.ipv4.is_some(),
        v6: host_v6 && (endpoint.ipv6.is_some() || shared.networks.options.userland_proxy),
    };
    let mut reservations = Reservations::default();
    let ephemeral = &shared.ground.ephemeral;
    let published = lock(&shared.ground.ports).publish(&holder, &wanted, reach, ephemeral, &mut reservations);
    endpoint.published = published.map_err(|error| {
        Error::new(
            error.kind(),
            format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): {error}",
                record.name, endpoint.id
            ),
        )
    })?;
    Ok(reservations.give(&record.id))
}

impl Joining {
    /// What the run has, unless it shares another container's.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// Whether interfaces have to be made.
    pub fn needs_links(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.endpoints.values().any(has_interface))
    }

    /// Makes them, in the background of everything else.
    pub fn link(&self, namespace: Namespace) -> tokio::task::JoinHandle<Result<Linked>> {
        let (shared, record) = (self.shared.clone(), self.record.clone());
        let live = self.live.clone().unwrap_or_default();
        tokio::task::spawn_blocking(move || link(&shared, &record, &live, Arc::new(namespace)))
    }

    /// The container starts with it.
    pub fn linked(&mut self, linked: Linked) {
        let Some(live) = &self.live else { return };
        let mut given = std::mem::take(&mut self.given);
        if texts::has_resolver(live)
            && let Ok(namespace) = linked.namespace.descriptor().try_clone_to_owned()
        {
            let sandbox = self.record.id.clone();
            given.push(Given::Namespace { sandbox, namespace, sockets: linked.sockets });
        }
        naming::tell_netd(&self.shared, &self.record, live, None, given);
    }

    /// The run has them from now on.
    pub fn keep(&mut self) -> Option<Arc<Live>> {
        self.live.take().map(Arc::new)
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            finish(&self.shared, &self.record, &live);
        }
    }
}

fn link(shared: &Shared, _record: &Record, live: &Live, namespace: Arc<Namespace>) -> Result<Linked> {
    for (network, endpoint) in networks_of(shared, live)? {
        shared.ground.attach(&network, endpoint, &namespace).map_err(failed)?;
        host_access::follow(shared, &network.id);
    }
    let sockets = match texts::has_resolver(live) {
        false => None,
        true => match namespace.run(|| minke_network::netd::resolver::prepare(true))? {
            Ok(sockets) => Some(sockets),
            Err(error) => {
                // netd tries it again by itself, and says so if it fails too.
                tracing::debug!(%error, "the resolver's sockets could not be made ahead");
                None
            }
        },
    };
    shared.apply_rules().map_err(failed)?;
    Ok(Linked { namespace, sockets })
}

fn failed(error: Error) -> Error {
    Error::new(error.kind(), format!("failed to set up container networking: {error}"))
}

fn networks_of<'a>(shared: &Shared, live: &'a Live) -> Result<Vec<(Arc<Network>, &'a Endpoint)>> {
    let with = live.endpoints.values().filter(|endpoint| has_interface(endpoint));
    with.map(|endpoint| Ok((shared.networks.find(&endpoint.network)?, endpoint))).collect()
}

/// Gives back what a run had. Its links go with its namespace.
pub fn finish(shared: &Shared, record: &Record, live: &Live) {
    for endpoint in live.endpoints.values() {
        shared.networks.leave(endpoint);
        shared.ground.release(&shared.networks, endpoint);
    }
    if !live.endpoints.values().any(has_interface) {
        return;
    }
    live.endpoints.values().for_each(|endpoint| host_access::follow(shared, &endpoint.network));
    lock(&shared.ground.ports).release(&live.holder);
    naming::forget(shared, record, live);
    if let Err(error) = shared.apply_rules() {
        tracing::error!(%error, "the firewall's rules could not be changed");
    }
    live.endpoints.values().for_each(|endpoint| shared.forget_addresses(endpoint));
}
