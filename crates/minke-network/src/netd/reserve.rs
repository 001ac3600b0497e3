//! Ports of the host, reserved before anybody is told of them: the engine binds them, netd holds them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, Protocol as Transport, SocketFlags, SocketType, ipproto, sockopt};

use super::Given;
use crate::ports::{Host, Protocol, Published};

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
/// `IPPROTO_SCTP`.
const SCTP: u32 = 132;

/// The ports that a container is about to get. What is not given away is free again when this is dropped.
#[derive(Debug, Default)]
pub struct Reservations {
    held: Vec<(Published, OwnedFd)>,
}

impl Reservations {
    /// Makes them something that netd holds for `sandbox`.
    pub fn give(self, sandbox: &str) -> Vec<Given> {
        let given = |(published, socket)| Given::Port { sandbox: sandbox.to_string(), published, socket };
        self.held.into_iter().map(given).collect()
    }
}

impl Host for Reservations {
    fn reserve(&mut self, published: &Published) -> io::Result<()> {
        let socket = bind(published.protocol, published.host)?;
        self.held.push((published.clone(), socket));
        Ok(())
    }

    fn give_back(&mut self, published: &Published) {
        self.held.retain(|(held, _)| held != published);
    }

    fn somewhere(&mut self, most: u16) -> u16 {
        let mut bytes = [0; 4];
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        ((u64::from(u32::from_ne_bytes(bytes)) * (u64::from(most) + 1)) >> 32) as u16
    }
}

/// Takes a port of the host, in the calling thread's network namespace; non-blocking.
///
/// # Errors
/// `AddrInUse` where another program has it; for SCTP, where the kernel lacks it, words that say so.
pub fn bind(protocol: Protocol, at: SocketAddr) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = if protocol == Protocol::Udp { SocketType::DGRAM } else { SocketType::STREAM };
    let transport = match protocol {
        Protocol::Tcp => Some(ipproto::TCP),
        Protocol::Udp => Some(ipproto::UDP),
        Protocol::Sctp => SCTP.try_into().ok().map(Transport::from_raw),
    };
    let socket = match rustix::net::socket_with(family, kind, flags, transport) {
        Err(rustix::io::Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this host's kernel has no SCTP"));
        }
        result => result?,
    };
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Udp {
        // Connections of an earlier run that still fade away don't count; whoever listens does.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    if protocol != Protocol::Udp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Ports, Reach, Wanted};

    fn free() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn published(protocol: Protocol, host: &str) -> Published {
        Published { protocol, host: host.parse().unwrap(), container_port: 80 }
    }

    #[test]
    fn what_another_program_has_is_refused_and_what_is_given_back_is_free() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let wanted = published(protocol, &format!("127.0.0.1:{}", free()));
            let (mut one, mut other) = (Reservations::default(), Reservations::default());
            one.reserve(&wanted).unwrap();
            assert_eq!(other.reserve(&wanted).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            one.give_back(&wanted);
            other.reserve(&wanted).unwrap();
            assert_eq!(other.give("c").len(), 1);
        }
    }

    #[test]
    fn both_families_have_a_port_side_by_side() {
        let port = free();
        let mut host = Reservations::default();
        host.reserve(&published(Protocol::Tcp, &format!("127.0.0.1:{port}"))).unwrap();
        host.reserve(&published(Protocol::Tcp, &format!("[::1]:{port}"))).unwrap();
    }

    #[test]
    fn a_range_steps_over_what_another_program_has() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let wanted = Wanted {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_address: Some("127.0.0.1".parse().unwrap()),
            host_ports: Some(port..=port.saturating_add(50)),
        };
        let reach = Reach { default_address: None, v4: true, v6: false };
        let got = Ports::default()
            .publish("c", &[wanted], reach, &(32768..=60999), &mut Reservations::default())
            .unwrap();
        assert!(got[0].host.port() > port);
    }

    #[test]
    fn somewhere_is_within_the_range() {
        let mut host = Reservations::default();
        assert!((0..1000).all(|_| host.somewhere(3) <= 3));
        assert_eq!(host.somewhere(0), 0);
    }
}
