//! Networks with IPv6: addresses, names, ports and ways out of both families.

use minke_e2e::neighbour::{Neighbour, ip_in};
use minke_e2e::{Rig, networked, within};

/// Serves a page at port 80, for both families.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p [::]:80 -h /www'";

fn address(rig: &Rig, container: &str, network: &str) -> String {
    let found = rig.inspect(container)["NetworkSettings"]["Networks"][network]["GlobalIPv6Address"].clone();
    found.as_str().unwrap_or_default().to_string()
}

/// Fetches a page from inside a container, again until it answers.
fn fetched(rig: &Rig, container: &str, url: &str) {
    within(20, &format!("{container} gets {url}"), || {
        (rig.cli(&format!("exec {container} wget -q -O - {url}")).text() == "hello").then_some(())
    });
}

fn fetched_on_host(rig: &Rig, url: &str) {
    within(20, &format!("the host gets {url}"), || {
        (rig.on_host(&["wget", "-q", "-O", "-", url]).text() == "hello").then_some(())
    });
}

#[test]
fn a_network_has_an_ipv6_subnet_of_its_own_where_it_is_asked_for() {
    networked(|rig| {
        if !rig.is_like(27) {
            return;
        }
        rig.ok("network create --ipv6 front");
        let shown = rig
            .ok("network inspect front --format '{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{end}}'");
        assert!(shown.starts_with("true ") && shown.contains(" fd") && shown.contains("::/64"), "{shown}");
        rig.ok(&format!("run -d --name web --network front busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        let address = address(rig, "web", "front");
        assert!(address.starts_with("fd"), "{address}");
        fetched(rig, "one", &format!("http://[{address}]/"));
        let answer = rig.ok("exec one nslookup -type=aaaa web");
        assert!(answer.contains(&address), "{answer}");
        let hosts = rig.ok("exec web cat /etc/hosts");
        assert!(hosts.contains(&format!("{address}\t")), "{hosts}");
        // Another such network has another subnet, and is another world.
        rig.ok("network create --ipv6 back");
        rig.ok("run -d --name far --network back busybox sleep 1000");
        assert_ne!(rig.cli(&format!("exec far ping -6 -c 1 -W 1 {address}")).code, 0);
    });
}

#[test]
fn given_prefixes_and_addresses_are_kept_and_ports_are_published_by_both_families() {
    networked(|rig| {
        let outside = Neighbour::start(rig.engine_pid(), "outer0", "cable0");
        ip_in(rig.engine_pid(), "addr add fd00:99::1/64 dev outer0 nodad");
        outside.ip("addr add fd00:99::2/64 dev cable0 nodad");
        outside.ip("route add default via fd00:99::1");
        rig.ok(
            "network create --ipv6 --subnet 10.211.20.0/24 --subnet fd00:5::/64 --gateway fd00:5::9 front",
        );
        rig.ok(&format!(
            "run -d --name web --network front --ip6 fd00:5::77 -p 8080:80 -p [::1]:8081:80 busybox {SERVE}"
        ));
        assert_eq!(address(rig, "web", "front"), "fd00:5::77");
        let routes = rig.ok("exec web ip -6 route");
        assert!(routes.contains("default via fd00:5::9 dev eth0"), "{routes}");
        // Old clients write no brackets.
        let ports =
            rig.ok("port web").replace("> :::8080", "> [::]:8080").replace("> ::1:8081", "> [::1]:8081");
        assert!(ports.contains("80/tcp -> [::]:8080") && ports.contains("80/tcp -> [::1]:8081"), "{ports}");
        for host in ["[::1]:8080", "[::1]:8081", "127.0.0.1:8080", "[fd00:99::1]:8080", "[fd00:5::9]:8080"] {
            fetched_on_host(rig, &format!("http://{host}/"));
        }
        let from_outside =
            |host: &str| outside.run(&["wget", "-q", "-O", "-", &format!("http://{host}/")]).text();
        within(20, "who is outside gets the page", || {
            (from_outside("[fd00:99::1]:8080") == "hello").then_some(())
        });
        assert_eq!(from_outside("[fd00:99::1]:8081"), "", "that port is the host's own");
        rig.fails("run --rm --network front --ip6 fd00:5::77 busybox true", 125, "Address already in use");
        rig.fails("run --rm --network front --ip6 fd00:6::1 busybox true", 125, "does not belong to any");
        // The container itself gets at its published port.
        fetched(rig, "web", "http://[fd00:5::9]:8080/");
    });
}

#[test]
fn an_internal_network_leads_nowhere_by_either_family() {
    networked(|rig| {
        let outside = Neighbour::start(rig.engine_pid(), "outer0", "cable0");
        for (here, there) in [("10.230.0.1/24", "10.230.0.2/24"), ("fd00:99::1/64", "fd00:99::2/64")] {
            ip_in(rig.engine_pid(), &format!("addr add {here} dev outer0 nodad"));
            outside.ip(&format!("addr add {there} dev cable0 nodad"));
        }
        rig.ok("network create --internal --ipv6 --subnet 10.211.21.0/24 --subnet fd00:7::/64 back");
        rig.ok(&format!("run -d --name web --network back -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network back busybox sleep 1000");
        fetched(rig, "one", "http://web/");
        fetched(rig, "one", &format!("http://[{}]/", address(rig, "web", "back")));
        for to in ["10.230.0.2", "10.230.0.1", "fd00:99::2", "fd00:99::1"] {
            assert_ne!(rig.cli(&format!("exec one ping -c 1 -W 1 {to}")).code, 0, "{to}");
        }
        outside.ip("route add default via 10.230.0.1");
        outside.ip("route add default via fd00:99::1");
        let inside = rig.inspect("web")["NetworkSettings"]["Networks"]["back"]["IPAddress"].clone();
        for to in [inside.as_str().unwrap_or_default(), &address(rig, "web", "back")] {
            assert_ne!(outside.run(&["ping", "-c", "1", "-W", "1", to]).code, 0, "{to}");
        }
        // Nothing of it is published.
        assert_eq!(rig.ok("port web"), "");
    });
}
