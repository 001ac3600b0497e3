//! Which networks a new container asks for, and what is wrong with that. Looks at networks; changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minke_api::container::{ContainerConfig, HostConfig};
use minke_api::network::{EndpointSettings, NetworkingConfig};
use minke_model::{Error, Result};
use minke_network::ipam::Family;
use minke_network::options::parse_interface_settings;
use minke_network::{Driver, Mac, Network};

use super::{Networks, forbidden, publish, show};

/// What a container asks for: by the network's name.
pub type Asked = BTreeMap<String, EndpointSettings>;

/// Joins a request's networks with its mode. A network that isn't there is no error: it may be by the time of the start.
///
/// # Errors
/// Docker's words for settings that contradict each other, the network, or themselves.
pub fn settle(
    networks: &Networks,
    config: &ContainerConfig,
    host: &HostConfig,
    asked: Option<NetworkingConfig>,
    warnings: &mut Vec<String>,
) -> Result<Asked> {
    publish::check(config, host)?;
    let asked = asked.and_then(|asked| asked.endpoints_config).unwrap_or_default();
    let Some(mode) = networks.name_of_mode(&host.network_mode) else { return Ok(Asked::new()) };
    let name = |reference: &str| match networks.name_of_mode(reference) {
        Some(name) => networks.find(name).map_or_else(|_| name.to_owned(), |found| found.name.clone()),
        None => reference.to_owned(),
    };
    let primary = name(mode);
    let mut all = Asked::new();
    for (reference, settings) in asked {
        all.insert(name(&reference), settings.unwrap_or_default());
    }
    let first = all.entry(primary.clone()).or_default();
    if primary == "host" && !config.mac_address.is_empty() {
        return Err(Error::invalid("conflicting options: mac-address and the network mode"));
    }
    take_address(&config.mac_address, first)?;
    let is_private = |name: &String| matches!(name.as_str(), "host" | "none");
    if all.len() > 1 && all.keys().any(is_private) {
        return Err(Error::invalid(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    if primary == "host" && has_ports(host) {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    if let Some(links) = host.links.as_ref().filter(|links| !links.is_empty()) {
        if primary == "host" {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        links.iter().try_for_each(|link| split_link(link).map(drop))?;
    }
    for (name, settings) in &mut all {
        if let Ok(network) = networks.find(name) {
            check(&network, settings)?;
            settings.network_id.clone_from(&network.id);
        }
    }
    Ok(all)
}

/// The address of the hardware that stood beside the networks up to the API's version 1.43: it is the first network's.
fn take_address(mac: &str, first: &mut EndpointSettings) -> Result<()> {
    if mac.is_empty() {
        return Ok(());
    }
    let mac = mac.parse::<Mac>()?.to_string();
    let own = Some(&first.mac_address).filter(|own| !own.is_empty());
    if own.is_some_and(|own| own.parse::<Mac>().is_ok_and(|own| own.to_string() != mac)) {
        return Err(Error::invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
        ));
    }
    first.mac_address = mac;
    Ok(())
}

fn has_ports(host: &HostConfig) -> bool {
    host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty())
}

/// Checks what is asked of one network.
///
/// # Errors
/// Docker's words.
pub fn check(network: &Network, settings: &EndpointSettings) -> Result<()> {
    if network.config_only {
        return Err(forbidden(format!(
            "network {} is a configuration-only network: no container can be connected to it",
            network.name
        )));
    }
    let user_defined = !show::has_no_names(&network.name);
    if !settings.mac_address.is_empty() {
        settings.mac_address.parse::<Mac>()?;
    }
    settings.driver_opts.as_ref().map(parse_interface_settings).transpose()?;
    let aliases = settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty());
    if aliases && !user_defined {
        return Err(Error::invalid(
            "network-scoped alias is supported only for containers in user defined networks",
        ));
    }
    let Some(ipam) = &settings.ipam_config else { return Ok(()) };
    let v4 = address::<Ipv4Addr>("IPv4", &ipam.ipv4_address)?.map(IpAddr::V4);
    let v6 = address::<Ipv6Addr>("IPv6", &ipam.ipv6_address)?.map(IpAddr::V6);
    for text in &ipam.link_local_ips {
        text.parse::<IpAddr>()
            .map_err(|_| Error::invalid(format!("invalid link-local IP address: {text}")))?;
    }
    for address in [v4, v6].into_iter().flatten() {
        if !user_defined {
            return Err(Error::invalid(
                "user specified IP address is supported on user defined networks only",
            ));
        }
        let named = network
            .subnets
            .iter()
            .any(|subnet| subnet.named && Family::of(subnet.net.addr()) == Family::of(address));
        if !named && !network.unused.iter().any(|net| net.contains(&address)) {
            return Err(Error::invalid(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            ));
        }
    }
    Ok(())
}

fn address<T: std::str::FromStr>(family: &str, text: &str) -> Result<Option<T>> {
    match text {
        "" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid {family} address: {text}")))
        }
    }
}

/// Splits a link, `container[:name]`.
///
/// # Errors
/// In Docker's words.
pub fn split_link(link: &str) -> Result<(&str, &str)> {
    let invalid = || Error::invalid(format!("bad format for links: {link}"));
    let (target, name) = link.split_once(':').unwrap_or((link, link));
    let (target, name) = (target.trim_start_matches('/'), name.rsplit('/').next().unwrap_or_default());
    if target.is_empty() || name.is_empty() || link.matches(':').count() > 1 {
        return Err(invalid());
    }
    Ok((target, name))
}

/// Whether a container of a mode, with these networks, can be connected to one more.
///
/// # Errors
/// Docker's words.
pub fn check_connect(mode: &str, has: &Asked, network: &Network) -> Result<()> {
    if network.driver == Driver::Host {
        return Err(host_is_fixed());
    }
    if mode == "host" || mode.starts_with("container:") {
        return Err(forbidden(
            "container sharing network namespace with another container or host cannot be connected to any other network".into(),
        ));
    }
    let has_none = has.contains_key("none");
    if has_none != (network.driver == Driver::Null) && !has.is_empty() {
        return Err(forbidden(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                .into(),
        ));
    }
    Ok(())
}

/// Whether a container can be taken off a network.
///
/// # Errors
/// Docker's words.
pub fn check_disconnect(mode: &str, network: &Network) -> Result<()> {
    if mode == "host" || network.driver == Driver::Host {
        return Err(host_is_fixed());
    }
    Ok(())
}

fn host_is_fixed() -> Error {
    forbidden("container cannot be disconnected from host network or connected to host network".into())
}

#[cfg(test)]
mod tests {
    use minke_api::network::EndpointIpamConfig;

    use super::super::tests::networks;
    use super::super::{DefaultBridge, NetworkOptions};
    use super::*;

    fn settled(mode: &str, name: &str, settings: EndpointSettings) -> Result<Asked> {
        let (_directory, networks) = networks(NetworkOptions::default());
        networks.create(
            &minke_api::network::NetworkCreateRequest { name: "front".into(), ..Default::default() },
            &[],
        )?;
        let host = HostConfig { network_mode: mode.into(), ..HostConfig::default() };
        let asked = NetworkingConfig { endpoints_config: Some([(name.into(), Some(settings))].into()) };
        settle(&networks, &ContainerConfig::default(), &host, Some(asked), &mut Vec::new())
    }

    fn at(address: &str) -> EndpointSettings {
        let ipam = EndpointIpamConfig { ipv4_address: address.into(), ..EndpointIpamConfig::default() };
        EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
    }

    #[test]
    fn the_mode_is_a_network_too_and_names_stand_for_themselves() {
        let keys = |mode, name| -> Vec<String> {
            settled(mode, name, EndpointSettings::default()).unwrap().into_keys().collect()
        };
        assert_eq!(keys("default", "default"), ["bridge"]);
        assert_eq!(keys("default", "front"), ["bridge", "front"]);
        assert_eq!(keys("front", "front"), ["front"]);
        assert_eq!(keys("later", "later"), ["later"]);
        assert!(keys("container:x", "front").is_empty());
    }

    #[test]
    fn what_contradicts_the_network_is_refused_in_dockers_words() {
        let words = |mode, name, settings| settled(mode, name, settings).unwrap_err().to_string();
        assert_eq!(
            words("bridge", "bridge", at("172.17.0.9")),
            "user specified IP address is supported on user defined networks only"
        );
        assert_eq!(
            words("front", "front", at("172.18.0.9")),
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        );
        assert_eq!(words("front", "front", at("x")), "invalid IPv4 address: x");
        let aliases = EndpointSettings { aliases: Some(vec!["x".into()]), ..EndpointSettings::default() };
        assert!(words("bridge", "bridge", aliases).starts_with("network-scoped alias"));
        assert!(words("none", "front", EndpointSettings::default()).starts_with("conflicting options"));
    }

    #[test]
    fn the_containers_own_address_of_the_hardware_is_the_first_networks() {
        let mut first = EndpointSettings::default();
        take_address("02-42-AC-11-00-0A", &mut first).unwrap();
        assert_eq!(first.mac_address, "02:42:ac:11:00:0a");
        take_address("02:42:ac:11:00:0a", &mut first).unwrap();
        assert!(take_address("02:42:ac:11:00:0b", &mut first).is_err());
        assert!(take_address("x", &mut EndpointSettings::default()).is_err());
    }

    #[test]
    fn links_have_a_target_and_perhaps_a_name() {
        assert_eq!(split_link("db").unwrap(), ("db", "db"));
        assert_eq!(split_link("/db:/web/alias").unwrap(), ("db", "alias"));
        for wrong in ["", ":x", "a:", "a:b:c"] {
            assert!(split_link(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_a_bridge_the_default_is_none() {
        let (_directory, networks) =
            networks(NetworkOptions { bridge: DefaultBridge::None, ..NetworkOptions::default() });
        let host = HostConfig { network_mode: "default".into(), ..HostConfig::default() };
        let all = settle(&networks, &ContainerConfig::default(), &host, None, &mut Vec::new()).unwrap();
        assert_eq!(all.into_keys().collect::<Vec<_>>(), ["none"]);
    }
}
