//! Forwarding that is turned on, and connections that are forgotten.

use std::net::UdpSocket;

use minke_network::firewall::{
    Connections, Families, Firewall, Forget, NetworkRules, PublishedRule, Settings, Wanted,
};
use minke_network::ports::Protocol;

use crate::place::{Host, NEVER, SOON, network};

const BOTH: Families = Families { v4: true, v6: true };

fn read(host: &Host, path: &str) -> String {
    let path = format!("/proc/sys/net/{path}");
    host.namespace.run(|| std::fs::read_to_string(path).unwrap().trim().to_string()).unwrap()
}

#[test]
fn uplinks_go_on_taking_router_advertisements_and_redirects() {
    let host = Host::new();
    let _up = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let _off = host.neighbour("off", &["198.51.100.1/24"], &["198.51.100.9/24"]);
    host.set("ipv6/conf/up/accept_ra", "1");
    host.set("ipv6/conf/off/accept_ra", "0");
    host.set("ipv4/conf/all/accept_redirects", "1");
    assert_eq!(host.kernel.forward(BOTH).unwrap(), BOTH);
    assert_eq!(read(&host, "ipv4/ip_forward"), "1");
    assert_eq!(read(&host, "ipv6/conf/all/forwarding"), "1");
    assert_eq!(read(&host, "ipv6/conf/up/accept_ra"), "2");
    assert_eq!(read(&host, "ipv6/conf/off/accept_ra"), "0");
    assert_eq!(read(&host, "ipv4/conf/all/accept_redirects"), "1");
    // The second time nothing was off.
    assert_eq!(host.kernel.forward(BOTH).unwrap(), Families::default());
}

#[test]
fn that_nothing_else_is_forwarded_is_known_after_a_restart() {
    let host = Host::new();
    let open = || host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap();
    assert_eq!(open().forwards_nothing_else().unwrap(), Families::default());
    let turned_on = host.kernel.forward(Families { v4: true, v6: false }).unwrap();
    open().apply(&Wanted { nothing_else: turned_on, ..Wanted::default() }).unwrap();
    assert_eq!(open().forwards_nothing_else().unwrap(), Families { v4: true, v6: false });
}

#[test]
fn a_client_that_goes_on_sending_is_led_to_the_new_container() {
    let host = Host::forwarding();
    let outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let net = network("n", &[], &["10.0.0.0/24"]);
    host.make(&net);
    let (first, second) = (host.guest(&net, &["10.0.0.2/24"]), host.guest(&net, &["10.0.0.3/24"]));
    let mut firewall =
        host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap();
    let connections = host.namespace.run(Connections::open).unwrap().unwrap();
    let rules = NetworkRules::of(&net).unwrap().unwrap();
    let mut publish = |to: &str| {
        let rule = PublishedRule {
            bridge: rules.bridge.clone(),
            protocol: Protocol::Udp,
            host: "0.0.0.0:53".parse().unwrap(),
            to: to.parse().unwrap(),
        };
        let wanted = Wanted { networks: vec![rules.clone()], published: vec![rule], ..Wanted::default() };
        firewall.apply(&wanted).unwrap();
    };
    let at = |guest: &crate::place::Guest| {
        let socket = guest.namespace.run(|| UdpSocket::bind("0.0.0.0:5353")).unwrap().unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    };
    let (one, two) = (at(&first), at(&second));
    let client = outside.run(|| UdpSocket::bind("192.0.2.9:5000")).unwrap().unwrap();
    let mut buffer = [0; 8];
    // Before the port is published the host itself is asked.
    client.send_to(b"0", "192.0.2.1:53").unwrap();
    publish("10.0.0.2:5353");
    let port = Forget::Port(Protocol::Udp, "0.0.0.0:53".parse().unwrap());
    connections.forget(std::slice::from_ref(&port)).unwrap();
    client.send_to(b"1", "192.0.2.1:53").unwrap();
    let (_, from) = one.recv_from(&mut buffer).unwrap();
    one.send_to(b"answer", from).unwrap();
    publish("10.0.0.3:5353");
    client.send_to(b"2", "192.0.2.1:53").unwrap();
    assert_eq!(one.recv(&mut buffer).unwrap(), 1, "the kernel remembers where it went");
    assert_eq!(connections.forget(&[port]).unwrap(), 1);
    client.send_to(b"3", "192.0.2.1:53").unwrap();
    assert_eq!(two.recv(&mut buffer).unwrap(), 1);
    one.set_read_timeout(Some(NEVER)).unwrap();
    one.recv(&mut buffer).unwrap_err();
    assert_eq!(connections.forget(&[Forget::Address("10.0.0.3".parse().unwrap())]).unwrap(), 1);
    assert_eq!(connections.forget(&[Forget::Address("10.0.0.3".parse().unwrap())]).unwrap(), 0);
}
