//! What an engine is told about networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use minke_network::ipam::Pool;

/// Where containers are that choose no network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DefaultBridge {
    /// On a bridge that the engine makes.
    #[default]
    Own,
    /// On a bridge of the host.
    Named(String),
    /// On none: there is no network `bridge`.
    None,
}

/// Settings of networks. Nothing is read from anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Which bridge the network `bridge` has.
    pub bridge: DefaultBridge,
    /// The address of that bridge, with its subnet.
    pub bip: Option<Ipv4Net>,
    /// The same for IPv6.
    pub bip6: Option<Ipv6Net>,
    /// Where its containers' addresses come from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// The same for IPv6; its subnet, where `bip6` doesn't say.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// The gateway of its containers, where it isn't the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// It has IPv6.
    pub ipv6: bool,
    /// Its MTU; none: as the uplink's.
    pub mtu: Option<u32>,
    /// Its containers reach one another.
    pub icc: bool,
    /// Where ports are published that name no address.
    pub ip: Option<IpAddr>,
    /// The engine may write firewall rules for IPv4.
    pub iptables: bool,
    /// The same for IPv6.
    pub ip6tables: bool,
    /// `nftables` or `iptables`; empty: nftables.
    pub firewall_backend: String,
    /// The engine turns forwarding on.
    pub ip_forward: bool,
    /// What was not forwarded before isn't afterwards, unless this is set.
    pub ip_forward_no_drop: bool,
    /// What leaves the network `bridge` takes the host's address.
    pub ip_masq: bool,
    /// Ports are served by user space where the kernel's path can't.
    pub userland_proxy: bool,
    /// Unpublished ports can be reached by who routes to a container.
    pub allow_direct_routing: bool,
    /// The host's firewall decides about published ports unless this says `docker`.
    pub publish_policy: String,
    /// Where subnets come from that nobody names.
    pub pools: Vec<Pool>,
    /// Options of new networks, by driver.
    pub default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    /// Name servers of containers that name none.
    pub dns: Vec<String>,
    /// The same for search domains.
    pub dns_search: Vec<String>,
    /// The same for options of the resolver.
    pub dns_opts: Vec<String>,
    /// What `host-gateway` means; empty: the address of the default bridge.
    pub host_gateway_ips: Vec<IpAddr>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            bridge: DefaultBridge::Own,
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            mtu: None,
            icc: true,
            ip: None,
            iptables: true,
            ip6tables: true,
            firewall_backend: String::new(),
            ip_forward: true,
            ip_forward_no_drop: false,
            ip_masq: true,
            userland_proxy: true,
            allow_direct_routing: false,
            publish_policy: String::new(),
            pools: Vec::new(),
            default_network_opts: BTreeMap::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_opts: Vec::new(),
            host_gateway_ips: Vec::new(),
        }
    }
}
