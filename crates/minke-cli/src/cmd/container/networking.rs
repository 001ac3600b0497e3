//! The flags of `run` and `create` about networks, names and ports, and what they amount to. Pure.

use std::collections::BTreeMap;

use clap::Args;
use minke_api::container::{ContainerConfig, HostConfig};
use minke_api::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig, PortBinding, PortMap};
use minke_api::{Empty, StringMap};
use minke_model::{Error, Result, env};

use super::network_values as values;

/// Flags about networks.
#[derive(Args, Clone, Debug, Default)]
pub struct NetworkFlags {
    /// Add a line to /etc/hosts: name:address, or name:host-gateway
    #[arg(long, value_name = "list", value_parser = values::extra_host)]
    pub add_host: Vec<String>,
    /// Name server to ask
    #[arg(long, value_name = "list", value_parser = values::address)]
    pub dns: Vec<String>,
    /// Option of the resolver
    #[arg(long, alias = "dns-opt", value_name = "list")]
    pub dns_option: Vec<String>,
    /// Domain to search
    #[arg(long, value_name = "list", value_parser = values::domain)]
    pub dns_search: Vec<String>,
    /// Say that a port is served, without publishing it: 80, 53/udp, 8000-8010
    #[arg(long, value_name = "list")]
    pub expose: Vec<String>,
    /// IPv4 address: 172.30.100.104
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub ip: String,
    /// IPv6 address: 2001:db8::33
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub ip6: String,
    /// Give another container a name that this one alone sees: container[:name]
    #[arg(long, value_name = "list", value_parser = values::link)]
    pub link: Vec<String>,
    /// Add an address of the link alone
    #[arg(long, value_name = "list")]
    pub link_local_ip: Vec<String>,
    /// Hardware address: 92:d0:c6:0a:29:33
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub mac_address: String,
    /// Network: a name, none, host, container:name, or name=front,alias=web,ip=10.0.0.9; may be given several times
    #[arg(long, alias = "net", value_name = "network", value_parser = check_network)]
    pub network: Vec<String>,
    /// Give the container a further name in its network
    #[arg(long, alias = "net-alias", value_name = "list")]
    pub network_alias: Vec<String>,
    /// Publish a port: [address:][host port:]port[/protocol]
    #[arg(long, short = 'p', value_name = "list")]
    pub publish: Vec<String>,
    /// Publish every port that the image or --expose names
    #[arg(long, short = 'P')]
    pub publish_all: bool,
}

impl NetworkFlags {
    /// Writes what the flags say into the parts of a request.
    ///
    /// # Errors
    /// In the words of Docker's client.
    pub fn plan(&self, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<NetworkingConfig> {
        let list = |values: &[String]| values.to_vec();
        host.dns = Some(list(&self.dns));
        host.dns_options = Some(list(&self.dns_option));
        host.dns_search = Some(list(&self.dns_search));
        host.extra_hosts = (!self.add_host.is_empty()).then(|| list(&self.add_host));
        host.links = (!self.link.is_empty()).then(|| list(&self.link));
        host.publish_all_ports = self.publish_all;
        let mut ports = PortMap::new();
        for text in &self.publish {
            for (port, binding) in parse_publish(text)? {
                ports.entry(port).or_default().get_or_insert_default().push(binding);
            }
        }
        for text in &self.expose {
            if text.contains(':') {
                return Err(Error::invalid(format!("invalid port format for --expose: {text}")));
            }
            let (range, protocol) = split_protocol(text);
            let (first, last) = values::port_range(range).map_err(|cause| {
                Error::invalid(format!("invalid range format for --expose: {text}, error: {cause}"))
            })?;
            (first..=last).for_each(|port| {
                config.exposed_ports.insert(format!("{port}/{protocol}"), Empty {});
            });
        }
        for port in ports.keys() {
            config.exposed_ports.insert(port.clone(), Empty {});
        }
        host.port_bindings = Some(ports);
        self.plan_networks(host)
    }

    fn plan_networks(&self, host: &mut HostConfig) -> Result<NetworkingConfig> {
        let mut written: Vec<Written> =
            self.network.iter().map(|text| parse_network(text)).collect::<Result<_>>()?;
        if written.is_empty() {
            written.push(Written { name: "default".into(), settings: EndpointSettings::default() });
        }
        let user_defined = written.iter().filter(|one| is_user_defined(&one.name)).count();
        if user_defined > 0 && user_defined < written.len() {
            return Err(Error::invalid(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        host.network_mode.clone_from(&written[0].name);
        self.add_to_first(&mut written[0])?;
        let mut endpoints = BTreeMap::new();
        for one in written {
            let has = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
            if !is_user_defined(&one.name) && has(&one.settings.aliases) {
                return Err(Error::invalid(
                    "network-scoped aliases are only supported for user-defined networks",
                ));
            }
            if endpoints.insert(one.name.clone(), Some(one.settings)).is_some() {
                return Err(Error::invalid(format!("network {:?} is specified multiple times", one.name)));
            }
        }
        Ok(NetworkingConfig { endpoints_config: Some(endpoints) })
    }

    /// The flags beside `--network` mean the first network.
    fn add_to_first(&self, first: &mut Written) -> Result<()> {
        let both = |flag: &str| {
            Err(Error::invalid(format!(
                "conflicting options: cannot specify both --{flag} and per-network {flag}"
            )))
        };
        let settings = &mut first.settings;
        if !self.network_alias.is_empty() {
            if settings.aliases.is_some() {
                return both("network-alias");
            }
            settings.aliases = Some(self.network_alias.clone());
        }
        if !self.link.is_empty() && is_user_defined(&first.name) {
            settings.links = Some(self.link.clone());
        }
        let asked = !self.ip.is_empty() || !self.ip6.is_empty() || !self.link_local_ip.is_empty();
        if asked {
            let ipam = settings.ipam_config.get_or_insert_default();
            for (flag, given, own) in
                [("ip", &self.ip, &mut ipam.ipv4_address), ("ip6", &self.ip6, &mut ipam.ipv6_address)]
            {
                if !given.is_empty() && !own.is_empty() {
                    return both(flag);
                }
                if !given.is_empty() {
                    own.clone_from(given);
                }
            }
            ipam.link_local_ips.extend(self.link_local_ip.iter().cloned());
        }
        if !self.mac_address.is_empty() {
            if !settings.mac_address.is_empty() {
                return both("mac-address");
            }
            settings.mac_address.clone_from(&self.mac_address);
        }
        Ok(())
    }
}

/// One `--network`.
struct Written {
    name: String,
    settings: EndpointSettings,
}

fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

/// Looks at the value of a `--network` as it comes.
fn check_network(text: &str) -> std::result::Result<String, String> {
    // Whether a name is there at all is asked later.
    if text.contains('=') {
        parse_network(text).map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

/// Reads a name, or fields with an `=`.
fn parse_network(text: &str) -> Result<Written> {
    let mut one = Written { name: String::new(), settings: EndpointSettings::default() };
    if !text.contains('=') {
        text.clone_into(&mut one.name);
    } else {
        for field in text.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| Error::invalid(format!("invalid field {field}")))?;
            one.take(key.trim().to_lowercase().as_str(), value.trim())?;
        }
    }
    if one.name.is_empty() {
        return Err(Error::invalid("no name set for network"));
    }
    Ok(one)
}

impl Written {
    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        let settings = &mut self.settings;
        let ipam = |settings: &mut EndpointSettings| -> EndpointIpamConfig {
            settings.ipam_config.clone().unwrap_or_default()
        };
        match key {
            "name" => value.clone_into(&mut self.name),
            "alias" => settings.aliases.get_or_insert_default().push(value.to_lowercase()),
            "driver-opt" => {
                let (name, option) = env::split_label(value);
                let options: &mut StringMap = settings.driver_opts.get_or_insert_default();
                options.insert(name.to_lowercase(), option.to_owned());
            }
            "ip" => {
                settings.ipam_config =
                    Some(EndpointIpamConfig { ipv4_address: value.into(), ..ipam(settings) });
            }
            "ip6" => {
                settings.ipam_config =
                    Some(EndpointIpamConfig { ipv6_address: value.into(), ..ipam(settings) });
            }
            "link-local-ip" => {
                settings.ipam_config.get_or_insert_default().link_local_ips.push(value.into());
            }
            "mac-address" => value.clone_into(&mut settings.mac_address),
            "gw-priority" => {
                settings.gw_priority = value.parse().map_err(|_| {
                    Error::invalid(format!(
                        "invalid gw-priority: strconv.Atoi: parsing {value:?}: invalid syntax"
                    ))
                })?;
            }
            _ => return Err(Error::invalid(format!("invalid field key {key}"))),
        }
        Ok(())
    }
}

fn split_protocol(text: &str) -> (&str, String) {
    match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.to_lowercase()),
        None => (text, "tcp".into()),
    }
}

fn range_of(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Reads one `--publish`: ports of the container with where they are published.
fn parse_publish(text: &str) -> Result<Vec<(String, PortBinding)>> {
    let long;
    let text = if text.contains('=') {
        long = from_fields(text)?;
        &long
    } else {
        text
    };
    let (rest, protocol) = split_protocol(text);
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let (address, host, port) = split_publish(rest)?;
    if port.is_empty() {
        return Err(Error::invalid(format!("no port specified: {text}<empty>")));
    }
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address: {address}")));
    }
    let invalid = |what: &str, text: &str| Error::invalid(format!("invalid {what}: {text}"));
    let (first, last) = range_of(port).ok_or_else(|| invalid("containerPort", port))?;
    let hosts = match host {
        "" => None,
        host => Some(range_of(host).ok_or_else(|| invalid("hostPort", host))?),
    };
    let mut all = Vec::new();
    for (step, port) in (first..=last).enumerate() {
        let host_port = match hosts {
            None => String::new(),
            // One port at any of a range.
            Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
            Some((low, high)) if high - low == last - first => (usize::from(low) + step).to_string(),
            Some(_) => {
                return Err(Error::invalid(format!(
                    "invalid ranges specified for container and host Ports: {port} and {host}",
                    port = rest.rsplit(':').next().unwrap_or_default()
                )));
            }
        };
        let binding = PortBinding { host_ip: address.to_owned(), host_port };
        all.push((format!("{port}/{protocol}"), binding));
    }
    Ok(all)
}

/// Splits `[address:][host:]port`; an IPv6 address stands in brackets.
fn split_publish(text: &str) -> Result<(&str, &str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) =
            rest.split_once("]:").ok_or_else(|| Error::invalid(format!("invalid IP address: {text}")))?;
        let (host, port) = rest.split_once(':').unwrap_or(("", rest));
        return Ok((address, host, port));
    }
    let mut parts = text.rsplitn(3, ':');
    let port = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    Ok((parts.next().unwrap_or_default(), host, port))
}

/// Rewrites `target=80,published=8080,protocol=tcp` in the short form.
fn from_fields(text: &str) -> Result<String> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            Some(("mode", _)) => {}
            Some((key, _)) => return Err(Error::invalid(format!("invalid field key {key}"))),
            None => {
                return Err(Error::invalid(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                )));
            }
        }
    }
    Ok(match published {
        "" => format!("{target}/{protocol}"),
        published => format!("{published}:{target}/{protocol}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Vec<String> {
        let all = parse_publish(text).unwrap();
        all.iter().map(|(port, at)| format!("{}|{}|{port}", at.host_ip, at.host_port)).collect()
    }

    #[test]
    fn ports_are_published_in_every_form() {
        for (text, expected) in [
            ("80", vec!["||80/tcp"]),
            ("8080:80", vec!["|8080|80/tcp"]),
            ("127.0.0.1:8080:80/udp", vec!["127.0.0.1|8080|80/udp"]),
            ("127.0.0.1::80", vec!["127.0.0.1||80/tcp"]),
            ("[::1]:8080:80", vec!["::1|8080|80/tcp"]),
            ("8000-8001:80-81", vec!["|8000|80/tcp", "|8001|81/tcp"]),
            ("8000-8010:80", vec!["|8000-8010|80/tcp"]),
            ("80-81", vec!["||80/tcp", "||81/tcp"]),
            ("target=80,published=8080,protocol=udp", vec!["|8080|80/udp"]),
        ] {
            assert_eq!(published(text), expected, "{text}");
        }
        for wrong in ["", "x", "8080:", "80/x", "1:2:3:4", "8000-8002:80-81", "a:80:80"] {
            assert!(parse_publish(wrong).is_err(), "{wrong}");
        }
    }

    fn planned(flags: &NetworkFlags) -> Result<(String, NetworkingConfig, ContainerConfig)> {
        let (mut config, mut host) = (ContainerConfig::default(), HostConfig::default());
        let networks = flags.plan(&mut config, &mut host)?;
        Ok((host.network_mode, networks, config))
    }

    #[test]
    fn the_first_network_takes_the_flags_beside_it() {
        let flags = NetworkFlags {
            network: vec!["front".into(), "name=back,alias=b,gw-priority=2,driver-opt=a=b".into()],
            network_alias: vec!["web".into()],
            ip: "10.0.0.9".into(),
            expose: vec!["90-91/udp".into()],
            publish: vec!["8080:80".into()],
            ..NetworkFlags::default()
        };
        let (mode, networks, config) = planned(&flags).unwrap();
        let all = networks.endpoints_config.unwrap();
        assert_eq!(mode, "front");
        let front = all["front"].as_ref().unwrap();
        assert_eq!(front.aliases.as_deref(), Some(&["web".to_owned()][..]));
        assert_eq!(front.ipam_config.as_ref().unwrap().ipv4_address, "10.0.0.9");
        let back = all["back"].as_ref().unwrap();
        assert_eq!((back.gw_priority, back.driver_opts.as_ref().unwrap()["a"].as_str()), (2, "b"));
        assert_eq!(config.exposed_ports.into_keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let with = |network: &[&str], alias: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect();
            let flags = NetworkFlags {
                network: owned(network),
                network_alias: owned(alias),
                ..NetworkFlags::default()
            };
            planned(&flags).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(with(&[""], &[]), "no name set for network");
        assert_eq!(with(&[], &["x"]), "network-scoped aliases are only supported for user-defined networks");
        assert!(with(&["front", "host"], &[]).starts_with("conflicting options"));
        assert!(with(&["name=front,nosuch=1"], &[]).starts_with("invalid field key"));
        assert_eq!(with(&["front", "front"], &[]), "network \"front\" is specified multiple times");
    }
}
