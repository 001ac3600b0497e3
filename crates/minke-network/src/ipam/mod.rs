//! Addresses: which subnet a network gets ([`Pools`]), and which address an endpoint gets in it ([`Addresses`]). Pure: what
//! the kernel says comes in as values.

mod addresses;
mod pools;

pub use addresses::{Addresses, Taken};
pub use pools::{Pool, Pools};

use std::net::IpAddr;

use ipnet::IpNet;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How many bits an address has.
    fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address with these bits; those that the family lacks are not looked at.
    fn address(self, bits: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4((bits as u32).into()),
            Self::V6 => IpAddr::V6(bits.into()),
        }
    }
}

/// An address as a number, so that it can be counted with.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Whether two subnets share an address.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
