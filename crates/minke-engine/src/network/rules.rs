//! From the networks and the endpoints that there are to the whole state of the firewall, and that state made so. Nothing is opened
//! before the first bridge is there, and nothing written where nothing is other.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use minke_model::Result;
use minke_network::Endpoint;
use minke_network::firewall::{
    Connections, Firewall, Forget, Keeper, LinkRule, NetworkRules, PublishedRule, Settings, Wanted,
};
use minke_network::ports::Protocol;

use super::{Held, Member, lock};
use crate::engine::Shared;

/// The firewall of an engine.
#[derive(Default)]
pub struct Rules {
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    firewall: Option<Arc<Mutex<Firewall>>>,
    /// Repairs what others change.
    keeper: Option<Keeper>,
    last: Option<Wanted>,
    /// An earlier engine has left tables.
    found: bool,
    /// This host doesn't let the kernel lead what goes to localhost: user space does.
    no_localhost: bool,
}

impl Rules {
    /// Returns the firewall, once there is one.
    pub fn firewall(&self) -> Option<Arc<Mutex<Firewall>>> {
        lock(&self.state).firewall.clone()
    }
}

impl Shared {
    /// The same at the engine's start: also where no network is used any more, if an earlier engine has left a table, in which
    /// ports of containers that have ended would go on leading to nobody.
    ///
    /// # Errors
    /// The kernel's.
    pub fn adopt_rules(&self) -> Result<()> {
        lock(&self.rules.state).found = Firewall::is_left(&self.ground.names);
        self.apply_rules()
    }

    /// Makes the firewall as the networks and endpoints want it. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    pub fn apply_rules(&self) -> Result<()> {
        let options = &self.networks.options;
        let mut kept = lock(&self.rules.state);
        if self.ground.forwards.is_closed() {
            return Ok(());
        }
        let mut wanted = self.wanted_rules()?;
        if wanted.networks.is_empty() && kept.firewall.is_none() && !kept.found {
            return Ok(());
        }
        let forwarding = self.survey_forwarding(&wanted.networks);
        // Where a family is left alone, so is a network that has no other: also between its own ports.
        wanted.networks.retain(|rules| self.is_ruled(rules));
        if wanted.networks.is_empty() && kept.firewall.is_none() && !kept.found {
            self.turn_forwarding_on(&forwarding);
            return Ok(());
        }
        if !options.ip_forward_no_drop {
            wanted.apart.clone_from(&forwarding.apart);
            wanted.apart6 = forwarding.apart6;
        }
        // By chains of iptables it stays with user space.
        let by_tables = options.firewall_backend != "iptables";
        wanted.localhost = options.iptables && by_tables && !kept.no_localhost;
        if kept.last.as_ref() == Some(&wanted) {
            self.turn_forwarding_on(&forwarding);
            return Ok(());
        }
        let firewall = match &kept.firewall {
            Some(firewall) => firewall.clone(),
            None => {
                let chains = options.firewall_backend == "iptables";
                let settings =
                    Settings { ipv4: options.iptables, ipv6: options.ip6tables, iptables: true, chains };
                let mut opened = Firewall::open(&self.ground.names, settings)?;
                if options.publish_policy != "docker" {
                    opened.honour_ufw("/etc".into());
                    opened.honour_firewalld();
                }
                let opened = Arc::new(Mutex::new(opened));
                kept.firewall = Some(opened.clone());
                opened
            }
        };
        let before = kept.last.take();
        lock(&firewall).apply(&wanted)?;
        // After the rules that drop what comes to localhost from there.
        if let Err(error) = self.route_localhost(&wanted) {
            tracing::info!(%error, "user space carries what comes to published ports by localhost");
            kept.no_localhost = true;
            wanted.localhost = false;
            lock(&firewall).apply(&wanted)?;
        }
        self.turn_forwarding_on(&forwarding);
        forget_connections(before.as_ref(), &wanted);
        if before.is_none_or(|before| before.networks != wanted.networks) {
            trust(&lock(&firewall).bridges_beside_firewalld());
        }
        kept.last = Some(wanted);
        if kept.keeper.is_none() {
            let kept_so = firewall.clone();
            let repaired = move |result| {
                told(result);
                let bridges = lock(&kept_so).bridges_beside_firewalld();
                // It may be busy with what was heard of; what it does next is to be heard too.
                if !bridges.is_empty() {
                    std::thread::spawn(move || trust(&bridges));
                }
            };
            kept.keeper = Keeper::start(firewall, repaired)
                .inspect_err(|error| tracing::warn!(%error, "rules that others remove aren't put back"))
                .ok();
        }
        Ok(())
    }

    /// Takes back what was done to the host for containers' sake, when the engine ends and no container is on a bridge. Blocks.
    pub fn leave_host(&self) {
        if self.networks.read().known.values().any(|held| !held.endpoints.is_empty()) {
            return;
        }
        self.ground.forwards.close();
        let (firewall, keeper) = {
            let mut kept = lock(&self.rules.state);
            (kept.firewall.take(), kept.keeper.take())
        };
        // It would put back what is removed now.
        drop(keeper);
        let Some(firewall) = firewall else { return };
        let closed = self.ground.kernel().and_then(|kernel| kernel.unroute_localhost());
        let removed = closed.and_then(|()| lock(&firewall).remove_all());
        if let Err(error) = removed.and_then(|()| self.ground.kernel()?.put_forwarding_back()) {
            tracing::warn!(%error, "not everything that was done for containers' networks could be taken back");
        }
    }

    /// Lets the bridges have packets of localhost whose containers are reached by it.
    fn route_localhost(&self, wanted: &Wanted) -> Result<()> {
        let led = wanted.published.iter().filter(|one| wanted.localhost && one.serves_localhost());
        let bridges: BTreeSet<&str> = led.map(|one| one.bridge.as_str()).collect();
        bridges.into_iter().try_for_each(|bridge| self.ground.kernel()?.route_localhost(bridge))
    }

    /// Has the kernel forget the connections of addresses that an endpoint had: who gets them next gets none of its packets. Blocks.
    pub fn forget_addresses(&self, endpoint: &Endpoint) {
        // Without rules nobody has the kernel remember them.
        if lock(&self.rules.state).firewall.is_none() || endpoint.addresses().next().is_none() {
            return;
        }
        let which: Vec<Forget> = endpoint.addresses().map(Forget::Address).collect();
        if let Err(error) = Connections::open().and_then(|connections| connections.forget(&which)) {
            tracing::warn!(%error, "connections of an address that went are not forgotten");
        }
    }

    /// Whether a network has addresses of a family in which the engine may write rules.
    fn is_ruled(&self, rules: &NetworkRules) -> bool {
        let options = &self.networks.options;
        let may = |is_v4: bool| if is_v4 { options.iptables } else { options.ip6tables };
        rules.subnets.iter().any(|net| may(net.addr().is_ipv4()))
    }

    fn wanted_rules(&self) -> Result<Wanted> {
        let state = self.networks.read();
        let made = state.known.values().filter(|held| self.ground.is_made(&held.network.id));
        let mut wanted = Wanted::default();
        for held in made {
            let Some(mut rules) = NetworkRules::of(&held.network)? else { continue };
            rules.direct = self.networks.options.allow_direct_routing && !rules.internal;
            let open = rules.icc || !self.is_ruled(&rules);
            for member in held.endpoints.values() {
                let endpoint = &member.endpoint;
                publish(&rules.bridge, endpoint, &mut wanted);
                if !open {
                    wanted.closed_ports.push(self.ground.names.host_end_of(&endpoint.id));
                    links(held, endpoint, &mut wanted);
                }
            }
            wanted.networks.push(rules);
        }
        Ok(wanted)
    }
}

/// A client that keeps sending by UDP belongs to the connection that the kernel remembers: it is forgotten where the port came,
/// went, or leads to another container. (A TCP client begins anew by itself.) Where nothing was known, that is after a restart of
/// the engine, nothing came or went.
fn forget_connections(before: Option<&Wanted>, wanted: &Wanted) {
    let Some(before) = before else { return };
    let other = |one: &&PublishedRule, there: &[PublishedRule]| {
        one.protocol != Protocol::Tcp && !there.iter().any(|another| another == *one)
    };
    let gone = before.published.iter().filter(|one| other(one, &wanted.published));
    let come = wanted.published.iter().filter(|one| other(one, &before.published));
    let which: Vec<Forget> = gone.chain(come).map(|one| Forget::Port(one.protocol, one.host)).collect();
    if which.is_empty() {
        return;
    }
    if let Err(error) = Connections::open().and_then(|connections| connections.forget(&which)) {
        tracing::warn!(%error, "connections to ports that came or went are not forgotten");
    }
}

/// Lets firewalld know the bridges.
fn trust(bridges: &[String]) {
    if bridges.is_empty() {
        return;
    }
    if let Err(error) = minke_systemd::firewalld::trust(bridges) {
        tracing::warn!(%error, "firewalld knows nothing of containers' bridges, and may refuse what they send");
    }
}

fn told(result: Result<()>) {
    match result {
        Ok(()) => tracing::info!("the firewall's rules were changed by somebody else and put back"),
        Err(error) => tracing::error!(%error, "the firewall's rules were changed and can't be put back"),
    }
}

/// The ports of an endpoint that the kernel carries: those of a family that it has.
fn publish(bridge: &str, endpoint: &Endpoint, wanted: &mut Wanted) {
    for published in &endpoint.published {
        let address = match published.host {
            SocketAddr::V4(_) => endpoint.ipv4.map(|net| IpAddr::V4(net.addr())),
            SocketAddr::V6(_) => endpoint.ipv6.map(|net| IpAddr::V6(net.addr())),
        };
        wanted.published.extend(address.map(|address| PublishedRule {
            bridge: bridge.to_owned(),
            protocol: published.protocol,
            host: published.host,
            to: SocketAddr::new(address, published.container_port),
        }));
    }
}

/// What an endpoint reaches by its links where containers don't reach one another otherwise.
fn links(held: &Held, endpoint: &Endpoint, wanted: &mut Wanted) {
    let is_linked = |target: &&Member| {
        let (id, container) = (&target.endpoint.id, &target.endpoint.container);
        endpoint.linked.iter().any(|linked| linked == container || linked == id)
    };
    for target in held.endpoints.values().filter(is_linked) {
        for from in endpoint.addresses() {
            let same = |to: &IpAddr| to.is_ipv4() == from.is_ipv4();
            for to in target.endpoint.addresses().filter(same) {
                let rule =
                    |(protocol, port): &(_, u16)| LinkRule { from, to, protocol: *protocol, port: *port };
                wanted.links.extend(target.endpoint.exposed.iter().map(rule));
            }
        }
    }
}
