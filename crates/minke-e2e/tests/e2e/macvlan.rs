//! Macvlan: containers beside the host's neighbours, seen from the neighbour; and, beyond Docker, the host that reaches them.

use minke_e2e::neighbour::{Neighbour, ip_in};
use minke_e2e::{EngineKind, Rig, networked, within};

/// Serves a page at port 80.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";
/// A network on the cable.
const CREATE: &str =
    "network create -d macvlan --subnet 10.220.0.0/24 --gateway 10.220.0.254 -o parent=parent0";

/// A neighbour at the other end of the host's interface `parent0`.
fn neighbour(rig: &Rig) -> Neighbour {
    let neighbour = Neighbour::start(rig.engine_pid(), "parent0", "cable0");
    neighbour.ip("addr add 10.220.0.254/24 dev cable0");
    neighbour
}

/// Whether a container gets an answer to a ping.
fn reaches(rig: &Rig, from: &str, to: &str) -> bool {
    rig.cli(&format!("exec {from} ping -c 1 -W 1 {to}")).code == 0
}

fn until_reached(rig: &Rig, from: &str, to: &str) {
    within(20, &format!("{from} reaches {to}"), || reaches(rig, from, to).then_some(()));
}

#[test]
fn containers_of_a_macvlan_are_beside_the_hosts_neighbours() {
    networked(|rig| {
        let neighbour = neighbour(rig);
        rig.ok(&format!("{CREATE} lan"));
        rig.ok(&format!("run -d --name web --network lan --ip 10.220.0.10 -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network lan --ip 10.220.0.11 busybox sleep 1000");
        until_reached(rig, "one", "10.220.0.254");
        until_reached(rig, "one", "web");
        within(20, "the neighbour gets the page", || {
            let page = neighbour.run(&["wget", "-q", "-O", "-", "http://10.220.0.10/"]);
            (page.text() == "hello").then_some(())
        });
        let routes = rig.ok("exec one ip route");
        assert!(routes.contains("default via 10.220.0.254 dev eth0"), "{routes}");
        // Each has an address of its own for the neighbour, and no port of the host.
        let address = |name: &str| rig.ok(&format!("exec {name} cat /sys/class/net/eth0/address"));
        assert_ne!(address("web"), address("one"));
        assert!(neighbour.ip("neigh").contains(&address("web")));
        assert_eq!(rig.ok("port web"), "");
        // The parent goes down, and comes up.
        ip_in(rig.engine_pid(), "link set parent0 down");
        assert!(!reaches(rig, "one", "10.220.0.254"));
        ip_in(rig.engine_pid(), "link set parent0 up");
        until_reached(rig, "one", "10.220.0.254");
        // The host itself does not reach them, as with Docker.
        ip_in(rig.engine_pid(), "addr add 10.220.0.1/24 dev parent0");
        assert_ne!(rig.on_host(&["ping", "-c", "1", "-W", "1", "10.220.0.10"]).code, 0);
        rig.ok("rm -f web one");
        rig.ok("network rm lan");
        assert!(ip_in(rig.engine_pid(), "link").contains("parent0"), "the parent is not ours");
    });
}

#[test]
fn the_mode_decides_whether_containers_reach_each_other() {
    networked(|rig| {
        let _neighbour = neighbour(rig);
        for (mode, expected) in [("bridge", true), ("private", false), ("vepa", false)] {
            rig.ok(&format!("{CREATE} -o macvlan_mode={mode} lan"));
            rig.ok("run -d --name one --network lan --ip 10.220.0.11 busybox sleep 1000");
            rig.ok("run -d --name two --network lan --ip 10.220.0.12 busybox sleep 1000");
            until_reached(rig, "one", "10.220.0.254");
            until_reached(rig, "two", "10.220.0.254");
            assert_eq!(reaches(rig, "one", "10.220.0.12"), expected, "{mode}");
            rig.ok("rm -f one two");
            rig.ok("network rm lan");
        }
        rig.ok(&format!("{CREATE} -o macvlan_mode=passthru lan"));
        rig.ok("run -d --name one --network lan --ip 10.220.0.11 busybox sleep 1000");
        until_reached(rig, "one", "10.220.0.254");
        // It has the parent to itself.
        assert_ne!(rig.cli("run --rm --network lan busybox true").code, 0);
        rig.ok("rm -f one");
        rig.fails(
            &format!("{CREATE} -o macvlan_mode=nosuch other"),
            1,
            "requested macvlan mode 'nosuch' is not valid",
        );
        rig.ok("network rm lan");
    });
}

#[test]
fn the_host_reaches_the_containers_where_it_is_let() {
    networked(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let neighbour = neighbour(rig);
        let host = rig.engine_pid();
        ip_in(host, "addr add 10.220.0.1/24 dev parent0");
        let access = "-o minke.host-access=true";
        rig.fails(&format!("{CREATE} {access} -o macvlan_mode=vepa lan"), 1, "needs macvlan_mode=bridge");
        rig.ok(&format!("{CREATE} {access} lan"));
        rig.ok(&format!("run -d --name web --network lan --ip 10.220.0.10 busybox {SERVE}"));
        let page = |from: &str| {
            within(20, &format!("the page is seen by {from}"), || {
                let words = ["wget", "-q", "-O", "-", "http://10.220.0.10/"];
                let output = if from == "the host" { rig.on_host(&words) } else { neighbour.run(&words) };
                (output.text() == "hello").then_some(())
            });
        };
        page("the host");
        page("the neighbour");
        until_reached(rig, "web", "10.220.0.1");
        // Nothing else of the host's takes another way.
        assert_eq!(rig.on_host(&["ping", "-c", "1", "-W", "5", "10.220.0.254"]).code, 0);
        let ways = || ip_in(host, "route").lines().filter(|line| line.contains(" mh-")).count();
        assert_eq!(ways(), 1);
        rig.ok("run -d --name two --network lan busybox sleep 1000");
        assert_eq!(ways(), 2);
        rig.ok("network disconnect lan two");
        assert_eq!(ways(), 1);
        // One that ends while no engine is there has no way any more, once there is one.
        rig.ok("network connect lan two");
        let pid = rig.inspect("two")["State"]["Pid"].as_i64().expect("a pid");
        rig.kill_engine();
        minke_e2e::process::signal(pid as i32, rustix::process::Signal::KILL);
        rig.start_engine();
        let host = rig.engine_pid();
        let ways = || ip_in(host, "route").lines().filter(|line| line.contains(" mh-")).count();
        within(20, "the way is gone", || (ways() == 1).then_some(()));
        page("the host");
        rig.ok("rm -f web two");
        assert_eq!(ways(), 0);
        rig.ok("network rm lan");
        assert!(!ip_in(host, "link").contains("mh-"), "the host's end goes with the network");
        // With an address of its own, also by IPv6.
        let both =
            "--ipv6 --subnet fd00:220::/64 --aux-address host=10.220.0.5 --aux-address host=fd00:220::5";
        let both = both.replace("--aux-address host=fd00:220::5", "");
        rig.ok(&format!("{CREATE} {access} {both} lan"));
        rig.ok(&format!("run -d --name web --network lan --ip 10.220.0.10 busybox {SERVE}"));
        page("the host");
        until_reached(rig, "web", "10.220.0.5");
        rig.fails("run --rm --network lan --ip 10.220.0.5 busybox true", 125, "Address already in use");
        rig.ok("rm -f web");
        rig.ok("network rm lan");
    });
}
