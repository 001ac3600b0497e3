//! What an engine's networks stand on: the kernel's links, ports of the host, and which addresses still drain. Opened once; nothing
//! is made in the kernel before a container or a request needs it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Mutex, OnceLock, Weak};

use ipnet::IpNet;
use minke_model::{Error, ErrorKind, Result};
use minke_network::link::{
    EndpointPlan, Gone, GoneLinks, Interface, Kernel, Namespace, plan_endpoint, plan_link,
};
use minke_network::options::parse_interface_settings;
use minke_network::ports::Ports;
use minke_network::{Driver, Endpoint, Names, Network};

use super::forwarding::Forwards;
use super::{Networks, lock};
use crate::engine::Shared;

/// The right to change networks (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;
/// Where the kernel says which ports are given to who names none.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The ground.
pub struct Ground {
    /// What this engine's things are called.
    pub names: Names,
    kernel: Option<Kernel>,
    /// Why there is none.
    missing: Option<String>,
    /// Asked for when it is first needed.
    uplink_mtu: OnceLock<Option<u32>>,
    /// Who hears of links that go, until somebody listens.
    listener: Mutex<Option<Weak<Shared>>>,
    /// The ids of networks whose links are there.
    made: Mutex<BTreeSet<String>>,
    /// Who has which port of the host.
    pub ports: Mutex<Ports>,
    /// The ports that are given to who names none.
    pub ephemeral: RangeInclusive<u16>,
    ends: Mutex<HashMap<String, End>>,
    /// What is known of forwarding.
    pub forwards: Forwards,
}

/// The host's end of an endpoint's link, from its making until it and its endpoint are gone.
#[derive(Debug, Default)]
struct End {
    network: String,
    addresses: Vec<IpAddr>,
    /// The endpoint is gone.
    released: bool,
    /// The link is gone.
    gone: bool,
}

impl Ground {
    /// Opens it in the engine's network namespace.
    pub fn open(exec_root: &Path) -> Self {
        let names = Names::of(exec_root);
        let (kernel, missing) = if !may_administer() {
            (None, Some("this engine has not the right to change networks (CAP_NET_ADMIN)".to_owned()))
        } else {
            match Kernel::open(&names) {
                Ok(kernel) => (Some(kernel), None),
                Err(error) => (None, Some(error.to_string())),
            }
        };
        Self {
            names,
            kernel,
            missing,
            uplink_mtu: OnceLock::new(),
            listener: Mutex::default(),
            made: Mutex::default(),
            ports: Mutex::default(),
            ephemeral: ephemeral(),
            ends: Mutex::default(),
            forwards: Forwards::default(),
        }
    }

    /// Why no container can be connected to anything, if so.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    fn uplink_mtu(&self) -> Option<u32> {
        *self
            .uplink_mtu
            .get_or_init(|| self.kernel.as_ref().and_then(|kernel| kernel.uplink_mtu().ok().flatten()))
    }

    /// The routes of the host, without those of this engine.
    pub fn routes(&self) -> Vec<IpNet> {
        let routes = self.kernel.as_ref().map(Kernel::routes);
        match routes {
            Some(Ok(routes)) => routes,
            Some(Err(error)) => {
                tracing::warn!(%error, "the host's routes can't be read");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The kernel half.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn kernel(&self) -> Result<&Kernel> {
        self.kernel.as_ref().ok_or_else(|| {
            let why = self.missing.clone().unwrap_or_default();
            Error::new(ErrorKind::System, "networks other than host and none can't be used").with_source(why)
        })
    }

    /// Makes what a network has on the host, unless it is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(&self, network: &Network) -> Result<()> {
        if matches!(network.driver, Driver::Host | Driver::Null) || network.config_only {
            return Ok(());
        }
        let mut made = lock(&self.made);
        if made.contains(&network.id) {
            return Ok(());
        }
        self.kernel()?.make(&plan_link(network, self.uplink_mtu())?)?;
        made.insert(network.id.clone());
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, network: &Network) -> Result<()> {
        let mut made = lock(&self.made);
        if !made.remove(&network.id) && self.kernel.is_none() {
            return Ok(());
        }
        self.kernel()?.remove(&plan_link(network, self.uplink_mtu())?)
    }

    /// Whether a network's link is there.
    pub fn is_made(&self, network: &str) -> bool {
        lock(&self.made).contains(network)
    }

    /// What an endpoint's interface is; none in the networks host and none.
    ///
    /// # Errors
    /// An option that isn't one.
    pub fn plan(&self, network: &Network, endpoint: &Endpoint) -> Result<Option<EndpointPlan>> {
        plan_endpoint(network, &interface(endpoint), &self.names, self.uplink_mtu())
    }

    /// Makes an endpoint's interface in a namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&self, network: &Network, endpoint: &Endpoint, namespace: &Namespace) -> Result<()> {
        let Some(plan) = self.plan(network, endpoint)? else { return Ok(()) };
        self.make(network)?;
        self.expect(network, endpoint);
        self.kernel()?.attach(&plan, namespace)
    }

    /// Notes that an endpoint has a link, whose end is to be heard of.
    pub fn expect(&self, network: &Network, endpoint: &Endpoint) {
        if network.driver != Driver::Bridge {
            return;
        }
        let end =
            End { network: network.id.clone(), addresses: endpoint.addresses().collect(), ..End::default() };
        self.listen();
        lock(&self.ends).insert(self.names.host_end_of(&endpoint.id), end);
    }

    /// Says that an endpoint is gone; its addresses are free as soon as its link is.
    pub fn release(&self, networks: &Networks, endpoint: &Endpoint) {
        let name = self.names.host_end_of(&endpoint.id);
        let mut ends = lock(&self.ends);
        match ends.get_mut(&name) {
            Some(end) if !end.gone => end.released = true,
            // It has no end on the host, or that is gone.
            _ => {
                ends.remove(&name);
                drop(ends);
                networks.gone(&endpoint.network, endpoint.addresses());
            }
        }
    }

    /// Removes what the last run of a container may have left, so that the next one can have its addresses.
    pub fn clear(&self, networks: &Networks, endpoint: &Endpoint) {
        let name = self.names.host_end_of(&endpoint.id);
        let found = lock(&self.ends).get(&name).is_some_and(|end| end.released);
        if !found {
            return;
        }
        let removed = self.kernel().and_then(|kernel| kernel.remove_host_end(&name));
        match removed {
            Ok(()) => self.heard(networks, &name),
            Err(error) => tracing::warn!(%error, link = name, "the last run's link could not be removed"),
        }
    }

    /// Removes what is left of all runs that have ended, without waiting for the kernel to do it: somebody needs the addresses.
    /// Returns whether there was any.
    pub fn clear_released(&self, networks: &Networks) -> bool {
        let released: Vec<String> = {
            let ends = lock(&self.ends);
            let released = ends.iter().filter(|(_, end)| end.released);
            released.map(|(name, _)| name.clone()).collect()
        };
        for name in &released {
            match self.kernel().and_then(|kernel| kernel.remove_host_end(name)) {
                Ok(()) => self.heard(networks, name),
                Err(error) => tracing::warn!(%error, link = name, "a run's link could not be removed"),
            }
        }
        !released.is_empty()
    }

    /// Removes the link of an endpoint that came to nothing.
    pub fn clear_now(&self, networks: &Networks, endpoint: &Endpoint) {
        self.release(networks, endpoint);
        self.clear(networks, endpoint);
    }

    /// A link is gone.
    fn heard(&self, networks: &Networks, name: &str) {
        let mut ends = lock(&self.ends);
        let Some(end) = ends.get_mut(name) else { return };
        end.gone = true;
        if end.released
            && let Some(end) = ends.remove(name)
        {
            drop(ends);
            networks.gone(&end.network, end.addresses.into_iter());
        }
    }

    /// Links that are there no more, when what was told of them got lost.
    fn look_again(&self, networks: &Networks) {
        let Ok(found) = self.kernel().and_then(Kernel::found) else { return };
        let known: Vec<String> = lock(&self.ends).keys().cloned().collect();
        for name in known.iter().filter(|name| !found.host_ends.contains_key(*name)) {
            self.heard(networks, name);
        }
    }

    /// Removes what of this engine belongs to no network or endpoint that is known: what a crash has left.
    pub fn sweep(&self, networks: &[std::sync::Arc<Network>]) {
        let Some(kernel) = &self.kernel else { return };
        let found = match kernel.found() {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "the links of this engine can't be listed"),
        };
        let mut ends = lock(&self.ends);
        // What went while nobody listened: as soon as the endpoint goes too, its addresses are free.
        for (_, end) in ends.iter_mut().filter(|(name, _)| !found.host_ends.contains_key(*name)) {
            end.gone = true;
        }
        for name in found.host_ends.keys().filter(|name| !ends.contains_key(*name)) {
            if let Err(error) = kernel.remove_host_end(name) {
                tracing::warn!(%error, link = name, "a link that is left over could not be removed");
            }
        }
        drop(ends);
        let mut wanted = BTreeSet::new();
        for network in networks {
            match plan_link(network, self.uplink_mtu()) {
                Ok(minke_network::link::LinkPlan::Bridge(plan)) => drop(wanted.insert(plan.name)),
                Ok(minke_network::link::LinkPlan::Parent(plan)) => {
                    wanted.extend(plan.host.map(|end| end.name));
                    wanted.insert(plan.name);
                }
                _ => {}
            }
        }
        for name in found.made.keys().filter(|name| !wanted.contains(*name)) {
            if let Err(error) = kernel.remove_made(name) {
                tracing::warn!(%error, link = name, "a link that is left over could not be removed");
            }
        }
    }

    /// Says who hears of links that go: from the first one on that is made.
    pub fn tell(&self, shared: Weak<Shared>) {
        self.forwards.tell(shared.clone());
        *lock(&self.listener) = Some(shared);
    }

    /// Listens for links that go, as long as the engine lives.
    fn listen(&self) {
        let Some(shared) = lock(&self.listener).take() else { return };
        let Some(kernel) = &self.kernel else { return };
        let heard = match kernel.watch_gone() {
            Ok(heard) => heard,
            Err(error) => {
                return tracing::warn!(%error, "addresses of containers that have ended aren't used again");
            }
        };
        let thread = std::thread::Builder::new().name("links".into()).stack_size(128 * 1024);
        if let Err(error) = thread.spawn(move || listen(&heard, &shared)) {
            tracing::warn!(%error, "addresses of containers that have ended aren't used again");
        }
    }
}

fn listen(heard: &GoneLinks, shared: &Weak<Shared>) {
    loop {
        let told = heard.next();
        let Some(shared) = shared.upgrade() else { return };
        match told {
            Ok(Gone::Links(names)) => {
                names.iter().for_each(|name| shared.ground.heard(&shared.networks, name));
            }
            Ok(Gone::Missed) => shared.ground.look_again(&shared.networks),
            Err(error) => {
                tracing::warn!(%error, "links are heard of no more");
                return;
            }
        }
    }
}

fn interface(endpoint: &Endpoint) -> Interface {
    Interface {
        endpoint: endpoint.id.clone(),
        name: endpoint.interface.clone(),
        mac: Some(endpoint.mac),
        ipv4: endpoint.ipv4,
        ipv6: endpoint.ipv6,
        link_local: endpoint.link_local.iter().map(IpNet::addr).collect(),
        gateway4: endpoint.gateway4.filter(|_| endpoint.default4),
        gateway6: endpoint.gateway6.filter(|_| endpoint.default6),
        // They were checked when the container was made or connected.
        settings: parse_interface_settings(&endpoint.driver_opts).unwrap_or_default(),
    }
}

fn may_administer() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << CAP_NET_ADMIN) != 0
}

fn ephemeral() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string(EPHEMERAL).unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) if first <= last => first..=last,
        _ => 49_153..=65_535,
    }
}
