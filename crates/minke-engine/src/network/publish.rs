//! From a container's settings to ports of the host. Pure; who has which port is `minke_network::ports`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use minke_api::container::{ContainerConfig, HostConfig};
use minke_model::{Error, Result};
use minke_network::ports::{Protocol, Wanted};

/// Checks the ports of a request.
///
/// # Errors
/// Docker's words for what is no port or address.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    // What is no port among the exposed ones is kept and shown, as Docker does; nobody reaches it.
    wanted(config, host).map(drop)
}

/// The ports that are to be published: those bound, and with `-P` those only exposed.
///
/// # Errors
/// As [`check`].
pub fn wanted(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    let bound = host.port_bindings.iter().flatten();
    for (port, bindings) in bound {
        let (container_port, protocol) = parse_port(port)?;
        // A port without a binding is as one with an empty one.
        let bindings =
            bindings.clone().filter(|all| !all.is_empty()).unwrap_or_else(|| vec![Default::default()]);
        for binding in bindings {
            all.push(Wanted {
                protocol,
                container_port,
                host_address: host_address(&binding.host_ip)?,
                host_ports: host_ports(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        for port in config.exposed_ports.keys() {
            for (container_port, protocol) in exposed(port).unwrap_or_default() {
                let is_bound =
                    |one: &Wanted| one.container_port == container_port && one.protocol == protocol;
                if !all.iter().any(is_bound) {
                    all.push(Wanted { protocol, container_port, host_address: None, host_ports: None });
                }
            }
        }
    }
    // A fixed port first, so that no random one takes it.
    all.sort_by_key(|one| {
        one.host_ports.as_ref().map_or(u32::MAX, |ports| u32::from(ports.end() - ports.start()))
    });
    Ok(all)
}

/// The ports that an entry of `ExposedPorts` means; it may be a range.
pub fn exposed(port: &str) -> Result<Vec<(u16, Protocol)>> {
    let invalid = || Error::invalid(format!("invalid port specification: {port:?}"));
    let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = Protocol::parse(protocol)?;
    let range = parse_range(range).ok_or_else(invalid)?;
    Ok(range.map(|number| (number, protocol)).collect())
}

fn parse_port(port: &str) -> Result<(u16, Protocol)> {
    match exposed(port)?.as_slice() {
        [(number, protocol)] if *number > 0 => Ok((*number, *protocol)),
        _ => Err(Error::invalid(format!("invalid port specification: {port:?}"))),
    }
}

fn host_address(text: &str) -> Result<Option<IpAddr>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    }
}

/// A port, a range, or nothing: then any.
fn host_ports(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    match text {
        "" | "0" => Ok(None),
        text => parse_range(text)
            .map(Some)
            .ok_or_else(|| Error::invalid(format!("invalid port specification: {text:?}"))),
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use minke_api::network::PortBinding;

    use super::*;

    fn host(port: &str, ip: &str, host_port: &str) -> HostConfig {
        let binding = PortBinding { host_ip: ip.into(), host_port: host_port.into() };
        HostConfig {
            port_bindings: Some([(port.to_owned(), Some(vec![binding]))].into()),
            ..HostConfig::default()
        }
    }

    #[test]
    fn bindings_are_read_in_every_form() {
        let config = ContainerConfig::default();
        let one = |port, ip, host_port| wanted(&config, &host(port, ip, host_port)).unwrap().remove(0);
        assert_eq!(one("80/tcp", "", "8080").host_ports, Some(8080..=8080));
        assert_eq!(one("80", "127.0.0.1", "").host_address, Some([127, 0, 0, 1].into()));
        assert_eq!(one("53/udp", "", "5000-5010").host_ports, Some(5000..=5010));
        for (port, ip, host_port) in
            [("x", "", ""), ("80/x", "", ""), ("80", "x", ""), ("80", "", "9-8"), ("0", "", "")]
        {
            assert!(check(&config, &host(port, ip, host_port)).is_err(), "{port} {ip} {host_port}");
        }
    }

    #[test]
    fn all_that_is_exposed_is_published_when_asked() {
        let mut config = ContainerConfig::default();
        config.exposed_ports.insert("80/tcp".into(), Default::default());
        config.exposed_ports.insert("90-91/udp".into(), Default::default());
        let host = HostConfig { publish_all_ports: true, ..host("80/tcp", "", "8080") };
        let all = wanted(&config, &host).unwrap();
        let ports: Vec<(u16, bool)> =
            all.iter().map(|one| (one.container_port, one.host_ports.is_some())).collect();
        assert_eq!(ports, [(80, true), (90, false), (91, false)]);
    }
}
