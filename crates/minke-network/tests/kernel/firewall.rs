//! The firewall, with real packets between a host, its containers, and an outsider.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use minke_network::firewall::{Firewall, Keeper, LinkRule, NetworkRules, PublishedRule, Settings, Wanted};
use minke_network::link::{Namespace, Route};
use minke_network::nft::{Changed, Changes, Family, Nft, Verdict, rule};
use minke_network::ports::Protocol;
use minke_network::{Names, Network};

use crate::place::{Guest, Host, NEVER, SOON, bare_namespace, network, seen, serve};

const HOST4: &str = "192.0.2.1";
const HOST6: &str = "fd01::1";

/// A host with a neighbour outside that routes to the host's networks by it, two networks, and a container that serves the
/// ports 80 (published as 8080) and 81.
struct Scene {
    host: Host,
    outside: Namespace,
    firewall: Firewall,
    wanted: Wanted,
    server: Guest,
    first: Network,
    second: Network,
}

fn open(host: &Host) -> Firewall {
    host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap()
}

fn published(network: &Network, host: &str, to: &str) -> PublishedRule {
    PublishedRule {
        bridge: NetworkRules::of(network).unwrap().unwrap().bridge,
        protocol: Protocol::Tcp,
        host: host.parse().unwrap(),
        to: to.parse().unwrap(),
    }
}

impl Scene {
    fn new(options: &[(&str, &str)], internal: bool) -> Self {
        let host = Host::forwarding();
        let outside = host.neighbour(
            "up",
            &[&format!("{HOST4}/24"), &format!("{HOST6}/64")],
            &["192.0.2.9/24", "fd01::9/64"],
        );
        let mut first = network("first", options, &["10.0.0.0/24", "fd00::/64"]);
        first.internal = internal;
        let second = network("second", &[], &["10.0.1.0/24", "fd00:1::/64"]);
        host.make(&first);
        host.make(&second);
        let server = host.guest(&first, &["10.0.0.2/24", "fd00::2/64"]);
        serve(&server.namespace, "[::]:80");
        serve(&server.namespace, "[::]:81");
        serve(&outside, "[::]:90");
        let wanted = Wanted {
            networks: [&first, &second].map(|one| NetworkRules::of(one).unwrap().unwrap()).to_vec(),
            published: vec![
                published(&first, "0.0.0.0:8080", "10.0.0.2:80"),
                published(&first, "[::]:8080", "[fd00::2]:80"),
            ],
            ..Wanted::default()
        };
        let mut firewall = open(&host);
        firewall.apply(&wanted).unwrap();
        Self { host, outside, firewall, wanted, server, first, second }
    }
}

fn comes(from: &Namespace, to: &str, as_whom: &str) {
    assert_eq!(seen(from, to, SOON).as_deref(), Some(as_whom), "to {to}");
}

fn comes_not(from: &Namespace, to: &str) {
    assert_eq!(seen(from, to, NEVER), None, "to {to}");
}

#[test]
fn a_published_port_is_reached_from_outside_with_the_clients_own_address() {
    let scene = Scene::new(&[], false);
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    comes(&scene.outside, "[fd01::1]:8080", "fd01::9");
    comes_not(&scene.outside, "192.0.2.1:81");
    // By another of the host's addresses: that in the network.
    comes(&scene.outside, "10.0.0.1:8080", "192.0.2.9");
}

#[test]
fn nothing_else_of_a_container_is_reached_from_outside() {
    let scene = Scene::new(&[], false);
    for to in ["10.0.0.2:80", "10.0.0.2:81", "[fd00::2]:80", "[fd00::2]:81"] {
        comes_not(&scene.outside, to);
    }
}

#[test]
fn the_host_reaches_a_published_port_by_its_addresses_and_the_container_itself() {
    let scene = Scene::new(&[], false);
    comes(&scene.host.namespace, "192.0.2.1:8080", "192.0.2.1");
    comes(&scene.host.namespace, "[fd01::1]:8080", "fd01::1");
    comes(&scene.host.namespace, "10.0.0.1:8080", "10.0.0.1");
    comes(&scene.host.namespace, "10.0.0.2:81", "10.0.0.1");
    comes(&scene.host.namespace, "[fd00::2]:81", "fd00::1");
}

#[test]
fn a_container_gets_out_with_the_hosts_address() {
    let scene = Scene::new(&[], false);
    comes(&scene.server.namespace, "192.0.2.9:90", "192.0.2.1");
    comes(&scene.server.namespace, "[fd01::9]:90", "fd01::1");
}

#[test]
fn a_container_reaches_published_ports_of_its_own_network_and_itself() {
    let scene = Scene::new(&[], false);
    let other = scene.host.guest(&scene.first, &["10.0.0.3/24", "fd00::3/64"]);
    for from in [&other.namespace, &scene.server.namespace] {
        // Twice: had the first told of a shorter way, the second would take it.
        for _ in 0..2 {
            comes(from, "192.0.2.1:8080", "10.0.0.1");
            comes(from, "10.0.0.1:8080", "10.0.0.1");
            comes(from, "[fd01::1]:8080", "fd00::1");
        }
    }
    comes(&other.namespace, "10.0.0.2:81", "10.0.0.3");
}

#[test]
fn the_same_where_bridges_are_filtered() {
    let scene = Scene::new(&[], false);
    scene.host.filter_bridges(true);
    // Interfaces that are connected from now on turn packets round.
    let server = scene.host.guest(&scene.first, &["10.0.0.4/24", "fd00::4/64"]);
    serve(&server.namespace, "[::]:80");
    let mut scene = scene;
    scene.wanted.published.push(published(&scene.first, "0.0.0.0:8081", "10.0.0.4:80"));
    scene.firewall.apply(&scene.wanted).unwrap();
    comes(&server.namespace, "192.0.2.1:8081", "10.0.0.1");
    comes(&server.namespace, "192.0.2.1:8080", "10.0.0.1");
    comes(&scene.outside, "192.0.2.1:8081", "192.0.2.9");
    comes(&server.namespace, "10.0.0.2:81", "10.0.0.4");
    comes(&server.namespace, "[fd00::2]:81", "fd00::4");
}

#[test]
fn networks_dont_reach_each_other_but_by_published_ports() {
    let scene = Scene::new(&[], false);
    let other = scene.host.guest(&scene.second, &["10.0.1.2/24", "fd00:1::2/64"]);
    for to in ["10.0.0.2:80", "10.0.0.2:81", "[fd00::2]:80"] {
        comes_not(&other.namespace, to);
    }
    comes(&other.namespace, "192.0.2.1:8080", "10.0.0.1");
    comes(&other.namespace, "[fd01::1]:8080", "fd00::1");
}

#[test]
fn an_internal_network_has_no_way_out_and_none_in() {
    let scene = Scene::new(&[], true);
    let (one, other) =
        (scene.host.guest(&scene.first, &["10.0.0.3/24"]), scene.host.guest(&scene.second, &["10.0.1.2/24"]));
    serve(&other.namespace, "[::]:80");
    // Also where the container makes a route of its own.
    let mut plan = one.plan.clone();
    plan.routes = vec![Route { to: "0.0.0.0/0".parse().unwrap(), by: Some("10.0.0.1".parse().unwrap()) }];
    scene.host.kernel.reroute(&plan, &one.namespace).unwrap();
    comes_not(&one.namespace, "192.0.2.9:90");
    comes_not(&one.namespace, "10.0.1.2:80");
    comes_not(&other.namespace, "10.0.0.2:80");
    comes_not(&scene.outside, "10.0.0.2:80");
    comes(&one.namespace, "10.0.0.2:81", "10.0.0.3");
    comes(&scene.host.namespace, "10.0.0.2:81", "10.0.0.1");
}

#[test]
fn without_icc_containers_of_a_network_are_kept_apart_but_for_links() {
    for filtered in [false, true] {
        let mut scene = Scene::new(&[("com.docker.network.bridge.enable_icc", "false")], false);
        scene.host.filter_bridges(filtered);
        let other = scene.host.guest(&scene.first, &["10.0.0.3/24", "fd00::3/64"]);
        scene.wanted.closed_ports = scene.host.kernel.found().unwrap().host_ends.into_keys().collect();
        scene.firewall.apply(&scene.wanted).unwrap();
        comes_not(&other.namespace, "10.0.0.2:80");
        comes_not(&other.namespace, "[fd00::2]:81");
        comes(&other.namespace, "192.0.2.9:90", "192.0.2.1");
        comes(&other.namespace, "192.0.2.1:8080", "10.0.0.1");
        for (from, to) in [("10.0.0.3", "10.0.0.2"), ("fd00::3", "fd00::2")] {
            scene.wanted.links.push(LinkRule {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                protocol: Protocol::Tcp,
                port: 81,
            });
        }
        scene.firewall.apply(&scene.wanted).unwrap();
        comes(&other.namespace, "10.0.0.2:81", "10.0.0.3");
        comes(&other.namespace, "[fd00::2]:81", "fd00::3");
        comes_not(&other.namespace, "10.0.0.2:80");
    }
}

#[test]
fn a_port_at_one_address_is_reached_by_that_alone_and_localhost_from_nowhere_else() {
    let mut scene = Scene::new(&[], false);
    scene.wanted.published = vec![
        published(&scene.first, "192.0.2.1:8080", "10.0.0.2:80"),
        published(&scene.first, "127.0.0.1:8081", "10.0.0.2:80"),
    ];
    scene.firewall.apply(&scene.wanted).unwrap();
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    comes_not(&scene.outside, "10.0.0.1:8080");
    comes_not(&scene.outside, "192.0.2.1:8081");
    // A host that lets packets to localhost in from outside: what listens there is not reached.
    scene.host.set("ipv4/conf/all/route_localnet", "1");
    serve(&scene.host.namespace, "127.0.0.1:8082");
    let outside =
        scene.host.neighbour_in("side", &["198.51.100.1/24"], &["198.51.100.9/24"], bare_namespace());
    let inside = scene.host.guest_in(&scene.first, &["10.0.0.9/24"], bare_namespace());
    for (namespace, by) in [(&outside, "198.51.100.1"), (&inside.namespace, "10.0.0.1")] {
        let mut plan = inside.plan.clone();
        plan.routes = vec![Route { to: "127.0.0.0/8".parse().unwrap(), by: Some(by.parse().unwrap()) }];
        let localnet = || std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        namespace.run(localnet).unwrap();
        scene.host.kernel.reroute(&plan, namespace).unwrap();
        comes_not(namespace, "127.0.0.1:8082");
    }
    comes(&scene.host.namespace, "127.0.0.1:8082", "127.0.0.1");
    // That it is the firewall: without it they come through.
    scene.firewall.remove_all().unwrap();
    comes(&outside, "127.0.0.1:8082", "198.51.100.9");
}

#[test]
fn a_gateway_mode_decides_whether_ports_are_reached_by_their_own_addresses() {
    let scene = Scene::new(&[("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected")], false);
    comes(&scene.outside, "10.0.0.2:81", "192.0.2.9");
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    comes(&scene.server.namespace, "192.0.2.9:90", "192.0.2.1");
    comes_not(&scene.outside, "[fd00::2]:81");
    let scene = Scene::new(&[("com.docker.network.bridge.gateway_mode_ipv4", "routed")], false);
    comes(&scene.outside, "10.0.0.2:80", "192.0.2.9");
    comes_not(&scene.outside, "10.0.0.2:81");
    comes_not(&scene.outside, "192.0.2.1:8080");
    comes(&scene.server.namespace, "192.0.2.9:90", "10.0.0.2");
    let scene = Scene::new(&[("com.docker.network.bridge.trusted_host_interfaces", "up")], false);
    comes(&scene.outside, "10.0.0.2:80", "192.0.2.9");
    comes_not(&scene.outside, "10.0.0.2:81");
    // By the engine's own setting, for all.
    let mut scene = Scene::new(&[], false);
    comes_not(&scene.outside, "10.0.0.2:80");
    scene.wanted.networks.iter_mut().for_each(|network| network.direct = true);
    scene.firewall.apply(&scene.wanted).unwrap();
    comes(&scene.outside, "10.0.0.2:80", "192.0.2.9");
    comes(&scene.outside, "[fd00::2]:80", "fd01::9");
    comes_not(&scene.outside, "10.0.0.2:81");
}

#[test]
fn nothing_is_forwarded_for_others_where_that_was_turned_on_for_containers() {
    let mut scene = Scene::new(&[], false);
    let third =
        scene.host.neighbour("side", &["198.51.100.1/24", "fd02::1/64"], &["198.51.100.9/24", "fd02::9/64"]);
    serve(&third, "[::]:90");
    comes(&scene.outside, "198.51.100.9:90", "192.0.2.9");
    comes(&scene.outside, "[fd02::9]:90", "fd01::9");
    scene.wanted.apart = ["up".to_string()].into();
    scene.wanted.apart6 = true;
    scene.firewall.apply(&scene.wanted).unwrap();
    comes_not(&scene.outside, "198.51.100.9:90");
    comes_not(&scene.outside, "[fd02::9]:90");
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    comes(&scene.server.namespace, "198.51.100.9:90", "198.51.100.1");
}

#[test]
fn udp_is_published_too() {
    let mut scene = Scene::new(&[], false);
    scene.wanted.published = vec![PublishedRule {
        protocol: Protocol::Udp,
        ..published(&scene.first, "0.0.0.0:53", "10.0.0.2:5353")
    }];
    scene.firewall.apply(&scene.wanted).unwrap();
    let server = scene.server.namespace.run(|| UdpSocket::bind("10.0.0.2:5353")).unwrap().unwrap();
    let client = scene.outside.run(|| UdpSocket::bind("192.0.2.9:0")).unwrap().unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    client.send_to(b"question", "192.0.2.1:53").unwrap();
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(from, client.local_addr().unwrap());
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap().1.to_string(), "192.0.2.1:53");
}

#[test]
fn what_goes_is_taken_out_and_a_restart_writes_nothing() {
    let mut scene = Scene::new(&[], false);
    // A second firewall, as after a restart of the engine, finds all that the first has put there.
    let changes = scene.host.namespace.run(Changed::listen).unwrap().unwrap();
    let mut again = open(&scene.host);
    again.apply(&scene.wanted).unwrap();
    assert!(!again.repair().unwrap(), "nothing was to be repaired");
    assert!(!readable(&changes), "something was written");
    scene.wanted.published.clear();
    again.apply(&scene.wanted).unwrap();
    assert!(readable(&changes));
    comes_not(&scene.outside, "192.0.2.1:8080");
    again.remove_all().unwrap();
    again.remove_all().unwrap();
    // Without the tables packets go as routes say.
    comes(&scene.outside, "10.0.0.2:81", "192.0.2.9");
}

fn readable(what: &impl minke_sys::AsFd) -> bool {
    let fd = what.as_fd();
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn two_engines_have_tables_of_their_own() {
    let mut scene = Scene::new(&[], false);
    let others = Names::of(Path::new("/run/another"));
    let mut other =
        scene.host.namespace.run(|| Firewall::open(&others, Settings::default())).unwrap().unwrap();
    other.apply(&Wanted::default()).unwrap();
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    other.remove_all().unwrap();
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    assert!(!scene.firewall.repair().unwrap());
}

#[test]
fn a_foreign_flush_and_a_foreign_rule_are_mended_at_once() {
    let scene = Scene::new(&[], false);
    let table = scene.host.names.table.clone();
    let firewall = Arc::new(Mutex::new(scene.firewall));
    let (send, repaired) = mpsc::channel();
    let keeper = scene
        .host
        .namespace
        .run(|| {
            Keeper::start(firewall.clone(), move |result| {
                let _ = send.send(result.is_ok());
            })
        })
        .unwrap()
        .unwrap();
    let nft = scene.host.namespace.run(Nft::open).unwrap().unwrap();
    let mut changes = Changes::default();
    changes.delete_table(Family::Inet, &table);
    nft.commit(changes).unwrap();
    assert_eq!(repaired.recv_timeout(SOON), Ok(true));
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    let mut changes = Changes::default();
    changes.insert_rule(Family::Inet, &table, "inward", &rule::then(Verdict::Drop));
    nft.commit(changes).unwrap();
    assert_eq!(repaired.recv_timeout(SOON), Ok(true));
    comes(&scene.outside, "192.0.2.1:8080", "192.0.2.9");
    drop(keeper);
}
