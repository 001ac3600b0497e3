//! Which ranges, gateways and addresses belong to which subnet: what `network create` says about them apart, the API wants
//! together. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use minke_api::network::IpamConfig;
use minke_model::{Error, Result};

/// What the flags say.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// `--subnet`.
    pub subnets: &'a [String],
    /// `--ip-range`.
    pub ranges: &'a [String],
    /// `--gateway`.
    pub gateways: &'a [String],
    /// `--aux-address`, `name=address`.
    pub auxiliary: &'a [String],
}

/// Joins them.
///
/// # Errors
/// In the words of Docker's client.
pub fn join(words: Words<'_>) -> Result<Vec<IpamConfig>> {
    if words.subnets.len() < words.ranges.len() || words.subnets.len() < words.gateways.len() {
        return Err(Error::invalid("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut all: Vec<(IpNet, IpamConfig)> = Vec::new();
    for text in words.subnets {
        let net = parse("subnet", text)?.trunc();
        if all.iter().any(|(other, _)| other.contains(&net) || net.contains(other)) {
            return Err(Error::invalid("multiple overlapping subnet configuration is not supported"));
        }
        all.push((net, IpamConfig { subnet: text.clone(), ..IpamConfig::default() }));
    }
    for text in words.ranges {
        let range = parse("ip-range", text)?;
        let found = all.iter_mut().find(|(net, _)| net.contains(&range));
        let (_, config) = found.ok_or_else(|| unmatched("range", text))?;
        if !config.ip_range.is_empty() {
            return Err(Error::invalid(format!(
                "cannot configure multiple ranges ({text}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            )));
        }
        config.ip_range.clone_from(text);
    }
    for text in words.gateways {
        let (_, config) = containing(&mut all, text).ok_or_else(|| unmatched("gateway", text))?;
        if !config.gateway.is_empty() {
            return Err(Error::invalid(format!(
                "cannot configure multiple gateways ({text}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            )));
        }
        config.gateway.clone_from(text);
    }
    for text in words.auxiliary {
        let (name, address) = text.split_once('=').unwrap_or((text, ""));
        let (_, config) = containing(&mut all, address).ok_or_else(|| unmatched("aux-address", address))?;
        config.auxiliary_addresses.get_or_insert_default().insert(name.into(), address.into());
    }
    Ok(all.into_iter().map(|(_, config)| config).collect())
}

fn parse(what: &str, text: &str) -> Result<IpNet> {
    text.parse().map_err(|_| {
        let place = if what == "subnet" { format!("invalid subnet {text}: ") } else { String::new() };
        Error::invalid(format!("{place}invalid CIDR address: {text}"))
    })
}

fn containing<'a>(all: &'a mut [(IpNet, IpamConfig)], address: &str) -> Option<&'a mut (IpNet, IpamConfig)> {
    let address: IpAddr = address.parse().ok()?;
    all.iter_mut().find(|(net, _)| net.contains(&address))
}

fn unmatched(what: &str, text: &str) -> Error {
    Error::invalid(format!("no matching subnet for {what} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(
        subnets: &[&str],
        ranges: &[&str],
        gateways: &[&str],
        auxiliary: &[&str],
    ) -> Result<Vec<IpamConfig>> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
        let (subnets, ranges) = (owned(subnets), owned(ranges));
        let (gateways, auxiliary) = (owned(gateways), owned(auxiliary));
        join(Words { subnets: &subnets, ranges: &ranges, gateways: &gateways, auxiliary: &auxiliary })
    }

    #[test]
    fn each_finds_its_subnet() {
        let all = joined(
            &["10.1.0.0/16", "fd00::/64"],
            &["10.1.2.0/24"],
            &["fd00::1", "10.1.0.1"],
            &["printer=10.1.0.9"],
        )
        .unwrap();
        assert_eq!((all[0].ip_range.as_str(), all[0].gateway.as_str()), ("10.1.2.0/24", "10.1.0.1"));
        assert_eq!(all[0].auxiliary_addresses.as_ref().unwrap()["printer"], "10.1.0.9");
        assert_eq!(all[1].gateway, "fd00::1");
    }

    #[test]
    fn what_fits_nowhere_is_refused_in_dockers_words() {
        for (found, words) in [
            (
                joined(&[], &["10.0.0.0/24"], &[], &[]),
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                joined(&["10.0.0.0/8", "10.1.0.0/16"], &[], &[], &[]),
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                joined(&["10.0.0.0/24"], &["10.1.0.0/24"], &[], &[]),
                "no matching subnet for range 10.1.0.0/24",
            ),
            (joined(&["10.0.0.0/24"], &[], &["10.1.0.1"], &[]), "no matching subnet for gateway 10.1.0.1"),
            (
                joined(&["10.0.0.0/24"], &[], &[], &["a=10.1.0.1"]),
                "no matching subnet for aux-address 10.1.0.1",
            ),
            (joined(&["x"], &[], &[], &[]), "invalid subnet x: invalid CIDR address: x"),
        ] {
            assert_eq!(found.unwrap_err().to_string(), words);
        }
    }
}
