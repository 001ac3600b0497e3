//! What a network's driver may be told (`-o`), read once when the network is made. An option that no driver knows is kept
//! and shown, as Docker does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use minke_api::StringMap;
use minke_model::{Error, Result, strconv};

/// How traffic from outside reaches a bridge's containers, per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Addresses are translated, and only published ports are reachable.
    #[default]
    Nat,
    /// Addresses are translated, but who routes to the containers reaches every port.
    NatUnprotected,
    /// Nothing is translated; published ports are reachable at the containers' own addresses.
    Routed,
    /// The host has no address in the network; only for internal ones.
    Isolated,
}

/// What a bridge is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeOptions {
    /// The name of the interface, if it was named.
    pub name: Option<String>,
    /// Whether containers of this network reach one another.
    pub icc: bool,
    /// Whether what leaves takes the host's address.
    pub masquerade: bool,
    /// The address of the host at which ports are published where none is named.
    pub host_binding: Option<IpAddr>,
    /// For IPv4.
    pub gateway_mode_v4: GatewayMode,
    /// For IPv6.
    pub gateway_mode_v6: GatewayMode,
    /// Whether the interface stays without an IPv4 address.
    pub inhibit_v4: bool,
    /// The interfaces of the host from which containers are reached directly.
    pub trusted: Vec<String>,
    /// The address that leaving IPv4 packets get; none: that of the interface they leave by.
    pub host_v4: Option<IpAddr>,
    /// The same for IPv6.
    pub host_v6: Option<IpAddr>,
    /// Bytes; none: as the uplink's.
    pub mtu: Option<u32>,
    /// What the interfaces in a container are called, before their number.
    pub interface_prefix: String,
}

impl BridgeOptions {
    /// Reads the options of a bridge.
    ///
    /// # Errors
    /// In Docker's words, for a value that isn't of its option's kind.
    pub fn parse(options: &StringMap) -> Result<Self> {
        let options = Options(options);
        Ok(Self {
            name: options.text(bridge("name").as_str()).map(interface_name).transpose()?,
            icc: options.flag(&bridge("enable_icc"), true)?,
            masquerade: options.flag(&bridge("enable_ip_masquerade"), true)?,
            host_binding: options.address(&bridge("host_binding_ipv4"))?,
            gateway_mode_v4: options.mode(&bridge("gateway_mode_ipv4"))?,
            gateway_mode_v6: options.mode(&bridge("gateway_mode_ipv6"))?,
            inhibit_v4: options.flag(&bridge("inhibit_ipv4"), false)?,
            trusted: options
                .text(&bridge("trusted_host_interfaces"))
                .map(|names| names.split(':').map(str::to_string).collect())
                .unwrap_or_default(),
            host_v4: options.address("com.docker.network.host_ipv4")?,
            host_v6: options.address("com.docker.network.host_ipv6")?,
            mtu: options.mtu()?,
            interface_prefix: options
                .text("com.docker.network.container_iface_prefix")
                .unwrap_or("eth")
                .to_string(),
        })
    }
}

/// How a macvlan's or ipvlan's interfaces are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentOptions {
    /// The interface of the host below which they are made: `eth0`, or `eth0.10` for its VLAN 10; none: an internal network
    /// with an interface of its own.
    pub parent: Option<Parent>,
    /// Bytes; none: as the parent's.
    pub mtu: Option<u32>,
    /// What the interfaces in a container are called, before their number.
    pub interface_prefix: String,
    /// The host reaches the containers: for a macvlan in its mode `bridge` only. Docker has no such option.
    pub host_access: bool,
}

/// The option of a macvlan that lets the host reach its containers.
const HOST_ACCESS: &str = "minke.host-access";
/// The name of the auxiliary address that is the host's own there.
pub const HOST_ADDRESS: &str = "host";

/// An interface of the host, or a VLAN on it, which is made where it isn't there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The interface's name.
    pub name: String,
    /// What it is made of, where it has to be: the interface and the VLAN's number, 1 to 4094.
    pub vlan: Option<(String, u16)>,
}

/// Between containers of a macvlan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They reach one another.
    #[default]
    Bridge,
    /// They don't.
    Private,
    /// By the switch that the parent is connected to.
    Vepa,
    /// One container has the parent to itself.
    Passthru,
}

/// On what level an ipvlan decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpvlanMode {
    /// As a switch.
    #[default]
    L2,
    /// As a router.
    L3,
    /// As a router whose packets pass the host's firewall.
    L3s,
}

/// Between containers of an ipvlan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpvlanFlag {
    /// They reach one another.
    #[default]
    Bridge,
    /// They don't.
    Private,
    /// By the switch that the parent is connected to.
    Vepa,
}

impl ParentOptions {
    /// Reads what macvlan and ipvlan have in common.
    ///
    /// # Errors
    /// Where the parent is no name of an interface or its VLAN no number from 1 to 4094, and an option's value is of no kind.
    pub fn parse(options: &StringMap) -> Result<Self> {
        let options = Options(options);
        Ok(Self {
            parent: options.text("parent").map(parse_parent).transpose()?,
            host_access: options.flag(HOST_ACCESS, false)?,
            mtu: options.mtu()?,
            interface_prefix: options
                .text("com.docker.network.container_iface_prefix")
                .unwrap_or("eth")
                .to_string(),
        })
    }
}

/// Reads `macvlan_mode`.
///
/// # Errors
/// In Docker's words, for another word.
pub fn parse_macvlan_mode(options: &StringMap) -> Result<MacvlanMode> {
    match Options(options).text("macvlan_mode") {
        None | Some("bridge") => Ok(MacvlanMode::Bridge),
        Some("private") => Ok(MacvlanMode::Private),
        Some("vepa") => Ok(MacvlanMode::Vepa),
        Some("passthru") => Ok(MacvlanMode::Passthru),
        Some(other) => Err(Error::invalid(format!(
            "requested macvlan mode '{other}' is not valid, 'bridge' mode is the macvlan driver default"
        ))),
    }
}

/// Reads `ipvlan_mode` and `ipvlan_flag`.
///
/// # Errors
/// In Docker's words, for another word.
pub fn parse_ipvlan_mode(options: &StringMap) -> Result<(IpvlanMode, IpvlanFlag)> {
    let options = Options(options);
    let mode = match options.text("ipvlan_mode") {
        None | Some("l2") => IpvlanMode::L2,
        Some("l3") => IpvlanMode::L3,
        Some("l3s") => IpvlanMode::L3s,
        Some(other) => {
            return Err(Error::invalid(format!(
                "requested ipvlan mode '{other}' is not valid, 'l2' mode is the ipvlan driver default"
            )));
        }
    };
    let flag = match options.text("ipvlan_flag") {
        None | Some("bridge") => IpvlanFlag::Bridge,
        Some("private") => IpvlanFlag::Private,
        Some("vepa") => IpvlanFlag::Vepa,
        Some(other) => {
            return Err(Error::invalid(format!(
                "requested ipvlan flag '{other}' is not valid, 'bridge' flag is the ipvlan driver default"
            )));
        }
    };
    Ok((mode, flag))
}

/// The option of an endpoint with settings of its interface.
const INTERFACE_SETTINGS: &str = "com.docker.network.endpoint.sysctls";

/// Reads the settings of an endpoint's interface, `net.X.Y.IFNAME.Z=VALUE` and more behind commas: paths below
/// `/proc/sys/net` in which `IFNAME` stands for the interface, with what is written there. No other path can be meant.
///
/// # Errors
/// Names what is none.
pub fn parse_interface_settings(options: &StringMap) -> Result<BTreeMap<String, String>> {
    let text = options.get(INTERFACE_SETTINGS).map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(interface_setting).collect()
}

fn interface_setting(pair: &str) -> Result<(String, String)> {
    let unknown = || {
        Error::invalid(format!(
            "unrecognised network interface sysctl '{pair}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V'"
        ))
    };
    let (key, value) = pair.split_once('=').ok_or_else(unknown)?;
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match key.trim().split('.').collect::<Vec<_>>()[..] {
        ["net", kind @ ("ipv4" | "ipv6" | "mpls"), group, "IFNAME", name] if plain(group) && plain(name) => {
            Ok((format!("{kind}/{group}/IFNAME/{name}"), value.trim().to_string()))
        }
        _ => Err(unknown()),
    }
}

/// Checks the name of an interface: what the kernel takes, and no more.
///
/// # Errors
/// Names what is wrong.
pub fn interface_name(name: &str) -> Result<String> {
    let fits = !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && !name.chars().any(|character| character.is_whitespace() || matches!(character, '/' | ':' | '\0'));
    if !fits {
        return Err(Error::invalid(format!(
            "invalid interface name {name:?}: 1 to 15 characters, without spaces, slashes and colons"
        )));
    }
    Ok(name.to_string())
}

fn parse_parent(name: &str) -> Result<Parent> {
    let name = interface_name(name)?;
    let vlan = match name.split_once('.') {
        None => None,
        Some((parent, number)) => match number.parse() {
            Ok(number) if (1..=4094).contains(&number) && !parent.is_empty() => {
                Some((parent.to_string(), number))
            }
            _ => {
                return Err(Error::invalid(format!(
                    "invalid parent {name:?}: behind the dot stands the number of a VLAN, 1 to 4094"
                )));
            }
        },
    };
    Ok(Parent { name, vlan })
}

fn bridge(option: &str) -> String {
    format!("com.docker.network.bridge.{option}")
}

/// The options as they came.
struct Options<'a>(&'a StringMap);

impl<'a> Options<'a> {
    /// An option's text; an empty one counts as none.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(text) = self.text(key) else { return Ok(default) };
        strconv::parse_bool(text)
            .map_err(|reason| Error::invalid(format!("failed to parse {key} value: {text} ({reason})")))
    }

    fn address(&self, key: &str) -> Result<Option<IpAddr>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Error::invalid(format!("failed to parse {key} value: {text} (it is no IP address)"))
            })
        };
        self.text(key).map(parse).transpose()
    }

    fn mode(&self, key: &str) -> Result<GatewayMode> {
        match self.text(key) {
            None | Some("nat") => Ok(GatewayMode::Nat),
            Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
            Some("routed") => Ok(GatewayMode::Routed),
            Some("isolated") => Ok(GatewayMode::Isolated),
            Some(other) => Err(Error::invalid(format!(
                "failed to parse {key} value: {other} (unknown gateway mode {other})"
            ))),
        }
    }

    fn mtu(&self) -> Result<Option<u32>> {
        let key = "com.docker.network.driver.mtu";
        let Some(text) = self.text(key) else { return Ok(None) };
        let invalid = |reason| Error::invalid(format!("failed to parse {key} value: {text} ({reason})"));
        let number = strconv::parse_int("Atoi", text).map_err(&invalid)?;
        match u32::try_from(number) {
            Ok(0) => Ok(None),
            Ok(mtu) if (68..=65_535).contains(&mtu) => Ok(Some(mtu)),
            _ => Err(invalid("it is not between 68 and 65535".to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn settings_of_an_interface_lead_nowhere_else() {
        let read = |text: &str| parse_interface_settings(&[(INTERFACE_SETTINGS.into(), text.into())].into());
        let two = read("net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.IFNAME.gc_stale_time=7").unwrap();
        assert_eq!(two["ipv4/conf/IFNAME/log_martians"], "1");
        assert_eq!(two["ipv6/neigh/IFNAME/gc_stale_time"], "7");
        assert!(parse_interface_settings(&StringMap::new()).unwrap().is_empty());
        for wrong in [
            "net.ipv4.conf.eth0.log_martians=1",
            "net/../kernel/core_pattern=|/bin/sh",
            "net.ipv4.conf.IFNAME.../../../kernel/core_pattern=x",
            "net.ipv4.conf.IFNAME./../kernel=x",
            "kernel.IFNAME=1",
            "net.core.x.IFNAME.y=1",
            "net.ipv4.conf.IFNAME.log_martians",
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("unrecognised network interface sysctl"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_bridge_without_options_is_as_dockers() {
        let bridge = BridgeOptions::parse(&StringMap::new()).unwrap();
        assert!(bridge.icc && bridge.masquerade && !bridge.inhibit_v4);
        assert_eq!(bridge.gateway_mode_v4, GatewayMode::Nat);
        assert_eq!((bridge.mtu, bridge.interface_prefix.as_str()), (None, "eth"));
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused_in_dockers_words() {
        for (key, value, words) in [
            (
                "com.docker.network.bridge.enable_icc",
                "maybe",
                "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing \"maybe\": invalid syntax)",
            ),
            (
                "com.docker.network.driver.mtu",
                "x",
                "failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing \"x\": invalid syntax)",
            ),
            (
                "com.docker.network.bridge.gateway_mode_ipv4",
                "open",
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: open (unknown gateway mode open)",
            ),
        ] {
            assert_eq!(BridgeOptions::parse(&map(&[(key, value)])).unwrap_err().to_string(), words);
        }
        for name in ["a b", "x/y", "sixteencharacter", "..", "a:b"] {
            let options = map(&[("com.docker.network.bridge.name", name)]);
            assert!(BridgeOptions::parse(&options).is_err(), "{name}");
        }
    }

    #[test]
    fn an_option_that_no_driver_knows_is_let_through() {
        assert!(BridgeOptions::parse(&map(&[("com.docker.network.bridge.nosuch", "1")])).is_ok());
    }

    #[test]
    fn a_parent_may_be_a_vlan() {
        let parent = |text: &str| ParentOptions::parse(&map(&[("parent", text)])).map(|read| read.parent);
        assert_eq!(parent("eth0").unwrap(), Some(Parent { name: "eth0".into(), vlan: None }));
        assert_eq!(
            parent("eth0.50").unwrap(),
            Some(Parent { name: "eth0.50".into(), vlan: Some(("eth0".into(), 50)) })
        );
        assert_eq!(parent("").unwrap(), None);
        for wrong in ["eth0.0", "eth0.4095", "eth0.x", ".5", "eth0.1.2"] {
            assert!(parent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_of_macvlan_and_ipvlan() {
        assert_eq!(parse_macvlan_mode(&map(&[("macvlan_mode", "vepa")])).unwrap(), MacvlanMode::Vepa);
        assert_eq!(
            parse_macvlan_mode(&map(&[("macvlan_mode", "x")])).unwrap_err().to_string(),
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default"
        );
        let both = map(&[("ipvlan_mode", "l3s"), ("ipvlan_flag", "private")]);
        assert_eq!(parse_ipvlan_mode(&both).unwrap(), (IpvlanMode::L3s, IpvlanFlag::Private));
    }
}
