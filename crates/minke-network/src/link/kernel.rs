//! Plans made so in the kernel, in the network namespace of the engine: blocking calls of some hundred microseconds.
//! No opinion of its own; what it makes is called as the engine's names say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use minke_model::error::Context;
use minke_model::{Error, ErrorKind, Result};
use minke_sys::Errno;
use minke_sys::netlink::{Batch, Family, Refusal, Socket};
use netlink_packet_core::Parseable;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteType};

use super::found::{Found, FoundLink, address_of, found_link, is_link_local, network_of, one_link, ways_of};
use super::message::{self, Change};
use super::plan::{EndpointPlan, LinkPlan, Port};
use super::settings::Settings;
use super::waiting::again_while;
use super::{BridgePlan, GoneLinks, Mac, MadeParent, Namespace, ParentPlan};
use crate::engine::Names;
use crate::options::MacvlanMode;

/// The kernel's links, of the engine's own network namespace.
#[derive(Debug)]
pub struct Kernel {
    pub(super) names: Names,
    pub(super) route: Socket,
    pub(super) settings: Settings,
    /// Indexes of bridges and parents.
    indexes: Mutex<HashMap<String, u32>>,
}

impl Kernel {
    /// Opens what it needs in the calling thread's network namespace.
    ///
    /// # Errors
    /// Where netlink or `/proc` can't be had.
    pub fn open(names: &Names) -> Result<Self> {
        Ok(Self {
            names: names.clone(),
            route: Socket::open(Family::Route).context("failed to open a netlink socket")?,
            settings: Settings::open_here(true),
            indexes: Mutex::default(),
        })
    }

    /// Returns the host's routes and addresses, those of this engine's own links left out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn routes(&self) -> Result<Vec<IpNet>> {
        let own: Vec<u32> = self.found()?.made.values().map(|link| link.index).collect();
        self.dump(message::GET_ROUTE, &message::all_routes(), |payload| {
            let route = RouteMessage::parse(payload).ok();
            route.into_iter().flat_map(|route| network_of(&route, &own)).collect()
        })
    }

    /// Returns the size of packets of the interface with the default route; none where there is no way out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn uplink_mtu(&self) -> Result<Option<u32>> {
        let links = self.links()?;
        let is_default = |route: &RouteMessage| {
            route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
        };
        let ways: Vec<u32> = self.dump(message::GET_ROUTE, &message::all_routes(), |payload| {
            let route = RouteMessage::parse(payload).ok().filter(is_default);
            route.iter().flat_map(ways_of).collect()
        })?;
        Ok(links.iter().filter(|link| ways.contains(&link.index)).map(|link| link.mtu).min())
    }

    /// Makes the plan so; what is so already stays as it is.
    ///
    /// # Errors
    /// In Docker's words where it has some, with the kernel's.
    pub fn make(&self, plan: &LinkPlan) -> Result<()> {
        match plan {
            LinkPlan::Nothing => Ok(()),
            LinkPlan::Bridge(bridge) => self.make_bridge(bridge),
            LinkPlan::Parent(parent) => {
                self.make_parent(parent)?;
                parent.host.as_ref().map_or(Ok(()), |end| self.make_host_end(&parent.name, end))
            }
        }
    }

    fn make_bridge(&self, plan: &BridgePlan) -> Result<()> {
        let failed = |what: &str| format!("failed to {what} bridge {}", plan.name);
        let link = match self.link(&plan.name)? {
            Some(link) if link.is_bridge => link,
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    format!("existing interface {} is not a bridge", plan.name),
                ));
            }
            None => {
                let mut batch = Batch::default();
                message::make_bridge(&mut batch, plan, bridge_mac(plan));
                // In one go: an engine that is killed in between would leave a bridge that nobody knows as its own.
                let (alias, name) = (self.names.alias(), plan.name.as_str());
                let own = Change { alias: Some(&alias), name: Some(name), ..Change::default() };
                message::change_link(&mut batch, 0, &own);
                self.route.apply(&batch).with_context(|| failed("create"))?;
                self.link(&plan.name)?.ok_or_else(|| Error::system(failed("find")))?
            }
        };
        if !link.up && link.alias == self.names.alias() {
            self.quieten(plan).with_context(|| failed("set up"))?;
        }
        self.indexes().insert(plan.name.clone(), link.index);
        let mut batch = Batch::default();
        let found = self.addresses(link.index)?;
        let wrong = |address: &&IpNet| {
            !plan.addresses.contains(address)
                && !is_link_local(address.addr())
                && link.alias == self.names.alias()
        };
        for address in found.iter().filter(wrong) {
            message::delete_address(&mut batch, link.index, *address);
        }
        for address in plan.addresses.iter().filter(|address| !found.contains(address)) {
            message::add_address(&mut batch, link.index, *address);
        }
        let mtu = plan.mtu.filter(|mtu| *mtu != link.mtu);
        if mtu.is_some() || !link.up {
            message::change_link(&mut batch, link.index, &Change { up: true, mtu, ..Change::default() });
        }
        self.route.apply(&batch).with_context(|| failed("set up"))
    }

    /// A bridge's settings in `/proc`: the host asks for no addresses on it and is told none.
    fn quieten(&self, plan: &BridgePlan) -> std::io::Result<()> {
        for (setting, value) in
            [("disable_ipv6", if plan.ipv6 { "0" } else { "1" }), ("accept_ra", "0"), ("accept_dad", "0")]
        {
            match self.settings.write(&format!("ipv6/conf/{}/{setting}", plan.name), value) {
                // A kernel without IPv6 has none of them.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn make_parent(&self, plan: &ParentPlan) -> Result<()> {
        let failed = |what: &str| format!("failed to {what} interface {}", plan.name);
        let link = match (self.link(&plan.name)?, &plan.make) {
            (Some(link), _) => link,
            (None, None) => {
                return Err(Error::invalid(format!("invalid subinterface vlan name {}", plan.name)));
            }
            (None, Some(make)) => {
                let of = match make {
                    MadeParent::Dummy => 0,
                    MadeParent::Vlan { of, .. } => {
                        self.link(of)?
                            .ok_or_else(|| {
                                Error::invalid(format!(
                                    "failed to find master interface {of} on the Docker host"
                                ))
                            })?
                            .index
                    }
                };
                let mut batch = Batch::default();
                message::make_parent(&mut batch, &plan.name, make, of);
                self.route
                    .apply(&batch)
                    .map_err(|refusal| missing(refusal, failed("create"), &kind_of(make)))?;
                let link = self.link(&plan.name)?.ok_or_else(|| Error::system(failed("find")))?;
                let mut batch = Batch::default();
                let alias = self.names.alias();
                let change = Change { up: true, alias: Some(&alias), ..Change::default() };
                message::change_link(&mut batch, link.index, &change);
                self.route.apply(&batch).with_context(|| failed("set up"))?;
                link
            }
        };
        self.indexes().insert(plan.name.clone(), link.index);
        Ok(())
    }

    /// Removes what was made for a network, if this engine made it; what isn't there is no failure.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, plan: &LinkPlan) -> Result<()> {
        let name = match plan {
            LinkPlan::Nothing => return Ok(()),
            LinkPlan::Bridge(bridge) => &bridge.name,
            LinkPlan::Parent(parent) => {
                if let Some(end) = &parent.host {
                    self.remove_made(&end.name)?;
                }
                &parent.name
            }
        };
        self.indexes().remove(name);
        match self.link(name)? {
            Some(link) if link.alias == self.names.alias() => self.delete(&link),
            _ => Ok(()),
        }
    }

    fn delete(&self, link: &FoundLink) -> Result<()> {
        let mut batch = Batch::default();
        message::delete_link(&mut batch, link.index);
        match self.route.apply(&batch) {
            Err(refusal) if refusal.errno == Errno::NODEV => Ok(()),
            other => other.with_context(|| format!("failed to remove interface {}", link.name)),
        }
    }

    /// Makes an endpoint's interface in a namespace: one request here, one write there, one batch there.
    ///
    /// # Errors
    /// The kernel's. What was made by then goes with the namespace.
    pub fn attach(&self, plan: &EndpointPlan, namespace: &Namespace) -> Result<()> {
        let parent = match &plan.port {
            Port::Bridge { bridge, .. } => bridge,
            Port::Macvlan { parent, .. } | Port::Ipvlan { parent, .. } => parent,
        };
        let known = self.indexes().get(parent).copied();
        let passthru = matches!(plan.port, Port::Macvlan { mode: MacvlanMode::Passthru, .. });
        let index = known.map_or_else(|| self.look_up(parent), Ok)?;
        // The last container's interface may still be going, with its namespace.
        let busy = |refusal: &Refusal| passthru && refusal.errno == Errno::INVAL;
        let made = again_while(busy, || self.make_interface(plan, index, namespace));
        match made {
            // The bridge was made anew by somebody since.
            Err(refusal) if known.is_some() && matches!(refusal.errno, Errno::NODEV | Errno::INVAL) => {
                self.make_interface(plan, self.look_up(parent)?, namespace)
            }
            other => other,
        }
        .map_err(|refusal| {
            let kind = match &plan.port {
                Port::Bridge { .. } => "veth",
                Port::Macvlan { .. } => "macvlan",
                Port::Ipvlan { .. } => "ipvlan",
            };
            missing(refusal, format!("failed to create the interface {} below {parent}", plan.name), kind)
        })?;
        self.set_up(plan, namespace)
    }

    fn make_interface(&self, plan: &EndpointPlan, parent: u32, namespace: &Namespace) -> Result<(), Refusal> {
        let mut batch = Batch::default();
        let inside = namespace.descriptor();
        match &plan.port {
            Port::Bridge { host_end, .. } => message::make_veth(&mut batch, plan, host_end, parent, inside),
            Port::Macvlan { mode, .. } => message::make_macvlan(&mut batch, plan, parent, *mode, inside),
            Port::Ipvlan { mode, flag, .. } => {
                message::make_ipvlan(&mut batch, plan, parent, (*mode, *flag), inside);
            }
        }
        self.route.apply(&batch)
    }

    /// What is set inside, once the interface is there.
    fn set_up(&self, plan: &EndpointPlan, namespace: &Namespace) -> Result<()> {
        let failed = || format!("failed to set up the interface {}", plan.name);
        // Before it is up: no address of the link is made, and nothing is asked for.
        let disable = format!("ipv6/conf/{}/disable_ipv6", plan.name);
        match namespace.settings.write(&disable, if plan.ipv6 { "0" } else { "1" }) {
            Err(error) if plan.ipv6 || error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        for (path, value) in &plan.settings {
            namespace.set(path, value)?;
        }
        let index = one_link(&namespace.route, &plan.name)
            .with_context(failed)?
            .ok_or_else(|| Error::system(failed()))?
            .index;
        let mut batch = Batch::default();
        for address in &plan.addresses {
            message::add_address(&mut batch, index, *address);
        }
        message::change_link(&mut batch, index, &Change { up: true, ..Change::default() });
        for route in &plan.routes {
            message::add_route(&mut batch, index, route);
        }
        // The same hardware address may still be that of an interface that is going, with its namespace.
        let taken = |refusal: &Refusal| {
            matches!(plan.port, Port::Macvlan { .. }) && refusal.errno == Errno::ADDRINUSE
        };
        again_while(taken, || namespace.route.apply(&batch)).with_context(failed)?;
        self.let_back(plan)
    }

    /// Where bridged packets pass the host's packet filter, a packet to a published port of its own sender is turned round
    /// at the port, which the port must do.
    fn let_back(&self, plan: &EndpointPlan) -> Result<()> {
        let Port::Bridge { host_end, .. } = &plan.port else { return Ok(()) };
        if !self.bridges_are_filtered() {
            return Ok(());
        }
        let Some(link) = self.link(host_end)? else { return Ok(()) };
        let mut batch = Batch::default();
        message::change_link(&mut batch, link.index, &Change { hairpin: true, ..Change::default() });
        self.route.apply(&batch).with_context(|| format!("failed to set up the port {host_end}"))
    }

    fn bridges_are_filtered(&self) -> bool {
        ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"]
            .iter()
            .any(|path| self.settings.read(path).is_ok_and(|value| value != "0"))
    }

    /// Removes an endpoint's interface while its container runs, with its routes; what isn't there is no failure.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach(&self, plan: &EndpointPlan, namespace: Option<&Namespace>) -> Result<()> {
        let failed = || format!("failed to remove the interface {}", plan.name);
        if let Port::Bridge { host_end, .. } = &plan.port {
            return match self.link(host_end)? {
                Some(link) => self.delete(&link),
                None => Ok(()),
            };
        }
        let Some(namespace) = namespace else { return Ok(()) };
        let Some(link) = one_link(&namespace.route, &plan.name).with_context(failed)? else { return Ok(()) };
        let mut batch = Batch::default();
        message::delete_link(&mut batch, link.index);
        namespace.route.apply(&batch).with_context(failed)
    }

    /// Whether an endpoint's interface is there as it was made: it is up from the moment on when it has its addresses.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_attached(&self, plan: &EndpointPlan, namespace: &Namespace) -> Result<bool> {
        let found = one_link(&namespace.route, &plan.name);
        let found = found.with_context(|| format!("failed to look up interface {}", plan.name))?;
        Ok(found.is_some_and(|link| link.up))
    }

    /// Takes or gives back the way out: makes the routes of an endpoint's plan so in a running container. A route to the
    /// same network by another interface is replaced.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reroute(&self, plan: &EndpointPlan, namespace: &Namespace) -> Result<()> {
        let failed = || format!("failed to set routes by the interface {}", plan.name);
        let Some(link) = one_link(&namespace.route, &plan.name).with_context(failed)? else { return Ok(()) };
        let mut batch = Batch::default();
        for route in &plan.routes {
            message::add_route(&mut batch, link.index, route);
        }
        namespace.route.apply(&batch).with_context(failed)
    }

    /// Returns what there is of this engine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn found(&self) -> Result<Found> {
        let alias = self.names.alias();
        let mut found = Found::default();
        for link in self.links()? {
            if link.alias == alias {
                found.made.insert(link.name.clone(), link);
            } else if link.is_veth && link.name.starts_with(&self.names.host_end) {
                found.host_ends.insert(link.name.clone(), link);
            } else {
                found.others.push(link.name);
            }
        }
        Ok(found)
    }

    /// Removes a host's end that belongs to no endpoint any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_host_end(&self, name: &str) -> Result<()> {
        match self.link(name)? {
            Some(link) if link.is_veth && name.starts_with(&self.names.host_end) => self.delete(&link),
            _ => Ok(()),
        }
    }

    /// Removes a bridge or parent that this engine made and that belongs to no network any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_made(&self, name: &str) -> Result<()> {
        self.remove(&LinkPlan::Parent(ParentPlan { name: name.to_string(), make: None, host: None }))
    }

    /// Hears from now on which of this engine's host ends go.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch_gone(&self) -> Result<GoneLinks> {
        GoneLinks::open(&self.names.host_end)
    }

    pub(super) fn look_up(&self, name: &str) -> Result<u32> {
        let link = self.link(name)?;
        let index = link.map(|link| link.index).ok_or_else(|| {
            Error::system(format!(
                "interface {name} is not there: somebody removed it, or the network has not been made"
            ))
        })?;
        self.indexes().insert(name.to_string(), index);
        Ok(index)
    }

    pub(super) fn link(&self, name: &str) -> Result<Option<FoundLink>> {
        one_link(&self.route, name).with_context(|| format!("failed to look up interface {name}"))
    }

    pub(super) fn links(&self) -> Result<Vec<FoundLink>> {
        self.dump(message::GET_LINK, &message::all_links(), |payload| {
            LinkMessage::parse(payload).ok().map(found_link).into_iter().collect()
        })
    }

    pub(super) fn addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        self.dump(message::GET_ADDRESS, &message::all_addresses(), |payload| {
            let message = AddressMessage::parse(payload).ok();
            let message = message.filter(|message| message.header.index == index);
            message.iter().flat_map(address_of).collect()
        })
    }

    /// What `read` makes of each message of a list, which the kernel may have to begin anew.
    pub(super) fn dump<T>(
        &self,
        kind: u16,
        request: &[u8],
        read: impl Fn(&[u8]) -> Vec<T>,
    ) -> Result<Vec<T>> {
        let all = std::cell::RefCell::new(Vec::new());
        self.route
            .dump(
                kind,
                request,
                || all.borrow_mut().clear(),
                |message| all.borrow_mut().extend(read(message.payload)),
            )
            .context("failed to read the host's links, addresses and routes")?;
        Ok(all.into_inner())
    }

    fn indexes(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names what a kernel lacks.
pub(super) fn missing(refusal: Refusal, failed: String, kind: &str) -> Error {
    if refusal.errno == Errno::OPNOTSUPP {
        return Error::new(
            ErrorKind::NotImplemented,
            format!("{failed}: this host's kernel has no interfaces of the kind {kind} (modprobe {kind})"),
        )
        .with_source(refusal);
    }
    Error::system(failed).with_source(refusal)
}

fn kind_of(make: &MadeParent) -> String {
    match make {
        MadeParent::Dummy => "dummy".to_string(),
        MadeParent::Vlan { .. } => "8021q".to_string(),
    }
}

/// Docker derives it from nothing; ours from the address, so that it is the same after the bridge was made again.
fn bridge_mac(plan: &BridgePlan) -> Mac {
    let v4 = plan.addresses.iter().find_map(|address| match address.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    match v4 {
        Some(address) => Mac::of_ipv4(address),
        None => {
            let bits = crate::engine::hash(plan.name.as_bytes()).to_be_bytes();
            Mac::of_random([bits[0], bits[1], bits[2], bits[3], bits[4], bits[5]])
        }
    }
}
