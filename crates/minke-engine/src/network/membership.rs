//! Connecting containers to networks and taking them off, also while they run.

use std::sync::Arc;

use minke_api::network::{NetworkConnectRequest, NetworkDisconnectRequest};
use minke_model::{Error, ErrorKind, Result};
use minke_network::Network;
use minke_network::link::Namespace;

use super::allocate::{Who, choose_way_out};
use super::{Live, host_access, lock, naming, settle};
use crate::Engine;
use crate::container::handle::Command;
use crate::container::record::Record;
use crate::engine::{Shared, random_hex};

impl Engine {
    /// `POST /networks/{id}/connect`.
    pub async fn network_connect(&self, reference: &str, request: NetworkConnectRequest) -> Result<()> {
        let container = self.shared.containers.resolve(&request.container)?;
        let view = container.view();
        let network = match self.shared.networks.find(reference) {
            // It may be there by the time of the container's start.
            Err(error) if error.kind() == ErrorKind::NotFound && !view.is_running() => {
                let settings = Box::new(request.endpoint_config.unwrap_or_default());
                let network = reference.to_owned();
                return container.ask(|reply| Command::Connect { network, settings, reply }).await;
            }
            result => result?,
        };
        let settings = Box::new(request.endpoint_config.unwrap_or_default());
        settle::check(&network, &settings)?;
        let id = network.id.clone();
        container.ask(|reply| Command::Connect { network: id, settings, reply }).await
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(&self, reference: &str, request: NetworkDisconnectRequest) -> Result<()> {
        let container = match self.shared.containers.resolve(&request.container) {
            Err(error) if request.force && error.kind() == ErrorKind::NotFound => {
                self.shared.networks.find(reference)?;
                return Err(Error::not_found(format!("endpoint {} not found", request.container)));
            }
            result => result?,
        };
        let view = container.view();
        let network = match self.shared.networks.find(reference) {
            Ok(network) => network,
            // A container may still ask for a network that is gone.
            Err(_) if view.record.networks().contains_key(reference) => {
                let name = reference.to_owned();
                return container.ask(|reply| Command::Disconnect { network: name, reply }).await;
            }
            Err(error) => return Err(error),
        };
        settle::check_disconnect(&view.record.host_config.network_mode, &network)?;
        let name = network.name.clone();
        container.ask(|reply| Command::Disconnect { network: name, reply }).await
    }
}

/// Connects a container that runs to the network `name` of its record. Blocks. Returns what it has then.
///
/// # Errors
/// Docker's words; then nothing has changed.
pub fn connect(
    shared: &Arc<Shared>,
    record: &Record,
    live: Option<&Live>,
    (generation, pid): (u64, i32),
    name: &str,
) -> Result<Live> {
    let asked = record.networks();
    let settings = asked.get(name).cloned().unwrap_or_default();
    let network = shared.networks.find(name)?;
    let before = match live {
        Some(live) => live.clone(),
        None => Live { generation, sandbox: random_hex(32)?, ..Live::default() },
    };
    let mut live = before.clone();
    let who = Who { container: &record.id, name: &record.name, before: None };
    let made = shared.allocate(who, &[(name, &settings)], &live.endpoints)?;
    live.endpoints.extend(made);
    if live.holder.is_empty() {
        live.holder.clone_from(&record.name);
    }
    choose_way_out(&mut live.endpoints, |name| asked.get(name).map_or(0, |one| one.gw_priority));
    if let Err(error) = plug(shared, &network, &live, name, pid) {
        if let Some(endpoint) = live.endpoints.get(name) {
            shared.networks.leave(endpoint);
            shared.ground.clear_now(&shared.networks, endpoint);
        }
        return Err(error);
    }
    live.endpoints.values().for_each(|endpoint| shared.networks.update(endpoint));
    settle_change(shared, record, (&before, &live), pid)?;
    Ok(live)
}

/// Makes the link in the container's namespace, and the way out by it if it is the best.
fn plug(shared: &Shared, network: &Network, live: &Live, name: &str, pid: i32) -> Result<()> {
    let namespace = Namespace::of_pid(u32::try_from(pid).unwrap_or_default())?;
    // The one that has the way out so far gives it up first.
    let Some(endpoint) = live.endpoints.get(name) else { return Ok(()) };
    let mut own = endpoint.clone();
    (own.default4, own.default6) = (false, false);
    shared.ground.attach(network, &own, &namespace)?;
    host_access::follow(shared, &network.id);
    if (endpoint.default4 || endpoint.default6)
        && let Some(plan) = shared.ground.plan(network, endpoint)?
    {
        shared.ground.kernel()?.reroute(&plan, &namespace)?;
    }
    Ok(())
}

/// Takes a container that runs off the network `name`, which its record has no more. Blocks. Returns what it has then.
///
/// # Errors
/// The kernel's.
pub fn disconnect(
    shared: &Arc<Shared>,
    record: &Record,
    before: &Live,
    pid: i32,
    name: &str,
) -> Result<Live> {
    let mut live = before.clone();
    let Some(endpoint) = live.endpoints.remove(name) else { return Ok(live) };
    let asked = record.networks();
    let namespace = Namespace::of_pid(u32::try_from(pid).unwrap_or_default())?;
    if let Ok(network) = shared.networks.find(&endpoint.network)
        && let Some(plan) = shared.ground.plan(&network, &endpoint)?
    {
        shared.ground.kernel()?.detach(&plan, Some(&namespace))?;
    }
    shared.networks.leave(&endpoint);
    host_access::follow(shared, &endpoint.network);
    shared.ground.release(&shared.networks, &endpoint);
    if !endpoint.published.is_empty() {
        lock(&shared.ground.ports).release(&live.holder);
    }
    naming::forget_endpoint(shared, &endpoint);
    choose_way_out(&mut live.endpoints, |name| asked.get(name).map_or(0, |one| one.gw_priority));
    for other in live.endpoints.values() {
        shared.networks.update(other);
        if (endpoint.default4 && other.default4 || endpoint.default6 && other.default6)
            && let Ok(network) = shared.networks.find(&other.network)
            && let Some(plan) = shared.ground.plan(&network, other)?
        {
            shared.ground.kernel()?.reroute(&plan, &namespace)?;
        }
    }
    settle_change(shared, record, (before, &live), pid)?;
    shared.forget_addresses(&endpoint);
    Ok(live)
}

/// Takes the link `link` from a container that runs: out of /etc/hosts, and from the firewall. Blocks. Returns what it has then.
///
/// # Errors
/// The kernel's, the file system's.
pub fn unlink(
    shared: &Shared,
    (before, record): (&Record, &Record),
    live: &Live,
    link: &str,
) -> Result<Live> {
    let mut live = live.clone();
    if let Ok((target, _)) = settle::split_link(link) {
        live.endpoints.values_mut().for_each(|endpoint| endpoint.linked.retain(|id| id != target));
    }
    let paths = shared.paths(&record.id);
    live.write(&paths.networks)?;
    live.endpoints.values().for_each(|endpoint| shared.networks.update(endpoint));
    crate::container::rewrite_network_files(shared, (before, &live), (record, &live))?;
    shared.apply_rules()?;
    Ok(live)
}

/// What follows from a change: the file, names, rules, /etc/hosts and /etc/resolv.conf.
fn settle_change(shared: &Shared, record: &Record, (before, live): (&Live, &Live), pid: i32) -> Result<()> {
    let paths = shared.paths(&record.id);
    live.write(&paths.networks)?;
    naming::tell_netd(shared, record, live, Some(pid), Vec::new());
    crate::container::rewrite_network_files(shared, (record, before), (record, live))?;
    shared.apply_rules()
}
