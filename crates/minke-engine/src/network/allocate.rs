//! Addresses of a run's endpoints, and which of them has the way out. In memory alone: nothing here asks the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minke_api::network::EndpointSettings;
use minke_model::{Context as _, Error, Result};
use minke_network::ipam::{Addresses, Family};
use minke_network::network::DEFAULT_GATEWAY;
use minke_network::options::{BridgeOptions, ParentOptions};
use minke_network::{Driver, Endpoint, Mac};

use super::{Held, Live, Member, Networks, State};
use crate::engine::{Shared, random_hex};

/// The option of an endpoint that names its interface.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// Whose endpoints they are.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The container's id.
    pub container: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it had in its last run: it gets the same addresses where they are free.
    pub before: Option<&'a Live>,
}

impl Shared {
    /// The same as [`Networks::allocate`]; where addresses lack, also those of runs whose links are about to go.
    ///
    /// # Errors
    /// As there.
    pub fn allocate(
        &self,
        who: Who<'_>,
        asked: &[(&str, &EndpointSettings)],
        beside: &BTreeMap<String, Endpoint>,
    ) -> Result<BTreeMap<String, Endpoint>> {
        match self.networks.allocate(who, asked, beside) {
            Err(_) if self.ground.clear_released(&self.networks) => {
                self.networks.allocate(who, asked, beside)
            }
            other => other,
        }
    }
}

impl Networks {
    /// Gives a container an endpoint in each of `asked`, in that order, all or none. `beside`: those that it has already.
    ///
    /// # Errors
    /// Docker's words for a network that isn't there, or an address that can't be had.
    pub fn allocate(
        &self,
        who: Who<'_>,
        asked: &[(&str, &EndpointSettings)],
        beside: &BTreeMap<String, Endpoint>,
    ) -> Result<BTreeMap<String, Endpoint>> {
        let mut state = self.write();
        let mut made = BTreeMap::new();
        for (name, settings) in asked {
            let taken = beside.values().chain(made.values()).map(|one: &Endpoint| one.interface.clone());
            let taken: Vec<String> = taken.collect();
            match state.allocate(who, name, settings, &taken) {
                Ok(endpoint) => drop(made.insert((*name).to_owned(), endpoint)),
                Err(error) => {
                    made.values().for_each(|endpoint| state.forget(endpoint));
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Takes over endpoints that an earlier engine gave; what can't be taken is left out.
    pub fn adopt(&self, live: &Live, container_name: &str) {
        let mut state = self.write();
        for endpoint in live.endpoints.values() {
            let Some(held) = state.known.get_mut(&endpoint.network) else { continue };
            for address in endpoint.addresses() {
                if let Some((addresses, _)) = subnet_of(held, address) {
                    let _ = addresses.take(address);
                }
            }
            held.insert(endpoint.clone(), container_name);
        }
    }

    /// Takes an endpoint out. Its addresses drain: [`Networks::gone`] makes them free.
    pub fn leave(&self, endpoint: &Endpoint) {
        let mut state = self.write();
        let Some(held) = state.known.get_mut(&endpoint.network) else { return };
        held.endpoints.remove(&endpoint.id);
        for address in endpoint.addresses() {
            if let Some((addresses, _)) = subnet_of(held, address) {
                addresses.release(address);
            }
        }
    }

    /// Says that the link which had these addresses is gone.
    pub fn gone(&self, network: &str, gone: impl Iterator<Item = IpAddr>) {
        let mut state = self.write();
        let Some(held) = state.known.get_mut(network) else { return };
        for address in gone {
            if let Some((addresses, _)) = subnet_of(held, address) {
                addresses.gone(address);
            }
        }
    }

    /// Puts other words about an endpoint in its place: its ports, its way out.
    pub fn update(&self, endpoint: &Endpoint) {
        let mut state = self.write();
        let held = state.known.get_mut(&endpoint.network);
        if let Some(member) = held.and_then(|held| held.endpoints.get_mut(&endpoint.id)) {
            member.endpoint = Arc::new(endpoint.clone());
        }
    }

    /// A container that is called something else from now on.
    pub fn rename(&self, live: &Live, name: &str) {
        let mut state = self.write();
        for endpoint in live.endpoints.values() {
            let held = state.known.get_mut(&endpoint.network);
            if let Some(member) = held.and_then(|held| held.endpoints.get_mut(&endpoint.id)) {
                name.clone_into(&mut member.container_name);
            }
        }
    }
}

impl Held {
    pub(super) fn insert(&mut self, endpoint: Endpoint, container_name: &str) {
        let member = Member { endpoint: Arc::new(endpoint), container_name: container_name.to_owned() };
        self.endpoints.insert(member.endpoint.id.clone(), member);
    }
}

impl State {
    /// An endpoint that never had a link.
    fn forget(&mut self, endpoint: &Endpoint) {
        let Some(held) = self.known.get_mut(&endpoint.network) else { return };
        held.endpoints.remove(&endpoint.id);
        for address in endpoint.addresses() {
            if let Some((addresses, _)) = subnet_of(held, address) {
                addresses.gone(address);
            }
        }
    }

    fn allocate(
        &mut self,
        who: Who<'_>,
        name: &str,
        settings: &EndpointSettings,
        interfaces: &[String],
    ) -> Result<Endpoint> {
        let id = self.find(name)?.network.id.clone();
        let held =
            self.known.get_mut(&id).ok_or_else(|| Error::not_found(format!("network {name} not found")))?;
        super::settle::check(&held.network, settings)?;
        let mut endpoint = Endpoint {
            id: random_hex(32)?,
            network: id,
            container: who.container.to_owned(),
            interface: String::new(),
            mac: Mac([0; 6]),
            ipv4: None,
            ipv6: None,
            gateway4: None,
            gateway6: None,
            default4: false,
            default6: false,
            link_local: Vec::new(),
            published: Vec::new(),
            exposed: Vec::new(),
            linked: Vec::new(),
            driver_opts: settings.driver_opts.clone().unwrap_or_default(),
        };
        if !matches!(held.network.driver, Driver::Host | Driver::Null) {
            let before = who.before.and_then(|live| live.endpoints.get(name));
            address(held, settings, before, &mut endpoint)?;
            endpoint.interface = interface(held, &endpoint, interfaces)?;
            endpoint.mac = mac(settings, &endpoint)?;
            let ipam = settings.ipam_config.as_ref();
            for text in ipam.into_iter().flat_map(|ipam| &ipam.link_local_ips) {
                let address: IpAddr = text
                    .parse()
                    .map_err(|_| Error::invalid(format!("invalid link-local IP address: {text}")))?;
                endpoint.link_local.push(IpNet::from(address));
            }
        }
        held.insert(endpoint.clone(), who.name);
        Ok(endpoint)
    }
}

/// The addresses of the subnet that has `address`.
fn subnet_of(held: &mut Held, address: IpAddr) -> Option<&mut (Addresses, Option<IpAddr>)> {
    held.subnets.iter_mut().find(|(addresses, _)| addresses.subnet().contains(&address))
}

fn address(
    held: &mut Held,
    settings: &EndpointSettings,
    before: Option<&Endpoint>,
    endpoint: &mut Endpoint,
) -> Result<()> {
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    for (family, wanted) in [(Family::V4, held.network.ipv4), (Family::V6, held.network.ipv6)] {
        let of_family = |(addresses, _): &&mut (Addresses, Option<IpAddr>)| {
            Family::of(addresses.subnet().addr()) == family
        };
        if !wanted || held.subnets.iter_mut().find(of_family).is_none() {
            continue;
        }
        let asked = if family == Family::V4 { &ipam.ipv4_address } else { &ipam.ipv6_address };
        let before = before.and_then(|one| match family {
            Family::V4 => one.ipv4.map(|net| IpAddr::V4(net.addr())),
            Family::V6 => one.ipv6.map(|net| IpAddr::V6(net.addr())),
        });
        let taken = take(held, family, asked, before);
        let (address, net, gateway) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // What the other family gave goes back.
                for address in endpoint.addresses().collect::<Vec<_>>() {
                    if let Some((addresses, _)) = subnet_of(held, address) {
                        addresses.gone(address);
                    }
                }
                return Err(error);
            }
        };
        let gateway = gateway.filter(|_| !held.network.internal);
        match (address, gateway) {
            (IpAddr::V4(address), gateway) => {
                endpoint.ipv4 = Some(Ipv4Net::new(address, net.prefix_len()).context("a subnet's prefix")?);
                endpoint.gateway4 = gateway.and_then(v4);
            }
            (IpAddr::V6(address), gateway) => {
                endpoint.ipv6 = Some(Ipv6Net::new(address, net.prefix_len()).context("a subnet's prefix")?);
                endpoint.gateway6 = gateway.and_then(v6);
            }
        }
    }
    Ok(())
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

/// Takes an address: the one asked for, else the one that it had before, else the next.
fn take(
    held: &mut Held,
    family: Family,
    asked: &str,
    before: Option<IpAddr>,
) -> Result<(IpAddr, IpNet, Option<IpAddr>)> {
    // For the default bridge, another machine than the bridge may be the way out.
    let other = held.network.subnets.iter().find_map(|subnet| {
        subnet.auxiliary.get(DEFAULT_GATEWAY).filter(|gateway| Family::of(**gateway) == family).copied()
    });
    let of_family = |addresses: &Addresses| Family::of(addresses.subnet().addr()) == family;
    if !asked.is_empty() {
        let address: IpAddr =
            asked.parse().map_err(|_| Error::invalid(format!("invalid address: {asked}")))?;
        let Some((addresses, gateway)) = subnet_of(held, address) else {
            return Err(Error::invalid(format!(
                "Invalid address {address}: It does not belong to any of this network's subnets"
            )));
        };
        addresses.take(address)?;
        return Ok((address, addresses.subnet(), other.or(*gateway)));
    }
    if let Some(address) = before
        && let Some((addresses, gateway)) = subnet_of(held, address)
        && addresses.take(address).is_ok()
    {
        return Ok((address, addresses.subnet(), other.or(*gateway)));
    }
    let mut full = None;
    for (addresses, gateway) in held.subnets.iter_mut().filter(|(addresses, _)| of_family(addresses)) {
        match addresses.take_next() {
            Ok(address) => return Ok((address, addresses.subnet(), other.or(*gateway))),
            Err(error) => full = Some(error),
        }
    }
    Err(full.unwrap_or_else(|| Error::system("the network has no subnet of that family")))
}

/// What the interface is called: as asked, else the first number that is free.
fn interface(held: &Held, endpoint: &Endpoint, taken: &[String]) -> Result<String> {
    if let Some(name) = endpoint.driver_opts.get(INTERFACE) {
        return minke_network::options::interface_name(name);
    }
    let options = &held.network.options;
    let prefix = match held.network.driver {
        Driver::Bridge => BridgeOptions::parse(options)?.interface_prefix,
        _ => ParentOptions::parse(options)?.interface_prefix,
    };
    let names = (0..).map(|number: u32| format!("{prefix}{number}"));
    names
        .into_iter()
        .find(|name| !taken.contains(name))
        .ok_or_else(|| Error::system("no name for an interface is left"))
}

fn mac(settings: &EndpointSettings, endpoint: &Endpoint) -> Result<Mac> {
    if !settings.mac_address.is_empty() {
        return Mac::parse(&settings.mac_address);
    }
    match endpoint.ipv4 {
        Some(net) => Ok(Mac::of_ipv4(net.addr())),
        None => {
            let digits = &endpoint.id.as_bytes()[..12.min(endpoint.id.len())];
            let mut bytes = [0; 6];
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                *byte = u8::from_str_radix(&String::from_utf8_lossy(pair), 16).unwrap_or(2);
            }
            Ok(Mac::of_random(bytes))
        }
    }
}

/// Decides which endpoint has the way out of each family: that with the highest priority, of several the first by name.
pub fn choose_way_out(endpoints: &mut BTreeMap<String, Endpoint>, priority: impl Fn(&str) -> i64) {
    let best = |has: fn(&Endpoint) -> bool| {
        let able = endpoints.iter().filter(|(_, endpoint)| has(endpoint));
        // The last of equals is the one that counts, so the names go backwards.
        able.rev().max_by_key(|(name, _)| priority(name)).map(|(name, _)| name.clone())
    };
    let ways = (best(|one| one.gateway4.is_some()), best(|one| one.gateway6.is_some()));
    for (name, endpoint) in endpoints {
        endpoint.default4 = ways.0.as_ref() == Some(name);
        endpoint.default6 = ways.1.as_ref() == Some(name);
    }
}

#[cfg(test)]
mod tests {
    use minke_api::network::{EndpointIpamConfig, Ipam, IpamConfig, NetworkCreateRequest};

    use super::super::NetworkOptions;
    use super::super::tests::networks;
    use super::*;

    fn front() -> (tempfile::TempDir, Networks) {
        let (directory, networks) = networks(NetworkOptions::default());
        let config = IpamConfig {
            subnet: "10.4.0.0/16".into(),
            ip_range: "10.4.5.0/24".into(),
            ..IpamConfig::default()
        };
        let ipam = Some(Ipam { config: Some(vec![config]), ..Ipam::default() });
        networks
            .create(&NetworkCreateRequest { name: "front".into(), ipam, ..Default::default() }, &[])
            .unwrap();
        (directory, networks)
    }

    fn at(address: &str) -> EndpointSettings {
        let ipam = EndpointIpamConfig { ipv4_address: address.into(), ..EndpointIpamConfig::default() };
        EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
    }

    fn one(networks: &Networks, settings: &EndpointSettings, before: Option<&Live>) -> Result<Endpoint> {
        let who = Who { container: "c", name: "web", before };
        let mut all = networks.allocate(who, &[("front", settings)], &BTreeMap::new())?;
        Ok(all.remove("front").unwrap())
    }

    #[test]
    fn addresses_come_from_the_range_as_dockers_do() {
        let (_directory, networks) = front();
        let first = one(&networks, &EndpointSettings::default(), None).unwrap();
        // As dockerd 20.10 was seen to do it.
        assert_eq!(first.ipv4, Some("10.4.5.1/16".parse().unwrap()));
        assert_eq!(first.gateway4, Some("10.4.5.0".parse().unwrap()));
        assert_eq!((first.mac.to_string().as_str(), first.interface.as_str()), ("02:42:0a:04:05:01", "eth0"));
        assert_eq!(one(&networks, &at("10.4.9.9"), None).unwrap().ipv4, Some("10.4.9.9/16".parse().unwrap()));
        for (address, words) in [
            ("10.4.5.1", "Address already in use"),
            ("10.4.5.0", "Address already in use"),
            ("10.5.9.9", "Invalid address 10.5.9.9: It does not belong to any of this network's subnets"),
        ] {
            assert_eq!(one(&networks, &at(address), None).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn a_container_gets_its_last_address_again_and_nobody_gets_one_that_drains() {
        let (_directory, networks) = front();
        let first = one(&networks, &EndpointSettings::default(), None).unwrap();
        networks.leave(&first);
        let second = one(&networks, &EndpointSettings::default(), None).unwrap();
        assert_ne!(second.ipv4, first.ipv4);
        networks.gone(&first.network, first.addresses());
        let before = Live { endpoints: [("front".to_owned(), first.clone())].into(), ..Live::default() };
        let again = one(&networks, &EndpointSettings::default(), Some(&before)).unwrap();
        assert_eq!(again.ipv4, first.ipv4);
        assert_ne!(again.id, first.id);
        let error = networks.remove("front").unwrap_err().to_string();
        assert!(
            error.starts_with("error while removing network: network front has active endpoints"),
            "{error}"
        );
    }

    #[test]
    fn all_or_none_and_interfaces_are_numbered() {
        let (_directory, networks) = front();
        let who = Who { container: "c", name: "web", before: None };
        let plain = EndpointSettings::default();
        let asked = [("front", &plain), ("bridge", &plain)];
        let both = networks.allocate(who, &asked, &BTreeMap::new()).unwrap();
        assert_eq!((both["front"].interface.as_str(), both["bridge"].interface.as_str()), ("eth0", "eth1"));
        let error = networks.allocate(who, &[("front", &plain), ("nosuch", &plain)], &BTreeMap::new());
        assert_eq!(error.unwrap_err().to_string(), "network nosuch not found");
        assert_eq!(networks.with("front", |held| held.endpoints.len()).unwrap(), 1);
    }

    #[test]
    fn the_way_out_is_by_priority_then_by_name() {
        let endpoint = |gateway: Option<&str>| {
            let text =
                r#"{"id":"e","network":"n","container":"c","interface":"eth0","mac":"02:42:ac:11:00:02"}"#;
            let mut endpoint: Endpoint = serde_json::from_str(text).unwrap();
            endpoint.gateway4 = gateway.map(|text| text.parse().unwrap());
            endpoint
        };
        let mut all = BTreeMap::from([
            ("a".to_owned(), endpoint(None)),
            ("b".to_owned(), endpoint(Some("10.0.0.1"))),
            ("c".to_owned(), endpoint(Some("10.1.0.1"))),
        ]);
        choose_way_out(&mut all, |_| 0);
        assert_eq!(all.values().map(|one| one.default4).collect::<Vec<_>>(), [false, true, false]);
        choose_way_out(&mut all, |name| i64::from(name == "c"));
        assert_eq!(all.values().map(|one| one.default4).collect::<Vec<_>>(), [false, false, true]);
    }
}
