//! Bridges and interfaces, with real packets through them.

use std::time::Instant;

use minke_network::link::{Gone, LinkPlan, plan_link};
use minke_sys::AsFd;

use crate::place::{self, Host, SOON, network, seen, serve};

#[test]
fn containers_of_a_bridge_reach_each_other_and_the_host() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/24", "fd00::/64"]);
    host.make(&network);
    let one = host.guest(&network, &["10.0.0.2/24", "fd00::2/64"]);
    let two = host.guest(&network, &["10.0.0.3/24", "fd00::3/64"]);
    serve(&one.namespace, "[::]:80");
    serve(&host.namespace, "[::]:81");
    assert_eq!(seen(&two.namespace, "10.0.0.2:80", SOON).as_deref(), Some("10.0.0.3"));
    assert_eq!(seen(&two.namespace, "[fd00::2]:80", SOON).as_deref(), Some("fd00::3"));
    assert_eq!(seen(&two.namespace, "10.0.0.1:81", SOON).as_deref(), Some("10.0.0.3"));
    assert_eq!(seen(&two.namespace, "[fd00::1]:81", SOON).as_deref(), Some("fd00::3"));
    assert_eq!(seen(&host.namespace, "10.0.0.2:80", SOON).as_deref(), Some("10.0.0.1"));
}

#[test]
fn what_is_there_is_left_and_what_is_wrong_is_mended() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/24"]);
    let plan = host.make(&network);
    let before = host.kernel.found().unwrap();
    host.kernel.make(&plan).unwrap();
    assert_eq!(host.kernel.found().unwrap(), before);
    // The same network with another address and size of packets.
    let LinkPlan::Bridge(mut bridge) = plan.clone() else { panic!() };
    bridge.addresses = vec!["10.0.1.1/24".parse().unwrap()];
    bridge.mtu = Some(1400);
    host.kernel.make(&LinkPlan::Bridge(bridge.clone())).unwrap();
    let found = host.kernel.found().unwrap();
    assert_eq!(found.made[&bridge.name].mtu, 1400);
    assert_eq!(found.made[&bridge.name].index, before.made[&bridge.name].index);
    host.kernel.remove(&plan).unwrap();
    host.kernel.remove(&plan).unwrap();
    assert!(host.kernel.found().unwrap().made.is_empty());
}

#[test]
fn the_hosts_routes_are_told_without_those_of_the_engines_own_networks() {
    let host = Host::new();
    host.make(&network("n", &[], &["10.0.0.0/24", "fd00::/64"]));
    let _neighbour = host.neighbour("up", &["192.0.2.1/24", "fd01::1/64"], &["192.0.2.9/24"]);
    assert_eq!(
        host.kernel.routes().unwrap(),
        ["192.0.2.0/24".parse::<ipnet::IpNet>().unwrap(), "fd01::/64".parse().unwrap()]
    );
}

#[test]
fn a_container_of_an_ipv4_network_has_no_ipv6() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/24"]);
    host.make(&network);
    let guest = host.guest(&network, &["10.0.0.2/24"]);
    let addresses =
        guest.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap()).unwrap();
    assert!(!addresses.contains("eth0"), "{addresses}");
    assert!(addresses.contains("lo"), "{addresses}");
}

#[test]
fn a_namespace_that_goes_takes_its_interface_along_and_is_reported() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/24"]);
    host.make(&network);
    let gone = host.namespace.run(|| host.kernel.watch_gone()).unwrap().unwrap();
    let (one, two) = (host.guest(&network, &["10.0.0.2/24"]), host.guest(&network, &["10.0.0.3/24"]));
    let mut ends: Vec<String> = host.kernel.found().unwrap().host_ends.into_keys().collect();
    assert_eq!(ends.len(), 2);
    host.kernel.detach(&one.plan, Some(&one.namespace)).unwrap();
    host.kernel.detach(&one.plan, Some(&one.namespace)).unwrap();
    assert_eq!(host.kernel.found().unwrap().host_ends.len(), 1);
    drop(two);
    let deadline = Instant::now() + SOON;
    while !ends.is_empty() {
        wait_readable(gone.as_fd(), deadline);
        let Gone::Links(names) = gone.next().unwrap() else { panic!("two links are not too many") };
        ends.retain(|end| !names.contains(end));
    }
    assert!(host.kernel.found().unwrap().host_ends.is_empty());
}

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "nothing was reported in time");
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let left = rustix::event::Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
    assert!(rustix::event::poll(&mut fds, Some(&left)).unwrap() > 0, "nothing was reported in time");
}

#[test]
fn a_bridge_that_somebody_made_anew_is_found_again() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/24"]);
    let plan = host.make(&network);
    let _first = host.guest(&network, &["10.0.0.2/24"]);
    let other = host.namespace.run(|| minke_network::link::Kernel::open(&host.names)).unwrap().unwrap();
    other.remove(&plan).unwrap();
    other.make(&plan).unwrap();
    let guest = host.guest(&network, &["10.0.0.3/24"]);
    serve(&host.namespace, "0.0.0.0:81");
    assert_eq!(seen(&guest.namespace, "10.0.0.1:81", SOON).as_deref(), Some("10.0.0.3"));
}

#[test]
fn a_name_that_another_kind_of_interface_has_is_refused() {
    let host = Host::new();
    let network = network("n", &[("com.docker.network.bridge.name", "lo")], &["10.0.0.0/24"]);
    let error = host.kernel.make(&plan_link(&network, None).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "existing interface lo is not a bridge");
}

/// Prints what an attach takes: `cargo test -p minke-network --test kernel -- --nocapture speed`.
#[test]
fn speed_of_an_attach_is_measured() {
    let host = Host::new();
    let network = network("n", &[], &["10.0.0.0/16"]);
    host.make(&network);
    let mut taken = Vec::new();
    let mut guests = Vec::new();
    for number in 2..52 {
        let address = format!("10.0.0.{number}/16");
        let interface = place::interface(&network, "eth0", &[&address]);
        let plan =
            minke_network::link::plan_endpoint(&network, &interface, &host.names, None).unwrap().unwrap();
        let namespace = place::namespace();
        let start = Instant::now();
        host.kernel.attach(&plan, &namespace).unwrap();
        taken.push(start.elapsed());
        guests.push(namespace);
    }
    taken.sort();
    println!("attach: fastest {:?}, median {:?}, slowest {:?}", taken[0], taken[25], taken[49]);
    assert_eq!(host.kernel.found().unwrap().host_ends.len(), 50);
}
