//! What a rule is made of, and words for what rules of ours say: each takes a packet further or ends the rule.

/// The register of verdicts.
pub(super) const VERDICT: u32 = 0;
/// The first of the sixteen registers of four bytes.
pub(super) const FIRST: u32 = 8;

/// A step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads something about the packet (`NFT_META_*`).
    Meta {
        /// Which.
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Sets something about the packet.
    SetMeta {
        /// Which.
        key: u32,
        /// Where from.
        register: u32,
    },
    /// Loads something about the connection (`NFT_CT_*`).
    Connection {
        /// Which.
        key: u32,
        /// Where to.
        register: u32,
        /// Of packets in the first one's direction, or nothing.
        original: bool,
    },
    /// Loads bytes of the packet.
    Payload {
        /// 0 link, 1 network, 2 transport header.
        base: u32,
        /// From there.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        register: u32,
    },
    /// Loads the kind of an address, by the routes: the packet's destination.
    DestinationKind {
        /// Where to.
        register: u32,
    },
    /// Goes on if equal (or, if not `equal`, different).
    Compare {
        /// What is compared.
        register: u32,
        /// With what.
        value: Vec<u8>,
        /// Whether it is to be equal.
        equal: bool,
    },
    /// Goes on if the value is one of these.
    Range {
        /// What is compared.
        register: u32,
        /// The first.
        first: Vec<u8>,
        /// The last.
        last: Vec<u8>,
    },
    /// `register = (register & mask) ^ xor`.
    Bits {
        /// Which.
        register: u32,
        /// What stays.
        mask: Vec<u8>,
        /// What is turned.
        xor: Vec<u8>,
    },
    /// Goes on if the key is in the set (or, if `not`, isn't).
    Lookup {
        /// The set.
        set: &'static str,
        /// Where the key is.
        register: u32,
        /// Not in it.
        not: bool,
    },
    /// Goes on with what the key leads to.
    Map {
        /// The map.
        map: &'static str,
        /// Where the key is.
        register: u32,
        /// Where the value goes.
        into: u32,
    },
    /// Loads bytes.
    Immediate {
        /// Where to.
        register: u32,
        /// What.
        value: Vec<u8>,
    },
    /// Changes an address, and the port if `port` is a register.
    Nat {
        /// The source's instead of the destination's.
        source: bool,
        /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
        family: u8,
        /// Where the address is.
        address: Option<u32>,
        /// Where the port is.
        port: Option<u32>,
    },
    /// Gives the packet the address of the interface that it leaves by.
    Masquerade,
    /// Goes on if the key's connections in this set are more than the rate lets.
    TooMany {
        /// The set, one of those that packets add to.
        set: &'static str,
        /// Where the key is.
        register: u32,
        /// How many.
        rate: Rate,
    },
    /// Tells the sender that it isn't let in: `NFT_REJECT_*`, and the reason where that has one.
    Reject {
        /// How.
        kind: u32,
        /// Why.
        code: u8,
    },
    /// Counts.
    Counter,
    /// Ends or leaves the rule.
    Verdict(Verdict),
}

/// How many packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub at_once: u32,
    /// In a minute, from then on.
    pub a_minute: u32,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This chain has nothing against it.
    Accept,
    /// It is gone.
    Drop,
    /// Back to where it came from.
    Return,
    /// To another chain and back.
    Jump(&'static str),
    /// To another chain.
    Goto(&'static str),
}

/// Words for rules.
pub mod rule {
    use super::{Expression, FIRST, Rate, VERDICT, Verdict};
    use crate::nft::number;

    const META_PROTOCOL: u32 = 1;
    const META_MARK: u32 = 3;
    const META_IIFNAME: u32 = 6;
    const META_OIFNAME: u32 = 7;
    const META_NFPROTO: u32 = 15;
    const META_L4PROTO: u32 = 16;
    const META_PKTTYPE: u32 = 19;
    const META_IIFGROUP: u32 = 21;
    const META_OIFGROUP: u32 = 22;
    const CT_STATE: u32 = 0;
    const CT_STATUS: u32 = 2;
    /// `NFT_REJECT_TCP_RST`.
    const REJECT_RESET: u32 = 1;
    /// `NFT_REJECT_ICMPX_UNREACH`, with `NFT_REJECT_ICMPX_PORT_UNREACH`.
    const REJECT_ICMPX: u32 = 2;
    const NO_PORT: u8 = 1;
    const LINK: u32 = 0;
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    const LOCAL: u32 = 2;
    /// `established` and `related`, as `NF_CT_STATE_BIT` has them.
    const GOES_ON: u32 = 0b110;
    /// `IPS_DST_NAT`.
    const REDIRECTED: u32 = 0x20;

    /// A part of a packet that sets are asked about.
    #[derive(Clone, Copy, Debug)]
    pub enum Part {
        /// The interface it came by.
        In,
        /// The interface it leaves by.
        Out,
        /// Its source, IPv4.
        Source4,
        /// Its destination, IPv4.
        Destination4,
        /// Its source, IPv6.
        Source6,
        /// Its destination, IPv6.
        Destination6,
        /// TCP, UDP, SCTP.
        Transport,
        /// Its destination's port.
        Port,
        /// Its source's port.
        SourcePort,
        /// IPv4 or IPv6.
        Family,
    }

    impl Part {
        fn load(self, register: u32) -> (Expression, u32) {
            let payload = |base, offset, length| Expression::Payload { base, offset, length, register };
            let meta = |key| Expression::Meta { key, register };
            match self {
                Self::In => (meta(META_IIFNAME), 4),
                Self::Out => (meta(META_OIFNAME), 4),
                Self::Source4 => (payload(NETWORK, 12, 4), 1),
                Self::Destination4 => (payload(NETWORK, 16, 4), 1),
                Self::Source6 => (payload(NETWORK, 8, 16), 4),
                Self::Destination6 => (payload(NETWORK, 24, 16), 4),
                Self::Transport => (meta(META_L4PROTO), 1),
                Self::Port => (payload(TRANSPORT, 2, 2), 1),
                Self::SourcePort => (payload(TRANSPORT, 0, 2), 1),
                Self::Family => (meta(META_NFPROTO), 1),
            }
        }
    }

    fn loads(parts: &[Part]) -> Vec<Expression> {
        let mut register = FIRST;
        let mut all = Vec::new();
        for part in parts {
            let (load, size) = part.load(register);
            all.push(load);
            register += size;
        }
        all
    }

    fn compare(value: &[u8], equal: bool) -> Expression {
        Expression::Compare { register: FIRST, value: value.to_vec(), equal }
    }

    /// The packet is IPv4.
    pub fn ipv4() -> Vec<Expression> {
        vec![Expression::Meta { key: META_NFPROTO, register: FIRST }, compare(&[number::IPV4], true)]
    }

    /// The packet is IPv6.
    pub fn ipv6() -> Vec<Expression> {
        vec![Expression::Meta { key: META_NFPROTO, register: FIRST }, compare(&[number::IPV6], true)]
    }

    /// The frame has this type (in a table of the bridge family).
    pub fn ether_type(number: u16) -> Vec<Expression> {
        vec![Expression::Meta { key: META_PROTOCOL, register: FIRST }, compare(&number.to_be_bytes(), true)]
    }

    /// The frame's destination begins with these bytes (in a table of the bridge family).
    pub fn ether_to(bytes: &[u8]) -> Vec<Expression> {
        let load = Expression::Payload { base: LINK, offset: 0, length: bytes.len() as u32, register: FIRST };
        vec![load, compare(bytes, true)]
    }

    /// The packet came by this interface.
    pub fn comes_by(name: &str) -> Vec<Expression> {
        let key = crate::nft::Parts::default().interface(name).done();
        vec![Expression::Meta { key: META_IIFNAME, register: FIRST }, compare(&key, true)]
    }

    /// The packet is bridged, not routed: such a one is not sent to this host (seen where bridges are filtered).
    pub fn bridged() -> Vec<Expression> {
        vec![Expression::Meta { key: META_PKTTYPE, register: FIRST }, compare(&[0], false)]
    }

    /// The packet came by an interface of this group.
    pub fn comes_by_group(group: u32) -> Vec<Expression> {
        vec![Expression::Meta { key: META_IIFGROUP, register: FIRST }, compare(&group.to_ne_bytes(), true)]
    }

    /// The packet leaves by an interface of this group.
    pub fn leaves_by_group(group: u32) -> Vec<Expression> {
        vec![Expression::Meta { key: META_OIFGROUP, register: FIRST }, compare(&group.to_ne_bytes(), true)]
    }

    /// The packet leaves by this interface.
    pub fn leaves_by(name: &str) -> Vec<Expression> {
        let key = crate::nft::Parts::default().interface(name).done();
        vec![Expression::Meta { key: META_OIFNAME, register: FIRST }, compare(&key, true)]
    }

    /// The packet is of a protocol that has ports where TCP has them.
    pub fn has_ports() -> Vec<Expression> {
        let (first, last) = (vec![number::TCP], vec![number::UDP]);
        // TCP is 6, UDP 17; what is between them nobody sends.
        vec![Part::Transport.load(FIRST).0, Expression::Range { register: FIRST, first, last }]
    }

    /// More come of the packet's source, by this part, than the rate lets.
    pub fn too_many(part: Part, set: &'static str, rate: Rate) -> Vec<Expression> {
        vec![part.load(FIRST).0, Expression::TooMany { set, register: FIRST, rate }]
    }

    /// The packet's IPv4 destination begins with this byte.
    pub fn to_net8(byte: u8) -> Vec<Expression> {
        let load = Expression::Payload { base: NETWORK, offset: 16, length: 1, register: FIRST };
        vec![load, compare(&[byte], true)]
    }

    /// The packet's IPv4 destination.
    pub fn to4(address: std::net::Ipv4Addr) -> Vec<Expression> {
        vec![Part::Destination4.load(FIRST).0, compare(&address.octets(), true)]
    }

    /// The packet's IPv4 source.
    pub fn from4(address: std::net::Ipv4Addr) -> Vec<Expression> {
        vec![Part::Source4.load(FIRST).0, compare(&address.octets(), true)]
    }

    /// The packet's IPv6 destination.
    pub fn to6(address: std::net::Ipv6Addr) -> Vec<Expression> {
        vec![Part::Destination6.load(FIRST).0, compare(&address.octets(), true)]
    }

    /// The packet's transport protocol.
    pub fn transport(protocol: u8) -> Vec<Expression> {
        vec![Part::Transport.load(FIRST).0, compare(&[protocol], true)]
    }

    /// The packet's port, of its destination.
    pub fn port(port: u16) -> Vec<Expression> {
        vec![Part::Port.load(FIRST).0, compare(&port.to_be_bytes(), true)]
    }

    /// The packet's port, of its source.
    pub fn source_port(port: u16) -> Vec<Expression> {
        vec![Part::SourcePort.load(FIRST).0, compare(&port.to_be_bytes(), true)]
    }

    /// The packet is of this protocol, and its message of this type (ICMP).
    pub fn message(protocol: u8, kind: u8) -> Vec<Expression> {
        let load = Expression::Payload { base: TRANSPORT, offset: 0, length: 1, register: FIRST };
        [transport(protocol), vec![load, compare(&[kind], true)]].concat()
    }

    /// The packet is for this host, or not.
    pub fn for_this_host(equal: bool) -> Vec<Expression> {
        vec![Expression::DestinationKind { register: FIRST }, compare(&LOCAL.to_ne_bytes(), equal)]
    }

    fn connection_bits(key: u32, bits: u32) -> Vec<Expression> {
        vec![
            Expression::Connection { key, register: FIRST, original: false },
            Expression::Bits { register: FIRST, mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] },
            compare(&[0; 4], false),
        ]
    }

    /// The packet belongs to a connection that was let in before.
    pub fn goes_on() -> Vec<Expression> {
        connection_bits(CT_STATE, GOES_ON)
    }

    /// The packet's connection was redirected from a published port.
    pub fn redirected() -> Vec<Expression> {
        connection_bits(CT_STATUS, REDIRECTED)
    }

    /// The packet's port, of this part, is one of these.
    pub fn port_in(part: Part, first: u16, last: u16) -> Vec<Expression> {
        let test = if first == last {
            compare(&first.to_be_bytes(), true)
        } else {
            let (first, last) = (first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec());
            Expression::Range { register: FIRST, first, last }
        };
        vec![part.load(FIRST).0, test]
    }

    /// The packet's address, of this part, is in a network.
    pub fn in_net(part: Part, net: ipnet::IpNet) -> Vec<Expression> {
        let bytes = |address| crate::nft::Parts::default().address(address).done();
        let mask = bytes(net.netmask());
        let xor = vec![0; mask.len()];
        vec![
            part.load(FIRST).0,
            Expression::Bits { register: FIRST, mask, xor },
            compare(&bytes(net.network()), true),
        ]
    }

    /// These parts are in the map, wherever it leads.
    pub fn known(parts: &[Part], map: &'static str) -> Vec<Expression> {
        [loads(parts), vec![Expression::Map { map, register: FIRST, into: FIRST }]].concat()
    }

    /// These parts are in the set.
    pub fn within(parts: &[Part], set: &'static str) -> Vec<Expression> {
        [loads(parts), vec![Expression::Lookup { set, register: FIRST, not: false }]].concat()
    }

    /// These parts are not in the set.
    pub fn outside(parts: &[Part], set: &'static str) -> Vec<Expression> {
        [loads(parts), vec![Expression::Lookup { set, register: FIRST, not: true }]].concat()
    }

    /// What these parts lead to happens to the packet.
    pub fn verdict_of(parts: &[Part], map: &'static str) -> Vec<Expression> {
        [loads(parts), vec![Expression::Map { map, register: FIRST, into: VERDICT }]].concat()
    }

    /// The packet goes to the address and port that these parts lead to.
    pub fn redirect_by(parts: &[Part], map: &'static str, family: u8) -> Vec<Expression> {
        let port = if family == number::IPV4 { FIRST + 1 } else { FIRST + 4 };
        let nat = Expression::Nat { source: false, family, address: Some(FIRST), port: Some(port) };
        [loads(parts), vec![Expression::Map { map, register: FIRST, into: FIRST }, nat]].concat()
    }

    /// The packet gets the source address that these parts lead to.
    pub fn source_by(parts: &[Part], map: &'static str, family: u8) -> Vec<Expression> {
        let nat = Expression::Nat { source: true, family, address: Some(FIRST), port: None };
        [loads(parts), vec![Expression::Map { map, register: FIRST, into: FIRST }, nat]].concat()
    }

    /// The packet goes to another port of this destination.
    pub fn redirect_to4(address: std::net::Ipv4Addr, port: u16) -> Vec<Expression> {
        vec![
            Expression::Immediate { register: FIRST, value: address.octets().to_vec() },
            Expression::Immediate { register: FIRST + 1, value: port.to_be_bytes().to_vec() },
            Expression::Nat {
                source: false,
                family: number::IPV4,
                address: Some(FIRST),
                port: Some(FIRST + 1),
            },
        ]
    }

    /// The packet gets another source.
    pub fn source4(address: std::net::Ipv4Addr, port: Option<u16>) -> Vec<Expression> {
        let mut all = vec![Expression::Immediate { register: FIRST, value: address.octets().to_vec() }];
        all.extend(
            port.map(|port| Expression::Immediate {
                register: FIRST + 1,
                value: port.to_be_bytes().to_vec(),
            }),
        );
        let port = port.map(|_| FIRST + 1);
        all.push(Expression::Nat { source: true, family: number::IPV4, address: Some(FIRST), port });
        all
    }

    /// The packet is marked with these bits.
    pub fn mark(bits: u32) -> Vec<Expression> {
        vec![
            Expression::Meta { key: META_MARK, register: FIRST },
            Expression::Bits {
                register: FIRST,
                mask: (!bits).to_ne_bytes().to_vec(),
                xor: bits.to_ne_bytes().to_vec(),
            },
            Expression::SetMeta { key: META_MARK, register: FIRST },
        ]
    }

    /// The packet has one of these marks.
    pub fn marked(bits: u32) -> Vec<Expression> {
        vec![
            Expression::Meta { key: META_MARK, register: FIRST },
            Expression::Bits { register: FIRST, mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] },
            compare(&bits.to_ne_bytes(), true),
        ]
    }

    /// The packet gets the address of the interface it leaves by.
    pub fn masquerade() -> Vec<Expression> {
        vec![Expression::Masquerade]
    }

    /// Who sent it gets a reset, as from a port that nobody listens at; for TCP only.
    pub fn reset() -> Vec<Expression> {
        vec![Expression::Reject { kind: REJECT_RESET, code: 0 }]
    }

    /// Who sent it is told by ICMP that nobody is at this port.
    pub fn unreachable() -> Vec<Expression> {
        vec![Expression::Reject { kind: REJECT_ICMPX, code: NO_PORT }]
    }

    /// The end of a rule.
    pub fn then(verdict: Verdict) -> Vec<Expression> {
        vec![Expression::Verdict(verdict)]
    }
}
