//! The networks that every engine has: `bridge`, `host` and `none`. Their ids are made once; what else they are follows from the
//! daemon's settings at each start. The subnet of `bridge` stays what it was, unless a setting says otherwise.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use minke_api::StringMap;
use minke_model::{Context as _, Error, Result};
use minke_network::ipam::{Family, Pools, overlap};
use minke_network::network::DEFAULT_GATEWAY;
use minke_network::{Driver, Network, Subnet};
use minke_store::{Keep, Store, Table};
use serde::{Deserialize, Serialize};

use super::{DefaultBridge, NetworkOptions, Surface};
use crate::engine::random_hex;

/// Where they stand among the facts about the engine.
const KEY: &str = "predefined-networks";

/// What is kept of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    created: String,
    bridge: String,
    host: String,
    none: String,
    /// The subnets of the bridge that came from a pool.
    #[serde(default)]
    subnets: Vec<IpNet>,
}

/// Returns them; what is new about them is written down.
pub fn all(
    store: &Store,
    options: &NetworkOptions,
    pools: &Pools,
    others: &[Network],
    surface: &Surface<'_>,
) -> Result<Vec<Network>> {
    let kept = store.list(Table::Engine)?.into_iter().find(|(key, _)| key == KEY);
    let kept: Option<Kept> = kept
        .map(|(_, bytes)| serde_json::from_slice(&bytes).context("the record of networks is damaged"))
        .transpose()?;
    let mut now = match kept.clone() {
        Some(kept) => kept,
        None => Kept {
            created: crate::time::rfc3339_nano(jiff::Timestamp::now()),
            bridge: random_hex(32)?,
            host: random_hex(32)?,
            none: random_hex(32)?,
            subnets: Vec::new(),
        },
    };
    let mut all = vec![
        plain(&now.host, "host", Driver::Host, &now.created),
        plain(&now.none, "none", Driver::Null, &now.created),
    ];
    if options.bridge != DefaultBridge::None {
        let taken: Vec<IpNet> = others
            .iter()
            .flat_map(|network| network.subnets.iter().map(|subnet| subnet.net))
            .chain(surface.routes.iter().copied())
            .collect();
        let mut bridge = plain(&now.bridge, "bridge", Driver::Bridge, &now.created);
        bridge.ipv6 = options.ipv6;
        bridge.options = bridge_options(options, surface.bridge);
        bridge.subnets = subnets(options, pools, &mut now.subnets, &taken)?;
        all.push(bridge);
    }
    if kept.as_ref() != Some(&now) {
        let bytes = serde_json::to_vec(&now).context("the networks can't be written")?;
        store.put(Table::Engine, KEY, &bytes, Keep::Durable)?;
    }
    Ok(all)
}

fn plain(id: &str, name: &str, driver: Driver, created: &str) -> Network {
    Network {
        id: id.into(),
        name: name.into(),
        created: created.into(),
        driver,
        ipv4: true,
        ipv6: false,
        subnets: Vec::new(),
        internal: false,
        attachable: false,
        config_only: false,
        unused: Vec::new(),
        config_from: String::new(),
        ipam_driver: "default".into(),
        ipam_options: None,
        options: StringMap::new(),
        labels: StringMap::new(),
    }
}

/// The options of the network `bridge`, as Docker shows them; `own`: what the engine calls its bridge.
fn bridge_options(options: &NetworkOptions, own: &str) -> StringMap {
    let flag = |on: bool| if on { "true" } else { "false" };
    let mut map = BTreeMap::from([
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", flag(options.icc).to_owned()),
        ("com.docker.network.bridge.enable_ip_masquerade", flag(options.ip_masq).to_owned()),
        (
            "com.docker.network.bridge.host_binding_ipv4",
            options.ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
        ),
    ]);
    let name = match &options.bridge {
        DefaultBridge::Named(name) => name,
        _ => own,
    };
    if !name.is_empty() {
        map.insert("com.docker.network.bridge.name", name.to_owned());
    }
    if let Some(mtu) = options.mtu {
        map.insert("com.docker.network.driver.mtu", mtu.to_string());
    }
    map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn subnets(
    options: &NetworkOptions,
    pools: &Pools,
    kept: &mut Vec<IpNet>,
    taken: &[IpNet],
) -> Result<Vec<Subnet>> {
    let named = [
        options.bip.map(|net| (IpNet::V4(net.trunc()), IpAddr::V4(net.addr()))),
        options.bip6.map(|net| (IpNet::V6(net.trunc()), IpAddr::V6(net.addr()))),
    ];
    let ranges = [options.fixed_cidr.map(IpNet::V4), options.fixed_cidr_v6.map(IpNet::V6)];
    let gateways = [options.default_gateway.map(IpAddr::V4), options.default_gateway_v6.map(IpAddr::V6)];
    let families = [(Family::V4, true), (Family::V6, options.ipv6)];
    let mut all = Vec::new();
    for (at, (family, on)) in families.into_iter().enumerate() {
        if !on {
            continue;
        }
        let net = match named[at] {
            Some((net, _)) => net,
            // What a range is named for is its subnet, where none is named.
            None if family == Family::V6 && ranges[at].is_some() => ranges[at].unwrap_or_default(),
            None => from_pool(family, pools, kept, taken)?,
        };
        if let Some(range) = ranges[at].filter(|range| !net.contains(range)) {
            return Err(Error::invalid(format!("bridge range {range} is not within the subnet {net}")));
        }
        let mut subnet = Subnet {
            shown: net.to_string(),
            net,
            range: ranges[at].filter(|range| *range != net),
            gateway: named[at].map(|(_, address)| address),
            named: false,
            auxiliary: BTreeMap::new(),
        };
        if subnet.gateway.is_none() {
            let whole = Subnet { range: None, ..subnet.clone() };
            subnet.gateway = whole.addresses(true)?.1;
        }
        if let Some(gateway) = gateways[at] {
            if !net.contains(&gateway) {
                return Err(Error::invalid(format!(
                    "default gateway {gateway} is not within the subnet {net}"
                )));
            }
            subnet.auxiliary.insert(DEFAULT_GATEWAY.into(), gateway);
        }
        all.push(subnet);
    }
    Ok(all)
}

/// The subnet that came from a pool before, else the next one.
fn from_pool(family: Family, pools: &Pools, kept: &mut Vec<IpNet>, taken: &[IpNet]) -> Result<IpNet> {
    if let Some(net) = kept.iter().find(|net| Family::of(net.addr()) == family) {
        return Ok(*net);
    }
    let net = pools.next(family, taken)?;
    debug_assert!(taken.iter().all(|other| !overlap(other, &net)));
    kept.push(net);
    Ok(net)
}
