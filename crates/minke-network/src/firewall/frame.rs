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

use super::guard::Guard;
use crate::link::ENGINES;
use crate::nft::rule::{self, Part};
use crate::nft::{Chain, Copied, Expression, Family, Hook, Leads, Place, Set, Table, Type, Verdict, number};

/// The bit by which chains of others may know a packet that is let through.
pub const ALLOWED_MARK: u32 = 0x0100_0000;

/// Once the packet's connection is known, and before it is redirected.
const DIRECT: i32 = -150;
const DESTINATION: i32 = -100;
const FILTER: i32 = 0;
const SOURCE: i32 = 100;

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::Nowhere, ranges: false, counted_s: None }
}

const fn ranges(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::Nowhere, ranges: true, counted_s: None }
}

const fn map(name: &'static str, key: &'static [Type], to: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::To(to), ranges: false, counted_s: None }
}

use Type::{Interface, Ipv4, Ipv6, Port, Protocol, Transport};

/// The bridges.
pub const BRIDGES: Set = set("bridges", &[Interface]);
/// Bridges whose containers reach each other.
pub const ICC: Set = set("icc", &[Interface, Interface]);
/// Bridges whose containers don't.
pub const APART: Set = set("apart", &[Interface]);
/// Bridges from which one gets out.
pub const OUTWARD: Set = set("outward", &[Interface]);
/// Bridges with their own subnets.
pub const OWN4: Set = ranges("own4", &[Interface, Ipv4]);
/// The same.
pub const OWN6: Set = ranges("own6", &[Interface, Ipv6]);
/// All subnets.
pub const SUBNETS4: Set = ranges("subnets4", &[Ipv4]);
/// The same.
pub const SUBNETS6: Set = ranges("subnets6", &[Ipv6]);
/// Subnets that are reached by their own addresses.
pub const ROUTED4: Set = ranges("routed4", &[Ipv4]);
/// The same.
pub const ROUTED6: Set = ranges("routed6", &[Ipv6]);
/// Subnets all of whose ports are reached.
pub const OPEN4: Set = ranges("open4", &[Ipv4]);
/// The same.
pub const OPEN6: Set = ranges("open6", &[Ipv6]);
/// Subnets whose published ports are reached by containers' own addresses.
pub const DIRECT4: Set = ranges("direct4", &[Ipv4]);
/// The same.
pub const DIRECT6: Set = ranges("direct6", &[Ipv6]);
/// Interfaces of the host from which a subnet is reached.
pub const TRUSTED4: Set = ranges("trusted4", &[Interface, Ipv4]);
/// The same.
pub const TRUSTED6: Set = ranges("trusted6", &[Interface, Ipv6]);
/// Subnets whose packets get the address of the interface they leave by.
pub const MASQUERADE4: Set = ranges("masquerade4", &[Ipv4]);
/// The same.
pub const MASQUERADE6: Set = ranges("masquerade6", &[Ipv6]);
/// Subnets whose packets get an address that was named.
pub const SOURCE4: Set = Set { ranges: true, ..map("source4", &[Ipv4], &[Ipv4]) };
/// The same.
pub const SOURCE6: Set = Set { ranges: true, ..map("source6", &[Ipv6], &[Ipv6]) };
/// Ports that are published at every address of the host.
pub const PUBLISHED4: Set = map("published4", &[Transport, Port], &[Ipv4, Port]);
/// The same.
pub const PUBLISHED6: Set = map("published6", &[Transport, Port], &[Ipv6, Port]);
/// Ports that are published at one of them.
pub const PUBLISHED4_AT: Set = map("published4_at", &[Ipv4, Transport, Port], &[Ipv4, Port]);
/// The same.
pub const PUBLISHED6_AT: Set = map("published6_at", &[Ipv6, Transport, Port], &[Ipv6, Port]);
/// Ports that are published at every address of localhost.
pub const LOCAL4: Set = map("local4", &[Transport, Port], &[Ipv4, Port]);
/// Ports that are published at one of them.
pub const LOCAL4_AT: Set = map("local4_at", &[Ipv4, Transport, Port], &[Ipv4, Port]);
/// Containers' ports to which published ones lead.
pub const REACHABLE4: Set = set("reachable4", &[Ipv4, Transport, Port]);
/// The same.
pub const REACHABLE6: Set = set("reachable6", &[Ipv6, Transport, Port]);
/// Containers' ports that are reached by their own addresses.
pub const ROUTABLE4: Set = set("routable4", &[Ipv4, Transport, Port]);
/// The same.
pub const ROUTABLE6: Set = set("routable6", &[Ipv6, Transport, Port]);
/// Source, destination and port of who may be reached although the network's containers don't reach each other.
pub const LINKED4: Set = set("linked4", &[Ipv4, Ipv4, Transport, Port]);
/// The same.
pub const LINKED6: Set = set("linked6", &[Ipv6, Ipv6, Transport, Port]);
/// What happens to packets that are let through, by family.
pub const ALLOW: Set = Set { leads: Leads::ToVerdict, ..set("allow", &[Protocol]) };
/// Interfaces from which is forwarded what is for containers, and nothing else.
pub const APART_FROM4: Set = set("apart_from4", &[Interface]);
/// What happens to packets that are none of ours, by family.
pub const OTHERS: Set = Set { leads: Leads::ToVerdict, ..set("others", &[Protocol]) };
/// Whose connections are counted, by the host's own firewall's rules: there where it has such.
pub const COUNTED4: Set = Set { counted_s: Some(60), ..set("counted4", &[Ipv4]) };
/// The same.
pub const COUNTED6: Set = Set { counted_s: Some(60), ..set("counted6", &[Ipv6]) };
/// Ports of bridges whose containers don't reach each other, in the bridges' own table.
pub const CLOSED: Set = set("closed", &[Interface]);

/// The chain that marks packets, to which [`ALLOW`] leads.
pub const MARK: &str = "mark";
/// The chain that lets nothing through, to which [`OTHERS`] leads.
pub const NOT_OURS: &str = "not_ours";

/// The sets of the table for packets.
pub const PACKET_SETS: &[Set] = &[
    BRIDGES,
    ICC,
    APART,
    OUTWARD,
    OWN4,
    OWN6,
    SUBNETS4,
    SUBNETS6,
    ROUTED4,
    ROUTED6,
    OPEN4,
    OPEN6,
    DIRECT4,
    DIRECT6,
    TRUSTED4,
    TRUSTED6,
    MASQUERADE4,
    MASQUERADE6,
    SOURCE4,
    SOURCE6,
    PUBLISHED4,
    PUBLISHED6,
    PUBLISHED4_AT,
    PUBLISHED6_AT,
    LOCAL4,
    LOCAL4_AT,
    REACHABLE4,
    REACHABLE6,
    ROUTABLE4,
    ROUTABLE6,
    LINKED4,
    LINKED6,
    ALLOW,
    APART_FROM4,
    OTHERS,
];

/// The sets of the table for frames.
pub const FRAME_SETS: &[Set] = &[CLOSED, LINKED4, LINKED6];

/// The parts of a packet that the sets of one family are asked about.
struct Of {
    this: fn() -> Vec<Expression>,
    family: u8,
    source: Part,
    destination: Part,
    own: &'static str,
    subnets: &'static str,
    routed: &'static str,
    open: &'static str,
    direct: &'static str,
    trusted: &'static str,
    masquerade: &'static str,
    sources: &'static str,
    published: &'static str,
    published_at: &'static str,
    reachable: &'static str,
    routable: &'static str,
    linked: &'static str,
    ping: (u8, u8),
}

const V4: Of = Of {
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

const V6: Of = Of {
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

fn line(parts: &[&[Expression]]) -> Vec<Expression> {
    parts.concat()
}

fn accept() -> Vec<Expression> {
    rule::then(Verdict::Accept)
}

fn leave() -> Vec<Expression> {
    rule::then(Verdict::Return)
}

fn refuse() -> Vec<Expression> {
    rule::then(Verdict::Drop)
}

fn jump(chain: &'static str) -> Vec<Expression> {
    rule::then(Verdict::Jump(chain))
}

fn go(chain: &'static str) -> Vec<Expression> {
    rule::then(Verdict::Goto(chain))
}

fn chain(name: &'static str, rules: Vec<Vec<Expression>>) -> Chain {
    Chain { name, hook: None, rules }
}

fn at(
    name: &'static str,
    kind: &'static str,
    place: Place,
    priority: i32,
    rules: Vec<Vec<Expression>>,
) -> Chain {
    Chain { name, hook: Some(Hook { kind, place, priority }), rules }
}

/// Before a packet is redirected: it still has the port of the host.
const GUARD: i32 = -110;

/// A packet that nothing in the host's firewall lets in, unless a rule for what is routed does.
const CLOSED_MARK: u32 = 0x0200_0000;
/// A packet that a rule for what is routed lets straight to a container.
const STRAIGHT_MARK: u32 = 0x0400_0000;

/// Where the host's own firewall is asked: who comes from outside to a published port.
fn guard_chains(guard: Option<&Guard>, firewalld: bool) -> Vec<Chain> {
    let mut rules = vec![
        line(&[&rule::goes_on(), &leave()]),
        line(&[&rule::comes_by("lo"), &leave()]),
        line(&[&rule::within(&[Part::In], BRIDGES.name), &leave()]),
        line(&[&rule::for_this_host(false), &leave()]),
    ];
    let asked = guard.map(|_| "guarded").into_iter().chain(firewalld.then_some(FIREWALLD));
    for chain in asked {
        for of in [&V4, &V6] {
            let at = [of.destination, Part::Transport, Part::Port];
            let port = [Part::Transport, Part::Port];
            rules.push(line(&[&(of.this)(), &rule::known(&at, of.published_at), &jump(chain)]));
            rules.push(line(&[&(of.this)(), &rule::known(&port, of.published), &jump(chain)]));
        }
    }
    let mut all = vec![at("guard", "filter", Place::Prerouting, GUARD, rules)];
    all.extend(guard.map(|guard| chain("guarded", super::guard::rules(guard, CLOSED_MARK))));
    all
}

/// Where its rules about what is routed are asked: who comes to a container, and what leaves one.
fn route_chains(guard: &Guard) -> Vec<Chain> {
    let mut routed = vec![line(&[&rule::goes_on(), &leave()]), line(&[&same_network(), &leave()])];
    routed.extend(super::guard::routes(guard, STRAIGHT_MARK));
    routed.push(line(&[&rule::marked(CLOSED_MARK), &refuse()]));
    let mut straight = super::guard::straight(guard, &accept());
    straight.push(refuse());
    vec![chain("routed", routed), chain("straight", straight)]
}

/// The copy of firewalld's chain for what comes to this host, and how the copies of others begin.
pub const FIREWALLD: &str = "firewalld";

/// The table for packets; with a guard where the host's own firewall is asked: ufw by its rules, firewalld by its own chains.
pub fn packets(name: &str, guard: Option<&Guard>, firewalld: Option<&Copied>) -> Table {
    let mut table = unguarded(name, guard.is_some_and(|guard| !guard.routes.is_empty()));
    if guard.is_some() || firewalld.is_some() {
        table.chains.extend(guard_chains(guard, firewalld.is_some()));
    }
    table.copied = firewalld.cloned();
    let Some(guard) = guard else { return table };
    if !guard.routes.is_empty() {
        table.chains.extend(route_chains(guard));
    }
    if guard.limits() {
        table.sets.extend([COUNTED4, COUNTED6]);
    }
    table
}

fn unguarded(name: &str, routes: bool) -> Table {
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
    let mut rules = Vec::new();
    if routes {
        rules.push(line(&[&to, &jump("routed")]));
        rules.push(line(&[&from, &rule::outside(&[Part::Out], BRIDGES.name), &jump("routed")]));
    }
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

fn same_network() -> Vec<Expression> {
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
        rules.push(line(&[&rule::marked(STRAIGHT_MARK), &go("allowed")]));
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
