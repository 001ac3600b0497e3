//! What networks and endpoints are planned to have.

use super::*;
use std::path::Path;

use crate::Subnet;

pub(crate) fn network(driver: Driver, options: &[(&str, &str)], subnets: &[&str]) -> Network {
    let subnet = |text: &&str| Subnet {
        shown: (*text).to_string(),
        net: text.parse().unwrap(),
        range: None,
        gateway: None,
        named: true,
        auxiliary: BTreeMap::new(),
    };
    Network {
        id: "0123456789abcdef".repeat(4),
        name: "n".into(),
        created: String::new(),
        driver,
        ipv4: true,
        ipv6: subnets.iter().any(|text| text.contains(':')),
        subnets: subnets.iter().map(subnet).collect(),
        internal: false,
        attachable: false,
        config_only: false,
        unused: Vec::new(),
        config_from: String::new(),
        ipam_driver: "default".into(),
        ipam_options: None,
        options: options.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect(),
        labels: minke_api::StringMap::default(),
    }
}

fn interface() -> Interface {
    Interface {
        endpoint: "fedcba9876543210".repeat(4),
        name: "eth0".into(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        ipv4: Some("10.0.0.2/24".parse().unwrap()),
        ipv6: None,
        link_local: Vec::new(),
        gateway4: Some("10.0.0.1".parse().unwrap()),
        gateway6: None,
        settings: BTreeMap::from([("ipv4/conf/IFNAME/log_martians".into(), "1".into())]),
    }
}

fn plan(network: &Network) -> EndpointPlan {
    plan_endpoint(network, &interface(), &Names::of(Path::new("/run/minke")), Some(1450)).unwrap().unwrap()
}

#[test]
fn a_bridge_has_the_gateways_and_the_uplinks_mtu() {
    let network = network(Driver::Bridge, &[], &["10.0.0.0/24", "fd00::/64"]);
    let LinkPlan::Bridge(bridge) = plan_link(&network, Some(1450)).unwrap() else { panic!() };
    assert_eq!(bridge.name, "br-0123456789ab");
    assert_eq!(bridge.mtu, Some(1450));
    assert_eq!(bridge.addresses, ["10.0.0.1/24".parse::<IpNet>().unwrap(), "fd00::1/64".parse().unwrap()]);
    let endpoint = plan(&network);
    assert_eq!(endpoint.mtu, Some(1450));
    assert_eq!(endpoint.addresses, ["10.0.0.2/24".parse::<IpNet>().unwrap()]);
    assert_eq!(endpoint.routes.len(), 1);
    assert!(!endpoint.ipv6);
    assert_eq!(endpoint.settings, [("ipv4/conf/eth0/log_martians".to_string(), "1".to_string())]);
}

#[test]
fn the_host_has_no_address_where_it_is_not_to_have_one() {
    for option in [
        ("com.docker.network.bridge.inhibit_ipv4", "true"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
    ] {
        let network = network(Driver::Bridge, &[option], &["10.0.0.0/24"]);
        let LinkPlan::Bridge(bridge) = plan_link(&network, None).unwrap() else { panic!() };
        assert!(bridge.addresses.is_empty(), "{option:?}");
    }
}

#[test]
fn parents_are_named_made_of_a_vlan_or_lead_nowhere() {
    let parent = |options: &[(&str, &str)]| {
        let LinkPlan::Parent(parent) =
            plan_link(&network(Driver::Macvlan, options, &["10.0.0.0/24"]), None).unwrap()
        else {
            panic!()
        };
        parent
    };
    assert_eq!(parent(&[("parent", "eth1")]), ParentPlan { name: "eth1".into(), make: None, host: None });
    assert_eq!(parent(&[("parent", "eth1.7")]).make, Some(MadeParent::Vlan { of: "eth1".into(), id: 7 }));
    let dummy = ParentPlan { name: "dm-0123456789ab".into(), make: Some(MadeParent::Dummy), host: None };
    assert_eq!(parent(&[]), dummy);
    let host = parent(&[("parent", "eth1"), ("minke.host-access", "true")]).host;
    assert_eq!(host, Some(HostEnd { name: "mh-0123456789ab".into(), addresses: Vec::new() }));
}

#[test]
fn an_ipvlan_has_its_parents_mac_and_as_a_router_no_gateway() {
    for (mode, gateway) in [("l2", Some("10.0.0.1".parse().unwrap())), ("l3", None), ("l3s", None)] {
        let network = network(Driver::Ipvlan, &[("parent", "eth1"), ("ipvlan_mode", mode)], &["10.0.0.0/24"]);
        let endpoint = plan(&network);
        assert_eq!(endpoint.mac, None);
        assert_eq!(endpoint.mtu, None);
        assert_eq!(endpoint.routes, [Route { to: "0.0.0.0/0".parse().unwrap(), by: gateway }]);
    }
}
