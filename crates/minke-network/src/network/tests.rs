use super::*;

fn request(name: &str, subnets: &[(&str, &str, &str)]) -> NetworkCreateRequest {
    let config = subnets.iter().map(|(subnet, range, gateway)| IpamConfig {
        subnet: (*subnet).into(),
        ip_range: (*range).into(),
        gateway: (*gateway).into(),
        auxiliary_addresses: None,
    });
    NetworkCreateRequest {
        name: name.into(),
        ipam: Some(Ipam { config: Some(config.collect()), ..Ipam::default() }),
        ..NetworkCreateRequest::default()
    }
}

fn option(mut request: NetworkCreateRequest, key: &str, value: &str) -> NetworkCreateRequest {
    request.options.get_or_insert_default().insert(key.into(), value.into());
    request
}

fn plan(request: &NetworkCreateRequest, networks: &[Network], routes: &[&str]) -> Result<Network> {
    let routes: Vec<IpNet> = routes.iter().map(|route| route.parse().unwrap()).collect();
    let pools = Pools::new(Vec::new(), "engine");
    plan_network(
        "1".repeat(64),
        "2026-01-01T00:00:00Z".into(),
        request,
        &Surroundings { networks, routes: &routes, pools: &pools },
    )
}

fn words(request: &NetworkCreateRequest, networks: &[Network]) -> String {
    plan(request, networks, &[]).unwrap_err().to_string()
}

#[test]
fn a_network_without_wishes_gets_the_first_free_subnet_and_its_first_address_as_gateway() {
    let made = plan(&request("a", &[]), &[], &["172.17.0.0/16"]).unwrap();
    assert_eq!(made.driver, Driver::Bridge);
    assert_eq!(made.subnets.len(), 1);
    assert_eq!(made.subnets[0].shown, "172.18.0.0/16");
    assert_eq!(made.subnets[0].gateway, Some("172.18.0.1".parse().unwrap()));
    assert!(!made.subnets[0].named);
}

#[test]
fn a_named_subnet_is_shown_as_it_was_written_and_without_the_gateway_it_gets() {
    let made = plan(&request("c", &[("10.2.0.5/16", "", "")]), &[], &[]).unwrap();
    assert_eq!((made.subnets[0].shown.as_str(), made.subnets[0].gateway), ("10.2.0.5/16", None));
    assert_eq!(made.subnets[0].addresses(true).unwrap().1, Some("10.2.0.1".parse().unwrap()));
    let ranged = plan(&request("r", &[("10.4.0.0/16", "10.4.5.0/24", "")]), &[], &[]).unwrap();
    assert_eq!(ranged.subnets[0].addresses(true).unwrap().1, Some("10.4.5.0".parse().unwrap()));
}

#[test]
fn a_named_subnet_may_lie_on_a_route_of_the_host_but_not_on_another_network() {
    let first = plan(&request("b", &[("10.1.0.0/16", "", "")]), &[], &["10.0.0.0/8"]).unwrap();
    let error = words(&request("c", &[("10.1.2.0/24", "", "")]), std::slice::from_ref(&first));
    assert!(
        error.starts_with("invalid pool request: Pool overlaps with other one on this address space"),
        "{error}"
    );
    assert!(error.ends_with("10.1.2.0/24 shares addresses with network b"), "{error}");
}

#[test]
fn what_contradicts_itself_is_refused_in_dockers_words() {
    let networks = [plan(&request("a", &[]), &[], &[]).unwrap()];
    for (asked, wanted) in [
        (request("a", &[]), "network with name a already exists"),
        (request("host", &[]), "operation is not permitted on predefined host network"),
        (request("x", &[("xx", "", "")]), "invalid subnet xx: invalid CIDR address: xx"),
        (request("x", &[("10.2.0.0/16", "", "10.3.0.1")]), "no matching subnet for gateway 10.3.0.1"),
        (request("x", &[("10.2.0.0/16", "10.3.0.0/24", "")]), "no matching subnet for range 10.3.0.0/24"),
        (request("x", &[("", "", "10.3.0.1")]), "every ip-range or gateway must have a corresponding subnet"),
        (
            request("x", &[("10.9.0.0/24", "", ""), ("10.10.0.0/24", "", "")]),
            "bridge driver doesn't support multiple subnets",
        ),
        (
            NetworkCreateRequest { driver: "nosuch".into(), ..request("x", &[]) },
            "plugin \"nosuch\" not found",
        ),
        (
            NetworkCreateRequest { driver: "host".into(), ..request("x", &[]) },
            "only one instance of \"host\" network is allowed",
        ),
        (
            NetworkCreateRequest { enable_ipv4: Some(false), ..request("x", &[]) },
            "IPv4 or IPv6 must be enabled",
        ),
    ] {
        assert_eq!(words(&asked, &networks), wanted);
    }
}

#[test]
fn an_address_that_is_named_twice_is_refused() {
    let mut asked = request("x", &[("10.9.0.0/30", "", "10.9.0.1")]);
    let config = &mut asked.ipam.as_mut().unwrap().config.as_mut().unwrap()[0];
    config.auxiliary_addresses = Some([("a".to_string(), "10.9.0.0".to_string())].into());
    assert_eq!(
        words(&asked, &[]),
        "failed to allocate secondary ip address (a:10.9.0.0): Address already in use"
    );
    let config = &mut asked.ipam.as_mut().unwrap().config.as_mut().unwrap()[0];
    config.auxiliary_addresses = Some([("a".to_string(), "10.9.0.1".to_string())].into());
    let taken = "failed to allocate secondary ip address (a:10.9.0.1): Address already in use";
    assert_eq!(words(&asked, &[]), taken, "a gateway is no auxiliary address");
}

#[test]
fn a_bridge_is_named_once() {
    let key = "com.docker.network.bridge.name";
    let first = plan(&option(request("a", &[]), key, "br-x"), &[], &[]).unwrap();
    assert_eq!(
        words(&option(request("b", &[]), key, "br-x"), &[first]),
        "networks have same bridge name: br-x is the bridge of network a"
    );
}

#[test]
fn ipv6_gets_a_subnet_of_the_engines_own_prefix_and_may_stand_alone() {
    let both = NetworkCreateRequest { enable_ipv6: Some(true), ..request("x", &[]) };
    let made = plan(&both, &[], &[]).unwrap();
    assert_eq!(made.subnets.len(), 2);
    assert!(made.subnets[1].net.addr().is_ipv6() && made.subnets[1].net.prefix_len() == 64);
    let alone = NetworkCreateRequest { enable_ipv4: Some(false), ..both };
    assert!(plan(&alone, &[], &[]).unwrap().subnets[0].net.addr().is_ipv6());
}

#[test]
fn a_configuration_network_is_copied_from_and_has_no_subnet_of_a_pool() {
    let source = NetworkCreateRequest { config_only: true, ..request("conf", &[("10.7.0.0/24", "", "")]) };
    let source = plan(&source, &[], &[]).unwrap();
    let from = minke_api::network::ConfigReference { network: "conf".into() };
    let copy = NetworkCreateRequest { config_from: Some(from), ..request("x", &[]) };
    let made = plan(&copy, std::slice::from_ref(&source), &[]).unwrap();
    assert_eq!(made.subnets[0].shown, "10.7.0.0/24");
    let both = NetworkCreateRequest { labels: Some([("a".into(), "b".into())].into()), ..copy };
    assert_eq!(
        words(&both, &[source]),
        "user-specified configurations are not supported if the network depends on a configuration network"
    );
    let lost = NetworkCreateRequest {
        config_from: Some(minke_api::network::ConfigReference { network: "nosuch".into() }),
        ..request("y", &[])
    };
    assert_eq!(words(&lost, &[]), "configuration network \"nosuch\" not found");
}

#[test]
fn a_subnet_of_a_family_that_is_off_gives_nobody_an_address() {
    let made = plan(&request("x", &[("2001:389::/64", "", "")]), &[], &[]).unwrap();
    assert_eq!(made.unused, ["2001:389::/64".parse::<IpNet>().unwrap()]);
    assert!(made.subnets.iter().all(|subnet| subnet.net.addr().is_ipv4()));
}
