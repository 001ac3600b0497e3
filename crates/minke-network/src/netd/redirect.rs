//! Port 53 of 127.0.0.11 leads to where the resolver listens: two rules in a table of the container's own namespace, so that a
//! program in the container may have port 53 of every address itself, as under Docker. Puts them by one batch of netlink messages.

use std::io;
use std::net::Ipv4Addr;

use minke_sys::netlink::{ACK, APPEND, Batch, CREATE, Family, Socket};

/// Where containers ask.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port that they ask at.
pub const PORT: u16 = 53;

/// The table's name.
const TABLE: &str = "minke-dns";
const CHAIN: &str = "output";

// linux/netfilter/nfnetlink.h and nf_tables.h
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NESTED: u16 = 0x8000;
const IPV4: u8 = 2;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Puts the redirect to `port` into the calling thread's namespace; `fresh`: there is none from before.
///
/// # Errors
/// The kernel has no nftables, or not the right to it.
pub fn put(port: u16, fresh: bool) -> io::Result<()> {
    let socket = Socket::open(Family::Netfilter)?;
    socket.apply(&batch(port, fresh)).map_err(io::Error::other)
}

fn batch(port: u16, fresh: bool) -> Batch {
    let mut batch = Batch::default();
    message(&mut batch, BATCH_BEGIN, 0, (0, SUBSYSTEM), |_| {});
    let table = |kind, flags, batch: &mut Batch| {
        message(batch, SUBSYSTEM << 8 | kind, flags, (IPV4, 0), |put| put.text(1, TABLE));
    };
    table(NEWTABLE, CREATE, &mut batch);
    if !fresh {
        table(DELTABLE, 0, &mut batch);
        table(NEWTABLE, CREATE, &mut batch);
    }
    message(&mut batch, SUBSYSTEM << 8 | NEWCHAIN, CREATE, (IPV4, 0), |put| {
        const LOCAL_OUT: u32 = 3;
        const BEFORE_DESTINATION: i32 = -100;
        put.text(1, TABLE);
        put.text(3, CHAIN);
        put.nest(4, |put| {
            put.number(1, LOCAL_OUT);
            put.number(2, BEFORE_DESTINATION as u32);
        });
        put.text(7, "nat");
    });
    for (protocol, flags) in [(UDP, 0), (TCP, ACK)] {
        message(&mut batch, SUBSYSTEM << 8 | NEWRULE, CREATE | APPEND | flags, (IPV4, 0), |put| {
            put.text(1, TABLE);
            put.text(2, CHAIN);
            put.nest(4, |put| rule(put, protocol, port));
        });
    }
    message(&mut batch, BATCH_END, 0, (0, SUBSYSTEM), |_| {});
    batch
}

/// A message of nfnetlink: its own header is the family and a number of the resource.
fn message(
    batch: &mut Batch,
    kind: u16,
    flags: u16,
    (family, resource): (u8, u16),
    body: impl FnOnce(&mut Put<'_>),
) {
    batch.push(kind, flags, |bytes| {
        bytes.extend([family, 0]);
        bytes.extend(resource.to_be_bytes());
        body(&mut Put { bytes });
    });
}

/// ip daddr 127.0.0.11, the protocol, its port 53: dnat to 127.0.0.11 and `port`.
fn rule(put: &mut Put<'_>, protocol: u8, port: u16) {
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    const L4PROTO: u32 = 16;
    const EQUAL: u32 = 0;
    let mut load = |base, offset, length, wanted: &[u8]| {
        put.expression("payload", |put| {
            put.number(1, 1);
            put.number(2, base);
            put.number(3, offset);
            put.number(4, length);
        });
        put.compare(EQUAL, wanted);
    };
    load(NETWORK, 16, 4, &ADDRESS.octets());
    load(TRANSPORT, 2, 2, &PORT.to_be_bytes());
    put.expression("meta", |put| {
        put.number(2, L4PROTO);
        put.number(1, 1);
    });
    put.compare(EQUAL, &[protocol]);
    for (register, value) in [(1, &ADDRESS.octets()[..]), (2, &port.to_be_bytes()[..])] {
        put.expression("immediate", |put| {
            put.number(1, register);
            put.nest(2, |put| put.put(1, value));
        });
    }
    put.expression("nat", |put| {
        const DESTINATION: u32 = 1;
        put.number(1, DESTINATION);
        put.number(2, u32::from(IPV4));
        put.number(3, 1);
        put.number(5, 2);
    });
}

/// Writes attributes.
struct Put<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Put<'_> {
    fn put(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.put(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        body(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn expression(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.nest(1, |put| {
            put.text(1, name);
            put.nest(2, body);
        });
    }

    fn compare(&mut self, operation: u32, wanted: &[u8]) {
        self.expression("cmp", |put| {
            put.number(1, 1);
            put.number(2, operation);
            put.nest(3, |put| put.put(1, wanted));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_a_batch_says_how_long_it_is() {
        for (fresh, messages) in [(true, 6), (false, 8)] {
            let batch = batch(31153, fresh);
            let (bytes, mut at, mut count) = (batch.bytes(), 0, 0);
            while at < bytes.len() {
                at += u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
                count += 1;
            }
            assert_eq!((at, count), (bytes.len(), messages));
        }
    }
}
