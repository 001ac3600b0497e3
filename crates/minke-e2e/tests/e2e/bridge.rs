//! Containers on bridges: Docker's networking tutorials, by each client, on dockerd and on ours.

use minke_e2e::{EngineKind, Rig, networked, within};

/// Serves a page at port 80.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";

/// Where no resolver listens: a name that isn't known is not asked for in vain at the host's, which can't be reached from here.
const NOBODY: &str = "--dns 127.0.0.1";

fn address(rig: &Rig, container: &str, network: &str) -> String {
    let found = rig.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"].clone();
    found.as_str().unwrap_or_default().to_string()
}

/// Fetches a page from inside a container, again until it answers.
fn fetch(rig: &Rig, container: &str, host: &str) -> String {
    let mut page = String::new();
    within(20, &format!("{container} gets a page of {host}"), || {
        let output = rig.cli(&format!("exec {container} wget -q -O - http://{host}/"));
        page = output.text();
        (output.code == 0).then_some(())
    });
    page
}

#[test]
fn containers_on_the_default_bridge_reach_each_other_by_address() {
    networked(|rig| {
        rig.ok(&format!("run -d --network bridge --name web busybox {SERVE}"));
        rig.ok(&format!("run -d --network bridge {NOBODY} --name one busybox sleep 1000"));
        let found = rig.inspect("web")["NetworkSettings"]["Networks"]["bridge"].clone();
        let address = found["IPAddress"].as_str().unwrap_or_default();
        let gateway = found["Gateway"].as_str().unwrap_or_default();
        assert!(!address.is_empty() && !gateway.is_empty(), "{found}");
        assert_eq!(found["EndpointID"].as_str().map(str::len), Some(64));
        assert_eq!(fetch(rig, "one", address), "hello");
        rig.ok(&format!("exec one ping -c 1 -W 5 {gateway}"));
        let hosts = rig.ok("exec web cat /etc/hosts");
        let id = rig.inspect("web")["Id"].as_str().unwrap_or_default().to_string();
        assert!(hosts.contains(&format!("{address}\t{}", &id[..12])), "{hosts}");
        let shown = rig
            .ok("network inspect bridge --format '{{range .Containers}}{{.Name}} {{.IPv4Address}},{{end}}'");
        assert!(shown.contains(&format!("web {address}/16")), "{shown}");
        let routes = rig.ok("exec web ip route");
        assert!(routes.contains(&format!("default via {gateway} dev eth0")), "{routes}");
        rig.ok("stop -t 0 web");
        assert_eq!(rig.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], "");
        rig.ok("start web");
        assert_eq!(self::address(rig, "web", "bridge"), address, "a container gets its address again");
        // No names on the default bridge.
        assert_ne!(rig.cli("exec one ping -c 1 -W 1 web").code, 0);
    });
}

#[test]
fn a_published_port_is_reached_from_the_host_and_by_its_own_address() {
    networked(|rig| {
        rig.ok(&format!(
            "run -d --network bridge --name web -p 8080:80 -p 127.0.0.1:9000-9001:90-91/udp busybox {SERVE}"
        ));
        let gateway = rig.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["Gateway"].clone();
        for host in ["127.0.0.1", gateway.as_str().unwrap_or_default()] {
            within(20, &format!("the port answers at {host}"), || {
                let output = rig.on_host(&["wget", "-q", "-O", "-", &format!("http://{host}:8080/")]);
                (output.text() == "hello").then_some(())
            });
        }
        let ports = rig.ok("port web 80");
        assert!(ports.starts_with("0.0.0.0:8080"), "{ports}");
        assert!(rig.ok("port web").contains("91/udp -> 127.0.0.1:9001"));
        let listed = rig.ok("ps --filter name=web --format '{{.Ports}}'");
        assert!(listed.contains("0.0.0.0:8080->80/tcp") && listed.contains("127.0.0.1:9000"), "{listed}");
        rig.fails(
            "run --rm --network bridge -p 8080:80 busybox true",
            125,
            "Bind for 0.0.0.0:8080 failed: port is already allocated",
        );
        rig.ok("rm -f web");
        rig.ok("run --rm --network bridge -p 8080:80 busybox true");
        rig.ok("run -d --network bridge --name any -P --expose 80 busybox sleep 1000");
        let port = rig.ok("port any 80");
        let number: u16 =
            port.lines().next().and_then(|line| line.rsplit(':').next()?.trim().parse().ok()).unwrap_or(0);
        assert!(number >= 1024, "{port}");
    });
}

#[test]
fn containers_of_a_user_network_find_each_other_by_name() {
    networked(|rig| {
        rig.ok("network create --subnet 10.211.7.0/24 front");
        rig.ok(&format!("run -d --name web --network front --network-alias www busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        let id = rig.inspect("web")["Id"].as_str().unwrap_or_default()[..12].to_string();
        for name in ["web", "www", "web.front", id.as_str()] {
            assert_eq!(fetch(rig, "one", name), "hello", "{name}");
        }
        let resolver = rig.ok("exec one cat /etc/resolv.conf");
        assert!(resolver.contains("nameserver 127.0.0.11"), "{resolver}");
        let back = rig.ok(&format!("exec one nslookup {}", address(rig, "web", "front")));
        assert!(back.contains("web.front"), "{back}");
        // Another network knows none of them.
        rig.ok(&format!("run -d --network bridge {NOBODY} --name far busybox sleep 1000"));
        assert_ne!(rig.cli("exec far ping -c 1 -W 1 web").code, 0);
        assert_ne!(rig.cli(&format!("exec far ping -c 1 -W 1 {}", address(rig, "web", "front"))).code, 0);
        rig.fails("network rm front", 1, "has active endpoints");
        rig.ok("rename web site");
        assert_eq!(fetch(rig, "one", "site"), "hello");
    });
}

#[test]
fn a_container_is_connected_and_disconnected_while_it_runs() {
    networked(|rig| {
        rig.ok("network create --subnet 10.211.8.0/24 front");
        rig.ok("network create --internal --subnet 10.211.9.0/24 back");
        rig.ok(&format!("run -d --name web --network back busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        if rig.is_like(27) {
            assert_eq!(
                rig.ok("exec web ip route").matches("default").count(),
                0,
                "an internal network leads nowhere"
            );
        }
        rig.ok("network connect --alias first --ip 10.211.9.77 back one");
        assert_eq!(address(rig, "one", "back"), "10.211.9.77");
        let own = rig.ok("exec one ip addr show eth1");
        assert!(own.contains("10.211.9.77/24"), "{own}");
        assert_eq!(fetch(rig, "one", "web"), "hello");
        rig.ok("exec web ping -c 1 -W 5 first");
        rig.fails("network connect back one", 1, "already exists in network back");
        rig.ok("network disconnect back one");
        rig.fails("network disconnect back one", 1, "is not connected to");
        assert_ne!(rig.cli("exec one ip addr show eth1").code, 0);
        assert_eq!(rig.ok("exec one ip route").matches("default").count(), 1);
        rig.ok("network disconnect front one");
        assert_ne!(rig.cli("exec one ip addr show eth0").code, 0);
        rig.ok("network connect front one");
        assert_eq!(rig.ok("exec one ip route").matches("default via 10.211.8.1").count(), 1);
    });
}

#[test]
fn addresses_that_can_t_be_had_are_refused_in_dockers_words() {
    networked(|rig| {
        rig.ok("network create --subnet 10.211.10.0/24 --ip-range 10.211.10.128/25 front");
        rig.ok("run -d --name one --network front busybox sleep 1000");
        let own = address(rig, "one", "front");
        rig.fails(
            &format!("run --rm --network front --ip {own} busybox true"),
            125,
            "Address already in use",
        );
        rig.fails(
            "run --rm --network front --ip 10.212.0.9 busybox true",
            125,
            "Invalid address 10.212.0.9: It does not belong to any of this network's subnets",
        );
        rig.fails(
            "run --rm --network bridge --ip 172.17.0.9 busybox true",
            125,
            "user specified IP address is supported on user defined networks only",
        );
        rig.fails("run --rm --network nosuch busybox true", 125, "network nosuch not found");
        let shown = rig.ok("run --rm --network front --ip 10.211.10.9 busybox ip addr show eth0");
        assert!(shown.contains("10.211.10.9/24"), "{shown}");
    });
}

#[test]
fn containers_on_networks_notice_nothing_of_an_engine_that_is_killed() {
    networked(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        rig.ok("network create --subnet 10.211.11.0/24 front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        assert_eq!(fetch(rig, "one", "web"), "hello");
        let before = rig.inspect("web")["NetworkSettings"].clone();
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("web")["NetworkSettings"], before);
        assert_eq!(fetch(rig, "one", "web"), "hello");
        rig.fails("run --rm --network front -p 8080:80 busybox true", 125, "port is already allocated");
        rig.ok("run -d --name two --network front busybox sleep 1000");
        assert_eq!(fetch(rig, "two", "web"), "hello");
        // What ends while nobody looks is given back.
        rig.kill_engine();
        rig.start_engine();
        rig.ok("rm -f web one two");
        rig.ok("network rm front");
        rig.ok("run --rm --network bridge -p 8080:80 busybox true");
    });
}
