//! What a network's link and an endpoint's interface are. Pure: it takes the network's record and the endpoint's addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minke_model::Result;
use serde::{Deserialize, Serialize};

use super::Mac;
use crate::engine::{Names, bridge_of};
use crate::options::{
    BridgeOptions, GatewayMode, HOST_ADDRESS, IpvlanFlag, IpvlanMode, MacvlanMode, ParentOptions,
    parse_ipvlan_mode, parse_macvlan_mode,
};
use crate::{Driver, Network};

/// What of an endpoint its interface is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The endpoint's id: 64 hexadecimal digits.
    pub endpoint: String,
    /// What it is called in the container: `eth0`.
    pub name: String,
    /// Its hardware address; none: the kernel's choice, and always so for an ipvlan.
    pub mac: Option<Mac>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Net>,
    /// Further addresses, of the link only (`--link-local-ip`).
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Where IPv4 packets go that have no other route; none where another interface has the way out, or nobody.
    pub gateway4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// Settings of the interface, by paths below `/proc/sys/net` in which `IFNAME` stands for its name:
    /// `ipv4/conf/IFNAME/log_martians`. Read by [`crate::options::parse_interface_settings`].
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// What a network has on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkPlan {
    /// A bridge.
    Bridge(BridgePlan),
    /// An interface below which others are made.
    Parent(ParentPlan),
    /// Nothing: the host's network, and none.
    Nothing,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePlan {
    /// Its name.
    pub name: String,
    /// Bytes; none: as the uplink's.
    pub mtu: Option<u32>,
    /// The host's addresses in it. None of a family: the host has none there.
    pub addresses: Vec<IpNet>,
    /// Whether IPv6 is spoken on it.
    pub ipv6: bool,
}

/// The parent of a macvlan's or ipvlan's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentPlan {
    /// Its name.
    pub name: String,
    /// What it is made as, where it isn't there.
    pub make: Option<MadeParent>,
    /// The host's own interface below it, where the host reaches the containers.
    pub host: Option<HostEnd>,
}

/// The host's own interface below a macvlan's parent: by the parent itself it can't reach what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// The host's addresses for it, if they were named; none: it speaks by those of its other interfaces.
    pub addresses: Vec<IpNet>,
}

/// A parent that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MadeParent {
    /// A VLAN of an interface of the host.
    Vlan {
        /// The interface.
        of: String,
        /// 1 to 4094.
        id: u16,
    },
    /// An interface that leads nowhere, for an internal network.
    Dummy,
}

/// An endpoint's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// What it is connected to.
    pub port: Port,
    /// Its name in the container.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Bytes; none: as what it is connected to.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Routes by it, beside those to its own subnets.
    pub routes: Vec<Route>,
    /// Whether IPv6 is spoken on it.
    pub ipv6: bool,
    /// Paths below `/proc/sys/net` and what is written there.
    pub settings: Vec<(String, String)>,
}

/// What an interface is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A bridge, by a pair of interfaces.
    Bridge {
        /// The bridge.
        bridge: String,
        /// The name of the pair's other end.
        host_end: String,
    },
    /// A parent's MAC addresses.
    Macvlan {
        /// The parent.
        parent: String,
        /// Between its containers.
        mode: MacvlanMode,
    },
    /// A parent's one MAC address.
    Ipvlan {
        /// The parent.
        parent: String,
        /// On which level.
        mode: IpvlanMode,
        /// Between its containers.
        flag: IpvlanFlag,
    },
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// By whom; none: it is on the link.
    pub by: Option<IpAddr>,
}

/// Decides what a network has on the host. `uplink_mtu` is that of the interface with the default route.
///
/// # Errors
/// Where an option of the network isn't one, which was found when it was made.
pub fn plan_link(network: &Network, uplink_mtu: Option<u32>) -> Result<LinkPlan> {
    Ok(match network.driver {
        Driver::Host | Driver::Null => LinkPlan::Nothing,
        Driver::Bridge => {
            let options = BridgeOptions::parse(&network.options)?;
            LinkPlan::Bridge(BridgePlan {
                addresses: bridge_addresses(network, &options)?,
                name: options.name.unwrap_or_else(|| bridge_of(&network.id)),
                mtu: options.mtu.or(uplink_mtu),
                ipv6: network.ipv6,
            })
        }
        Driver::Macvlan | Driver::Ipvlan => LinkPlan::Parent(plan_parent(network)?),
    })
}

/// The host's addresses: the gateways, unless the network isn't to have them there.
fn bridge_addresses(network: &Network, options: &BridgeOptions) -> Result<Vec<IpNet>> {
    let mut addresses = Vec::new();
    for subnet in &network.subnets {
        let (mode, inhibited) = match subnet.net {
            IpNet::V4(_) => (options.gateway_mode_v4, options.inhibit_v4),
            IpNet::V6(_) => (options.gateway_mode_v6, false),
        };
        if mode == GatewayMode::Isolated || inhibited {
            continue;
        }
        if let Some(gateway) = subnet.addresses(true)?.1 {
            addresses.push(IpNet::new_assert(gateway, subnet.net.prefix_len()));
        }
    }
    Ok(addresses)
}

fn plan_parent(network: &Network) -> Result<ParentPlan> {
    let options = ParentOptions::parse(&network.options)?;
    let short = &network.id[..network.id.len().min(12)];
    let host = options.host_access.then(|| HostEnd {
        name: format!("mh-{short}"),
        addresses: network
            .subnets
            .iter()
            .filter_map(|subnet| subnet.auxiliary.get(HOST_ADDRESS))
            .map(|address| IpNet::from(*address))
            .collect(),
    });
    Ok(match options.parent {
        None => ParentPlan { name: format!("dm-{short}"), make: Some(MadeParent::Dummy), host },
        Some(parent) => {
            let make = parent.vlan.map(|(of, id)| MadeParent::Vlan { of, id });
            ParentPlan { name: parent.name, make, host }
        }
    })
}

/// Decides what an endpoint's interface is.
///
/// # Errors
/// As [`plan_link`].
pub fn plan_endpoint(
    network: &Network,
    interface: &Interface,
    names: &Names,
    uplink_mtu: Option<u32>,
) -> Result<Option<EndpointPlan>> {
    let (port, mtu) = match network.driver {
        Driver::Host | Driver::Null => return Ok(None),
        Driver::Bridge => {
            let options = BridgeOptions::parse(&network.options)?;
            let bridge = options.name.unwrap_or_else(|| bridge_of(&network.id));
            let host_end = names.host_end_of(&interface.endpoint);
            (Port::Bridge { bridge, host_end }, options.mtu.or(uplink_mtu))
        }
        Driver::Macvlan => {
            let parent = plan_parent(network)?.name;
            let mode = parse_macvlan_mode(&network.options)?;
            (Port::Macvlan { parent, mode }, ParentOptions::parse(&network.options)?.mtu)
        }
        Driver::Ipvlan => {
            let parent = plan_parent(network)?.name;
            let (mode, flag) = parse_ipvlan_mode(&network.options)?;
            (Port::Ipvlan { parent, mode, flag }, ParentOptions::parse(&network.options)?.mtu)
        }
    };
    // On its own level an ipvlan has no neighbours to ask: the way out is the link itself.
    let routed = matches!(port, Port::Ipvlan { mode: IpvlanMode::L3 | IpvlanMode::L3s, .. });
    let mut addresses: Vec<IpNet> = interface.ipv4.map(IpNet::V4).into_iter().collect();
    addresses.extend(interface.ipv6.map(IpNet::V6));
    addresses.extend(interface.link_local.iter().map(|address| {
        let prefix = if address.is_ipv4() { 16 } else { 64 };
        IpNet::new_assert(*address, prefix)
    }));
    Ok(Some(EndpointPlan {
        ipv6: addresses.iter().any(|address| matches!(address, IpNet::V6(_))),
        mac: interface.mac.filter(|_| !matches!(port, Port::Ipvlan { .. })),
        routes: default_routes(interface, routed),
        port,
        name: interface.name.clone(),
        mtu,
        addresses,
        settings: settings(interface),
    }))
}

fn default_routes(interface: &Interface, routed: bool) -> Vec<Route> {
    let mut routes = Vec::new();
    if let Some(gateway) = interface.gateway4.filter(|_| interface.ipv4.is_some()) {
        routes
            .push(Route { to: IpNet::V4(Ipv4Net::default()), by: (!routed).then_some(IpAddr::V4(gateway)) });
    }
    if let Some(gateway) = interface.gateway6.filter(|_| interface.ipv6.is_some()) {
        routes
            .push(Route { to: IpNet::V6(Ipv6Net::default()), by: (!routed).then_some(IpAddr::V6(gateway)) });
    }
    routes
}

fn settings(interface: &Interface) -> Vec<(String, String)> {
    let path = |path: &str| path.replace("IFNAME", &interface.name);
    interface.settings.iter().map(|(key, value)| (path(key), value.clone())).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
