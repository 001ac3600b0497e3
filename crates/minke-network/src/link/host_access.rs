//! The host's own interface below a macvlan's parent, and its routes to the containers: one per address, so that nothing else of
//! the host's traffic takes another way.

use std::net::IpAddr;

use ipnet::IpNet;
use minke_model::error::Context;
use minke_model::{Error, Result};
use minke_sys::netlink::Batch;
use netlink_packet_core::Parseable;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::found::oif;
use super::kernel::missing;
use super::message::{self, Change};
use super::{HostEnd, Kernel, Route};

/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u8 = 254;

impl Kernel {
    /// Makes the host's interface below `parent`, with its addresses, up; what is there stays.
    pub(super) fn make_host_end(&self, parent: &str, end: &HostEnd) -> Result<()> {
        let failed =
            |what: &str| format!("failed to {what} the host's interface {} below {parent}", end.name);
        let link = match self.link(&end.name)? {
            Some(link) => link,
            None => {
                let mut batch = Batch::default();
                message::make_host_macvlan(&mut batch, &end.name, self.look_up(parent)?);
                let made = self.route.apply(&batch);
                made.map_err(|refusal| missing(refusal, failed("create"), "macvlan"))?;
                let link = self.link(&end.name)?.ok_or_else(|| Error::system(failed("find")))?;
                let alias = self.names.alias();
                let mut batch = Batch::default();
                let change = Change { alias: Some(&alias), ..Change::default() };
                message::change_link(&mut batch, link.index, &change);
                self.route.apply(&batch).with_context(|| failed("name"))?;
                self.quieten_host_end(end).with_context(|| failed("set up"))?;
                link
            }
        };
        let found = self.addresses(link.index)?;
        let mut batch = Batch::default();
        for address in end.addresses.iter().filter(|address| !found.contains(address)) {
            message::add_address(&mut batch, link.index, *address);
        }
        if !link.up {
            message::change_link(&mut batch, link.index, &Change { up: true, ..Change::default() });
        }
        self.route.apply(&batch).with_context(|| failed("set up"))
    }

    /// It takes no advertisements, and speaks IPv6 only with an address of its own.
    fn quieten_host_end(&self, end: &HostEnd) -> std::io::Result<()> {
        let has_v6 = end.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
        for (setting, value) in [("disable_ipv6", if has_v6 { "0" } else { "1" }), ("accept_ra", "0")] {
            match self.settings.write(&format!("ipv6/conf/{}/{setting}", end.name), value) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Gives the interface `end` a route to each of these addresses, and to no other. Of a family in which the host has no
    /// address there, only IPv4 can be reached.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_host_routes(&self, end: &str, wanted: &[IpAddr]) -> Result<()> {
        let failed = || format!("failed to set the host's routes by {end}");
        let Some(link) = self.link(end)? else { return Ok(()) };
        let has_v6 = self.addresses(link.index)?.iter().any(|address| matches!(address, IpNet::V6(_)));
        let found: Vec<IpAddr> = self.dump(message::GET_ROUTE, &message::all_routes(), |payload| {
            let route = RouteMessage::parse(payload).ok();
            route.iter().filter_map(|route| to_one(route, link.index)).collect()
        })?;
        let route = |address: &IpAddr| Route { to: IpNet::from(*address), by: None };
        let mut batch = Batch::default();
        for address in found.iter().filter(|address| !wanted.contains(address)) {
            message::delete_route(&mut batch, link.index, &route(address));
        }
        let possible = wanted.iter().filter(|address| address.is_ipv4() || has_v6);
        for address in possible.filter(|address| !found.contains(address)) {
            message::add_route(&mut batch, link.index, &route(address));
        }
        self.route.apply(&batch).with_context(failed)
    }
}

/// The one address that a route leads to by the link `index`.
fn to_one(route: &RouteMessage, index: u32) -> Option<IpAddr> {
    let header = &route.header;
    let ours = header.table == MAIN_TABLE
        && header.kind == RouteType::Unicast
        && oif(&route.attributes) == Some(index);
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    (ours && header.destination_prefix_length == whole).then_some(address)
}
