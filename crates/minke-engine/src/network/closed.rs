//! Published ports that the host's own firewall keeps closed, and the command that opens them: said when a container is made.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use minke_api::container::{ContainerConfig, HostConfig};
use minke_network::firewall::{Firewall, Guard};
use minke_network::ports::{Protocol, Wanted};

use super::{lock, publish};
use crate::engine::Shared;

impl Shared {
    /// Says which of a new container's ports the host's own firewall keeps closed. Nothing is looked at where none is published.
    pub fn closed_ports(&self, config: &ContainerConfig, host: &HostConfig) -> Option<String> {
        let options = &self.networks.options;
        let mode = self.networks.name_of_mode(&host.network_mode)?;
        if matches!(mode, "host" | "none") || options.publish_policy == "docker" {
            return None;
        }
        let wanted = publish::wanted(config, host).ok().filter(|wanted| !wanted.is_empty())?;
        let guard = match self.rules.firewall() {
            Some(firewall) => lock(&firewall).guard().cloned(),
            None => Firewall::guard_of_host(Path::new("/etc")),
        }?;
        say(&closed(&guard, &wanted, options.ip))
    }
}

/// A closed port, or one that is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed {
    protocol: Protocol,
    address: Option<IpAddr>,
    port: Option<u16>,
    container_port: u16,
}

fn closed(guard: &Guard, wanted: &[Wanted], default: Option<IpAddr>) -> Vec<Closed> {
    let mut all = Vec::new();
    for one in wanted {
        let address = one.host_address.or(default).filter(|address| !address.is_unspecified());
        let at = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let port = one.host_ports.as_ref().map(|ports| *ports.start());
        if !at.is_loopback() && !guard.lets_everybody(one.protocol, (at, port), one.container_port) {
            all.push(Closed { protocol: one.protocol, address, port, container_port: one.container_port });
        }
    }
    all
}

/// One line, with as few commands as open all of them.
fn say(closed: &[Closed]) -> Option<String> {
    let mut everywhere: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    let (mut names, mut commands) = (Vec::new(), Vec::new());
    for one in closed {
        let protocol = one.protocol.to_string();
        match (one.port, one.address) {
            (Some(port), None) => everywhere.entry(protocol).or_default().push(port),
            (Some(port), Some(address)) => {
                names.push(format!("{address}:{port}/{protocol}"));
                commands.push(format!("ufw allow proto {protocol} to {address} port {port}"));
            }
            (None, _) => {
                let port = one.container_port;
                names.push(format!("the port that leads to {port}/{protocol}"));
                commands.push(format!("ufw route allow proto {protocol} from any to any port {port}"));
            }
        }
    }
    for (protocol, mut ports) in everywhere {
        ports.sort_unstable();
        ports.dedup();
        let ranges = ranges(&ports);
        names.insert(0, format!("{}/{protocol}", ranges.replace(':', "-")));
        commands.insert(0, format!("ufw allow {ranges}/{protocol}"));
    }
    commands.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "Not everybody outside this host reaches {}: ufw is on. To open: {}",
            names.join(", "),
            commands.join("; ")
        )
    })
}

/// `80,8000:8010`
fn ranges(ports: &[u16]) -> String {
    let mut all: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == *port => *last = *port,
            _ => all.push((*port, *port)),
        }
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}:{last}") }
    };
    all.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(protocol: Protocol, address: Option<&str>, port: Option<u16>) -> Wanted {
        Wanted {
            protocol,
            container_port: 80,
            host_address: address.map(|text| text.parse().unwrap()),
            host_ports: port.map(|port| port..=port),
        }
    }

    #[test]
    fn one_line_names_what_opens_the_ports() {
        let guard = Guard::default();
        let said = |all: &[Wanted]| say(&closed(&guard, all, None)).unwrap_or_default();
        let tcp = |port| wanted(Protocol::Tcp, None, Some(port));
        assert!(said(&[tcp(8080)]).ends_with("reaches 8080/tcp: ufw is on. To open: ufw allow 8080/tcp"));
        let many = [tcp(8001), tcp(8000), tcp(80), wanted(Protocol::Udp, None, Some(53))];
        assert!(said(&many).ends_with("To open: ufw allow 53/udp; ufw allow 80,8000:8001/tcp"));
        let at = [wanted(Protocol::Tcp, Some("192.0.2.1"), Some(80))];
        assert!(said(&at).ends_with("ufw allow proto tcp to 192.0.2.1 port 80"));
        let any = [wanted(Protocol::Tcp, None, None)];
        assert!(said(&any).ends_with("ufw route allow proto tcp from any to any port 80"));
        assert_eq!(said(&[wanted(Protocol::Tcp, Some("127.0.0.1"), Some(80))]), "");
        assert_eq!(say(&closed(&Guard { otherwise4: true, ..guard }, &[tcp(8080)], None)), None);
    }
}
