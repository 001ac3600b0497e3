//! Plans as rtnetlink's messages. Pure.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use minke_sys::netlink::{ACK, Batch, CREATE, EXCLUSIVE, REPLACE};
use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind,
    InfoVeth, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::plan::Route;
use super::{BridgePlan, EndpointPlan, Mac, MadeParent};
use crate::options::{IpvlanFlag, IpvlanMode, MacvlanMode};

pub(super) const NEW_LINK: u16 = 16;
pub(super) const DELETE_LINK: u16 = 17;
pub(super) const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
pub(super) const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
pub(super) const GET_ROUTE: u16 = 26;

/// The group of the bridges that engines make, by which each one's rules know those of the others ("mink").
pub(crate) const ENGINES: u32 = 0x6d69_6e6b;

/// Appends a message's payload.
pub(super) fn emit(message: &impl Emitable, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.emit(&mut bytes[start..]);
}

fn link(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = attributes;
    message
}

fn up(message: &mut LinkMessage) {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
}

fn info(kind: InfoKind, data: Option<InfoData>) -> LinkAttribute {
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    LinkAttribute::LinkInfo(info)
}

/// Asks for one link by its name.
pub(super) fn get_link(batch: &mut Batch, name: &str) {
    let message = link(vec![LinkAttribute::IfName(name.into())]);
    batch.push(GET_LINK, ACK, |bytes| emit(&message, bytes));
}

/// Makes a bridge, down. Its address is fixed: else it would follow those of its ports.
pub(super) fn make_bridge(batch: &mut Batch, plan: &BridgePlan, mac: Mac) {
    let data = vec![InfoBridge::MulticastSnooping(false)];
    let mut attributes = vec![
        LinkAttribute::IfName(plan.name.clone()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::Group(ENGINES),
        info(InfoKind::Bridge, Some(InfoData::Bridge(data))),
    ];
    attributes.extend(plan.mtu.map(LinkAttribute::Mtu));
    let message = link(attributes);
    batch.push(NEW_LINK, ACK | CREATE | EXCLUSIVE, |bytes| emit(&message, bytes));
}

/// Makes a parent, down.
pub(super) fn make_parent(batch: &mut Batch, name: &str, make: &MadeParent, of: u32) {
    let mut attributes = vec![LinkAttribute::IfName(name.into())];
    match make {
        MadeParent::Dummy => attributes.push(info(InfoKind::Dummy, None)),
        MadeParent::Vlan { id, .. } => {
            attributes.push(LinkAttribute::Link(of));
            attributes.push(info(InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(*id)]))));
        }
    }
    let message = link(attributes);
    batch.push(NEW_LINK, ACK | CREATE | EXCLUSIVE, |bytes| emit(&message, bytes));
}

/// What of a link is changed.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub up: bool,
    pub down: bool,
    pub alias: Option<&'a str>,
    pub mtu: Option<u32>,
    pub name: Option<&'a str>,
    /// The port sends a frame back to where it came from.
    pub hairpin: bool,
}

/// Changes a link: that of this index, or with 0 that of the change's name.
pub(super) fn change_link(batch: &mut Batch, index: u32, change: &Change<'_>) {
    let mut attributes = Vec::new();
    attributes.extend(change.alias.map(|alias| LinkAttribute::IfAlias(alias.into())));
    attributes.extend(change.name.map(|name| LinkAttribute::IfName(name.into())));
    attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    if change.hairpin {
        attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
    }
    let mut message = link(attributes);
    message.header.index = index;
    if change.up {
        up(&mut message);
    }
    if change.down {
        message.header.change_mask |= LinkFlags::Up;
    }
    let kind = if change.hairpin { NEW_LINK } else { SET_LINK };
    batch.push(kind, ACK, |bytes| emit(&message, bytes));
}

/// Removes a link.
pub(super) fn delete_link(batch: &mut Batch, index: u32) {
    let mut message = link(Vec::new());
    message.header.index = index;
    batch.push(DELETE_LINK, ACK, |bytes| emit(&message, bytes));
}

/// Makes a pair: one end here, up and part of the bridge, the other, down, in `inside`.
pub(super) fn make_veth(
    batch: &mut Batch,
    plan: &EndpointPlan,
    host_end: &str,
    bridge: u32,
    inside: BorrowedFd<'_>,
) {
    let mut peer = vec![LinkAttribute::IfName(plan.name.clone()), LinkAttribute::NetNsFd(inside.as_raw_fd())];
    peer.extend(plan.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    peer.extend(plan.mtu.map(LinkAttribute::Mtu));
    let data = InfoData::Veth(InfoVeth::Peer(link(peer)));
    let mut attributes = vec![
        LinkAttribute::IfName(host_end.into()),
        LinkAttribute::Controller(bridge),
        info(InfoKind::Veth, Some(data)),
    ];
    attributes.extend(plan.mtu.map(LinkAttribute::Mtu));
    let mut message = link(attributes);
    up(&mut message);
    batch.push(NEW_LINK, ACK | CREATE | EXCLUSIVE, |bytes| emit(&message, bytes));
}

/// Makes a macvlan's interface in `inside`, down.
pub(super) fn make_macvlan(
    batch: &mut Batch,
    plan: &EndpointPlan,
    parent: u32,
    mode: MacvlanMode,
    inside: BorrowedFd<'_>,
) {
    let mode = match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    };
    let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
    make_below(batch, plan, parent, info(InfoKind::MacVlan, Some(data)), inside);
}

/// Makes an interface of the host below a parent, down: one of a macvlan in its mode `bridge`.
pub(super) fn make_host_macvlan(batch: &mut Batch, name: &str, parent: u32) {
    let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
    let message = link(vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Link(parent),
        info(InfoKind::MacVlan, Some(data)),
    ]);
    batch.push(NEW_LINK, ACK | CREATE | EXCLUSIVE, |bytes| emit(&message, bytes));
}

/// Makes an ipvlan's interface in `inside`, down.
pub(super) fn make_ipvlan(
    batch: &mut Batch,
    plan: &EndpointPlan,
    parent: u32,
    (mode, flag): (IpvlanMode, IpvlanFlag),
    inside: BorrowedFd<'_>,
) {
    let mode = match mode {
        IpvlanMode::L2 => IpVlanMode::L2,
        IpvlanMode::L3 => IpVlanMode::L3,
        IpvlanMode::L3s => IpVlanMode::L3S,
    };
    let flag = match flag {
        IpvlanFlag::Bridge => IpVlanFlags::empty(),
        IpvlanFlag::Private => IpVlanFlags::Private,
        IpvlanFlag::Vepa => IpVlanFlags::Vepa,
    };
    let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flag)]);
    make_below(batch, plan, parent, info(InfoKind::IpVlan, Some(data)), inside);
}

fn make_below(
    batch: &mut Batch,
    plan: &EndpointPlan,
    parent: u32,
    info: LinkAttribute,
    inside: BorrowedFd<'_>,
) {
    let mut attributes = vec![
        LinkAttribute::IfName(plan.name.clone()),
        LinkAttribute::Link(parent),
        LinkAttribute::NetNsFd(inside.as_raw_fd()),
        info,
    ];
    attributes.extend(plan.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(plan.mtu.map(LinkAttribute::Mtu));
    let message = link(attributes);
    batch.push(NEW_LINK, ACK | CREATE | EXCLUSIVE, |bytes| emit(&message, bytes));
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}

/// Gives a link an address, which is not asked for in the network: it comes from a pool of our own.
pub(super) fn add_address(batch: &mut Batch, index: u32, address: IpNet) {
    let mut message = address_message(index, address);
    match address {
        IpNet::V4(net) => {
            if net.addr().is_link_local() {
                message.header.scope = AddressScope::Link;
            }
            if net.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
            }
        }
        IpNet::V6(net) => {
            if net.addr().is_unicast_link_local() {
                message.header.scope = AddressScope::Link;
            }
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    batch.push(NEW_ADDRESS, ACK | CREATE | REPLACE, |bytes| emit(&message, bytes));
}

/// Takes an address from a link.
pub(super) fn delete_address(batch: &mut Batch, index: u32, address: IpNet) {
    let message = address_message(index, address);
    batch.push(DELETE_ADDRESS, ACK, |bytes| emit(&message, bytes));
}

/// Adds a route by a link.
pub(super) fn add_route(batch: &mut Batch, index: u32, route: &Route) {
    let message = route_message(index, route);
    batch.push(NEW_ROUTE, ACK | CREATE | REPLACE, |bytes| emit(&message, bytes));
}

/// Takes a route by a link away.
pub(super) fn delete_route(batch: &mut Batch, index: u32, route: &Route) {
    let message = route_message(index, route);
    batch.push(DELETE_ROUTE, ACK, |bytes| emit(&message, bytes));
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match route.by {
        None if route.to.addr().is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    message.attributes.push(RouteAttribute::Oif(index));
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.to.network())));
    }
    message.attributes.extend(route.by.map(|by| RouteAttribute::Gateway(RouteAddress::from(by))));
    message
}

/// The request for all links, addresses or routes of a family.
pub(super) fn all_links() -> Vec<u8> {
    payload(&LinkMessage::default())
}

pub(super) fn all_addresses() -> Vec<u8> {
    payload(&AddressMessage::default())
}

pub(super) fn all_routes() -> Vec<u8> {
    payload(&RouteMessage::default())
}

fn payload(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(message, &mut bytes);
    bytes
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
