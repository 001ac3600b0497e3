//! The connections that the kernel remembers: those of a port or address that came or went are to be forgotten, as their
//! packets would go where they went before.

use std::net::{IpAddr, SocketAddr};

use minke_model::Result;
use minke_model::error::Context;
use minke_sys::Errno;
use minke_sys::netlink::{ACK, Batch, Family, Socket};

use super::wanted::transport;
use crate::nft::attribute;
use crate::ports::Protocol;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const NESTED: u16 = 1 << 15;

/// Which connections are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// Those to a port of the host; an address without number: to any of the family's.
    Port(Protocol, SocketAddr),
    /// Those from and to a container's address.
    Address(IpAddr),
}

/// What the kernel remembers of connections, in the network namespace in which this was opened.
#[derive(Debug)]
pub struct Connections(Socket);

impl Connections {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self> {
        Socket::open(Family::Netfilter).map(Self).context("failed to open a socket for connections")
    }

    /// Forgets connections; returns how many there were. All of the host's are looked through, so this is no part of a start
    /// that publishes only TCP ports.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&self, which: &[Forget]) -> Result<usize> {
        let mut batch = Batch::default();
        for family in [IPV4, IPV6] {
            if !which.iter().any(|one| family_of(one) == family) {
                continue;
            }
            let mut found = Vec::new();
            let cell = std::cell::RefCell::new(&mut found);
            let asked = self.0.dump(
                GET,
                &header(family),
                || cell.borrow_mut().clear(),
                |message| {
                    if let Some(request) = read(message.payload, which) {
                        cell.borrow_mut().push(request);
                    }
                },
            );
            match asked {
                // A kernel without them remembers none.
                Err(refusal) if matches!(refusal.errno, Errno::OPNOTSUPP | Errno::INVAL) => continue,
                other => other.context("failed to read the host's connections")?,
            }
            for request in found {
                batch.push(DELETE, ACK, |bytes| {
                    bytes.extend_from_slice(&header(family));
                    bytes.extend_from_slice(&request);
                });
            }
        }
        let count = batch.len();
        match self.0.apply(&batch) {
            // It ended by itself meanwhile.
            Err(refusal) if refusal.errno == Errno::NOENT => Ok(count),
            other => other.map(|()| count).context("failed to forget a connection"),
        }
    }
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn family_of(which: &Forget) -> u8 {
    let address = match which {
        Forget::Port(_, at) => at.ip(),
        Forget::Address(address) => *address,
    };
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// One direction of a connection.
#[derive(Debug)]
struct Direction {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    port: u16,
}

/// Reads a connection; returns what is asked to forget it, if it is one of these.
fn read(payload: &[u8], which: &[Forget]) -> Option<Vec<u8>> {
    let attributes = payload.get(4..)?;
    let of = |wanted| attribute::all(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (original, reply) = (direction(of(ORIGINAL)?)?, direction(of(REPLY)?)?);
    let is_one = |one: &Forget| match one {
        Forget::Port(protocol, at) => {
            let here = at.ip().is_unspecified() || at.ip() == original.destination;
            here && at.is_ipv4() == original.destination.is_ipv4()
                && at.port() == original.port
                && transport(*protocol) == original.protocol
        }
        Forget::Address(address) => {
            [original.source, original.destination, reply.source, reply.destination].contains(address)
        }
    };
    if !which.iter().any(is_one) {
        return None;
    }
    let mut request = Vec::new();
    attribute::put(&mut request, ORIGINAL | NESTED, of(ORIGINAL)?);
    for kind in [ID, ZONE] {
        if let Some(value) = of(kind) {
            attribute::put(&mut request, kind, value);
        }
    }
    Some(request)
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let of = |bytes, wanted| attribute::all(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (addresses, transport) = (of(tuple, 1)?, of(tuple, 2)?);
    let address = |v4: u16, v6: u16| match (of(addresses, v4), of(addresses, v6)) {
        (Some(bytes), _) => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        (None, Some(bytes)) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        (None, None) => None,
    };
    Some(Direction {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        protocol: *of(transport, 1)?.first()?,
        port: of(transport, 3).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes),
    })
}
