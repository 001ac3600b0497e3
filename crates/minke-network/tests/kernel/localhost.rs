//! Published ports by 127.0.0.0/8 on the kernel's path, and nothing else that this opens (CVE-2020-8558).

use std::net::UdpSocket;

use minke_network::firewall::{Firewall, NetworkRules, PublishedRule, Settings, Wanted};
use minke_network::link::{Namespace, Route};
use minke_network::ports::Protocol;

use crate::place::{Guest, Host, NEVER, SOON, bare_namespace, network, seen, serve};

struct Scene {
    host: Host,
    outside: Namespace,
    firewall: Firewall,
    server: Guest,
}

/// A host whose container serves port 80, published at all addresses as 8080 and at 127.0.0.1 as 8081; the kernel leads both.
fn scene() -> Scene {
    let host = Host::forwarding();
    let outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let first = network("first", &[], &["10.0.0.0/24"]);
    host.make(&first);
    let server = host.guest(&first, &["10.0.0.2/24"]);
    serve(&server.namespace, "0.0.0.0:80");
    let rules = NetworkRules::of(&first).unwrap().unwrap();
    let published = |protocol, host: &str| PublishedRule {
        bridge: rules.bridge.clone(),
        protocol,
        host: host.parse().unwrap(),
        to: "10.0.0.2:80".parse().unwrap(),
    };
    let wanted = Wanted {
        published: vec![
            published(Protocol::Tcp, "0.0.0.0:8080"),
            published(Protocol::Tcp, "127.0.0.1:8081"),
            published(Protocol::Udp, "127.0.0.1:8081"),
        ],
        networks: vec![rules.clone()],
        localhost: true,
        ..Wanted::default()
    };
    let settings = Settings::default();
    let mut firewall = host.namespace.run(|| Firewall::open(&host.names, settings)).unwrap().unwrap();
    firewall.apply(&wanted).unwrap();
    host.kernel.route_localhost(&rules.bridge).unwrap();
    Scene { host, outside, firewall, server }
}

fn come(from: &Namespace, to: &str) -> Option<String> {
    seen(from, to, SOON)
}

#[test]
fn the_kernel_leads_localhost_to_a_container_that_sees_the_gateway() {
    for filtered in [false, true] {
        let scene = scene();
        scene.host.filter_bridges(filtered);
        for to in ["127.0.0.1:8080", "127.0.0.5:8080", "127.0.0.1:8081"] {
            assert_eq!(come(&scene.host.namespace, to).as_deref(), Some("10.0.0.1"), "{to}, {filtered}");
        }
        // Where it is not published.
        assert_eq!(come(&scene.host.namespace, "127.0.0.5:8081"), None);
        assert_eq!(seen(&scene.outside, "192.0.2.1:8081", NEVER), None);
        assert_eq!(come(&scene.outside, "192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
    }
}

#[test]
fn datagrams_to_localhost_are_answered_from_it() {
    let scene = scene();
    let socket = scene.server.namespace.run(|| UdpSocket::bind("10.0.0.2:80").unwrap()).unwrap();
    let client = scene.host.namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    client.connect("127.0.0.1:8081").unwrap();
    for side in [&socket, &client] {
        side.set_read_timeout(Some(SOON)).unwrap();
    }
    client.send(b"there").unwrap();
    let mut bytes = [0; 16];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..length], from.ip().to_string().as_str()), (&b"there"[..], "10.0.0.1"));
    socket.send_to(b"back", from).unwrap();
    assert_eq!(client.recv(&mut bytes).unwrap(), 4);
}

#[test]
fn nobody_else_reaches_what_listens_at_localhost() {
    let mut scene = scene();
    serve(&scene.host.namespace, "127.0.0.1:8082");
    // One that has no localhost of its own, and sends what goes there to the host.
    let first = network("first", &[], &["10.0.0.0/24"]);
    let inside = scene.host.guest_in(&first, &["10.0.0.9/24"], bare_namespace());
    let outside =
        scene.host.neighbour_in("side", &["198.51.100.1/24"], &["198.51.100.9/24"], bare_namespace());
    let localnet = || std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
    for (namespace, by) in [(&inside.namespace, "10.0.0.1"), (&outside, "198.51.100.1")] {
        namespace.run(localnet).unwrap();
        let mut plan = inside.plan.clone();
        plan.routes = vec![Route { to: "127.0.0.0/8".parse().unwrap(), by: Some(by.parse().unwrap()) }];
        scene.host.kernel.reroute(&plan, namespace).unwrap();
        for to in ["127.0.0.1:8082", "127.0.0.1:8081", "127.0.0.1:8080"] {
            assert_eq!(seen(namespace, to, NEVER), None, "{to} by {by}");
        }
    }
    // That it is the firewall: without it the container comes through, the outsider doesn't, as only the bridge has the setting.
    scene.firewall.remove_all().unwrap();
    assert_eq!(come(&inside.namespace, "127.0.0.1:8082").as_deref(), Some("10.0.0.9"));
    assert_eq!(seen(&outside, "127.0.0.1:8082", NEVER), None);
}
