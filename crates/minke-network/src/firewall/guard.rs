//! Who may connect to published ports where the host's own firewall is asked: its rules, as values, and as rules of ours that
//! are looked at before a packet is redirected, when it still has the port of the host. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::nft::rule::{self, Part};
use crate::nft::{Expression, Verdict};
use crate::ports::Protocol;

/// What the host's firewall says about connections to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Its rules; the first that fits decides.
    pub rules: Vec<GuardRule>,
    /// Where none fits, for IPv4.
    pub otherwise4: bool,
    /// Where none fits, for IPv6.
    pub otherwise6: bool,
}

/// A rule. What is empty fits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRule {
    /// Whether the connection is allowed.
    pub allow: bool,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Over which protocol.
    pub protocol: Option<Protocol>,
    /// To which ports of the host, first and last.
    pub ports: Vec<(u16, u16)>,
    /// From which ports.
    pub source_ports: Vec<(u16, u16)>,
    /// From where.
    pub source: Option<IpNet>,
    /// To which of the host's addresses.
    pub destination: Option<IpNet>,
    /// By which interface.
    pub interface: Option<String>,
}

impl Guard {
    /// Whether anybody from outside reaches a published port; none of the rules is only for some.
    pub fn lets_everybody(&self, protocol: Protocol, host: SocketAddr) -> bool {
        let fits = |rule: &&GuardRule| {
            rule.v6 == host.is_ipv6()
                && rule.protocol.is_none_or(|one| one == protocol)
                && (rule.ports.is_empty()
                    || rule.ports.iter().any(|(first, last)| (first..=last).contains(&&host.port())))
                && rule.destination.is_none_or(|net| host.ip().is_unspecified() || net.contains(&host.ip()))
        };
        let is_for_all = |rule: &GuardRule| {
            rule.source.is_none() && rule.source_ports.is_empty() && rule.interface.is_none()
        };
        match self.rules.iter().filter(fits).find(|rule| !rule.allow || is_for_all(rule)) {
            Some(rule) => rule.allow,
            None if host.is_ipv6() => self.otherwise6,
            None => self.otherwise4,
        }
    }
}

/// The rules as ours, and the end.
pub(super) fn rules(guard: &Guard) -> Vec<Vec<Expression>> {
    let end = |allow: bool| if allow { Verdict::Return } else { Verdict::Drop };
    let mut all: Vec<Vec<Expression>> = guard.rules.iter().flat_map(one_rule).collect();
    all.push([rule::ipv4(), rule::then(end(guard.otherwise4))].concat());
    all.push(rule::then(end(guard.otherwise6)));
    all
}

fn one_rule(one: &GuardRule) -> Vec<Vec<Expression>> {
    let mut head = if one.v6 { rule::ipv6() } else { rule::ipv4() };
    if let Some(name) = &one.interface {
        head.extend(rule::comes_by(name));
    }
    if let Some(protocol) = one.protocol {
        head.extend(rule::transport(super::wanted::transport(protocol)));
    }
    let (source, destination) =
        if one.v6 { (Part::Source6, Part::Destination6) } else { (Part::Source4, Part::Destination4) };
    for (net, part) in [(one.source, source), (one.destination, destination)] {
        if let Some(net) = net {
            head.extend(rule::in_net(part, net));
        }
    }
    let verdict = rule::then(if one.allow { Verdict::Return } else { Verdict::Drop });
    let each = |ranges: &[(u16, u16)], part| -> Vec<Vec<Expression>> {
        match ranges {
            [] => vec![Vec::new()],
            ranges => ranges.iter().map(|(first, last)| rule::port_in(part, *first, *last)).collect(),
        }
    };
    let mut all = Vec::new();
    for port in each(&one.ports, Part::Port) {
        for source_port in each(&one.source_ports, Part::SourcePort) {
            all.push([&head[..], &port, &source_port, &verdict].concat());
        }
    }
    all
}

/// Whether an address fits everything.
pub(super) fn is_everywhere(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

/// A single address as a network.
pub(super) fn net_of(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
