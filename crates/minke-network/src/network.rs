//! A network: what is kept of it, and what a request to make one amounts to. Pure: other networks and the host's routes
//! come in as values. Docker's own client has checked some of this before; a request that comes by itself is checked as well.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use minke_api::StringMap;
use minke_api::network::{Ipam, IpamConfig, NetworkCreateRequest};
use minke_model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::ipam::{Addresses, Family, Pools, overlap};
use crate::options::{BridgeOptions, MacvlanMode, ParentOptions, parse_ipvlan_mode, parse_macvlan_mode};

/// What makes a network's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A switch on the host, with addresses translated.
    Bridge,
    /// The host's own network.
    Host,
    /// None but the loopback.
    Null,
    /// Interfaces with MAC addresses of their own below one of the host's.
    Macvlan,
    /// Interfaces that share the MAC address of one of the host's.
    Ipvlan,
}

impl Driver {
    /// Reads a driver's name; the empty one is a bridge.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "null" => Self::Null,
            "macvlan" => Self::Macvlan,
            "ipvlan" => Self::Ipvlan,
            other => return Err(Error::not_found(format!("plugin \"{other}\" not found"))),
        })
    }

    /// Returns the driver's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// As it was written: Docker shows `10.2.0.5/16` so.
    pub shown: String,
    /// The subnet.
    pub net: IpNet,
    /// Where addresses that nobody names come from.
    pub range: Option<IpNet>,
    /// The gateway that was named, or that a pool's subnet has from the beginning; none: the first free address, which
    /// Docker doesn't show.
    pub gateway: Option<IpAddr>,
    /// Whether somebody named the subnet: only then an endpoint may name its address.
    pub named: bool,
    /// Addresses that are kept free, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// The auxiliary address that is another way out than the bridge.
pub const DEFAULT_GATEWAY: &str = "DefaultGatewayIPv4";

fn auxiliary_taken(name: &str, address: IpAddr, error: Error) -> Error {
    Error::new(error.kind(), format!("failed to allocate secondary ip address ({name}:{address}): {error}"))
}

impl Subnet {
    /// Returns the subnet's addresses as they are before the first endpoint, and the gateway's. Without `gateway`, none is
    /// taken for it.
    ///
    /// # Errors
    /// Where gateway and auxiliary addresses don't all fit.
    pub fn addresses(&self, gateway: bool) -> Result<(Addresses, Option<IpAddr>)> {
        let mut addresses = Addresses::new(self.net, self.range);
        for (name, address) in &self.auxiliary {
            addresses.take(*address).map_err(|error| auxiliary_taken(name, *address, error))?;
        }
        let failed = |error: Error| Error::new(error.kind(), "failed to allocate gateway").with_source(error);
        let gateway = match self.gateway {
            _ if !gateway => None,
            Some(named) => {
                let same = self.auxiliary.iter().find(|(_, address)| **address == named);
                match same {
                    None => addresses.take(named).map_err(failed)?,
                    // The daemon's own setting may name the bridge itself.
                    Some((name, _)) if name == DEFAULT_GATEWAY => {}
                    Some((name, address)) => {
                        let error = Error::new(ErrorKind::Forbidden, "Address already in use");
                        return Err(auxiliary_taken(name, *address, error));
                    }
                }
                Some(named)
            }
            None => Some(addresses.take_first().map_err(failed)?),
        };
        Ok((addresses, gateway))
    }
}

/// What is kept of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// What makes its interfaces.
    pub driver: Driver,
    /// Whether endpoints get IPv4 addresses.
    pub ipv4: bool,
    /// Whether endpoints get IPv6 addresses.
    pub ipv6: bool,
    /// At most one per family but for macvlan.
    pub subnets: Vec<Subnet>,
    /// Those that were named of a family that is off: an address in them may be asked for, and nobody gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<IpNet>,
    /// Without a way out.
    pub internal: bool,
    /// Kept and shown; it matters to a swarm only.
    pub attachable: bool,
    /// Only there to be copied from.
    pub config_only: bool,
    /// The network whose settings these are.
    pub config_from: String,
    /// The name of the IPAM driver: `default` or `null`.
    pub ipam_driver: String,
    /// As they were given.
    pub ipam_options: Option<StringMap>,
    /// As they were given; those of the driver were checked when the network was made.
    pub options: StringMap,
    /// As they were given.
    pub labels: StringMap,
}

/// What is there already.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The other networks of this engine.
    pub networks: &'a [Network],
    /// The host's routes and addresses, those of this engine's own bridges left out.
    pub routes: &'a [IpNet],
    /// Where subnets come from that nobody names.
    pub pools: &'a Pools,
}

/// Decides what a request makes, under a name and id that are already chosen.
///
/// # Errors
/// In Docker's words; nothing is changed by then.
pub fn plan_network(
    id: String,
    created: String,
    request: &NetworkCreateRequest,
    around: &Surroundings<'_>,
) -> Result<Network> {
    check_name(&request.name, around.networks)?;
    let mut network = base(id, created, request, around.networks)?;
    if network.config_only {
        // What it says is checked where it is used.
        network.subnets = written(request.ipam.as_ref())?;
        return Ok(network);
    }
    let taken = interfaces(around.networks);
    match network.driver {
        Driver::Bridge => {
            let options = BridgeOptions::parse(&network.options)?;
            if let Some(name) = options.name.filter(|name| taken.contains_key(name)) {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    format!(
                        "networks have same bridge name: {name} is the bridge of network {}",
                        taken[&name]
                    ),
                ));
            }
        }
        Driver::Host | Driver::Null => {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("only one instance of \"{}\" network is allowed", network.driver.name()),
            ));
        }
        Driver::Macvlan | Driver::Ipvlan => check_parent(&network, around.networks)?,
    }
    if network.subnets.is_empty() {
        network.subnets = written(request.ipam.as_ref())?;
    }
    complete(&mut network, around)?;
    Ok(network)
}

/// What a macvlan or an ipvlan is told, and whether its parent is another's already.
fn check_parent(network: &Network, networks: &[Network]) -> Result<()> {
    let options = ParentOptions::parse(&network.options)?;
    let others = networks.iter().filter(|other| !other.config_only && other.driver == network.driver);
    let same = others.filter(|other| {
        let parent = ParentOptions::parse(&other.options).ok().and_then(|options| options.parent);
        parent.is_some() && parent == options.parent
    });
    let parent = options.parent.as_ref().map_or("", |parent| parent.name.as_str());
    let forbidden = |words: String| Err(Error::new(ErrorKind::Forbidden, words));
    if network.driver == Driver::Ipvlan {
        parse_ipvlan_mode(&network.options)?;
        if options.host_access {
            return Err(Error::invalid("minke.host-access is an option of the driver macvlan"));
        }
        return match same.into_iter().next() {
            Some(other) => forbidden(format!(
                "network {} is already using parent interface {parent}",
                other.id.get(..12).unwrap_or(&other.id)
            )),
            None => Ok(()),
        };
    }
    let mode = parse_macvlan_mode(&network.options)?;
    if options.host_access && mode != MacvlanMode::Bridge {
        return Err(Error::invalid(
            "minke.host-access needs macvlan_mode=bridge: in no other mode is there a way",
        ));
    }
    for other in same {
        let name = &other.name;
        if mode == MacvlanMode::Passthru {
            return forbidden(format!(
                "cannot use mode passthru, macvlan network {name} is already using parent interface {parent}"
            ));
        }
        if parse_macvlan_mode(&other.options)? == MacvlanMode::Passthru {
            return forbidden(format!(
                "macvlan network {name} is already using parent interface {parent} in mode passthru"
            ));
        }
    }
    Ok(())
}

/// Everything but the subnets.
fn base(
    id: String,
    created: String,
    request: &NetworkCreateRequest,
    networks: &[Network],
) -> Result<Network> {
    let from = request.config_from.as_ref().map(|from| from.network.clone()).unwrap_or_default();
    let ipam_driver = match request.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str()) {
        "" | "default" => "default",
        "null" => "null",
        other => return Err(Error::not_found(format!("plugin \"{other}\" not found"))),
    };
    match request.scope.as_str() {
        "" | "local" => {}
        other => {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("cannot create a network of scope {other}: this engine is not part of a swarm"),
            ));
        }
    }
    if request.ingress {
        return Err(Error::new(ErrorKind::Forbidden, "ingress network can only be created in a swarm"));
    }
    let mut network = Network {
        id,
        name: request.name.clone(),
        created,
        driver: Driver::parse(&request.driver)?,
        ipv4: request.enable_ipv4.unwrap_or(true),
        ipv6: request.enable_ipv6.unwrap_or(false),
        subnets: Vec::new(),
        unused: Vec::new(),
        internal: request.internal,
        attachable: request.attachable,
        config_only: request.config_only,
        config_from: from.clone(),
        ipam_driver: ipam_driver.to_string(),
        ipam_options: request.ipam.as_ref().and_then(|ipam| ipam.options.clone()),
        options: request.options.clone().unwrap_or_default(),
        labels: request.labels.clone().unwrap_or_default(),
    };
    if !from.is_empty() {
        take_over(&mut network, request, networks, &from)?;
    }
    Ok(network)
}

/// Copies the configuration of the network `from`.
fn take_over(
    network: &mut Network,
    request: &NetworkCreateRequest,
    networks: &[Network],
    from: &str,
) -> Result<()> {
    let source = networks
        .iter()
        .find(|other| other.name == from && other.config_only)
        .ok_or_else(|| Error::not_found(format!("configuration network \"{from}\" not found")))?;
    let own_ipam = request
        .ipam
        .as_ref()
        .is_some_and(|ipam| ipam.config.as_ref().is_some_and(|config| !config.is_empty()));
    if own_ipam
        || request.enable_ipv6 == Some(true)
        || !network.labels.is_empty()
        || !network.options.is_empty()
    {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "user-specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    network.ipv4 = source.ipv4;
    network.ipv6 = source.ipv6;
    network.options.clone_from(&source.options);
    network.labels.clone_from(&source.labels);
    network.subnets.clone_from(&source.subnets);
    network.ipam_driver.clone_from(&source.ipam_driver);
    network.ipam_options.clone_from(&source.ipam_options);
    Ok(())
}

/// A network's name: not empty, not taken, none of Docker's own.
fn check_name(name: &str, networks: &[Network]) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("invalid network name: name is empty"));
    }
    if name.trim() != name || name.contains('\0') {
        return Err(Error::invalid(format!("invalid network name: {name:?}")));
    }
    if ["bridge", "host", "none", "default"].contains(&name) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!("operation is not permitted on predefined {name} network"),
        ));
    }
    if networks.iter().any(|other| other.name == name) {
        return Err(Error::conflict(format!("network with name {name} already exists")));
    }
    Ok(())
}

/// The subnets as a request writes them, those without a subnet filled in later.
fn written(ipam: Option<&Ipam>) -> Result<Vec<Subnet>> {
    ipam.and_then(|ipam| ipam.config.as_deref()).unwrap_or_default().iter().map(subnet).collect()
}

fn subnet(config: &IpamConfig) -> Result<Subnet> {
    if config.subnet.is_empty() {
        return Err(Error::invalid("every ip-range or gateway must have a corresponding subnet"));
    }
    let net: IpNet = config.subnet.parse().map_err(|_| {
        Error::invalid(format!("invalid subnet {0}: invalid CIDR address: {0}", config.subnet))
    })?;
    let range = Some(config.ip_range.as_str())
        .filter(|text| !text.is_empty())
        .map(|text| {
            let range: IpNet = text.parse().map_err(|_| {
                Error::invalid(format!("invalid ip-range {text}: invalid CIDR address: {text}"))
            })?;
            if !net.trunc().contains(&range) {
                return Err(Error::invalid(format!("no matching subnet for range {text}")));
            }
            Ok(range)
        })
        .transpose()?;
    let inside = |what: &str, text: &str| -> Result<IpAddr> {
        let address = text.parse().map_err(|_| Error::invalid(format!("invalid {what}: {text}")))?;
        if !net.contains(&address) {
            return Err(Error::invalid(format!("no matching subnet for {what} {text}")));
        }
        Ok(address)
    };
    let gateway = Some(config.gateway.as_str()).filter(|text| !text.is_empty());
    let auxiliary = config.auxiliary_addresses.iter().flatten();
    Ok(Subnet {
        shown: config.subnet.clone(),
        net: net.trunc(),
        range,
        gateway: gateway.map(|text| inside("gateway", text)).transpose()?,
        named: true,
        auxiliary: auxiliary
            .map(|(name, text)| Ok((name.clone(), inside("aux-address", text)?)))
            .collect::<Result<_>>()?,
    })
}

/// Gives each family a subnet, and checks them all against one another and against what is there.
fn complete(network: &mut Network, around: &Surroundings<'_>) -> Result<()> {
    if network.ipam_driver == "null" {
        if !network.subnets.is_empty() {
            return Err(Error::invalid("ipam driver \"null\" gives no addresses: a subnet can't be named"));
        }
        return Ok(());
    }
    if !network.ipv4 && !network.ipv6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    let wanted: Vec<Family> = [(Family::V4, network.ipv4), (Family::V6, network.ipv6)]
        .iter()
        .filter_map(|(family, wanted)| wanted.then_some(*family))
        .collect();
    // Docker keeps a subnet of a family that is off, and doesn't use it.
    let is_wanted = |subnet: &Subnet| wanted.contains(&Family::of(subnet.net.addr()));
    network.unused = network.subnets.iter().filter(|one| !is_wanted(one)).map(|one| one.net).collect();
    network.subnets.retain(is_wanted);
    let of = |family: Family, subnets: &[Subnet]| {
        subnets.iter().filter(|subnet| Family::of(subnet.net.addr()) == family).count()
    };
    if network.driver == Driver::Bridge && wanted.iter().any(|family| of(*family, &network.subnets) > 1) {
        return Err(Error::new(ErrorKind::Forbidden, "bridge driver doesn't support multiple subnets"));
    }
    let mut taken: Vec<IpNet> = others(around.networks).map(|(net, _)| net).collect();
    for at in 0..network.subnets.len() {
        let net = network.subnets[at].net;
        if let Some((_, name)) = others(around.networks).find(|(other, _)| overlap(other, &net)) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "invalid pool request: Pool overlaps with other one on this address space",
            )
            .with_source(format!("{} shares addresses with network {name}", network.subnets[at].shown)));
        }
        if network.subnets[..at].iter().any(|other| overlap(&other.net, &net)) {
            return Err(Error::invalid(format!(
                "invalid network config:\ninvalid subnet {}: it overlaps with another subnet of this network",
                network.subnets[at].shown
            )));
        }
        taken.push(net);
    }
    taken.extend(around.routes);
    for family in wanted {
        if of(family, &network.subnets) == 0 {
            let net = around.pools.next(family, &taken)?;
            network.subnets.push(from_pool(net)?);
        }
    }
    // Every address that is named must fit beside the others.
    for subnet in &network.subnets {
        subnet.addresses(true)?;
    }
    network.subnets.sort_by_key(|subnet| Family::of(subnet.net.addr()));
    Ok(())
}

fn from_pool(net: IpNet) -> Result<Subnet> {
    let mut subnet = Subnet {
        shown: net.to_string(),
        net,
        range: None,
        gateway: None,
        named: false,
        auxiliary: BTreeMap::new(),
    };
    subnet.gateway = subnet.addresses(true)?.1;
    Ok(subnet)
}

/// The subnets of networks, with the network's name.
fn others(networks: &[Network]) -> impl Iterator<Item = (IpNet, &str)> {
    networks
        .iter()
        .filter(|network| !network.config_only)
        .flat_map(|network| network.subnets.iter().map(|subnet| (subnet.net, network.name.as_str())))
}

/// The interfaces that were named, with the network that has them.
fn interfaces(networks: &[Network]) -> BTreeMap<String, &str> {
    let bridges = networks.iter().filter(|network| network.driver == Driver::Bridge && !network.config_only);
    bridges
        .filter_map(|network| {
            network
                .options
                .get("com.docker.network.bridge.name")
                .map(|name| (name.clone(), network.name.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
