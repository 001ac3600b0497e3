//! Datagrams with the address of this host that they were sent to: whoever serves all addresses at one socket answers from the one
//! that was asked.

use core::mem::size_of;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd};

use crate::raw::call;
use crate::{Errno, Result};

const INET: u16 = 2;
const INET6: u16 = 10;
const IP: i32 = 0;
const IPV6: i32 = 41;
const IP_PKTINFO: i32 = 8;
const IPV6_RECVPKTINFO: i32 = 49;
const IPV6_PKTINFO: i32 = 50;
const DONTWAIT: usize = 0x40;
const NOSIGNAL: usize = 0x4000;
/// `struct cmsghdr` without what follows it.
const HEAD: usize = 16;

/// The address of this host that a datagram came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    address: IpAddr,
    /// The interface, which an address of one link alone needs.
    interface: u32,
}

impl Destination {
    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

/// `struct msghdr` of 64-bit kernels.
#[repr(C)]
struct Message {
    name: *mut u8,
    name_size: u32,
    parts: *mut Part,
    part_count: usize,
    control: *mut u64,
    control_size: usize,
    flags: i32,
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    base: *mut u8,
    size: usize,
}

/// Has the kernel say of each datagram which address it came to.
pub fn tell_destinations(socket: impl AsFd, of_ipv6: bool) -> Result<()> {
    let (level, option) = if of_ipv6 { (IPV6, IPV6_RECVPKTINFO) } else { (IP, IP_PKTINFO) };
    let on = 1i32;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads an int, which lives through the call.
    unsafe { call!(k::__NR_setsockopt, socket, level, option, &raw const on, size_of::<i32>()) }.map(|_| ())
}

/// Receives a datagram without waiting: its length, who sent it, and what it came to. What doesn't fit is cut off.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, SocketAddr, Option<Destination>)> {
    let mut name = [0u8; 28];
    let mut control = [0u64; 16];
    let mut part = Part { base: buffer.as_mut_ptr(), size: buffer.len() };
    let mut message = Message {
        name: name.as_mut_ptr(),
        name_size: name.len() as u32,
        parts: &raw mut part,
        part_count: 1,
        control: control.as_mut_ptr(),
        control_size: size_of_val(&control),
        flags: 0,
    };
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: every pointer in the message is to a buffer of the size beside it, and all live through the call.
    let length = unsafe { call!(k::__NR_recvmsg, socket, &raw mut message, DONTWAIT) }?;
    let from = parse_address(&name).ok_or(Errno::AFNOSUPPORT)?;
    let told = message.control_size.min(size_of_val(&control));
    let bytes: alloc::vec::Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(told).collect();
    Ok((length, from, parse_control(&bytes)))
}

/// Sends a datagram without waiting, from the address that another one came to.
pub fn send(socket: impl AsFd, bytes: &[u8], to: SocketAddr, from: Option<Destination>) -> Result<usize> {
    let (mut name, name_size) = render_address(to);
    let control = from.map(render_control).unwrap_or_default();
    let mut words = [0u64; 6];
    for (word, bytes) in words.iter_mut().zip(control.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    let mut part = Part { base: bytes.as_ptr().cast_mut(), size: bytes.len() };
    let message = Message {
        name: name.as_mut_ptr(),
        name_size,
        parts: &raw mut part,
        part_count: 1,
        control: words.as_mut_ptr(),
        control_size: control.len(),
        flags: 0,
    };
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: as above; the kernel only reads.
    unsafe { call!(k::__NR_sendmsg, socket, &raw const message, DONTWAIT | NOSIGNAL) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn parse_address(name: &[u8; 28]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([name[2], name[3]]);
    match u16::from_ne_bytes([name[0], name[1]]) {
        INET => {
            let octets: [u8; 4] = name[4..8].try_into().ok()?;
            Some(SocketAddrV4::new(octets.into(), port).into())
        }
        INET6 => {
            let octets: [u8; 16] = name[8..24].try_into().ok()?;
            Some(SocketAddrV6::new(octets.into(), port, word(name, 4)?, word(name, 24)?).into())
        }
        _ => None,
    }
}

fn render_address(address: SocketAddr) -> ([u8; 28], u32) {
    let mut name = [0; 28];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            name[..2].copy_from_slice(&INET.to_ne_bytes());
            name[4..8].copy_from_slice(&address.ip().octets());
            (name, 16)
        }
        SocketAddr::V6(address) => {
            name[..2].copy_from_slice(&INET6.to_ne_bytes());
            name[4..8].copy_from_slice(&address.flowinfo().to_ne_bytes());
            name[8..24].copy_from_slice(&address.ip().octets());
            name[24..].copy_from_slice(&address.scope_id().to_ne_bytes());
            (name, 28)
        }
    }
}

/// Finds the destination among what the kernel told.
fn parse_control(mut control: &[u8]) -> Option<Destination> {
    loop {
        let length = usize::try_from(u64::from_ne_bytes(control.get(..8)?.try_into().ok()?)).ok()?;
        let (level, kind) = (word(control, 8)? as i32, word(control, 12)? as i32);
        let body = control.get(HEAD..length)?;
        match (level, kind) {
            // The interface, the address to answer from, the one in the packet.
            (IP, IP_PKTINFO) => {
                let octets: [u8; 4] = body.get(4..8)?.try_into().ok()?;
                return Some(Destination { address: Ipv4Addr::from(octets).into(), interface: 0 });
            }
            (IPV6, IPV6_PKTINFO) => {
                let octets: [u8; 16] = body.get(..16)?.try_into().ok()?;
                let address = Ipv6Addr::from(octets);
                let interface = if address.is_unicast_link_local() { word(body, 16)? } else { 0 };
                return Some(Destination { address: address.into(), interface });
            }
            _ => control = control.get(length.next_multiple_of(8)..)?,
        }
    }
}

fn render_control(from: Destination) -> alloc::vec::Vec<u8> {
    let mut control = alloc::vec::Vec::with_capacity(40);
    let mut head = |length: usize, level: i32, kind: i32| {
        control.extend_from_slice(&((HEAD + length) as u64).to_ne_bytes());
        control.extend_from_slice(&level.to_ne_bytes());
        control.extend_from_slice(&kind.to_ne_bytes());
    };
    match from.address {
        IpAddr::V4(address) => {
            head(12, IP, IP_PKTINFO);
            control.extend_from_slice(&from.interface.to_ne_bytes());
            control.extend_from_slice(&address.octets());
            control.extend_from_slice(&[0; 4]);
        }
        IpAddr::V6(address) => {
            head(20, IPV6, IPV6_PKTINFO);
            control.extend_from_slice(&address.octets());
            control.extend_from_slice(&from.interface.to_ne_bytes());
        }
    }
    control.resize(control.len().next_multiple_of(8), 0);
    control
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn answered_from(any: &str, asked: &str) -> IpAddr {
        let server = UdpSocket::bind(any).unwrap();
        tell_destinations(&server, asked.contains(':')).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind(any).unwrap();
        client.send_to(b"question", SocketAddr::new(asked.parse().unwrap(), port)).unwrap();
        let mut buffer = [0; 4];
        let (length, from, to) = receive(&server, &mut buffer).unwrap();
        assert_eq!((length, &buffer), (4, b"ques"));
        assert_eq!(from.port(), client.local_addr().unwrap().port());
        send(&server, b"answer", from, to).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((length, from.port()), (4, port));
        from.ip()
    }

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        for asked in ["127.0.0.1", "127.0.0.9"] {
            assert_eq!(answered_from("0.0.0.0:0", asked).to_string(), asked);
        }
        assert_eq!(answered_from("[::]:0", "::1").to_string(), "::1");
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse_address(&render_address(address).0), Some(address));
        }
        for (text, interface) in [("192.0.2.1", 0), ("2001:db8::1", 0), ("fe80::1", 7)] {
            let destination = Destination { address: text.parse().unwrap(), interface };
            assert_eq!(parse_control(&render_control(destination)), Some(destination));
        }
        assert_eq!(parse_control(&[]), None);
        assert_eq!(parse_control(&[255; 40]), None);
    }

    #[test]
    fn nothing_to_receive_is_told_at_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(receive(&socket, &mut [0; 4]).unwrap_err(), Errno::AGAIN);
    }
}
