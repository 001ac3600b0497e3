//! What the kernel tells of links, addresses and routes, read. Pure but for the one question after one link.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use minke_sys::Errno;
use minke_sys::netlink::{Batch, Refusal, Socket};
use netlink_packet_core::Parseable;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::message;

/// `RT_TABLE_LOCAL`: the kernel's own table of what is this host.
const LOCAL_TABLE: u8 = 255;

/// What there is of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bridges and parents that it made, by name.
    pub made: BTreeMap<String, FoundLink>,
    /// The host's ends of its containers' interfaces, by name.
    pub host_ends: BTreeMap<String, FoundLink>,
    /// Every other link's name.
    pub others: Vec<String>,
}

/// A link that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLink {
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Bytes.
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub bridge: Option<u32>,
    pub(super) alias: String,
    pub(super) name: String,
    pub(super) is_bridge: bool,
    pub(super) is_veth: bool,
    pub(super) is_loopback: bool,
    pub(super) group: u32,
}

pub(super) fn one_link(socket: &Socket, name: &str) -> Result<Option<FoundLink>, Refusal> {
    let mut batch = Batch::default();
    message::get_link(&mut batch, name);
    let mut found = None;
    match socket.request(&batch, |message| found = LinkMessage::parse(message.payload).ok().map(found_link)) {
        Err(refusal) if refusal.errno == Errno::NODEV => Ok(None),
        Err(refusal) => Err(refusal),
        Ok(()) => Ok(found),
    }
}

pub(super) fn found_link(message: LinkMessage) -> FoundLink {
    let mut link = FoundLink {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        bridge: None,
        alias: String::new(),
        name: String::new(),
        is_bridge: false,
        is_veth: false,
        is_loopback: message.header.flags.contains(LinkFlags::Loopback),
        group: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = alias,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Controller(index) => link.bridge = Some(index),
            LinkAttribute::LinkInfo(info) => {
                link.is_bridge = info.contains(&LinkInfo::Kind(InfoKind::Bridge));
                link.is_veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
    link
}

pub(super) fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let of = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = of(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        of(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

pub(super) fn oif(attributes: &[RouteAttribute]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// The links that a route leads by, also where it has several.
pub(super) fn ways_of(route: &RouteMessage) -> Vec<u32> {
    let mut ways: Vec<u32> = oif(&route.attributes).into_iter().collect();
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            ways.extend(hops.iter().map(|hop| hop.interface_index));
        }
    }
    ways
}

/// The network of a route that a new subnet must not overlap.
pub(super) fn network_of(route: &RouteMessage, own: &[u32]) -> Option<IpNet> {
    let header = &route.header;
    if header.table == LOCAL_TABLE
        || header.kind != RouteType::Unicast
        || header.destination_prefix_length == 0
    {
        return None;
    }
    if oif(&route.attributes).is_some_and(|index| own.contains(&index)) {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    IpNet::new(address, header.destination_prefix_length).ok().filter(|net| !is_link_local(net.addr()))
}
