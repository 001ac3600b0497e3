//! Network interfaces as a start needs them: found by name, moved into another network namespace, with their addresses. By netlink
//! (rtnetlink(7)), without a standard library; what the engine's own links need is in [`crate::netlink`].

use alloc::vec::Vec;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::raw::call;
use crate::{Errno, Result};

const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const IFF_UP: u16 = 1;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const HEADER: usize = 16;

const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;
const PERMANENT: u32 = 0x80;
/// What an address has been given by whoever set it: no detection of duplicates, no route of its own.
const KEPT_FLAGS: u32 = 0x2 | 0x200;

/// How often what changes while it is read is read again.
const ATTEMPTS: u32 = 16;

/// An address of an interface that lasts: set by somebody, and not for this host or link alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// Attributes as they came: kind and bytes.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A socket in one network namespace: the one that the calling thread is in when it opens it.
#[derive(Debug)]
pub struct Interfaces(OwnedFd);

impl Interfaces {
    /// Opens one in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        rustix::net::socket_with(family, SocketType::RAW, flags, None).map(Self)
    }

    /// The number of the interface of a name; `NODEV` where there is none.
    pub fn index(&self, name: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.0, name)
    }

    /// The lasting addresses of an interface.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            let torn = self.request(GET_ADDRESS, DUMP, &[0; 8], |payload| {
                found.extend(lasting(payload, index));
            })?;
            if !torn {
                return Ok(found);
            }
        }
        Err(Errno::INTR)
    }

    /// Moves an interface into another network namespace, where it has this name from the first moment that it is up.
    pub fn give(&self, index: u32, name: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let mut payload = link(index);
        let mut text = Vec::from(name);
        text.push(0);
        attribute(&mut payload, LINK_NAME, &text);
        attribute(&mut payload, LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
        self.request(NEW_LINK, ACK, &payload, |_| {}).map(|_| ())
    }

    /// Gives an interface an address.
    pub fn add(&self, index: u32, address: &Address) -> Result<()> {
        let mut payload = Vec::from([address.family, address.prefix, 0, 0]);
        payload.extend_from_slice(&index.to_ne_bytes());
        for (kind, bytes) in &address.attributes {
            attribute(&mut payload, *kind, bytes);
        }
        attribute(&mut payload, ADDRESS_FLAGS, &address.flags.to_ne_bytes());
        self.request(NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, &payload, |_| {}).map(|_| ())
    }

    /// Brings an interface up.
    pub fn bring_up(&self, name: &str) -> Result<()> {
        bring_up(self.0.as_fd(), name)
    }

    /// Sends a request and reads its answers up to the last; true: what was read has changed meanwhile.
    fn request(&self, kind: u16, flags: u16, payload: &[u8], mut each: impl FnMut(&[u8])) -> Result<bool> {
        let mut bytes = Vec::from(((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(payload);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = alloc::vec![0; 32 * 1024];
        let mut torn = false;
        loop {
            let size = match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((_, size)) if size > buffer.len() => return Err(Errno::MSGSIZE),
                Ok((_, size)) => size,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let mut rest = &buffer[..size];
            while let Some((kind, flags, payload)) = next(&mut rest) {
                torn |= flags & DUMP_INTERRUPTED != 0;
                match kind {
                    ERROR | DONE => {
                        let code = payload.get(..4).map_or(0, word) as i32;
                        return if code < 0 { Err(Errno::from_raw_os_error(-code)) } else { Ok(torn) };
                    }
                    _ => each(payload),
                }
            }
        }
    }
}

/// Brings an interface of the namespace of a socket up.
pub(crate) fn bring_up(socket: BorrowedFd<'_>, name: &str) -> Result<()> {
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let mut request = Request { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name.get_mut(..name.len()).ok_or(Errno::NODEV)?.copy_from_slice(name.as_bytes());
    // SAFETY: an ifreq of 40 bytes, which the kernel reads and writes.
    unsafe { call!(k::__NR_ioctl, socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) }?;
    request.flags |= IFF_UP;
    // SAFETY: as above.
    unsafe { call!(k::__NR_ioctl, socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut request) }.map(|_| ())
}

/// `struct ifinfomsg` of an interface that is there.
fn link(index: u32) -> Vec<u8> {
    let mut payload = Vec::from([0; 4]);
    payload.extend_from_slice(&index.to_ne_bytes());
    payload.extend_from_slice(&[0; 8]);
    payload
}

fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    payload.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    payload.extend_from_slice(&kind.to_ne_bytes());
    payload.extend_from_slice(value);
    payload.resize(payload.len().next_multiple_of(4), 0);
}

/// The address that a message (`struct ifaddrmsg` and attributes) tells of, if it lasts and is this interface's.
fn lasting(payload: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = *payload.first_chunk::<4>()?;
    let mut address = Address { family, prefix, flags: flags.into(), attributes: Vec::new() };
    if scope != 0 || payload.get(4..8).map(word) != Some(index) {
        return None;
    }
    let mut rest = &payload[8..];
    while let Some(head) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(4..length)?;
        match kind {
            ADDRESS | LOCAL | BROADCAST => address.attributes.push((kind, value.to_vec())),
            ADDRESS_FLAGS => address.flags = value.get(..4).map_or(0, word),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let lasts = address.flags & PERMANENT != 0;
    address.flags &= KEPT_FLAGS;
    lasts.then_some(address)
}

/// Takes the first message of a datagram: its type, flags and payload.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u16, u16, &'a [u8])> {
    let all = *rest;
    let length = word(all.get(..HEADER)?) as usize;
    let payload = all.get(HEADER..length)?;
    *rest = all.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes([all[4], all[5]]), u16::from_ne_bytes([all[6], all[7]]), payload))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, scope: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::from([2, 24, flags, scope]);
        bytes.extend_from_slice(&index.to_ne_bytes());
        for (kind, value) in attributes {
            attribute(&mut bytes, *kind, value);
        }
        bytes
    }

    #[test]
    fn an_address_that_lasts_is_taken_and_no_other() {
        let one = message(3, 0, 0x80, &[(ADDRESS, &[10, 0, 0, 2]), (LOCAL, &[10, 0, 0, 2]), (3, b"eth0\0")]);
        let found = lasting(&one, 3).unwrap();
        assert_eq!((found.prefix, found.flags), (24, 0));
        assert_eq!(found.attributes, [(ADDRESS, vec![10, 0, 0, 2]), (LOCAL, vec![10, 0, 0, 2])]);
        assert_eq!(lasting(&one, 4), None, "another interface's");
        assert_eq!(lasting(&message(3, 253, 0x80, &[]), 3), None, "the link's alone");
        let temporary = message(3, 0, 0x80, &[(ADDRESS_FLAGS, &0x1u32.to_ne_bytes())]);
        assert_eq!(lasting(&temporary, 3), None, "the longer flags count");
        assert_eq!(lasting(&one[..7], 3), None);
        assert_eq!(lasting(&one[..14], 3), None, "torn");
    }

    #[test]
    fn the_loopback_device_is_found() {
        let interfaces = Interfaces::open().unwrap();
        let index = interfaces.index("lo").unwrap();
        assert_eq!(interfaces.index("no-such-device"), Err(Errno::NODEV));
        // Those of the loopback are this host's alone.
        assert!(interfaces.addresses(index).unwrap().iter().all(|address| address.prefix != 8));
    }
}
