//! What flags and file say about networks, and what both together mean. The same words in both, so one table for both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minke_engine::{DefaultBridge, NetworkOptions, Pool};
use minke_model::{Error, Result};
use serde::Deserialize;

/// The flags, and the keys of the file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetworkWords {
    /// The bridge of the host that containers are on which choose no network; `none` for no network at all.
    #[arg(short = 'b', long, value_name = "NAME")]
    bridge: Option<String>,
    /// The address of the default bridge with its subnet, `192.168.1.1/24`.
    #[arg(long, value_name = "CIDR")]
    bip: Option<String>,
    /// The IPv6 address of the default bridge with its subnet.
    #[arg(long, value_name = "CIDR")]
    bip6: Option<String>,
    /// Where addresses on the default bridge come from.
    #[arg(long, value_name = "CIDR")]
    fixed_cidr: Option<String>,
    /// Where IPv6 addresses on the default bridge come from.
    #[arg(long, value_name = "CIDR")]
    fixed_cidr_v6: Option<String>,
    /// The gateway of containers on the default bridge.
    #[arg(long, value_name = "ADDRESS")]
    default_gateway: Option<String>,
    /// Their IPv6 gateway.
    #[arg(long, value_name = "ADDRESS")]
    default_gateway_v6: Option<String>,
    /// IPv6 on the default bridge.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ipv6: Option<bool>,
    /// The MTU of the default bridge.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Containers on the default bridge reach one another.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    icc: Option<bool>,
    /// The address at which ports are published that name none.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Write firewall rules.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    iptables: Option<bool>,
    /// Write firewall rules for IPv6.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ip6tables: Option<bool>,
    /// By what rules are written: nftables or iptables.
    #[arg(long, value_name = "NAME")]
    firewall_backend: Option<String>,
    /// Turn forwarding of packets on.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ip_forward: Option<bool>,
    /// Forward also what was not forwarded before that.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ip_forward_no_drop: Option<bool>,
    /// What leaves the default bridge takes the host's address.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ip_masq: Option<bool>,
    /// Serve published ports by user space where the kernel can't.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    userland_proxy: Option<bool>,
    /// Taken for dockerd's sake: what serves them is the engine's own netd.
    #[arg(long, value_name = "PATH")]
    userland_proxy_path: Option<String>,
    /// Taken for dockerd's sake: this engine is in no swarm, whose messages to one another it would limit.
    #[arg(long, value_name = "BYTES")]
    network_control_plane_mtu: Option<i64>,
    /// Who routes to a container reaches all of its ports.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_direct_routing: Option<bool>,
    /// Who decides whether a published port can be reached: host (the host's firewall), or docker (anybody may).
    #[arg(long, value_name = "NAME")]
    publish_policy: Option<String>,
    /// Where subnets come from that nobody names, `base=10.0.0.0/8,size=24`; may be given several times.
    #[arg(long = "default-address-pool", value_name = "POOL", value_parser = parse_pool)]
    #[serde(rename = "default-address-pools")]
    default_address_pools: Vec<WrittenPool>,
    /// An option of new networks of a driver, `bridge=com.docker.network.driver.mtu=1400`; may be given several times.
    #[arg(long = "default-network-opt", value_name = "DRIVER=KEY=VALUE", value_parser = parse_option)]
    #[serde(skip)]
    default_network_opt: Vec<(String, String, String)>,
    #[arg(skip)]
    default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    /// A name server of containers that name none; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// An option of their resolver; may be given several times.
    #[arg(long = "dns-opt", value_name = "OPTION")]
    dns_opts: Vec<String>,
    /// A domain that their resolver searches; may be given several times.
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// What `host-gateway` means in --add-host; may be given several times.
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS")]
    #[serde(skip)]
    host_gateway_ip_flags: Vec<String>,
    #[arg(skip)]
    host_gateway_ips: Vec<String>,
    #[arg(skip)]
    host_gateway_ip: Option<String>,
}

/// A pool as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WrittenPool {
    base: String,
    size: u8,
}

fn parse_pool(text: &str) -> std::result::Result<WrittenPool, String> {
    let mut pool = WrittenPool::default();
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", base)) => pool.base = base.into(),
            Some(("size", size)) => {
                pool.size = size.parse().map_err(|_| format!("invalid size value: {size}"))?;
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
            None => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
    }
    Ok(pool)
}

fn parse_option(text: &str) -> std::result::Result<(String, String, String), String> {
    let mut parts = text.splitn(3, '=');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(driver), Some(key), Some(value)) if !driver.is_empty() && !key.is_empty() => {
            Ok((driver.into(), key.into(), value.into()))
        }
        _ => Err(format!("invalid field {text:?}: it must be DRIVER=KEY=VALUE")),
    }
}

/// Keys of the file, beside those of [`super::config`].
pub const KEYS: [&str; 29] = [
    "allow-direct-routing",
    "bip",
    "bip6",
    "bridge",
    "default-address-pools",
    "default-gateway",
    "default-gateway-v6",
    "default-network-opts",
    "dns",
    "dns-opts",
    "dns-search",
    "firewall-backend",
    "fixed-cidr",
    "fixed-cidr-v6",
    "host-gateway-ip",
    "host-gateway-ips",
    "icc",
    "ip",
    "ip-forward",
    "ip-forward-no-drop",
    "ip-masq",
    "ip6tables",
    "iptables",
    "ipv6",
    "mtu",
    "network-control-plane-mtu",
    "publish-policy",
    "userland-proxy",
    "userland-proxy-path",
];

impl NetworkWords {
    /// Whether a flag says what the file's `key` says; lists of both are joined.
    pub fn gives(&self, key: &str) -> bool {
        match key {
            "bridge" => self.bridge.is_some(),
            "bip" => self.bip.is_some(),
            "bip6" => self.bip6.is_some(),
            "fixed-cidr" => self.fixed_cidr.is_some(),
            "fixed-cidr-v6" => self.fixed_cidr_v6.is_some(),
            "default-gateway" => self.default_gateway.is_some(),
            "default-gateway-v6" => self.default_gateway_v6.is_some(),
            "ipv6" => self.ipv6.is_some(),
            "mtu" => self.mtu.is_some(),
            "icc" => self.icc.is_some(),
            "ip" => self.ip.is_some(),
            "iptables" => self.iptables.is_some(),
            "ip6tables" => self.ip6tables.is_some(),
            "firewall-backend" => self.firewall_backend.is_some(),
            "ip-forward" => self.ip_forward.is_some(),
            "ip-forward-no-drop" => self.ip_forward_no_drop.is_some(),
            "ip-masq" => self.ip_masq.is_some(),
            "network-control-plane-mtu" => self.network_control_plane_mtu.is_some(),
            "userland-proxy" => self.userland_proxy.is_some(),
            "userland-proxy-path" => self.userland_proxy_path.is_some(),
            "allow-direct-routing" => self.allow_direct_routing.is_some(),
            "publish-policy" => self.publish_policy.is_some(),
            _ => false,
        }
    }
}

/// Joins both.
///
/// # Errors
/// An address, subnet or pool that is none, a word that isn't known, a bridge that is named and given an address.
pub fn join(flags: &NetworkWords, file: &NetworkWords) -> Result<NetworkOptions> {
    let defaults = NetworkOptions::default();
    let bridge = match flags.bridge.clone().or(file.bridge.clone()).as_deref() {
        None | Some("") => DefaultBridge::Own,
        Some("none") => DefaultBridge::None,
        Some(name) => DefaultBridge::Named(name.into()),
    };
    let bip: Option<Ipv4Net> = read("bip", flags.bip.as_ref().or(file.bip.as_ref()))?;
    if bip.is_some() && matches!(bridge, DefaultBridge::Named(_)) {
        return Err(Error::invalid(
            "You specified -b & --bip, mutually exclusive options. Please specify only one",
        ));
    }
    let both = |one: &Vec<String>, other: &Vec<String>| [one.clone(), other.clone()].concat();
    let gateways = [
        file.host_gateway_ips.clone(),
        file.host_gateway_ip.iter().cloned().collect(),
        flags.host_gateway_ip_flags.clone(),
    ];
    let mut default_network_opts = file.default_network_opts.clone();
    for (driver, key, value) in &flags.default_network_opt {
        default_network_opts.entry(driver.clone()).or_default().insert(key.clone(), value.clone());
    }
    let pools = file.default_address_pools.iter().chain(&flags.default_address_pools).map(pool);
    let dns = both(&file.dns, &flags.dns);
    for server in &dns {
        read::<IpAddr>("dns", Some(server))?;
    }
    let bip6: Option<Ipv6Net> = read("bip6", flags.bip6.as_ref().or(file.bip6.as_ref()))?;
    Ok(NetworkOptions {
        bridge,
        bip,
        bip6,
        fixed_cidr: read("fixed-cidr", flags.fixed_cidr.as_ref().or(file.fixed_cidr.as_ref()))?,
        fixed_cidr_v6: read("fixed-cidr-v6", flags.fixed_cidr_v6.as_ref().or(file.fixed_cidr_v6.as_ref()))?,
        default_gateway: read(
            "default-gateway",
            flags.default_gateway.as_ref().or(file.default_gateway.as_ref()),
        )?,
        default_gateway_v6: read(
            "default-gateway-v6",
            flags.default_gateway_v6.as_ref().or(file.default_gateway_v6.as_ref()),
        )?,
        ipv6: flags.ipv6.or(file.ipv6).unwrap_or(defaults.ipv6),
        mtu: flags.mtu.or(file.mtu).filter(|mtu| *mtu > 0),
        icc: flags.icc.or(file.icc).unwrap_or(defaults.icc),
        ip: read("ip", flags.ip.as_ref().or(file.ip.as_ref()))?,
        iptables: flags.iptables.or(file.iptables).unwrap_or(defaults.iptables),
        ip6tables: flags.ip6tables.or(file.ip6tables).unwrap_or(defaults.ip6tables),
        firewall_backend: one_of(
            "firewall-backend",
            flags.firewall_backend.clone().or(file.firewall_backend.clone()),
            &["", "nftables", "iptables"],
        )?,
        ip_forward: flags.ip_forward.or(file.ip_forward).unwrap_or(defaults.ip_forward),
        ip_forward_no_drop: flags.ip_forward_no_drop.or(file.ip_forward_no_drop).unwrap_or(false),
        ip_masq: flags.ip_masq.or(file.ip_masq).unwrap_or(defaults.ip_masq),
        userland_proxy: flags.userland_proxy.or(file.userland_proxy).unwrap_or(defaults.userland_proxy),
        allow_direct_routing: flags.allow_direct_routing.or(file.allow_direct_routing).unwrap_or(false),
        publish_policy: one_of(
            "publish-policy",
            flags.publish_policy.clone().or(file.publish_policy.clone()),
            &["", "host", "docker"],
        )?,
        pools: pools.collect::<Result<_>>()?,
        default_network_opts,
        dns,
        dns_search: both(&file.dns_search, &flags.dns_search),
        dns_opts: both(&file.dns_opts, &flags.dns_opts),
        host_gateway_ips: gateways
            .concat()
            .iter()
            .filter_map(|text| read("host-gateway-ip", Some(text)).transpose())
            .collect::<Result<_>>()?,
    })
}

fn pool(written: &WrittenPool) -> Result<Pool> {
    let base: Option<IpNet> = read("default-address-pool", Some(&written.base))?;
    match base {
        Some(base) => Pool::new(base, written.size),
        None => Err(Error::invalid("invalid default address pool: it has no base")),
    }
}

fn read<T: std::str::FromStr>(key: &str, text: Option<&String>) -> Result<Option<T>> {
    match text.map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid value {text:?} for {key}")))
        }
    }
}

fn one_of(key: &str, word: Option<String>, known: &[&str]) -> Result<String> {
    let word = word.unwrap_or_default();
    match known.contains(&word.as_str()) {
        true => Ok(word),
        false => Err(Error::invalid(format!("{key} can't be {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_file(text: &str) -> Result<NetworkOptions> {
        join(&NetworkWords::default(), &serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_file_says_what_flags_say() {
        let options = read_file(
            r#"{"bip":"10.1.0.1/24","icc":false,"mtu":1400,"dns":["10.1.0.53"],"ip":"127.0.0.1",
                "default-address-pools":[{"base":"10.200.0.0/16","size":24}],"bridge":""}"#,
        )
        .unwrap();
        assert_eq!(options.bip, Some("10.1.0.1/24".parse().unwrap()));
        assert_eq!((options.icc, options.mtu, options.pools.len()), (false, Some(1400), 1));
        let ignored = r#"{"userland-proxy":false,"userland-proxy-path":"/usr/bin/docker-proxy","network-control-plane-mtu":1400}"#;
        assert!(!read_file(ignored).unwrap().userland_proxy);
        assert!(KEYS.is_sorted(), "as whoever looks for one expects");
        let flags = NetworkWords { bridge: Some("none".into()), ..NetworkWords::default() };
        assert_eq!(join(&flags, &NetworkWords::default()).unwrap().bridge, DefaultBridge::None);
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_key() {
        for (text, key) in [
            (r#"{"bip":"x"}"#, "bip"),
            (r#"{"dns":["x"]}"#, "dns"),
            (r#"{"firewall-backend":"x"}"#, "firewall-backend"),
            (r#"{"default-address-pools":[{"base":"10.0.0.0/24","size":8}]}"#, "default address pool"),
            (r#"{"bip":"10.0.0.1/24","bridge":"br0"}"#, "--bip"),
        ] {
            let words = read_file(text).unwrap_err().to_string();
            assert!(words.contains(key), "{text}: {words}");
        }
    }

    #[test]
    fn a_pool_is_written_as_fields() {
        assert_eq!(parse_pool("base=10.0.0.0/8,size=24").unwrap().size, 24);
        assert!(parse_pool("base=10.0.0.0/8,siz=24").is_err());
    }
}
