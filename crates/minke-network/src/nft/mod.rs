//! nftables as values: tables with sets, chains and rules, encoded as netlink's messages; and elements of sets, written and
//! read. It knows how a rule is said, not which ones there are: that is `firewall`'s and netd's.

pub(crate) mod attribute;
mod copy;
mod encode;
mod expression;
mod read;
mod socket;

pub use copy::Copied;
pub use expression::{Expression, Rate, Verdict, rule};
pub use socket::{Changed, Changes, Nft};

/// What a table's chains see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6 packets.
    Inet,
    /// IPv4 packets; the tables of iptables-nft.
    Ipv4,
    /// IPv6 packets.
    Ipv6,
    /// Frames between the ports of a bridge.
    Bridge,
}

impl Family {
    /// `NFPROTO_*`.
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
            Self::Bridge => 7,
        }
    }
}

/// What a part of a key or value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// IPv4 or IPv6, as a chain sees it.
    Protocol,
    /// The name of an interface.
    Interface,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// TCP, UDP, SCTP.
    Transport,
    /// A port.
    Port,
}

impl Type {
    /// The number by which the `nft` tool shows it.
    fn number(self) -> u32 {
        match self {
            Self::Protocol => 2,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Transport => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }

    /// Bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Protocol | Self::Transport => 1,
            Self::Port => 2,
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::Interface => 16,
        }
    }
}

/// What a set's keys lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// Nothing: it is a set.
    Nowhere,
    /// Values of these types.
    To(&'static [Type]),
    /// What happens to the packet.
    ToVerdict,
}

/// A set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// The parts of its keys.
    pub key: &'static [Type],
    /// What they lead to.
    pub leads: Leads,
    /// Whether a key may be a range (of the last part, where there are several).
    pub ranges: bool,
    /// Whether packets put elements in, which go by themselves after this many seconds; then it is nobody else's.
    pub counted_s: Option<u64>,
}

/// Where packets come into a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where.
    pub place: Place,
    /// Smaller numbers come first.
    pub priority: i32,
}

/// A place on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before it is known whose it is.
    Prerouting,
    /// To a program of this host.
    Input,
    /// To somebody else.
    Forward,
    /// From a program of this host.
    Output,
    /// Before it leaves.
    Postrouting,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets come in, unless a rule sends them.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Vec<Expression>>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What its chains see.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Chains and sets of somebody else's that are copied into it.
    pub copied: Option<Copied>,
}

/// An element of a set or map, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key, its parts padded to four bytes.
    pub key: Vec<u8>,
    /// The last key of a range, where keys have several parts.
    pub to: Option<Vec<u8>>,
    /// Not where keys have one part and this is the first one behind a range. (Of two neighbouring ranges, the end of the one
    /// sorts before the beginning of the other: so the kernel wants to have them.)
    pub begins: bool,
    /// What it leads to.
    pub data: Data,
}

/// What an element leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Nothing.
    None,
    /// A value, its parts padded to four bytes.
    Value(Vec<u8>),
    /// To a chain, from which packets come back.
    Jump(&'static str),
    /// Something else, which none of ours has.
    Other,
}

/// Puts a key or value together.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<u8>);

impl Parts {
    /// The name of an interface.
    #[must_use]
    pub fn interface(mut self, name: &str) -> Self {
        let mut bytes = [0; 16];
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.0.extend_from_slice(&bytes);
        self
    }

    /// An address of either family.
    #[must_use]
    pub fn address(mut self, address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(address) => self.0.extend_from_slice(&address.octets()),
            std::net::IpAddr::V6(address) => self.0.extend_from_slice(&address.octets()),
        }
        self
    }

    /// A port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.0.extend_from_slice(&port.to_be_bytes());
        self.0.extend_from_slice(&[0; 2]);
        self
    }

    /// A transport protocol, or a family.
    #[must_use]
    pub fn number(mut self, number: u8) -> Self {
        self.0.extend_from_slice(&[number, 0, 0, 0]);
        self
    }

    /// The bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

impl Element {
    /// A key of a set.
    pub fn of(key: Parts) -> Self {
        Self { key: key.0, to: None, begins: true, data: Data::None }
    }

    /// The same, leading to a value.
    #[must_use]
    pub fn leading_to(mut self, value: Parts) -> Self {
        self.data = Data::Value(value.0);
        self
    }

    /// The same, leading to a chain.
    #[must_use]
    pub fn leading_to_chain(mut self, chain: &'static str) -> Self {
        self.data = Data::Jump(chain);
        self
    }
}

/// Numbers of `linux/netfilter` that everybody knows.
pub(crate) mod number {
    pub const IPV4: u8 = 2;
    pub const IPV6: u8 = 10;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;
    pub const SCTP: u8 = 132;
}
