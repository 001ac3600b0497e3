//! The pools that networks without a subnet of their own get one from: `default-address-pools` of daemon.json.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minke_model::{Error, Result};

use super::{Family, bits, overlap};

/// A range of addresses that is cut into subnets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    base: IpNet,
    size: u8,
}

impl Pool {
    /// Makes a pool of the subnets of `base` with a prefix of `size` bits.
    ///
    /// # Errors
    /// Where `base` is smaller than one of its subnets would be, or `size` is no prefix of its family.
    pub fn new(base: IpNet, size: u8) -> Result<Self> {
        if size < base.prefix_len() || size > base.max_prefix_len() || size == 0 {
            return Err(Error::invalid(format!(
                "invalid default address pool {base}: the size {size} is not between {} and {}",
                base.prefix_len().max(1),
                base.max_prefix_len()
            )));
        }
        Ok(Self { base: base.trunc(), size })
    }

    /// Returns the first subnet that overlaps none of `taken`. Takes steps as there are taken ones, not as there are subnets.
    fn next(&self, taken: &[IpNet]) -> Option<IpNet> {
        let family = self.family();
        let step = 1_u128.checked_shl((family.bits() - self.size).into());
        let last = bits(self.base.broadcast());
        let mut start = bits(self.base.network());
        loop {
            let subnet = IpNet::new(family.address(start), self.size).ok()?;
            let Some(end) = taken
                .iter()
                .filter(|other| overlap(other, &subnet))
                .map(|other| bits(other.broadcast()).max(bits(subnet.broadcast())))
                .max()
            else {
                return Some(subnet);
            };
            // The next one that begins behind what is taken.
            let step = step?;
            let behind = end.checked_add(1)?;
            start = behind.checked_next_multiple_of(step)?;
            if start > last {
                return None;
            }
        }
    }

    fn family(&self) -> Family {
        Family::of(self.base.addr())
    }
}

/// All pools, in the order in which they are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools(Vec<Pool>);

impl Pools {
    /// Makes pools from those of a configuration; where it has none of a family, that family's default ones.
    pub fn new(configured: Vec<Pool>, engine: &str) -> Self {
        let mut all = configured;
        for family in [Family::V4, Family::V6] {
            if !all.iter().any(|pool| pool.family() == family) {
                all.extend(Self::of_docker(family, engine));
            }
        }
        Self(all)
    }

    /// Returns the subnet for a new network of `family`: the first that overlaps none of `taken`, which has the subnets
    /// of other networks and the routes of the host.
    ///
    /// # Errors
    /// In Docker's words, where every pool is used up.
    pub fn next(&self, family: Family, taken: &[IpNet]) -> Result<IpNet> {
        let mut pools = self.0.iter().filter(|pool| pool.family() == family);
        pools.find_map(|pool| pool.next(taken)).ok_or_else(|| {
            Error::invalid("all predefined address pools have been fully subnetted").with_source(format!(
                "no subnet is left that overlaps neither another network nor a route of this host; remove networks, \
                 add to default-address-pools, or name one by --subnet ({family:?})"
            ))
        })
    }

    /// Docker's defaults: 172.17/16 to 172.31/16, then 192.168/16 in pieces of 20 bits; for IPv6 a ULA /48 of this engine, in
    /// pieces of 64.
    fn of_docker(family: Family, engine: &str) -> Vec<Pool> {
        let v4 =
            |a, b, prefix, size| Pool { base: Ipv4Net::new_assert([a, b, 0, 0].into(), prefix).into(), size };
        match family {
            Family::V4 => vec![
                v4(172, 17, 16, 16),
                v4(172, 18, 16, 16),
                v4(172, 19, 16, 16),
                v4(172, 20, 14, 16),
                v4(172, 24, 14, 16),
                v4(172, 28, 14, 16),
                v4(192, 168, 16, 20),
            ],
            Family::V6 => vec![Pool { base: Ipv6Net::new_assert(unique_local(engine), 48).into(), size: 64 }],
        }
    }
}

/// Returns the base of an engine's unique local prefix (RFC 4193: fd00::/8 and 40 bits of its own), the same for each start.
fn unique_local(engine: &str) -> Ipv6Addr {
    // FNV-1a: 40 well mixed bits are all that is needed.
    let hash = engine.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let prefix = 0xfd00_0000_0000_u128 | u128::from(hash >> 24);
    Ipv6Addr::from(prefix << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pool(base: &str, size: u8) -> Pool {
        Pool::new(net(base), size).unwrap()
    }

    #[test]
    fn the_first_network_gets_what_dockers_gets() {
        let pools = Pools::new(Vec::new(), "id");
        assert_eq!(pools.next(Family::V4, &[]).unwrap(), net("172.17.0.0/16"));
        assert_eq!(pools.next(Family::V4, &[net("172.17.0.0/16")]).unwrap(), net("172.18.0.0/16"));
    }

    #[test]
    fn a_route_of_the_host_is_stepped_over_also_where_it_is_larger_or_smaller() {
        let pools = Pools::new(Vec::new(), "id");
        assert_eq!(pools.next(Family::V4, &[net("172.16.0.0/12")]).unwrap(), net("192.168.0.0/20"));
        let taken = [net("172.16.0.0/12"), net("192.168.1.7/32"), net("192.168.17.0/24")];
        assert_eq!(pools.next(Family::V4, &taken).unwrap(), net("192.168.32.0/20"));
    }

    #[test]
    fn used_up_pools_say_what_to_do() {
        let pools = Pools::new(vec![pool("10.0.0.0/24", 25)], "id");
        let error = pools.next(Family::V4, &[net("10.0.0.0/25"), net("10.0.0.128/32")]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("all predefined address pools have been fully subnetted"), "{text}");
        assert!(text.contains("default-address-pools"), "{text}");
    }

    #[test]
    fn a_large_pool_is_searched_in_steps_of_what_is_taken() {
        let huge = pool("fd00::/16", 64);
        let taken = [net("fd00::/17"), net("fd00:8000::/64")];
        assert_eq!(huge.next(&taken).unwrap(), net("fd00:8000:0:1::/64"));
        assert_eq!(pool("::/0", 1).next(&[net("::/1"), net("8000::/1")]), None);
        assert_eq!(pool("255.255.0.0/16", 24).next(&[net("255.255.0.0/16")]), None);
    }

    #[test]
    fn each_engine_has_a_ula_prefix_of_its_own_and_keeps_it() {
        let of = |engine: &str| Pools::new(Vec::new(), engine).next(Family::V6, &[]).unwrap();
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
        assert!(net("fd00::/8").contains(&of("one")), "{}", of("one"));
        assert_eq!(of("one").prefix_len(), 64);
    }

    #[test]
    fn a_pool_smaller_than_its_pieces_is_refused() {
        for (base, size) in [("10.0.0.0/24", 23), ("10.0.0.0/24", 33), ("fd00::/64", 129), ("0.0.0.0/0", 0)] {
            assert!(Pool::new(net(base), size).is_err(), "{base} {size}");
        }
        assert_eq!(pool("10.1.2.3/8", 24).next(&[]).unwrap(), net("10.0.0.0/24"));
    }
}
