//! The addresses of one subnet: each is free, in use, or still draining.
//!
//! ```text
//! free --take--> in use --release--> draining --gone--> free
//! ```
//! An address drains from the moment its endpoint is told to go until the kernel has reported the link gone: a packet for the
//! one that had it last must not reach the one that has it next.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use minke_model::{Error, Result};

use super::{Family, bits};

/// What stands at an address that isn't free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An endpoint, a gateway or a name's address has it.
    InUse,
    /// Its link may still be there.
    Draining,
}

/// The addresses of one subnet. Memory and steps follow what is taken, not the subnet's size.
#[derive(Clone, Debug)]
pub struct Addresses {
    subnet: IpNet,
    /// Where addresses that nobody named come from: the ip-range, or the whole subnet.
    range: IpNet,
    taken: BTreeMap<u128, Taken>,
    /// The last address handed out: the next one is looked for behind it, so that one which came back rests.
    last: Option<u128>,
}

impl Addresses {
    /// Makes the addresses of `subnet`; those that nobody names come from `range`. The subnet's own address and, for IPv4,
    /// its broadcast address are never handed out, but where it is so small that it would have none left.
    pub fn new(subnet: IpNet, range: Option<IpNet>) -> Self {
        let subnet = subnet.trunc();
        let range = range.map_or(subnet, |range| range.trunc());
        Self { subnet, range, taken: BTreeMap::new(), last: None }
    }

    /// Returns the subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Takes `address`, which somebody named: it may lie outside the range.
    ///
    /// # Errors
    /// In Docker's words: taken already, or not of this subnet.
    pub fn take(&mut self, address: IpAddr) -> Result<()> {
        if !self.subnet.contains(&address) {
            return Err(Error::invalid(format!(
                "Invalid address {address}: It does not belong to any of this network's subnets"
            )));
        }
        if self.reserved(bits(address)) || self.taken.contains_key(&bits(address)) {
            return Err(Error::new(minke_model::ErrorKind::Forbidden, "Address already in use"));
        }
        self.taken.insert(bits(address), Taken::InUse);
        Ok(())
    }

    /// Takes the next free address of the range.
    ///
    /// # Errors
    /// Where all are taken.
    pub fn take_next(&mut self) -> Result<IpAddr> {
        let (first, end) = (bits(self.range.network()), bits(self.range.broadcast()));
        let start = match self.last {
            Some(last) if (first..end).contains(&last) => last + 1,
            _ => first,
        };
        let found = self.free(start, end).or_else(|| self.free(first, start.saturating_sub(1)));
        let Some(found) = found else {
            return Err(Error::new(
                minke_model::ErrorKind::System,
                format!("no available addresses on this network's address pool {}", self.subnet),
            ));
        };
        self.last = Some(found);
        self.taken.insert(found, Taken::InUse);
        Ok(self.family().address(found))
    }

    /// Takes the first free address of the range, whatever was handed out before: a gateway's.
    ///
    /// # Errors
    /// As [`Self::take_next`].
    pub fn take_first(&mut self) -> Result<IpAddr> {
        let last = self.last.take();
        let found = self.take_next();
        self.last = last;
        found
    }

    /// Says that the endpoint at `address` goes; it drains until [`Self::gone`].
    pub fn release(&mut self, address: IpAddr) {
        if let Some(taken) = self.taken.get_mut(&bits(address)) {
            *taken = Taken::Draining;
        }
    }

    /// Says that the link which had `address` is gone, or never was: it is free again.
    pub fn gone(&mut self, address: IpAddr) {
        self.taken.remove(&bits(address));
    }

    /// Returns what stands at `address`.
    pub fn at(&self, address: IpAddr) -> Option<Taken> {
        self.taken.get(&bits(address)).copied()
    }

    /// Returns how many addresses are not free.
    pub fn in_use(&self) -> u64 {
        self.taken.len() as u64
    }

    /// Returns how many addresses [`Self::take_next`] could still give, at most `u64::MAX`.
    pub fn available(&self) -> u64 {
        let (first, end) = (bits(self.range.network()), bits(self.range.broadcast()));
        let taken = self.taken.range(first..=end).filter(|(at, _)| !self.reserved(**at)).count() as u128;
        let reserved = [bits(self.subnet.network()), bits(self.subnet.broadcast())]
            .iter()
            .filter(|at| (first..=end).contains(at) && self.reserved(**at))
            .count() as u128;
        let all = (end - first).saturating_add(1);
        u64::try_from(all.saturating_sub(taken + reserved)).unwrap_or(u64::MAX)
    }

    /// Returns the first free address from `start` to `end`, both included.
    fn free(&self, start: u128, end: u128) -> Option<u128> {
        let mut at = start;
        let mut taken = self.taken.range(start..=end.max(start)).map(|(at, _)| *at).peekable();
        while at <= end {
            if taken.peek() == Some(&at) {
                taken.next();
            } else if !self.reserved(at) {
                return Some(at);
            }
            at = at.checked_add(1)?;
        }
        None
    }

    /// Whether an address is the subnet's own or its broadcast address. RFC 3021: in a subnet of one or two, none is.
    fn reserved(&self, at: u128) -> bool {
        let small = self.subnet.max_prefix_len() - self.subnet.prefix_len() < 2;
        let broadcast = self.family() == Family::V4 && at == bits(self.subnet.broadcast());
        !small && (at == bits(self.subnet.network()) || broadcast)
    }

    fn family(&self) -> Family {
        Family::of(self.subnet.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(subnet: &str, range: Option<&str>) -> Addresses {
        Addresses::new(subnet.parse().unwrap(), range.map(|range| range.parse().unwrap()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_order_and_one_that_came_back_rests() {
        let mut all = addresses("10.0.0.0/29", None);
        assert_eq!(all.take_first().unwrap(), ip("10.0.0.1"));
        for wanted in ["10.0.0.2", "10.0.0.3"] {
            assert_eq!(all.take_next().unwrap(), ip(wanted));
        }
        all.gone(ip("10.0.0.2"));
        assert_eq!(all.take_next().unwrap(), ip("10.0.0.4"));
        assert_eq!(all.take_next().unwrap(), ip("10.0.0.5"));
        assert_eq!(all.take_next().unwrap(), ip("10.0.0.6"));
        assert_eq!(all.take_next().unwrap(), ip("10.0.0.2"));
        let error = all.take_next().unwrap_err();
        assert_eq!(error.to_string(), "no available addresses on this network's address pool 10.0.0.0/29");
    }

    #[test]
    fn a_draining_address_is_neither_given_nor_taken_until_its_link_is_gone() {
        let mut all = addresses("10.0.0.0/30", None);
        let first = all.take_next().unwrap();
        all.take_next().unwrap();
        all.release(first);
        assert_eq!(all.at(first), Some(Taken::Draining));
        assert!(all.take_next().is_err());
        assert_eq!(all.take(first).unwrap_err().to_string(), "Address already in use");
        all.gone(first);
        assert_eq!(all.take_next().unwrap(), first);
    }

    #[test]
    fn a_range_bounds_what_is_given_but_not_what_is_named() {
        let mut all = addresses("10.4.0.0/16", Some("10.4.5.0/30"));
        // As Docker does: the range's own address is an address like others in the subnet.
        assert_eq!(all.take_first().unwrap(), ip("10.4.5.0"));
        for wanted in ["10.4.5.1", "10.4.5.2", "10.4.5.3"] {
            assert_eq!(all.take_next().unwrap(), ip(wanted));
        }
        assert!(all.take_next().is_err());
        all.take(ip("10.4.9.9")).unwrap();
        for taken in ["10.4.9.9", "10.4.5.1", "10.4.0.0", "10.4.255.255"] {
            assert_eq!(all.take(ip(taken)).unwrap_err().to_string(), "Address already in use", "{taken}");
        }
        for outside in ["10.5.9.9", "fd00::1"] {
            assert_eq!(
                all.take(ip(outside)).unwrap_err().to_string(),
                format!("Invalid address {outside}: It does not belong to any of this network's subnets")
            );
        }
    }

    #[test]
    fn subnets_of_one_and_two_addresses_have_all_of_them() {
        let mut two = addresses("10.0.0.0/31", None);
        assert_eq!(two.available(), 2);
        assert_eq!(two.take_next().unwrap(), ip("10.0.0.0"));
        assert_eq!(two.take_next().unwrap(), ip("10.0.0.1"));
        assert!(two.take_next().is_err());
        let mut one = addresses("fd00::7/128", None);
        assert_eq!(one.take_next().unwrap(), ip("fd00::7"));
        assert!(one.take_next().is_err());
    }

    #[test]
    fn what_is_left_is_counted() {
        let mut all = addresses("10.0.0.0/24", None);
        assert_eq!((all.in_use(), all.available()), (0, 254));
        all.take_next().unwrap();
        assert_eq!((all.in_use(), all.available()), (1, 253));
        let mut six = addresses("fd00::/64", None);
        six.take_next().unwrap();
        assert_eq!(six.available(), u64::MAX - 1);
        assert_eq!(addresses("::/0", None).available(), u64::MAX);
    }

    #[test]
    fn an_ipv6_subnet_keeps_its_own_address_but_has_no_broadcast() {
        let mut all = addresses("fd00::/126", None);
        let given: Vec<IpAddr> = std::iter::from_fn(|| all.take_next().ok()).collect();
        assert_eq!(given, [ip("fd00::1"), ip("fd00::2"), ip("fd00::3")]);
    }
}
