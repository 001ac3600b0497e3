//! Who may connect to published ports where the host's own firewall is asked: its rules, as values, and as rules of ours that
//! are looked at before a packet is redirected, when it still has the port of the host. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::frame::{COUNTED4, COUNTED6};
use crate::nft::rule::{self, Part};
use crate::nft::{Expression, Rate, Verdict, number};
use crate::ports::Protocol;

/// What the host's firewall says about connections to the host, and about what is routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Its rules about connections to the host; the first that fits decides.
    pub rules: Vec<GuardRule>,
    /// Where none fits, for IPv4.
    pub otherwise4: bool,
    /// Where none fits, for IPv6.
    pub otherwise6: bool,
    /// Who fits none and is not let in is told.
    pub tells: bool,
    /// Its rules about what is routed, which see a container's own address and port. The first that fits decides; where none fits,
    /// it is as if there were none.
    pub routes: Vec<GuardRule>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The connection is allowed.
    Allow,
    /// It is allowed, but not too many of one source: [`LIMIT`].
    Limit,
    /// It is not, and nobody answers.
    Deny,
    /// It is not, and who asks is told.
    Reject,
}

impl Act {
    /// Whether it lets nobody in.
    pub fn refuses(self) -> bool {
        matches!(self, Self::Deny | Self::Reject)
    }
}

/// How many connections of one source a limiting rule lets through at once, and how many in a minute. ufw's own: the sixth within 30
/// seconds is one too many.
pub const LIMIT: Rate = Rate { at_once: 5, a_minute: 10 };

/// A rule. What is empty fits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRule {
    /// What it does.
    pub act: Act,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Over which protocol.
    pub protocol: Option<Protocol>,
    /// To which ports, first and last.
    pub ports: Vec<(u16, u16)>,
    /// From which ports.
    pub source_ports: Vec<(u16, u16)>,
    /// From where.
    pub source: Option<IpNet>,
    /// To which addresses.
    pub destination: Option<IpNet>,
    /// By which interface it comes.
    pub interface: Option<String>,
    /// By which interface it leaves, where it is routed.
    pub out: Option<String>,
}

impl GuardRule {
    fn fits(&self, protocol: Protocol, port: Option<u16>, v6: bool) -> bool {
        self.v6 == v6
            && self.protocol.is_none_or(|one| one == protocol)
            && (self.ports.is_empty()
                || port.is_some_and(|port| {
                    self.ports.iter().any(|(first, last)| (first..=last).contains(&&port))
                }))
    }

    /// One that fits everything of IPv4.
    #[cfg(test)]
    pub(super) fn allowing_all() -> Self {
        Self {
            act: Act::Allow,
            v6: false,
            protocol: None,
            ports: Vec::new(),
            source_ports: Vec::new(),
            source: None,
            destination: None,
            interface: None,
            out: None,
        }
    }

    fn is_for_all(&self) -> bool {
        self.source.is_none() && self.source_ports.is_empty() && self.interface.is_none()
    }

    /// Whether it names whom it is about, by an address or a bridge.
    fn is_named(&self) -> bool {
        self.destination.is_some() || self.out.is_some()
    }
}

impl Guard {
    /// Whether anybody from outside reaches a published port, which leads to a container's port; none of the rules is only for
    /// some. Without a port of the host it is one that is not known yet.
    pub fn lets_everybody(
        &self,
        protocol: Protocol,
        host: (IpAddr, Option<u16>),
        container_port: u16,
    ) -> bool {
        let (address, port) = host;
        let v6 = address.is_ipv6();
        let decides = |rule: &&GuardRule| rule.act.refuses() || rule.is_for_all();
        let comes = |rule: &&GuardRule| {
            rule.fits(protocol, port, v6)
                && rule.destination.is_none_or(|net| address.is_unspecified() || net.contains(&address))
        };
        // To which container is not known.
        let routed = |rule: &&GuardRule| rule.fits(protocol, Some(container_port), v6) && !rule.is_named();
        let input = self.rules.iter().filter(comes).find(decides).map(|rule| rule.act);
        let route = self.routes.iter().filter(routed).find(decides).map(|rule| rule.act);
        let otherwise = if v6 { self.otherwise6 } else { self.otherwise4 };
        !input.is_some_and(Act::refuses)
            && !route.is_some_and(Act::refuses)
            && (input.is_some() || route.is_some() || otherwise)
    }

    /// Whether anybody is told that he isn't let in.
    pub(super) fn answers(&self) -> bool {
        self.tells || self.rules.iter().chain(&self.routes).any(|rule| rule.act == Act::Reject)
    }

    /// The same with nobody told: for a kernel that can't from where it is asked (before Linux 5.9).
    pub(super) fn silent(mut self) -> Self {
        self.tells = false;
        for rule in self.rules.iter_mut().chain(&mut self.routes).filter(|rule| rule.act == Act::Reject) {
            rule.act = Act::Deny;
        }
        self
    }

    /// Whether a rule counts connections.
    pub(super) fn limits(&self) -> bool {
        self.rules.iter().chain(&self.routes).any(|rule| rule.act == Act::Limit)
    }
}

/// The rules about connections to the host as ours, and the end: what may still be let through by a rule for what is routed is
/// marked.
pub(super) fn rules(guard: &Guard, mark: u32) -> Vec<Vec<Expression>> {
    let routes_allow = |v6| guard.routes.iter().any(|rule| rule.v6 == v6 && !rule.act.refuses());
    let end = |allow: bool, v6: bool| match (allow, routes_allow(v6)) {
        (true, _) => vec![rule::then(Verdict::Return)],
        (false, true) => vec![[rule::mark(mark), rule::then(Verdict::Return)].concat()],
        (false, false) if guard.tells => refusals(None),
        (false, false) => vec![rule::then(Verdict::Drop)],
    };
    let mut all: Vec<_> =
        guard.rules.iter().flat_map(|one| one_rule(one, &rule::then(Verdict::Return))).collect();
    all.extend(end(guard.otherwise4, false).into_iter().map(|end| [rule::ipv4(), end].concat()));
    all.extend(end(guard.otherwise6, true));
    all
}

/// The ends of rules that tell who isn't let in, one behind the other: as iptables has it for ufw, a reset where there are such.
fn refusals(protocol: Option<Protocol>) -> Vec<Vec<Expression>> {
    let reset = rule::reset();
    match protocol {
        Some(Protocol::Tcp) => vec![reset],
        Some(_) => vec![rule::unreachable()],
        None => vec![[rule::transport(number::TCP), reset].concat(), rule::unreachable()],
    }
}

/// The rules about what is routed as ours; what fits none goes on. What a rule allows that names a container or a network is marked,
/// since it is reached even if it isn't published.
pub(super) fn routes(guard: &Guard, mark: u32) -> Vec<Vec<Expression>> {
    let each = |one: &GuardRule| {
        let mut allowed = if one.is_named() { rule::mark(mark) } else { Vec::new() };
        allowed.extend(rule::then(Verdict::Return));
        one_rule(one, &allowed)
    };
    guard.routes.iter().flat_map(each).collect()
}

/// The rules that let a packet come straight to a container, before it is known by which interface it leaves: `accept` is their
/// end.
pub(super) fn straight(guard: &Guard, accept: &[Expression]) -> Vec<Vec<Expression>> {
    // What is denied only on its way to one interface may be allowed on that to another.
    let early = guard.routes.iter().filter(|one| match one.act {
        Act::Deny | Act::Reject => one.out.is_none(),
        Act::Allow | Act::Limit => one.is_named(),
    });
    // Connections are counted where they are let through.
    let act = |one: &GuardRule| if one.act == Act::Limit { Act::Allow } else { one.act };
    early.flat_map(|one| one_rule(&GuardRule { act: act(one), out: None, ..one.clone() }, accept)).collect()
}

fn one_rule(one: &GuardRule, allowed: &[Expression]) -> Vec<Vec<Expression>> {
    let mut head = if one.v6 { rule::ipv6() } else { rule::ipv4() };
    if let Some(name) = &one.interface {
        head.extend(rule::comes_by(name));
    }
    if let Some(name) = &one.out {
        head.extend(rule::leaves_by(name));
    }
    if let Some(protocol) = one.protocol {
        head.extend(rule::transport(super::wanted::transport(protocol)));
    } else if !one.ports.is_empty() || !one.source_ports.is_empty() {
        head.extend(rule::has_ports());
    }
    let (source, destination, counted) = if one.v6 {
        (Part::Source6, Part::Destination6, COUNTED6.name)
    } else {
        (Part::Source4, Part::Destination4, COUNTED4.name)
    };
    for (net, part) in [(one.source, source), (one.destination, destination)] {
        if let Some(net) = net {
            head.extend(rule::in_net(part, net));
        }
    }
    let drop = rule::then(Verdict::Drop);
    let ends = match one.act {
        Act::Allow | Act::Limit => vec![allowed.to_vec()],
        Act::Deny => vec![drop.clone()],
        Act::Reject => refusals(one.protocol),
    };
    let each = |ranges: &[(u16, u16)], part| -> Vec<Vec<Expression>> {
        match ranges {
            [] => vec![Vec::new()],
            ranges => ranges.iter().map(|(first, last)| rule::port_in(part, *first, *last)).collect(),
        }
    };
    let mut all = Vec::new();
    for port in each(&one.ports, Part::Port) {
        for source_port in each(&one.source_ports, Part::SourcePort) {
            let fits = [&head[..], &port, &source_port].concat();
            if one.act == Act::Limit {
                all.push([&fits, &rule::too_many(source, counted, LIMIT)[..], &drop].concat());
            }
            all.extend(ends.iter().map(|end| [&fits[..], end].concat()));
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
