//! What a host's kernel may lack: VLANs, ipvlan, interfaces that lead nowhere, SCTP. Where it is there (in the virtual machine it
//! is) it works; where it isn't, it is refused with a word that names it.

use std::net::{Ipv4Addr, SocketAddrV4};

use minke_e2e::neighbour::{Neighbour, ip_in, kernel_has, within_network};
use minke_e2e::{Rig, networked, within};
use rustix::net::{AddressFamily, SocketType, accept, bind, connect, ipproto, listen, recv, send, socket};

/// A neighbour at the other end of the host's interface `parent0`.
fn neighbour(rig: &Rig) -> Neighbour {
    let neighbour = Neighbour::start(rig.engine_pid(), "parent0", "cable0");
    ip_in(rig.engine_pid(), "addr add 10.220.0.1/24 dev parent0");
    neighbour.ip("addr add 10.220.0.254/24 dev cable0");
    neighbour
}

fn reaches(rig: &Rig, from: &str, to: &str) -> bool {
    rig.cli(&format!("exec {from} ping -c 1 -W 2 {to}")).code == 0
}

fn until_reached(rig: &Rig, from: &str, to: &str) {
    within(20, &format!("{from} reaches {to}"), || reaches(rig, from, to).then_some(()));
}

#[test]
fn a_vlan_of_the_parent_is_made_and_goes_with_the_network() {
    networked(|rig| {
        let neighbour = neighbour(rig);
        let create = "network create -d macvlan --subnet 10.222.0.0/24 --gateway 10.222.0.254 -o parent=parent0.10 lan";
        if !kernel_has("vlan") {
            rig.fails(create, 1, "this host's kernel has no interfaces of the kind 8021q");
            assert_eq!(rig.ok("network ls -q --filter type=custom"), "");
            return;
        }
        neighbour.ip("link add link cable0 name tagged0 type vlan id 10");
        neighbour.ip("link set tagged0 up");
        neighbour.ip("addr add 10.222.0.254/24 dev tagged0");
        rig.ok(create);
        let links = ip_in(rig.engine_pid(), "-d link");
        assert!(
            links.contains("parent0.10@parent0") && links.contains("vlan protocol 802.1Q id 10"),
            "{links}"
        );
        rig.ok("run -d --name one --network lan busybox sleep 1000");
        until_reached(rig, "one", "10.222.0.254");
        rig.ok("rm -f one");
        rig.ok("network rm lan");
        assert!(!ip_in(rig.engine_pid(), "link").contains("parent0.10"));
        rig.fails(&create.replace("parent0.10", "parent0.5000"), 1, "1 to 4094");
        rig.fails(&create.replace("parent0.10", "nosuch0.10"), 1, "nosuch0");
    });
}

#[test]
fn a_network_without_a_parent_leads_nowhere() {
    networked(|rig| {
        let create = "network create -d macvlan --internal --subnet 10.223.0.0/24 inner";
        if !kernel_has("dummy") {
            rig.fails(create, 1, "this host's kernel has no interfaces of the kind dummy");
            return;
        }
        rig.ok(create);
        rig.ok("run -d --name one --network inner busybox sleep 1000");
        rig.ok("run -d --name two --network inner busybox sleep 1000");
        until_reached(rig, "one", "two");
        assert_eq!(rig.ok("exec one ip route").matches("default").count(), 0);
        rig.ok("rm -f one two");
        rig.ok("network rm inner");
        assert!(!ip_in(rig.engine_pid(), "link").contains("dm-"));
    });
}

#[test]
fn containers_of_an_ipvlan_share_the_parents_address_on_the_cable() {
    networked(|rig| {
        let neighbour = neighbour(rig);
        let create = "network create -d ipvlan -o parent=parent0";
        let switched = format!("{create} --subnet 10.220.0.0/24 --gateway 10.220.0.254 lan");
        if !kernel_has("ipvlan") {
            rig.ok(&switched);
            rig.fails("run --rm --network lan busybox true", 125, "no interfaces of the kind ipvlan");
            return;
        }
        // As a switch.
        rig.ok(&switched);
        rig.ok("run -d --name one --network lan --ip 10.220.0.11 busybox sleep 1000");
        rig.ok("run -d --name two --network lan --ip 10.220.0.12 busybox sleep 1000");
        until_reached(rig, "one", "10.220.0.254");
        until_reached(rig, "one", "two");
        let address = rig.ok("exec one cat /sys/class/net/eth0/address");
        assert!(ip_in(rig.engine_pid(), "link show parent0").contains(&address));
        rig.fails(
            &format!("{create} --subnet 10.9.0.0/24 other"),
            1,
            "is already using parent interface parent0",
        );
        rig.ok("rm -f one two");
        rig.ok("network rm lan");
        // As a router, and as one whose packets pass the host's firewall.
        neighbour.ip("route add 10.221.0.0/24 via 10.220.0.1");
        for mode in ["l3", "l3s"] {
            rig.ok(&format!("{create} -o ipvlan_mode={mode} --subnet 10.221.0.0/24 lan"));
            rig.ok("run -d --name one --network lan --ip 10.221.0.11 busybox sleep 1000");
            rig.ok("run -d --name two --network lan --ip 10.221.0.12 busybox sleep 1000");
            until_reached(rig, "one", "10.221.0.12");
            until_reached(rig, "one", "10.220.0.254");
            let routes = rig.ok("exec one ip route");
            assert!(routes.contains("default dev eth0"), "{mode}: {routes}");
            within(20, "the neighbour reaches the container", || {
                (neighbour.run(&["ping", "-c", "1", "-W", "2", "10.221.0.11"]).code == 0).then_some(())
            });
            rig.ok("rm -f one two");
            rig.ok("network rm lan");
        }
        // Not one another.
        rig.ok(&format!("{create} -o ipvlan_flag=private --subnet 10.220.0.0/24 --gateway 10.220.0.254 lan"));
        rig.ok("run -d --name one --network lan --ip 10.220.0.11 busybox sleep 1000");
        rig.ok("run -d --name two --network lan --ip 10.220.0.12 busybox sleep 1000");
        until_reached(rig, "one", "10.220.0.254");
        assert!(!reaches(rig, "one", "10.220.0.12"));
        rig.fails(&format!("{create} -o ipvlan_mode=l4 other"), 1, "requested ipvlan mode 'l4' is not valid");
    });
}

#[test]
fn a_port_of_sctp_is_published() {
    networked(|rig| {
        let neighbour = neighbour(rig);
        let run = "run -d --network bridge --name server -p 9999:7777/sctp busybox sleep 1000";
        let sctp = || socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::SCTP));
        if sctp().is_err() {
            rig.fails(run, 125, "SCTP");
            return;
        }
        rig.ok(run);
        assert!(rig.ok("port server").contains("7777/sctp -> 0.0.0.0:9999"));
        let pid = rig.inspect("server")["State"]["Pid"].as_i64().expect("a pid") as i32;
        let served = within_network(pid, || {
            let listener = sctp().expect("a socket");
            bind(&listener, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 7777)).expect("bound");
            listen(&listener, 1).expect("listening");
            listener
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let peer = accept(&served).expect("a peer");
                send(&peer, b"hello", rustix::net::SendFlags::empty()).expect("sent");
            });
            let heard = within_network(neighbour.pid(), || {
                let client = sctp().expect("a socket");
                connect(&client, &SocketAddrV4::new(Ipv4Addr::new(10, 220, 0, 1), 9999)).expect("connected");
                let mut bytes = [0; 5];
                let (length, _) = recv(&client, &mut bytes, rustix::net::RecvFlags::empty()).expect("heard");
                bytes[..length].to_vec()
            });
            assert_eq!(heard, b"hello");
        });
    });
}
