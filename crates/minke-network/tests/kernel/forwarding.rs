//! Forwarding that is turned on, and connections that are forgotten.

use std::net::UdpSocket;

use minke_network::firewall::{
    Connections, Families, Firewall, Forget, NetworkRules, PublishedRule, Settings, Wanted,
};
use minke_network::link::{Changes, Forwarding, ForwardingWish};
use minke_network::ports::Protocol;

use crate::place::{Host, NEVER, SOON, network, seen, serve};

const BOTH: Families = Families { v4: true, v6: true };

fn read(host: &Host, path: &str) -> String {
    let path = format!("/proc/sys/net/{path}");
    host.namespace.run(|| std::fs::read_to_string(path).unwrap().trim().to_string()).unwrap()
}

fn survey(host: &Host, bridges: &[&str]) -> Forwarding {
    let wish = ForwardingWish {
        bridges: bridges.iter().map(|name| (*name).to_string()).collect(),
        families: BOTH,
        guarded: BOTH,
    };
    host.kernel.survey_forwarding(&wish).unwrap()
}

#[test]
fn only_single_interfaces_are_turned_on_and_all_is_put_back() {
    let host = Host::new();
    let _up = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let _off = host.neighbour("off", &["198.51.100.1/24"], &["198.51.100.9/24"]);
    host.make(&network("n", &[("com.docker.network.bridge.name", "mine")], &["10.0.0.0/24"]));
    let settings = ["ipv6/conf/up/accept_ra", "ipv6/conf/off/accept_ra", "ipv4/conf/all/accept_redirects"];
    for (path, value) in settings.iter().zip(["1", "0", "1"]) {
        host.set(path, value);
    }
    host.set("ipv4/conf/off/forwarding", "1");
    let before: Vec<String> = settings.iter().map(|path| read(&host, path)).collect();
    let plan = survey(&host, &["mine"]);
    assert_eq!((plan.turn_on.len(), plan.turn_on6, plan.apart6), (2, true, true), "{plan:?}");
    assert_eq!(plan.apart, ["up".to_string()].into());
    host.kernel.turn_forwarding_on(&plan).unwrap();
    for (path, value) in [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/default/forwarding", "0"),
        ("ipv4/conf/up/forwarding", "2"),
        ("ipv4/conf/mine/forwarding", "2"),
        ("ipv4/conf/off/forwarding", "1"),
        ("ipv6/conf/all/forwarding", "2"),
        ("ipv6/conf/default/forwarding", "0"),
        ("ipv6/conf/up/forwarding", "0"),
    ] {
        assert_eq!(read(&host, path), value, "{path}");
    }
    let after: Vec<String> = settings.iter().map(|path| read(&host, path)).collect();
    assert_eq!(after, before);
    // As after kill -9: what was off before is known, and nothing is done again.
    let again = survey(&host, &["mine"]);
    assert_eq!(again, Forwarding { turn_on: vec![], turn_on6: false, ..plan });
    host.kernel.put_forwarding_back().unwrap();
    for path in ["ipv4/conf/up/forwarding", "ipv4/conf/mine/forwarding", "ipv6/conf/all/forwarding"] {
        assert_eq!(read(&host, path), "0", "{path}");
    }
    assert_eq!(read(&host, "ipv4/conf/off/forwarding"), "1");
}

#[test]
fn what_is_learned_of_router_advertisements_stays() {
    let host = Host::new();
    let router = host.neighbour("up", &["fd01::1/64"], &["fe80::9/64"]);
    for (path, value) in [("ipv6/conf/up/accept_ra", "1"), ("ipv6/conf/up/accept_ra_defrtr", "1")] {
        host.set(path, value);
    }
    let advertise = || router.run(|| advertise("eth0")).unwrap();
    let has_default = || {
        let routes = host
            .namespace
            .run(|| std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap())
            .unwrap();
        let default = format!("{} 00 {} 00", "0".repeat(32), "0".repeat(32));
        routes.lines().any(|line| line.starts_with(&default) && line.ends_with(" up"))
    };
    let until = |what: &str, mut is: Box<dyn FnMut() -> bool>| {
        let end = std::time::Instant::now() + SOON;
        while !is() {
            assert!(std::time::Instant::now() < end, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    until(
        "the route is learned",
        Box::new(|| {
            advertise();
            has_default()
        }),
    );
    let plan = survey(&host, &[]);
    assert!(plan.turn_on6);
    host.kernel.turn_forwarding_on(&plan).unwrap();
    assert!(has_default(), "a route that was learned is forgotten");
    assert_eq!(read(&host, "ipv6/conf/up/accept_ra"), "1");
    host.kernel.put_forwarding_back().unwrap();
    assert!(has_default());
}

/// Sends one router advertisement by an interface of the calling thread's namespace, as radvd does.
fn advertise(interface: &str) {
    use std::os::fd::AsFd;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::RAW,
        rustix::net::SocketFlags::CLOEXEC,
        Some(rustix::net::ipproto::ICMPV6),
    )
    .unwrap();
    rustix::net::sockopt::set_ipv6_multicast_hops(socket.as_fd(), 255).unwrap();
    let index = rustix::net::netdevice::name_to_index(socket.as_fd(), interface).unwrap();
    // Type, code, checksum (the kernel's), hops, flags, lifetime 1800 s, reachable and retransmission times.
    let message = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = std::net::SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    // Until the link-local address is there it can't be sent.
    let _ = rustix::net::sendto(socket.as_fd(), &message, rustix::net::SendFlags::empty(), &all_nodes);
}

#[test]
fn who_turns_forwarding_on_or_off_is_heard() {
    let host = Host::new();
    let _up = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    host.make(&network("n", &[("com.docker.network.bridge.name", "mine")], &["10.0.0.0/24"]));
    let mut changes = host.namespace.run(Changes::listen).unwrap().unwrap();
    let look = || {
        let plan = survey(&host, &["mine"]);
        host.kernel.turn_forwarding_on(&plan).unwrap();
        plan
    };
    assert_eq!(look().apart.len(), 1);
    // Each time what was done for the last one may be heard first.
    let mut heard = |what: &str, is: &dyn Fn(&Forwarding) -> bool| {
        for _ in 0..5 {
            changes.wait().unwrap();
            if is(&look()) {
                return;
            }
        }
        panic!("{what}: {:?}", look());
    };
    host.set("ipv4/ip_forward", "1");
    heard("for all", &|plan| plan.apart.is_empty());
    host.set("ipv4/ip_forward", "0");
    heard("off again", &|plan| !plan.apart.is_empty());
    host.set("ipv4/conf/up/forwarding", "1");
    heard("for one", &|plan| plan.apart.is_empty());
    let _new = host.neighbour("new", &["198.51.100.1/24"], &["198.51.100.9/24"]);
    heard("a new one", &|plan| plan.apart.contains("new"));
    host.set("ipv6/conf/all/forwarding", "1");
    heard("IPv6, which the kernel doesn't tell", &|plan| !plan.apart6);
}

#[test]
fn nothing_else_is_forwarded_than_before() {
    let host = Host::new();
    let outside = host.neighbour("up", &["192.0.2.1/24", "fd01::1/64"], &["192.0.2.9/24", "fd01::9/64"]);
    let side = host.neighbour("side", &["198.51.100.1/24", "fd02::1/64"], &["198.51.100.9/24", "fd02::9/64"]);
    for place in [&outside, &side] {
        serve(place, "[::]:90");
    }
    let net = network("n", &[], &["10.0.0.0/24", "fd00::/64"]);
    host.make(&net);
    let guest = host.guest(&net, &["10.0.0.2/24", "fd00::2/64"]);
    let rules = NetworkRules::of(&net).unwrap().unwrap();
    let mut firewall =
        host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap();
    let mut make = || {
        let plan = survey(&host, &[&rules.bridge]);
        let wanted = Wanted {
            networks: vec![rules.clone()],
            apart: plan.apart.clone(),
            apart6: plan.apart6,
            ..Wanted::default()
        };
        firewall.apply(&wanted).unwrap();
        host.kernel.turn_forwarding_on(&plan).unwrap();
    };
    make();
    let (v4, v6) = ("198.51.100.9:90", "[fd02::9]:90");
    assert_eq!(seen(&guest.namespace, v4, SOON).as_deref(), Some("198.51.100.1"));
    assert_eq!(seen(&guest.namespace, v6, SOON).as_deref(), Some("fd02::1"));
    assert_eq!(seen(&outside, v4, NEVER), None);
    assert_eq!(seen(&outside, v6, NEVER), None);
    // Somebody else needs it.
    host.set("ipv4/ip_forward", "1");
    host.set("ipv6/conf/all/forwarding", "1");
    make();
    assert_eq!(seen(&outside, v4, SOON).as_deref(), Some("192.0.2.9"));
    assert_eq!(seen(&outside, v6, SOON).as_deref(), Some("fd01::9"));
    // And no more; and from one side only.
    host.set("ipv4/ip_forward", "0");
    host.set("ipv4/conf/side/forwarding", "1");
    make();
    assert_eq!(seen(&outside, v4, NEVER), None);
    assert_eq!(seen(&guest.namespace, v4, SOON).as_deref(), Some("198.51.100.1"));
}

#[test]
fn another_engine_on_the_same_host_is_no_matter_of_ours() {
    let host = Host::new();
    let outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    serve(&outside, "[::]:90");
    let others = minke_network::Names::of(std::path::Path::new("/run/another"));
    let kernel = host.namespace.run(|| minke_network::link::Kernel::open(&others)).unwrap().unwrap();
    let net = network("other", &[], &["10.0.0.0/24"]);
    kernel.make(&minke_network::link::plan_link(&net, None).unwrap()).unwrap();
    let guest = host.guest(&net, &["10.0.0.2/24"]);
    host.make(&network("n", &[("com.docker.network.bridge.name", "mine")], &["10.0.1.0/24"]));
    let plan = survey(&host, &["mine"]);
    let mut firewall =
        host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap();
    firewall.apply(&Wanted { apart: plan.apart.clone(), apart6: true, ..Wanted::default() }).unwrap();
    host.kernel.turn_forwarding_on(&plan).unwrap();
    host.set(&format!("ipv4/conf/{}/forwarding", NetworkRules::of(&net).unwrap().unwrap().bridge), "2");
    assert_eq!(seen(&guest.namespace, "192.0.2.9:90", SOON).as_deref(), Some("10.0.0.2"));
    // Its way out stays, when this one ends.
    host.kernel.put_forwarding_back().unwrap();
    assert_eq!(seen(&guest.namespace, "192.0.2.9:90", SOON).as_deref(), Some("10.0.0.2"));
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
