//! An endpoint: a container's place in one network while it runs. Pure; what a client had asked for is the container's own record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minke_api::StringMap;
use serde::{Deserialize, Serialize};

use crate::link::Mac;
use crate::ports::{Protocol, Published};

/// What an endpoint has, from its allocation to the end of its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits, new for each run.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// What the interface is called inside, `eth0`.
    pub interface: String,
    /// The interface's address.
    pub mac: Mac,
    /// Its address with the subnet's prefix.
    #[serde(default)]
    pub ipv4: Option<Ipv4Net>,
    /// Its address with the subnet's prefix.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// The subnet's gateway; none in an internal network.
    #[serde(default)]
    pub gateway4: Option<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// The container's default route for IPv4 goes by this endpoint.
    #[serde(default)]
    pub default4: bool,
    /// The same for IPv6.
    #[serde(default)]
    pub default6: bool,
    /// Further addresses, of this link alone.
    #[serde(default)]
    pub link_local: Vec<IpNet>,
    /// The ports of the host that lead here.
    #[serde(default)]
    pub published: Vec<Published>,
    /// The ports that others reach by a link where containers don't reach one another otherwise.
    #[serde(default)]
    pub exposed: Vec<(Protocol, u16)>,
    /// The ids of the containers that this one has links to; an earlier engine wrote those of their endpoints.
    #[serde(default)]
    pub linked: Vec<String>,
    /// As they were given.
    #[serde(default)]
    pub driver_opts: StringMap,
}

impl Endpoint {
    /// Returns its addresses, without prefixes.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.ipv6.map(|net| IpAddr::V6(net.addr())))
    }
}
