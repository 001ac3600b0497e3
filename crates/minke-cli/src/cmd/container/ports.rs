//! A container's ports as `ps` lists them: neighbours that are the same inside and outside joined, `90-92/udp`; the others, each
//! by itself, behind them.

use minke_api::container::PortSummary;

/// One run of neighbouring ports with the same address and protocol, which have the same numbers on both sides.
struct Range<'a> {
    ip: &'a str,
    protocol: &'a str,
    ports: (u16, u16),
}

/// Prints all ports.
pub fn render(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.protocol));
    let mut open: Vec<Range<'_>> = Vec::new();
    let mut joined = Vec::new();
    let mut mapped = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let outside = format!("{}:{}", bracketed(&port.ip), port.public_port);
            mapped.push(format!("{outside}->{}/{}", port.private_port, port.protocol));
            continue;
        }
        let same = |range: &&mut Range<'_>| range.ip == port.ip && range.protocol == port.protocol;
        match open.iter_mut().find(same) {
            Some(range) if range.ports.1.checked_add(1) == Some(port.private_port) => {
                range.ports.1 = port.private_port;
            }
            Some(range) => {
                joined.push(render_range(range));
                range.ports = (port.private_port, port.private_port);
            }
            None => open.push(Range {
                ip: &port.ip,
                protocol: &port.protocol,
                ports: (port.private_port, port.private_port),
            }),
        }
    }
    joined.extend(open.iter().map(render_range));
    joined.extend(mapped);
    joined.join(", ")
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

fn render_range(range: &Range<'_>) -> String {
    let span = match range.ports {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    };
    match range.ip {
        "" => format!("{span}/{}", range.protocol),
        ip => format!("{}:{span}->{span}/{}", bracketed(ip), range.protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> PortSummary {
        PortSummary { ip: ip.into(), private_port, public_port, protocol: "tcp".into() }
    }

    #[test]
    fn neighbours_are_joined_where_both_sides_have_the_same_number() {
        let ports = [
            port("0.0.0.0", 80, 8000),
            port("0.0.0.0", 81, 8001),
            port("", 90, 0),
            port("::", 80, 8000),
            port("0.0.0.0", 443, 443),
            port("0.0.0.0", 444, 444),
        ];
        assert_eq!(
            render(&ports),
            "90/tcp, 0.0.0.0:443-444->443-444/tcp, 0.0.0.0:8000->80/tcp, [::]:8000->80/tcp, 0.0.0.0:8001->81/tcp"
        );
        assert_eq!(render(&[]), "");
    }
}
