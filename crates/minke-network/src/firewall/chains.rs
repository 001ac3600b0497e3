//! The same firewall as the frame's, as chains of iptables: for hosts whose owner says `firewall-backend: iptables`. Each rule is
//! written as `iptables-save` prints it, so that what is found can be compared. Pure.
//!
//! | table | from | chain | what it does |
//! |---|---|---|---|
//! | mangle | PREROUTING | `-DIRECT` | no connection comes straight to a container |
//! | nat | PREROUTING, OUTPUT | `-PUBLISH` | published ports lead to containers |
//! | nat | POSTROUTING | `-LEAVE` | what leaves takes an address of the host |
//! | filter | FORWARD, behind DOCKER-USER | `-FORWARD` | to the next two, and what is kept apart |
//! | filter | `-FORWARD` | `-OUTWARD`, `-INWARD` | what containers send, and what comes to them |

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::frame::ALLOWED_MARK;
use super::hosts::{MAYBE_STRAIGHT_MARK, STRAIGHT_MARK};
use super::wanted::{LinkRule, NetworkRules, PublishedRule, Wanted};
use crate::link::ENGINES;
use crate::options::GatewayMode;
use crate::ports::Protocol;

const GOES_ON: &str = "-m conntrack --ctstate RELATED,ESTABLISHED";
const REDIRECTED: &str = "-m conntrack --ctstate DNAT";
const FOR_THIS_HOST: &str = "-m addrtype --dst-type LOCAL";

/// A table of iptables, as far as it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableText {
    pub name: &'static str,
    /// Our chains, with all of their rules.
    pub chains: Vec<(String, Vec<String>)>,
    /// Chains of others, and the one rule that leads from each to ours.
    pub hooks: Vec<(&'static str, String)>,
}

/// One family of what is wanted, as text.
struct Of<'a> {
    wanted: &'a Wanted,
    prefix: &'a str,
    v6: bool,
}

/// What the chains of an engine begin with, by its table's name.
pub(super) fn prefix(table: &str) -> String {
    table.to_uppercase()
}

/// Returns the name of the chain by which it is known that there are some.
pub(super) fn forward_chain(table: &str) -> String {
    format!("{}-FORWARD", prefix(table))
}

/// Returns the chains of one family.
pub(super) fn tables(prefix: &str, wanted: &Wanted, v6: bool) -> Vec<TableText> {
    let of = Of { wanted, prefix, v6 };
    let chain = |name: &str, rules: Vec<String>| (format!("{prefix}-{name}"), rules);
    let localhost = if v6 { "::1/128" } else { "127.0.0.0/8" };
    vec![
        TableText {
            name: "mangle",
            chains: vec![chain("DIRECT", of.direct())],
            hooks: vec![("PREROUTING", format!("-j {prefix}-DIRECT"))],
        },
        TableText {
            name: "nat",
            chains: vec![chain("LEAVE", of.leaving()), chain("PUBLISH", of.publish())],
            hooks: vec![
                ("PREROUTING", format!("{FOR_THIS_HOST} -j {prefix}-PUBLISH")),
                // What goes to localhost is served in user space.
                ("OUTPUT", format!("! -d {localhost} {FOR_THIS_HOST} -j {prefix}-PUBLISH")),
                ("POSTROUTING", format!("-j {prefix}-LEAVE")),
            ],
        },
        TableText {
            name: "filter",
            chains: vec![
                chain("FORWARD", of.forward()),
                chain("INWARD", of.inward()),
                chain("OUTWARD", of.outward()),
            ],
            hooks: vec![("FORWARD", format!("-j {prefix}-FORWARD"))],
        },
    ]
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn to_port(of: Protocol, port: u16) -> String {
    let name = protocol(of);
    format!("-p {name} -m {name} --dport {port}")
}

fn marked(mark: u32) -> String {
    format!("-m mark --mark {mark:#x}/{mark:#x}")
}

fn one(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Neighbours are asked for, which a filtered bridge shows.
const NEIGHBOURS: [u8; 4] = [133, 134, 135, 136];

impl Of<'_> {
    fn nets(&self) -> impl Iterator<Item = (&NetworkRules, IpNet)> {
        let mine = |net: &IpNet| net.addr().is_ipv6() == self.v6;
        self.wanted.networks.iter().flat_map(move |network| {
            network.subnets.iter().copied().filter(mine).map(move |net| (network, net))
        })
    }

    fn mode(&self, network: &NetworkRules) -> GatewayMode {
        if self.v6 { network.mode6 } else { network.mode4 }
    }

    fn published(&self) -> impl Iterator<Item = (&PublishedRule, bool)> {
        let mode = |rule: &PublishedRule| {
            let network = self.wanted.networks.iter().find(|network| network.bridge == rule.bridge);
            network.map_or(GatewayMode::Nat, |network| self.mode(network))
        };
        let mine = self.wanted.published.iter().filter(|rule| rule.to.is_ipv6() == self.v6);
        mine.map(move |rule| (rule, mode(rule) == GatewayMode::Routed))
    }

    fn direct(&self) -> Vec<String> {
        let mut rules = vec!["-i lo -j RETURN".to_string()];
        // To a published port of its own network: the table for frames knows by the mark what is turned round on a filtered bridge.
        let closed = self.wanted.networks.iter().filter(|network| !network.icc);
        let mark = format!("-j MARK --set-xmark {ALLOWED_MARK:#x}/{ALLOWED_MARK:#x}");
        rules.extend(closed.map(|network| format!("-i {} {FOR_THIS_HOST} {mark}", network.bridge)));
        if !self.v6 {
            rules.push("-d 127.0.0.0/8 -j DROP".into());
        }
        rules.push(format!("{GOES_ON} -j RETURN"));
        for (network, net) in self.nets() {
            rules.push(format!("-d {net} -i {} -j RETURN", network.bridge));
            let routed = matches!(self.mode(network), GatewayMode::NatUnprotected | GatewayMode::Routed);
            if (routed || network.direct) && !network.internal {
                rules.push(format!("-d {net} -j RETURN"));
            }
            rules.extend(network.trusted.iter().map(|name| format!("-d {net} -i {name} -j RETURN")));
            rules.push(format!("-d {net} {FOR_THIS_HOST} -j RETURN"));
            if self.wanted.routes_asked {
                rules.push(format!("-d {net} {} -j RETURN", marked(MAYBE_STRAIGHT_MARK)));
            }
            rules.push(format!("-d {net} -j DROP"));
        }
        rules
    }

    fn publish(&self) -> Vec<String> {
        // Those at one address first: they take the place of those at all.
        let (mut single, mut all) = (Vec::new(), Vec::new());
        for (rule, routed) in self.published() {
            let host = rule.host.ip().to_canonical();
            // Another family, and localhost, are led in user space.
            if routed || host.is_ipv6() != self.v6 || host.is_loopback() {
                continue;
            }
            let to = SocketAddr::new(rule.to.ip(), rule.to.port());
            let leads = format!("{} -j DNAT --to-destination {to}", to_port(rule.protocol, rule.host.port()));
            if host.is_unspecified() {
                all.push(leads);
            } else {
                single.push(format!("-d {} {leads}", one(host)));
            }
        }
        single.append(&mut all);
        single
    }

    fn leaving(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (network, net) in self.nets() {
            // To a published port of its own network: the answer must come back by the host.
            rules.push(format!("-s {net} -o {} {REDIRECTED} -j MASQUERADE", network.bridge));
            rules.push(format!("-s {net} -o {} -j RETURN", network.bridge));
            let translated = matches!(self.mode(network), GatewayMode::Nat | GatewayMode::NatUnprotected);
            if !network.masquerade || !translated || network.internal {
                continue;
            }
            let source =
                if self.v6 { network.source6.map(IpAddr::V6) } else { network.source4.map(IpAddr::V4) };
            rules.push(match source {
                Some(source) => format!("-s {net} -j SNAT --to-source {source}"),
                None => format!("-s {net} -j MASQUERADE"),
            });
        }
        rules
    }

    fn forward(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for network in &self.wanted.networks {
            let name = &network.bridge;
            rules.push(format!("-i {name} -j {}-OUTWARD", self.prefix));
        }
        for network in &self.wanted.networks {
            rules.push(format!("-o {} -j {}-INWARD", network.bridge, self.prefix));
        }
        rules.extend(self.wanted.networks.iter().map(|network| format!("-i {} -j ACCEPT", network.bridge)));
        let apart = if self.v6 { self.wanted.apart6 } else { !self.wanted.apart.is_empty() };
        if apart {
            // Other engines look after their own.
            for side in ["src", "dst"] {
                rules.push(format!("-m devgroup --{side}-group {ENGINES:#x} -j RETURN"));
            }
        }
        if self.v6 && apart {
            rules.push("-j DROP".into());
        }
        for name in self.wanted.apart.iter().filter(|_| !self.v6) {
            // A frame that only passes a filtered bridge.
            rules.push(format!("-i {name} -o {name} -j RETURN"));
            rules.push(format!("-i {name} -j DROP"));
        }
        rules
    }

    fn same_network(&self, then: &str) -> Vec<String> {
        let open = self.wanted.networks.iter().filter(|network| network.icc);
        open.map(|network| format!("-i {0} -o {0} -j {then}", network.bridge)).collect()
    }

    fn links(&self, then: &str) -> Vec<String> {
        let mine = |link: &&LinkRule| link.from.is_ipv6() == self.v6 && link.to.is_ipv6() == self.v6;
        let rule = |link: &LinkRule| {
            let (from, to) = (one(link.from), one(link.to));
            format!("-s {from} -d {to} {} -j {then}", to_port(link.protocol, link.port))
        };
        self.wanted.links.iter().filter(mine).map(rule).collect()
    }

    fn neighbours(&self, then: &str) -> Vec<String> {
        let rule = |kind| format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j {then}");
        NEIGHBOURS.into_iter().filter(|_| self.v6).map(rule).collect()
    }

    fn outward(&self) -> Vec<String> {
        let mut rules = vec![format!("{GOES_ON} -j RETURN")];
        rules.extend(self.same_network("RETURN"));
        let leaves = self.wanted.networks.iter().filter(|network| !network.internal);
        rules.extend(leaves.map(|network| format!("-i {} -j RETURN", network.bridge)));
        rules.extend(self.links("RETURN"));
        rules.extend(self.neighbours("RETURN"));
        rules.push("-j DROP".into());
        rules
    }

    fn inward(&self) -> Vec<String> {
        let mut rules = vec![format!("{GOES_ON} -j ACCEPT")];
        rules.extend(self.same_network("ACCEPT"));
        if self.wanted.routes_asked {
            rules.push(format!("{} -j ACCEPT", marked(STRAIGHT_MARK)));
        }
        for (rule, routed) in self.published() {
            let host = rule.host.ip().to_canonical();
            let to = format!("-d {} {}", one(rule.to.ip()), to_port(rule.protocol, rule.to.port()));
            if routed {
                rules.push(format!("{to} -j ACCEPT"));
            } else if host.is_ipv6() == self.v6 && !host.is_loopback() {
                rules.push(format!("{to} {REDIRECTED} -j ACCEPT"));
            }
        }
        rules.extend(self.links("ACCEPT"));
        for (network, net) in self.nets().filter(|(network, _)| !network.internal) {
            match self.mode(network) {
                GatewayMode::NatUnprotected => rules.push(format!("-d {net} -j ACCEPT")),
                GatewayMode::Routed if self.v6 => {
                    rules.push(format!("-d {net} -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT"));
                }
                GatewayMode::Routed => {
                    rules.push(format!("-d {net} -p icmp -m icmp --icmp-type 8 -j ACCEPT"));
                }
                _ => {}
            }
        }
        rules.extend(self.neighbours("ACCEPT"));
        rules.extend(self.directly());
        rules.push("-j DROP".into());
        rules
    }

    /// Published ports at containers' own addresses, for whom a network or the engine trusts.
    fn directly(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (network, net) in self.nets().filter(|(network, _)| network.direct || !network.trusted.is_empty())
        {
            // No matter for who is in the network itself.
            rules.push(format!("-s {net} -o {} -j DROP", network.bridge));
            for (rule, _) in self.published().filter(|(rule, _)| rule.bridge == network.bridge) {
                let (to, port) = (one(rule.to.ip()), to_port(rule.protocol, rule.to.port()));
                if rule.host.ip().is_loopback() {
                    continue;
                }
                rules
                    .extend(network.trusted.iter().map(|from| format!("-d {to} -i {from} {port} -j ACCEPT")));
                if network.direct {
                    rules.push(format!("-d {to} {port} -j ACCEPT"));
                }
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, net: &str) -> NetworkRules {
        NetworkRules {
            bridge: bridge.into(),
            subnets: vec![net.parse().unwrap(), "fd00::/64".parse().unwrap()],
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

    fn wanted() -> Wanted {
        let published = |host: &str, to: &str| PublishedRule {
            bridge: "br0".into(),
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        Wanted {
            networks: vec![network("br0", "10.0.0.0/24")],
            published: vec![
                published("0.0.0.0:8080", "10.0.0.2:80"),
                published("192.0.2.1:8080", "10.0.0.3:80"),
                published("127.0.0.1:9000", "10.0.0.2:80"),
                published("[::]:8080", "[fd00::2]:80"),
            ],
            ..Wanted::default()
        }
    }

    fn rules(wanted: &Wanted, v6: bool, chain: &str) -> Vec<String> {
        let name = format!("MINKE-{chain}");
        let all = tables("MINKE", wanted, v6).into_iter().flat_map(|table| table.chains);
        all.filter(|(found, _)| *found == name).flat_map(|(_, rules)| rules).collect()
    }

    #[test]
    fn ports_lead_to_containers_and_those_at_one_address_first() {
        assert_eq!(
            rules(&wanted(), false, "PUBLISH"),
            [
                "-d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.3:80",
                "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80",
            ]
        );
        assert_eq!(
            rules(&wanted(), true, "PUBLISH"),
            ["-p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80"]
        );
    }

    #[test]
    fn what_leaves_is_masqueraded_unless_the_network_says_otherwise() {
        let mut wanted = wanted();
        let last = |wanted: &Wanted| rules(wanted, false, "LEAVE").pop().unwrap();
        assert_eq!(last(&wanted), "-s 10.0.0.0/24 -j MASQUERADE");
        wanted.networks[0].source4 = Some([192, 0, 2, 5].into());
        assert_eq!(last(&wanted), "-s 10.0.0.0/24 -j SNAT --to-source 192.0.2.5");
        wanted.networks[0].masquerade = false;
        assert_eq!(last(&wanted), "-s 10.0.0.0/24 -o br0 -j RETURN");
    }

    #[test]
    fn containers_of_a_closed_network_reach_each_other_only_by_links() {
        let mut wanted = wanted();
        assert!(rules(&wanted, false, "INWARD").contains(&"-i br0 -o br0 -j ACCEPT".into()));
        wanted.networks[0].icc = false;
        wanted.links.push(LinkRule {
            from: [10, 0, 0, 3].into(),
            to: [10, 0, 0, 2].into(),
            protocol: Protocol::Tcp,
            port: 80,
        });
        let inward = rules(&wanted, false, "INWARD");
        assert!(!inward.contains(&"-i br0 -o br0 -j ACCEPT".into()));
        assert!(inward.contains(&"-s 10.0.0.3/32 -d 10.0.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT".into()));
        assert_eq!(inward.last().map(String::as_str), Some("-j DROP"));
    }

    #[test]
    fn nothing_comes_straight_to_a_container_but_as_its_network_says() {
        let mut wanted = wanted();
        let direct = rules(&wanted, false, "DIRECT");
        assert_eq!(direct.last().map(String::as_str), Some("-d 10.0.0.0/24 -j DROP"));
        assert!(direct.contains(&"-d 127.0.0.0/8 -j DROP".into()));
        wanted.networks[0].trusted.push("eth1".into());
        assert!(rules(&wanted, false, "DIRECT").contains(&"-d 10.0.0.0/24 -i eth1 -j RETURN".into()));
        wanted.networks[0].mode4 = GatewayMode::Routed;
        assert!(rules(&wanted, false, "DIRECT").contains(&"-d 10.0.0.0/24 -j RETURN".into()));
        assert!(rules(&wanted, false, "PUBLISH").is_empty());
        assert!(
            rules(&wanted, false, "INWARD")
                .contains(&"-d 10.0.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT".into())
        );
    }

    #[test]
    fn published_ports_are_reached_directly_by_whom_is_trusted() {
        let mut wanted = wanted();
        let port = "-p tcp -m tcp --dport 80 -j ACCEPT";
        let has =
            |wanted: &Wanted, rule: &str| rules(wanted, false, "INWARD").contains(&format!("{rule} {port}"));
        assert!(!has(&wanted, "-d 10.0.0.2/32"));
        wanted.networks[0].trusted.push("eth1".into());
        assert!(has(&wanted, "-d 10.0.0.2/32 -i eth1") && !has(&wanted, "-d 10.0.0.2/32"));
        wanted.networks[0].direct = true;
        assert!(has(&wanted, "-d 10.0.0.2/32"));
        assert!(rules(&wanted, false, "DIRECT").contains(&"-d 10.0.0.0/24 -j RETURN".into()));
    }

    #[test]
    fn what_was_not_forwarded_before_is_not_now() {
        let mut wanted = wanted();
        wanted.apart.insert("eth0".into());
        assert_eq!(rules(&wanted, false, "FORWARD").last().map(String::as_str), Some("-i eth0 -j DROP"));
        assert_ne!(rules(&wanted, true, "FORWARD").last().map(String::as_str), Some("-j DROP"));
        wanted.apart6 = true;
        assert_eq!(rules(&wanted, true, "FORWARD").last().map(String::as_str), Some("-j DROP"));
    }

    #[test]
    fn names_of_chains_are_as_long_as_iptables_takes() {
        for table in tables(&prefix("minke-0123abcd"), &wanted(), false) {
            assert!(table.chains.iter().all(|(name, _)| name.len() <= 28));
        }
    }
}
