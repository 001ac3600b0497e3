//! What the firewall is to let through, as a whole, and which elements of which sets that amounts to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use minke_model::Result;

use super::frame as f;
use crate::engine::bridge_of;
use crate::nft::{Element, Parts, Set, number};
use crate::options::{BridgeOptions, GatewayMode};
use crate::ports::Protocol;
use crate::{Driver, Network};

/// The state of the firewall, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The bridges.
    pub networks: Vec<NetworkRules>,
    /// The published ports.
    pub published: Vec<PublishedRule>,
    /// Who reaches whom although the containers of their network don't.
    pub links: Vec<LinkRule>,
    /// Bridge ports (host ends) of networks whose containers don't reach each other.
    pub closed_ports: Vec<String>,
    /// Interfaces on which forwarding was turned on for the containers' sake: what comes in by them goes nowhere else. IPv4.
    pub apart: BTreeSet<String>,
    /// The same of all interfaces, IPv6.
    pub apart6: bool,
    /// What goes to a published port by 127.0.0.0/8 is led by the kernel: its bridge has `route_localnet`.
    pub localhost: bool,
    /// Packets that are let through are marked ([`super::frame::ALLOWED_MARK`]), for a chain of others that would drop them.
    pub mark: Families,
    /// The host's own firewall is asked about what is routed; what it lets straight to a container is marked. Chains of iptables
    /// have to know.
    pub routes_asked: bool,
}

/// Both families, each or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    /// Its interface.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Whether its containers reach each other.
    pub icc: bool,
    /// Whether there is no way out.
    pub internal: bool,
    /// Whether what leaves takes an address of the host.
    pub masquerade: bool,
    /// The address that it takes, where one is named.
    pub source4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source6: Option<Ipv6Addr>,
    /// How it is reached from outside.
    pub mode4: GatewayMode,
    /// The same for IPv6.
    pub mode6: GatewayMode,
    /// The interfaces of the host from which its containers' published ports are reached directly.
    pub trusted: Vec<String>,
    /// Whether its containers' published ports are reached directly from everywhere (`allow-direct-routing`).
    pub direct: bool,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRule {
    /// The bridge of the container's network.
    pub bridge: String,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Where the host is reached; 0.0.0.0 and `::` are all of its addresses.
    pub host: SocketAddr,
    /// The container's address and port.
    pub to: SocketAddr,
}

/// A port of a container that another reaches (`--link`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRule {
    /// Who.
    pub from: IpAddr,
    /// Whom.
    pub to: IpAddr,
    /// Over which protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl PublishedRule {
    /// Whether clients at 127.0.0.0/8 reach it, and the kernel could lead them. (There is no such setting as `route_localnet` for
    /// ::1.)
    pub fn serves_localhost(&self) -> bool {
        let host = self.host.ip().to_canonical();
        self.to.is_ipv4() && host.is_ipv4() && (host.is_unspecified() || host.is_loopback())
    }
}

impl NetworkRules {
    /// Reads what a network's record says; `None` if it is no bridge. `icc` and `masquerade` are the daemon's own, for the
    /// default network, and otherwise true.
    ///
    /// # Errors
    /// Where an option of the network isn't one, which was found when it was made.
    pub fn of(network: &Network) -> Result<Option<Self>> {
        if network.driver != Driver::Bridge || network.config_only {
            return Ok(None);
        }
        let options = BridgeOptions::parse(&network.options)?;
        Ok(Some(Self {
            bridge: options.name.clone().unwrap_or_else(|| bridge_of(&network.id)),
            subnets: network.subnets.iter().map(|subnet| subnet.net.trunc()).collect(),
            icc: options.icc,
            internal: network.internal,
            masquerade: options.masquerade,
            source4: v4(options.host_v4),
            source6: v6(options.host_v6),
            mode4: options.gateway_mode_v4,
            mode6: options.gateway_mode_v6,
            trusted: options.trusted,
            direct: false,
        }))
    }

    fn mode(&self, address: IpAddr) -> GatewayMode {
        if address.is_ipv4() { self.mode4 } else { self.mode6 }
    }
}

fn v4(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    if let Some(IpAddr::V4(address)) = address { Some(address) } else { None }
}

fn v6(address: Option<IpAddr>) -> Option<Ipv6Addr> {
    if let Some(IpAddr::V6(address)) = address { Some(address) } else { None }
}

/// The elements of sets, by the set's name.
pub(super) type Elements = BTreeMap<&'static str, BTreeSet<Element>>;

/// The elements of the table for packets, every set with an entry.
pub(super) fn packet_elements(wanted: &Wanted) -> Elements {
    let mut all = Gathered(f::PACKET_SETS.iter().map(|set| (set.name, BTreeSet::new())).collect());
    for network in &wanted.networks {
        gather_network(&mut all, network);
    }
    for rule in &wanted.published {
        gather_published(&mut all, rule, wanted);
    }
    gather_links(&mut all, &wanted.links);
    for interface in &wanted.apart {
        all.put(&f::APART_FROM4, Element::of(Parts::default().interface(interface)));
    }
    let nothing_else = Families { v4: false, v6: wanted.apart6 };
    for (set, families, chain) in [(&f::ALLOW, wanted.mark, f::MARK), (&f::OTHERS, nothing_else, f::NOT_OURS)]
    {
        for (on, family) in [(families.v4, number::IPV4), (families.v6, number::IPV6)] {
            if on {
                all.put(set, Element::of(Parts::default().number(family)).leading_to_chain(chain));
            }
        }
    }
    all.0
}

/// The elements of the table for frames.
pub(super) fn frame_elements(wanted: &Wanted) -> Elements {
    let mut all = Gathered(f::FRAME_SETS.iter().map(|set| (set.name, BTreeSet::new())).collect());
    for port in &wanted.closed_ports {
        all.put(&f::CLOSED, Element::of(Parts::default().interface(port)));
    }
    gather_links(&mut all, &wanted.links);
    all.0
}

struct Gathered(Elements);

impl Gathered {
    fn put(&mut self, set: &Set, mut element: Element) {
        if let [only] = set.key {
            element.key.truncate(only.size()); // a key of one part isn't padded
        }
        self.0.entry(set.name).or_default().insert(element);
    }

    /// A subnet, in a set whose keys have one part: its first address, and the first one behind it.
    fn put_net(&mut self, set: &Set, net: IpNet, value: Option<IpAddr>) {
        let mut first = Element::of(Parts::default().address(net.network()));
        if let Some(value) = value {
            first = first.leading_to(Parts::default().address(value));
        }
        self.put(set, first);
        let behind = match net.broadcast() {
            IpAddr::V4(last) => u32::from(last).checked_add(1).map(|next| IpAddr::V4(next.into())),
            IpAddr::V6(last) => u128::from(last).checked_add(1).map(|next| IpAddr::V6(next.into())),
        };
        if let Some(behind) = behind {
            let mut end = Element::of(Parts::default().address(behind));
            end.begins = false;
            self.put(set, end);
        }
    }

    /// An interface with a subnet.
    fn put_net_of(&mut self, set: &Set, interface: &str, net: IpNet) {
        let key = |address| Parts::default().interface(interface).address(address);
        let mut element = Element::of(key(net.network()));
        element.to = Some(key(net.broadcast()).done());
        self.put(set, element);
    }
}

fn gather_network(all: &mut Gathered, network: &NetworkRules) {
    let name = || Parts::default().interface(&network.bridge);
    all.put(&f::BRIDGES, Element::of(name()));
    if network.icc {
        all.put(&f::ICC, Element::of(name().interface(&network.bridge)));
    } else {
        all.put(&f::APART, Element::of(name()));
    }
    if !network.internal {
        all.put(&f::OUTWARD, Element::of(name()));
    }
    for net in &network.subnets {
        let (is_v4, source) = match net {
            IpNet::V4(_) => (true, network.source4.map(IpAddr::V4)),
            IpNet::V6(_) => (false, network.source6.map(IpAddr::V6)),
        };
        let pick = |v4: &'static Set, v6: &'static Set| if is_v4 { v4 } else { v6 };
        all.put_net_of(pick(&f::OWN4, &f::OWN6), &network.bridge, *net);
        all.put_net(pick(&f::SUBNETS4, &f::SUBNETS6), *net, None);
        if network.direct {
            all.put_net(pick(&f::DIRECT4, &f::DIRECT6), *net, None);
        }
        for interface in &network.trusted {
            all.put_net_of(pick(&f::TRUSTED4, &f::TRUSTED6), interface, *net);
        }
        let mode = network.mode(net.addr());
        if matches!(mode, GatewayMode::NatUnprotected | GatewayMode::Routed) && !network.internal {
            all.put_net(pick(&f::ROUTED4, &f::ROUTED6), *net, None);
        }
        if mode == GatewayMode::NatUnprotected && !network.internal {
            all.put_net(pick(&f::OPEN4, &f::OPEN6), *net, None);
        }
        let translated = matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected);
        if network.masquerade && translated && !network.internal {
            match source {
                Some(source) => all.put_net(pick(&f::SOURCE4, &f::SOURCE6), *net, Some(source)),
                None => all.put_net(pick(&f::MASQUERADE4, &f::MASQUERADE6), *net, None),
            }
        }
    }
}

pub(super) fn transport(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => number::TCP,
        Protocol::Udp => number::UDP,
        Protocol::Sctp => number::SCTP,
    }
}

fn gather_published(all: &mut Gathered, rule: &PublishedRule, wanted: &Wanted) {
    let host = rule.host.ip().to_canonical();
    let to = rule.to.ip();
    let pick = |v4: &'static Set, v6: &'static Set| if to.is_ipv4() { v4 } else { v6 };
    let port_of = |address: SocketAddr| {
        Parts::default().address(address.ip()).number(transport(rule.protocol)).port(address.port())
    };
    let mode =
        wanted.networks.iter().find(|network| network.bridge == rule.bridge).map(|network| network.mode(to));
    if mode == Some(GatewayMode::Routed) {
        all.put(pick(&f::ROUTABLE4, &f::ROUTABLE6), Element::of(port_of(rule.to)));
        return;
    }
    // Another family is led in user space.
    if host.is_ipv4() != to.is_ipv4() {
        return;
    }
    let value = || Parts::default().address(to).port(rule.to.port());
    if wanted.localhost && rule.serves_localhost() {
        let key = Parts::default().number(transport(rule.protocol)).port(rule.host.port());
        match host.is_loopback() {
            true => all.put(
                &f::LOCAL4_AT,
                Element::of(port_of(SocketAddr::new(host, rule.host.port()))).leading_to(value()),
            ),
            false => all.put(&f::LOCAL4, Element::of(key).leading_to(value())),
        }
    }
    // And so is localhost, unless the kernel was just told.
    if host.is_loopback() {
        return;
    }
    if host.is_unspecified() {
        let key = Parts::default().number(transport(rule.protocol)).port(rule.host.port());
        all.put(pick(&f::PUBLISHED4, &f::PUBLISHED6), Element::of(key).leading_to(value()));
    } else {
        let key = port_of(SocketAddr::new(host, rule.host.port()));
        all.put(pick(&f::PUBLISHED4_AT, &f::PUBLISHED6_AT), Element::of(key).leading_to(value()));
    }
    all.put(pick(&f::REACHABLE4, &f::REACHABLE6), Element::of(port_of(rule.to)));
}

fn gather_links(all: &mut Gathered, links: &[LinkRule]) {
    for link in links.iter().filter(|link| link.from.is_ipv4() == link.to.is_ipv4()) {
        let set = if link.to.is_ipv4() { &f::LINKED4 } else { &f::LINKED6 };
        let key = Parts::default()
            .address(link.from)
            .address(link.to)
            .number(transport(link.protocol))
            .port(link.port);
        all.put(set, Element::of(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, net: &str) -> NetworkRules {
        NetworkRules {
            bridge: bridge.into(),
            subnets: vec![net.parse().unwrap()],
            icc: true,
            internal: false,
            masquerade: true,
            source4: None,
            source6: None,
            mode4: GatewayMode::Nat,
            mode6: GatewayMode::Nat,
            trusted: Vec::new(),
            direct: false,
        }
    }

    fn published(host: &str, to: &str) -> PublishedRule {
        PublishedRule {
            bridge: "br0".into(),
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    /// The names of sets with elements.
    fn sets(wanted: &Wanted) -> Vec<(&'static str, usize)> {
        let elements = packet_elements(wanted);
        elements.into_iter().filter(|(_, all)| !all.is_empty()).map(|(name, all)| (name, all.len())).collect()
    }

    #[test]
    fn a_network_is_in_the_sets_of_what_it_may() {
        let wanted = Wanted { networks: vec![network("br0", "10.0.0.0/24")], ..Wanted::default() };
        let open =
            [("bridges", 1), ("icc", 1), ("masquerade4", 2), ("outward", 1), ("own4", 1), ("subnets4", 2)];
        assert_eq!(sets(&wanted), open);
        let closed = NetworkRules { icc: false, internal: true, ..network("br0", "10.0.0.0/24") };
        let wanted = Wanted { networks: vec![closed], ..Wanted::default() };
        assert_eq!(sets(&wanted), [("apart", 1), ("bridges", 1), ("own4", 1), ("subnets4", 2)]);
    }

    #[test]
    fn a_named_source_takes_the_place_of_the_uplinks() {
        let named = NetworkRules { source4: Some([192, 0, 2, 5].into()), ..network("br0", "10.0.0.0/24") };
        let all = sets(&Wanted { networks: vec![named], ..Wanted::default() });
        assert!(all.contains(&("source4", 2)) && !all.iter().any(|(name, _)| *name == "masquerade4"));
    }

    #[test]
    fn where_a_port_is_published_decides_about_its_set() {
        for (host, to, expected) in [
            ("0.0.0.0:80", "10.0.0.2:8080", &["published4", "reachable4"][..]),
            ("192.0.2.1:80", "10.0.0.2:8080", &["published4_at", "reachable4"]),
            ("127.0.0.1:80", "10.0.0.2:8080", &[]),
            ("[::]:80", "[fd00::2]:8080", &["published6", "reachable6"]),
            ("[::]:80", "10.0.0.2:8080", &[]),
            ("[::1]:80", "[fd00::2]:8080", &[]),
            ("[fd01::1]:80", "[fd00::2]:8080", &["published6_at", "reachable6"]),
        ] {
            let wanted = Wanted { published: vec![published(host, to)], ..Wanted::default() };
            let names: Vec<_> = sets(&wanted).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{host} {to}");
        }
    }

    #[test]
    fn localhost_is_led_by_the_kernel_where_it_may() {
        for (host, to, expected) in [
            ("0.0.0.0:80", "10.0.0.2:8080", &["local4", "published4", "reachable4"][..]),
            ("192.0.2.1:80", "10.0.0.2:8080", &["published4_at", "reachable4"]),
            ("127.0.0.1:80", "10.0.0.2:8080", &["local4_at"]),
            ("[::1]:80", "[fd00::2]:8080", &[]),
        ] {
            let wanted =
                Wanted { published: vec![published(host, to)], localhost: true, ..Wanted::default() };
            let names: Vec<_> = sets(&wanted).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{host} {to}");
        }
    }

    #[test]
    fn a_routed_network_publishes_at_its_own_addresses() {
        let routed = NetworkRules { mode4: GatewayMode::Routed, ..network("br0", "10.0.0.0/24") };
        let wanted = Wanted {
            networks: vec![routed],
            published: vec![published("0.0.0.0:80", "10.0.0.2:8080")],
            ..Wanted::default()
        };
        let names: Vec<_> = sets(&wanted).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["bridges", "icc", "outward", "own4", "routable4", "routed4", "subnets4"]);
    }

    #[test]
    fn the_last_subnet_of_all_has_nothing_behind_it() {
        let wanted = Wanted { networks: vec![network("br0", "255.255.255.0/24")], ..Wanted::default() };
        assert_eq!(packet_elements(&wanted)["subnets4"].len(), 1);
    }
}
