//! Published ports: which address and port of the host a container's port is reached at. Pure: whether another program of
//! the host has a port is asked of the caller, who reserves it in the same breath.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use minke_model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What runs over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Reads a protocol's name, in any case.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid proto: {name}"))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What is asked for one port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Over which protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container_port: u16,
    /// The address of the host; none: every one that the network's families have.
    pub host_address: Option<IpAddr>,
    /// The port of the host; `None`: any of the ephemeral ones; a range: the first that is free.
    pub host_ports: Option<RangeInclusive<u16>>,
}

/// A port of the host that leads to a container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Over which protocol.
    pub protocol: Protocol,
    /// Where the host is reached; 0.0.0.0 and `::` are all of its addresses.
    pub host: SocketAddr,
    /// The container's port.
    pub container_port: u16,
}

/// Which families a container can be reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The address that a port is published at where none is named: the daemon's `ip`, or the network's own.
    pub default_address: Option<IpAddr>,
    /// Whether the host takes IPv4 connections for it.
    pub v4: bool,
    /// Whether the host takes IPv6 connections for it: by its own address, or through user space.
    pub v6: bool,
}

/// The ports of the host that containers have.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    held: BTreeMap<(Protocol, u16), Vec<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    address: IpAddr,
    holder: String,
}

impl Ports {
    /// Gives `holder` what it wants, all or nothing. `ephemeral` are the ports that the host picks from; `reserve` tries to
    /// have one of the host's kernel, and says no where another program has it. What it reserved before a failure is handed to `give_back`.
    ///
    /// # Errors
    /// In Docker's words, with the holder's name as cause where a container has the port.
    pub fn publish(
        &mut self,
        holder: &str,
        wanted: &[Wanted],
        reach: Reach,
        ephemeral: &RangeInclusive<u16>,
        host: &mut impl Host,
    ) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        for one in wanted {
            match self.publish_one(holder, one, reach, ephemeral, host) {
                Ok(published) => all.extend(published),
                Err(error) => {
                    self.release(holder);
                    all.iter().for_each(|published| host.give_back(published));
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Takes back what was published before, as after the engine's start; nothing is asked of the host.
    pub fn adopt(&mut self, holder: &str, published: &[Published]) {
        for one in published {
            self.hold(holder, one.protocol, one.host);
        }
    }

    /// Forgets everything that `holder` has.
    pub fn release(&mut self, holder: &str) {
        self.held.retain(|_, held| {
            held.retain(|one| one.holder != holder);
            !held.is_empty()
        });
    }

    /// Returns who has a port of the host, at this address or at one that includes it.
    pub fn holder(&self, protocol: Protocol, host: SocketAddr) -> Option<&str> {
        let held = self.held.get(&(protocol, host.port()))?;
        held.iter().find(|one| meet(one.address, host.ip())).map(|one| one.holder.as_str())
    }

    fn publish_one(
        &mut self,
        holder: &str,
        wanted: &Wanted,
        reach: Reach,
        ephemeral: &RangeInclusive<u16>,
        host: &mut impl Host,
    ) -> Result<Vec<Published>> {
        let addresses = addresses(wanted, reach)?;
        let candidates = wanted.host_ports.clone().unwrap_or_else(|| ephemeral.clone());
        let only = candidates.start() == candidates.end();
        let start = match wanted.host_ports {
            // Ephemeral ones begin somewhere else each time: a port that was just given up rests.
            None => host.somewhere(candidates.end() - candidates.start()),
            Some(_) => 0,
        };
        let count = usize::from(candidates.end() - candidates.start()) + 1;
        for port in candidates.clone().cycle_from(start).take(count) {
            let taken = addresses.iter().find_map(|address| {
                let at = SocketAddr::new(*address, port);
                self.holder(wanted.protocol, at).map(|other| (at, other.to_string()))
            });
            if let Some((at, other)) = taken {
                if only {
                    return Err(allocated(at).with_source(format!("container {other} has it")));
                }
                continue;
            }
            match reserve(&addresses, port, wanted, host) {
                Ok(published) => {
                    published.iter().for_each(|one| self.hold(holder, one.protocol, one.host));
                    return Ok(published);
                }
                Err(error) if only => return Err(error),
                Err(_) => {}
            }
        }
        let at = addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Err(Error::new(
            ErrorKind::System,
            format!(
                "Bind for {at}:{}-{} failed: all ports are allocated",
                candidates.start(),
                candidates.end()
            ),
        ))
    }

    fn hold(&mut self, holder: &str, protocol: Protocol, host: SocketAddr) {
        let held = self.held.entry((protocol, host.port())).or_default();
        held.push(Held { address: host.ip(), holder: holder.to_string() });
    }
}

/// What the host's kernel says to a port.
pub trait Host {
    /// Reserves a port until it is given back.
    ///
    /// # Errors
    /// Where another program has it, or the address isn't the host's.
    fn reserve(&mut self, published: &Published) -> std::io::Result<()>;

    /// Gives a port back.
    fn give_back(&mut self, published: &Published);

    /// Picks a number from 0 to `most`.
    fn somewhere(&mut self, most: u16) -> u16;
}

/// Reserves one port at all addresses, or at none.
fn reserve(addresses: &[IpAddr], port: u16, wanted: &Wanted, host: &mut impl Host) -> Result<Vec<Published>> {
    let mut all: Vec<Published> = Vec::new();
    for address in addresses {
        let one = Published {
            protocol: wanted.protocol,
            host: SocketAddr::new(*address, port),
            container_port: wanted.container_port,
        };
        if let Err(error) = host.reserve(&one) {
            all.iter().for_each(|published| host.give_back(published));
            return Err(Error::new(
                ErrorKind::System,
                format!("failed to bind host port {}/{}", one.host, one.protocol),
            )
            .with_source(error));
        }
        all.push(one);
    }
    Ok(all)
}

/// At which addresses of the host a port is published.
fn addresses(wanted: &Wanted, reach: Reach) -> Result<Vec<IpAddr>> {
    let any = [(reach.v4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)), (reach.v6, IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
    let all = || any.iter().filter_map(|(reached, address)| reached.then_some(*address)).collect::<Vec<_>>();
    let found = match wanted.host_address.or(reach.default_address) {
        None => all(),
        // The daemon's default of 0.0.0.0 means every address, as Docker reads it; one that was named means what it says.
        Some(address) if address.is_unspecified() && wanted.host_address.is_none() => all(),
        Some(address) if (address.is_ipv4() && reach.v4) || (address.is_ipv6() && reach.v6) => vec![address],
        Some(_) => Vec::new(),
    };
    if found.is_empty() {
        return Err(Error::invalid(format!(
            "cannot publish port {}/{}: the container has no address of the family that the host's has",
            wanted.container_port, wanted.protocol
        )));
    }
    Ok(found)
}

fn allocated(at: SocketAddr) -> Error {
    Error::new(ErrorKind::System, format!("Bind for {at} failed: port is already allocated"))
}

/// Whether a packet could be for both: the same address, or one of them is all of its family.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// A range that begins in its middle and comes round.
trait CycleFrom {
    /// Yields `start` steps into the range first, and wraps at its end; endless.
    fn cycle_from(self, start: u16) -> impl Iterator<Item = u16>;
}

impl CycleFrom for RangeInclusive<u16> {
    fn cycle_from(self, start: u16) -> impl Iterator<Item = u16> {
        let (first, count) = (u32::from(*self.start()), u32::from(self.end() - self.start()) + 1);
        (u32::from(start)..).map(move |at| (first + at % count) as u16)
    }
}

#[cfg(test)]
mod tests;
