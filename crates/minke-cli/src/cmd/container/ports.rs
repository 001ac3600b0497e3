//! A container's ports as `ps` lists them: ranges joined, `0.0.0.0:8000-8002->80-82/tcp`.

use minke_api::container::PortSummary;

/// One run of neighbouring ports with the same address and protocol.
struct Range {
    ip: String,
    protocol: String,
    private: (u16, u16),
    public: (u16, u16),
}

/// Prints all ports, sorted and joined.
pub fn render(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.protocol.clone(), port.ip.clone(), port.private_port, port.public_port));
    let mut ranges: Vec<Range> = Vec::new();
    for port in sorted {
        if let Some(last) = ranges.last_mut().filter(|last| follows(last, port)) {
            last.private.1 = port.private_port;
            last.public.1 = port.public_port;
            continue;
        }
        ranges.push(Range {
            ip: port.ip.clone(),
            protocol: port.protocol.clone(),
            private: (port.private_port, port.private_port),
            public: (port.public_port, port.public_port),
        });
    }
    ranges.sort_by_key(|range| (range.public.0 == 0, range.private.0));
    ranges.iter().map(render_range).collect::<Vec<_>>().join(", ")
}

fn follows(last: &Range, port: &PortSummary) -> bool {
    let same = last.ip == port.ip && last.protocol == port.protocol;
    let private = last.private.1.checked_add(1) == Some(port.private_port);
    let public = if last.public.1 == 0 {
        port.public_port == 0
    } else {
        last.public.1.checked_add(1) == Some(port.public_port)
    };
    same && private && public
}

fn render_range(range: &Range) -> String {
    let span = |(low, high): (u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    let inside = format!("{}/{}", span(range.private), range.protocol);
    if range.public.0 == 0 {
        return inside;
    }
    let ip = if range.ip.contains(':') { format!("[{}]", range.ip) } else { range.ip.clone() };
    format!("{ip}:{}->{inside}", span(range.public))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> PortSummary {
        PortSummary { ip: ip.into(), private_port, public_port, protocol: "tcp".into() }
    }

    #[test]
    fn neighbours_are_joined() {
        let ports =
            [port("0.0.0.0", 80, 8000), port("0.0.0.0", 81, 8001), port("", 90, 0), port("::", 80, 8000)];
        assert_eq!(render(&ports), "0.0.0.0:8000-8001->80-81/tcp, [::]:8000->80/tcp, 90/tcp");
        assert_eq!(render(&[]), "");
    }
}
