//! The fixed frame of the firewall: chains that never change and sets that do. Containers and networks are elements of sets,
//! so that a packet's way is as long with five hundred ports as with one. Pure.
//!
//! ```text
//!  from outside ─ direct: none straight to a container ─ published? redirect ───┐
//!                                                                               ├─ forward ─ outward? ─ inward? ─ allowed
//!  from a container ───────────────────────────────────── published? redirect ──┘
//!  leaving: a packet of a container gets an address of the host, unless it stays in its own network
//! ```
//!
//! That a chain of ours accepts a packet means no more than that *we* have nothing against it: other tables are asked all the same.

pub use super::hosts::{FIREWALLD, beside, packets};
pub use super::sets::*;
use crate::link::ENGINES;
use crate::nft::rule::{self, Part};
use crate::nft::{Chain, Expression, Family, Hook, Place, Table, Verdict, number};

/// The bit by which chains of others may know a packet that is let through.
pub const ALLOWED_MARK: u32 = 0x0100_0000;

/// Once the packet's connection is known, and before it is redirected.
const DIRECT: i32 = -150;
const DESTINATION: i32 = -100;
const FILTER: i32 = 0;
const SOURCE: i32 = 100;

/// The parts of a packet that the sets of one family are asked about.
pub(super) struct Of {
    pub(super) this: fn() -> Vec<Expression>,
    family: u8,
    source: Part,
    pub(super) destination: Part,
    pub(super) own: &'static str,
    pub(super) subnets: &'static str,
    routed: &'static str,
    open: &'static str,
    direct: &'static str,
    trusted: &'static str,
    masquerade: &'static str,
    sources: &'static str,
    pub(super) published: &'static str,
    pub(super) published_at: &'static str,
    reachable: &'static str,
    routable: &'static str,
    linked: &'static str,
    ping: (u8, u8),
}

pub(super) const V4: Of = Of {
    this: rule::ipv4,
    family: number::IPV4,
    source: Part::Source4,
    destination: Part::Destination4,
    own: OWN4.name,
    subnets: SUBNETS4.name,
    routed: ROUTED4.name,
    open: OPEN4.name,
    direct: DIRECT4.name,
    trusted: TRUSTED4.name,
    masquerade: MASQUERADE4.name,
    sources: SOURCE4.name,
    published: PUBLISHED4.name,
    published_at: PUBLISHED4_AT.name,
    reachable: REACHABLE4.name,
    routable: ROUTABLE4.name,
    linked: LINKED4.name,
    ping: (number::ICMP, 8),
};

pub(super) const V6: Of = Of {
    this: rule::ipv6,
    family: number::IPV6,
    source: Part::Source6,
    destination: Part::Destination6,
    own: OWN6.name,
    subnets: SUBNETS6.name,
    routed: ROUTED6.name,
    open: OPEN6.name,
    direct: DIRECT6.name,
    trusted: TRUSTED6.name,
    masquerade: MASQUERADE6.name,
    sources: SOURCE6.name,
    published: PUBLISHED6.name,
    published_at: PUBLISHED6_AT.name,
    reachable: REACHABLE6.name,
    routable: ROUTABLE6.name,
    linked: LINKED6.name,
    ping: (number::ICMP6, 128),
};

pub(super) fn line(parts: &[&[Expression]]) -> Vec<Expression> {
    parts.concat()
}

pub(super) fn accept() -> Vec<Expression> {
    rule::then(Verdict::Accept)
}

pub(super) fn leave() -> Vec<Expression> {
    rule::then(Verdict::Return)
}

pub(super) fn refuse() -> Vec<Expression> {
    rule::then(Verdict::Drop)
}

pub(super) fn jump(chain: &'static str) -> Vec<Expression> {
    rule::then(Verdict::Jump(chain))
}

pub(super) fn go(chain: &'static str) -> Vec<Expression> {
    rule::then(Verdict::Goto(chain))
}

pub(super) fn chain(name: &'static str, rules: Vec<Vec<Expression>>) -> Chain {
    Chain { name, hook: None, rules }
}

pub(super) fn at(
    name: &'static str,
    kind: &'static str,
    place: Place,
    priority: i32,
    rules: Vec<Vec<Expression>>,
) -> Chain {
    Chain { name, hook: Some(Hook { kind, place, priority }), rules }
}

pub(super) fn unguarded(name: &str, routes: bool) -> Table {
    Table {
        family: Family::Inet,
        name: name.to_string(),
        sets: PACKET_SETS.to_vec(),
        copied: None,
        chains: vec![
            at("direct", "filter", Place::Prerouting, DIRECT, direct(routes)),
            at(
                "nat_prerouting",
                "nat",
                Place::Prerouting,
                DESTINATION,
                vec![line(&[&rule::for_this_host(true), &jump("publish")])],
            ),
            // Where bridges are filtered, a packet to a published port of its own network is turned round on the bridge: the table
            // for frames knows it by the mark.
            at(
                "redirected",
                "filter",
                Place::Prerouting,
                DESTINATION + 1,
                vec![line(&[
                    &rule::within(&[Part::In], APART.name),
                    &rule::redirected(),
                    &rule::mark(ALLOWED_MARK),
                ])],
            ),
            at(
                "nat_output",
                "nat",
                Place::Output,
                DESTINATION,
                vec![
                    // What isn't led here, and all of ::1, is served in user space.
                    line(&[&rule::ipv4(), &rule::to_net8(127), &go("local")]),
                    line(&[&rule::ipv6(), &rule::to6(std::net::Ipv6Addr::LOCALHOST), &leave()]),
                    line(&[&rule::for_this_host(true), &jump("publish")]),
                ],
            ),
            chain("publish", [publish(&V4), publish(&V6)].concat()),
            chain("local", redirects(&V4, LOCAL4_AT.name, LOCAL4.name)),
            at(
                "nat_postrouting",
                "nat",
                Place::Postrouting,
                SOURCE,
                [vec![from_localhost()], leaving(&V4), leaving(&V6)].concat(),
            ),
            // Before the chains of iptables, which may look for the mark.
            at("forward", "filter", Place::Forward, FILTER - 1, forward(routes)),
            chain("outward", outward()),
            chain("inward", inward(routes)),
            chain("allowed", vec![rule::verdict_of(&[Part::Family], ALLOW.name), accept()]),
            chain(MARK, vec![rule::mark(ALLOWED_MARK)]),
            chain(NOT_OURS, vec![refuse()]),
        ],
    }
}

fn localhost() -> ipnet::IpNet {
    ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8).into()
}

/// A packet from localhost to a container takes the host's address in its network, to which the answer comes back.
fn from_localhost() -> Vec<Expression> {
    let out = rule::within(&[Part::Out], BRIDGES.name);
    let from = rule::in_net(Part::Source4, localhost());
    line(&[&rule::redirected(), &rule::ipv4(), &from, &out, &rule::masquerade()])
}

/// No connection comes straight to a container, past what is published; no packet from or to localhost from elsewhere.
fn direct(routes: bool) -> Vec<Vec<Expression>> {
    let mut rules = vec![
        line(&[&rule::comes_by("lo"), &accept()]),
        line(&[&rule::ipv4(), &rule::to_net8(127), &refuse()]),
        line(&[&rule::ipv4(), &rule::in_net(Part::Source4, localhost()), &refuse()]),
        // No connection goes on that did not come past here once, or was a container's own.
        line(&[&rule::goes_on(), &accept()]),
    ];
    for of in [&V4, &V6] {
        let this = (of.this)();
        let by = [Part::In, of.destination];
        rules.push(line(&[&this, &rule::within(&by, of.own), &accept()]));
        rules.push(line(&[&this, &rule::within(&[of.destination], of.routed), &accept()]));
        rules.push(line(&[&this, &rule::within(&[of.destination], of.direct), &accept()]));
        rules.push(line(&[&this, &rule::within(&by, of.trusted), &accept()]));
        let inside = rule::within(&[of.destination], of.subnets);
        // The host's own address in a network is an address like its others.
        let end = if routes { go("straight") } else { refuse() };
        rules.push(line(&[&this, &inside, &rule::for_this_host(false), &end]));
    }
    rules
}

fn publish(of: &Of) -> Vec<Vec<Expression>> {
    redirects(of, of.published_at, of.published)
}

fn redirects(of: &Of, by_address: &'static str, by_port: &'static str) -> Vec<Vec<Expression>> {
    let port = [Part::Transport, Part::Port];
    let at = [of.destination, Part::Transport, Part::Port];
    vec![
        line(&[&(of.this)(), &rule::redirect_by(&at, by_address, of.family)]),
        line(&[&(of.this)(), &rule::redirect_by(&port, by_port, of.family)]),
    ]
}

fn leaving(of: &Of) -> Vec<Vec<Expression>> {
    let this = (of.this)();
    let stays = rule::within(&[Part::Out, of.source], of.own);
    vec![
        // To a published port of its own network, or its own: the answer must come back by the host. By the source, as on a
        // filtered bridge nobody knows here by which interface the packet came.
        line(&[&rule::redirected(), &this, &stays, &rule::masquerade()]),
        line(&[&this, &stays, &leave()]),
        line(&[&this, &rule::source_by(&[of.source], of.sources, of.family)]),
        line(&[&this, &rule::within(&[of.source], of.masquerade), &rule::masquerade()]),
    ]
}

fn forward(routes: bool) -> Vec<Vec<Expression>> {
    let from = rule::within(&[Part::In], BRIDGES.name);
    let to = rule::within(&[Part::Out], BRIDGES.name);
    let mut rules = if routes { super::hosts::ways_that_are_routed() } else { Vec::new() };
    rules.extend([
        line(&[&from, &jump("outward")]),
        line(&[&to, &jump("inward")]),
        line(&[&from, &go("allowed")]),
        // Neither from nor to ours. What is bridged is no matter of forwarding, and other engines look after theirs.
        line(&[&rule::bridged(), &accept()]),
        line(&[&rule::comes_by_group(ENGINES), &accept()]),
        line(&[&rule::leaves_by_group(ENGINES), &accept()]),
        line(&[&rule::ipv4(), &rule::within(&[Part::In], APART_FROM4.name), &refuse()]),
        rule::verdict_of(&[Part::Family], OTHERS.name),
    ]);
    rules
}

pub(super) fn same_network() -> Vec<Expression> {
    rule::within(&[Part::In, Part::Out], ICC.name)
}

/// What a container sends.
fn outward() -> Vec<Vec<Expression>> {
    let may_leave = rule::within(&[Part::In], OUTWARD.name);
    let mut rules = vec![
        line(&[&rule::goes_on(), &leave()]),
        line(&[&same_network(), &leave()]),
        line(&[&may_leave, &leave()]),
    ];
    for of in [&V4, &V6] {
        rules.push(line(&[&(of.this)(), &linked(of), &leave()]));
    }
    rules.extend(neighbours(leave));
    rules.push(refuse());
    rules
}

/// Neighbours are asked for, where bridges are filtered also past this table; a router doesn't pass such a question on.
const NEIGHBOURS: [u8; 4] = [133, 134, 135, 136];

fn neighbours(then: fn() -> Vec<Expression>) -> impl Iterator<Item = Vec<Expression>> {
    NEIGHBOURS.into_iter().map(move |kind| line(&[&rule::message(number::ICMP6, kind), &then()]))
}

fn linked(of: &Of) -> Vec<Expression> {
    rule::within(&[of.source, of.destination, Part::Transport, Part::Port], of.linked)
}

/// What comes to a container.
fn inward(routes: bool) -> Vec<Vec<Expression>> {
    let mut rules = vec![line(&[&rule::goes_on(), &go("allowed")]), line(&[&same_network(), &go("allowed")])];
    if routes {
        rules.push(line(&[&rule::marked(super::hosts::STRAIGHT_MARK), &go("allowed")]));
    }
    for of in [&V4, &V6] {
        let this = (of.this)();
        let to_port = [of.destination, Part::Transport, Part::Port];
        rules.push(line(&[
            &rule::redirected(),
            &this,
            &rule::within(&to_port, of.reachable),
            &go("allowed"),
        ]));
        rules.push(line(&[&this, &linked(of), &go("allowed")]));
        rules.push(line(&[&this, &rule::within(&[of.destination], of.open), &go("allowed")]));
        rules.push(line(&[&this, &rule::within(&to_port, of.routable), &go("allowed")]));
        let routed = rule::within(&[of.destination], of.routed);
        rules.push(line(&[&this, &routed, &rule::message(of.ping.0, of.ping.1), &go("allowed")]));
    }
    rules.extend(neighbours(|| go("allowed")));
    for of in [&V4, &V6] {
        let this = (of.this)();
        let published = rule::within(&[of.destination, Part::Transport, Part::Port], of.reachable);
        // At its own address, for whom its network or the engine trusts: no matter for who is in the network itself.
        let trusted = rule::within(&[Part::In, of.destination], of.trusted);
        rules.push(line(&[&this, &trusted, &published, &go("allowed")]));
        rules.push(line(&[&this, &rule::within(&[Part::Out, of.source], of.own), &refuse()]));
        rules.push(line(&[&this, &rule::within(&[of.destination], of.direct), &published, &go("allowed")]));
    }
    rules.push(refuse());
    rules
}

const ARP: u16 = 0x0806;
const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;

/// The table for frames between the ports of bridges whose containers don't reach each other. Packets between the ports of a
/// bridge pass no table but this, unless bridges are filtered.
pub fn frames(name: &str) -> Table {
    let parts = |of: &Of| (of.source, of.destination);
    let between = |of: &Of, kind: u16| {
        let (source, destination) = parts(of);
        let to = rule::within(&[source, destination, Part::Transport, Part::Port], of.linked);
        let back = rule::within(&[destination, source, Part::Transport, Part::SourcePort], of.linked);
        vec![
            line(&[&rule::ether_type(kind), &to, &accept()]),
            line(&[&rule::ether_type(kind), &back, &accept()]),
        ]
    };
    let mut rules =
        vec![line(&[&rule::ether_type(ARP), &accept()]), line(&[&rule::marked(ALLOWED_MARK), &accept()])];
    let asked = |rule: Vec<Expression>| line(&[&rule::ether_type(ETHER_IPV6), &rule]);
    rules.extend(neighbours(accept).map(asked));
    rules.extend(between(&V4, ETHER_IPV4));
    rules.extend(between(&V6, ETHER_IPV6));
    rules.push(refuse());
    let both_closed =
        [rule::within(&[Part::In], CLOSED.name), rule::within(&[Part::Out], CLOSED.name), jump("between")]
            .concat();
    Table {
        family: Family::Bridge,
        name: name.to_string(),
        sets: FRAME_SETS.to_vec(),
        copied: None,
        chains: vec![
            at("forward", "filter", Place::Forward, FILTER, vec![both_closed]),
            chain("between", rules),
        ],
    }
}

/// What a table is commented with: it changes with the frame, by which a found one is known.
pub fn comment(table: &Table) -> String {
    let hash = crate::engine::hash(format!("{table:?}").as_bytes());
    format!("made by minke, frame {hash:016x}: what others put in here is removed")
}
