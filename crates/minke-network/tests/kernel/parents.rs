//! Macvlan, and what a kernel lacks.

use minke_model::ErrorKind;
use minke_network::link::{Namespace, plan_endpoint, plan_link};
use minke_network::{Driver, Network};

use crate::place::{self, Host, NEVER, SOON, network, seen, serve};

fn below(driver: Driver, options: &[(&str, &str)]) -> Network {
    Network { driver, ..network("m", options, &["192.0.2.0/24"]) }
}

fn guest(host: &Host, network: &Network, address: &str) -> Namespace {
    let mut interface = place::interface(network, "eth0", &[address]);
    interface.gateway4 = None;
    let plan = plan_endpoint(network, &interface, &host.names, None).unwrap().unwrap();
    let namespace = place::namespace();
    host.kernel.attach(&plan, &namespace).unwrap();
    namespace
}

#[test]
fn a_macvlans_containers_are_neighbours_of_the_parents_network() {
    for (mode, reach_each_other) in [("bridge", true), ("private", false), ("vepa", false)] {
        let host = Host::new();
        let outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
        serve(&outside, "0.0.0.0:90");
        // The parent is a device of its own, a neighbour of the others on the bridge `up`.
        let parent = host.parent_on("up", "par0");
        let network = below(Driver::Macvlan, &[("parent", &parent), ("macvlan_mode", mode)]);
        host.make(&network);
        let one = guest(&host, &network, "192.0.2.20/24");
        let two = guest(&host, &network, "192.0.2.21/24");
        serve(&one, "0.0.0.0:80");
        assert_eq!(seen(&one, "192.0.2.9:90", SOON).as_deref(), Some("192.0.2.20"), "{mode}");
        let answer = seen(&two, "192.0.2.20:80", if reach_each_other { SOON } else { NEVER });
        assert_eq!(answer.is_some(), reach_each_other, "{mode}");
    }
}

#[test]
fn a_parent_of_passthru_has_one_container() {
    let host = Host::new();
    let _outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let parent = host.parent_on("up", "par0");
    let network = below(Driver::Macvlan, &[("parent", &parent), ("macvlan_mode", "passthru")]);
    host.make(&network);
    let one = guest(&host, &network, "192.0.2.20/24");
    assert_eq!(seen(&one, "192.0.2.1:1", NEVER), None);
    let interface = place::interface(&network, "eth0", &["192.0.2.21/24"]);
    let plan = plan_endpoint(&network, &interface, &host.names, None).unwrap().unwrap();
    host.kernel.attach(&plan, &place::namespace()).unwrap_err();
}

#[test]
fn a_parent_that_is_not_there_is_refused() {
    let host = Host::new();
    let plan = plan_link(&below(Driver::Macvlan, &[("parent", "nosuch")]), None).unwrap();
    let error = host.kernel.make(&plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    let plan = plan_link(&below(Driver::Macvlan, &[("parent", "nosuch.7")]), None).unwrap();
    let error = host.kernel.make(&plan).unwrap_err();
    assert!(error.to_string().contains("failed to find master interface nosuch"), "{error}");
}

/// Kernels differ in what they have; what one lacks is named with the module that has it, and what it has works.
#[test]
fn what_the_kernel_lacks_is_named() {
    let host = Host::new();
    let _outside = host.neighbour("up", &["192.0.2.1/24"], &["192.0.2.9/24"]);
    let parent = host.parent_on("up", "par0");
    for (driver, options, module) in
        [(Driver::Macvlan, vec![], "dummy"), (Driver::Macvlan, vec![("parent", "par0.7")], "8021q")]
    {
        let plan = plan_link(&below(driver, &options), None).unwrap();
        match host.kernel.make(&plan) {
            Ok(()) => host.kernel.remove(&plan).unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
                assert!(error.to_string().contains(&format!("modprobe {module}")), "{error}");
            }
        }
        assert!(host.kernel.found().unwrap().made.is_empty());
    }
    for mode in ["l2", "l3", "l3s"] {
        let network = below(Driver::Ipvlan, &[("parent", &parent), ("ipvlan_mode", mode)]);
        host.make(&network);
        let interface = place::interface(&network, "eth0", &["192.0.2.30/24"]);
        let plan = plan_endpoint(&network, &interface, &host.names, None).unwrap().unwrap();
        let namespace = place::namespace();
        match host.kernel.attach(&plan, &namespace) {
            Ok(()) => serve(&namespace, "0.0.0.0:80"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
                assert!(error.to_string().contains("modprobe ipvlan"), "{error}");
                continue;
            }
        };
        host.kernel.detach(&plan, Some(&namespace)).unwrap();
    }
}
