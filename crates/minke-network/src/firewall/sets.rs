//! The sets and maps of the engine's tables: networks, containers and ports are elements of them. Pure.

use crate::nft::{Leads, Set, Type};
use Type::{Interface, Ipv4, Ipv6, Port, Protocol, Transport};

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::Nowhere, ranges: false, counted_s: None }
}

const fn ranges(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::Nowhere, ranges: true, counted_s: None }
}

const fn map(name: &'static str, key: &'static [Type], to: &'static [Type]) -> Set {
    Set { name, key, leads: Leads::To(to), ranges: false, counted_s: None }
}

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
