//! The host's iptables beside an engine, by each backend: what others flush is back, what they restore is what it was, and a policy
//! that drops does not keep from containers what is published.

use minke_e2e::place::NEVER;
use minke_e2e::{Place, within};

use crate::forwarding::on_host_with;

const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";
const PORT: &str = "192.0.2.1:8080";

/// All rules of iptables, without counters.
fn rules(host: &Place) -> String {
    host.ok("{ iptables-save; ip6tables-save; } 2>/dev/null | sed -e '/^#/d' -e 's/\\[[0-9:]*\\]//'")
}

fn by_each_backend(body: impl Fn(&minke_e2e::Rig, &Place, &minke_e2e::Neighbour)) {
    for backend in ["nftables", "iptables"] {
        eprintln!("--- by {backend}");
        on_host_with("docker", &[&format!("--firewall-backend={backend}")], &body);
    }
}

#[test]
fn what_others_flush_is_back_at_once() {
    by_each_backend(|_, host, outsider| {
        outsider.await_answer(PORT);
        for command in [
            "iptables -P FORWARD DROP",
            "iptables -F",
            "iptables -t nat -F",
            "iptables -t mangle -F",
            "nft flush ruleset && iptables -P FORWARD DROP",
        ] {
            eprintln!("--- {command}");
            host.ok(command);
            outsider.await_answer(PORT);
        }
        outsider.route("172.17.0.0/16", "192.0.2.1");
        outsider.expect("172.17.0.2:80", false, "past what is published");
    });
}

#[test]
fn what_others_list_and_restore_is_what_it_was() {
    by_each_backend(|rig, host, outsider| {
        outsider.await_answer(PORT);
        host.ok("iptables -A DOCKER-USER -s 203.0.113.0/24 -j DROP && iptables -P FORWARD DROP");
        host.ok("iptables -S && iptables -t nat -S && ip6tables -S");
        outsider.await_answer(PORT);
        let before = rules(host);
        assert!(before.contains("-A DOCKER-USER -s 203.0.113.0/24 -j DROP"), "{before}");
        host.ok("iptables-save | iptables-restore && ip6tables-save | ip6tables-restore");
        assert_eq!(rules(host), before);
        outsider.await_answer(PORT);
        // A restart writes nothing, and who is in the users' chain is not let in.
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rules(host), before);
        host.ok("iptables -I DOCKER-USER -s 192.0.2.9 -j DROP");
        outsider.expect(PORT, false, "DOCKER-USER says so");
    });
}

#[test]
fn networks_are_apart_and_closed_ones_closed_by_each_backend() {
    by_each_backend(|rig, host, outsider| {
        outsider.await_answer(PORT);
        rig.ok("network create --subnet 10.211.20.0/24 -o com.docker.network.bridge.enable_icc=false shut");
        rig.ok(&format!("run -d --network shut --ip 10.211.20.7 --name inner -p 8081:80 busybox {SERVE}"));
        outsider.await_answer("192.0.2.1:8081");
        let gets = |network: &str, from: &str| {
            let ask = format!("printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | nc -w 2 {from}");
            rig.cli(&format!("run --rm --network {network} busybox sh -c '{ask}'")).text().contains("hello")
        };
        for network in ["shut", "bridge"] {
            assert!(!gets(network, "10.211.20.7 80"), "from {network}");
            within(20, &format!("from {network} by the published port"), || {
                gets(network, "192.0.2.1 8081").then_some(())
            });
        }
        // Straight to a container comes nothing, but where a network trusts an interface.
        outsider.route("10.211.0.0/16", "192.0.2.1");
        assert!(!outsider.gets("10.211.20.7:80", NEVER));
        rig.ok("network create --subnet 10.211.21.0/24 -o com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected open");
        rig.ok(&format!("run -d --network open --ip 10.211.21.7 --name outer busybox {SERVE}"));
        outsider.await_answer("10.211.21.7:80");
        rig.ok("network create --subnet 10.211.22.0/24 -o com.docker.network.bridge.trusted_host_interfaces=uplink trusting");
        rig.ok(&format!("run -d --network trusting --ip 10.211.22.7 -p 8082:80 -p 127.0.0.1:8083:81 --name third busybox {SERVE}"));
        outsider.await_answer("10.211.22.7:80");
        assert!(!rules(host).contains("uplink -j ACCEPT"));
    });
}

#[test]
fn one_backend_leaves_nothing_to_the_other() {
    on_host_with("docker", &["--firewall-backend=iptables"], |rig, host, outsider| {
        outsider.await_answer(PORT);
        assert!(rules(host).contains("--to-destination 172.17.0.2:80"));
        let flag = minke_e2e::engine::NETWORKS_HERE;
        rig.kill_engine();
        rig.start_engine_with(&[flag]);
        outsider.await_answer(PORT);
        let left = rules(host);
        assert!(!left.contains("MINKE"), "{left}");
        rig.stop_engine();
        rig.start_engine_with(&[flag, "--firewall-backend=iptables"]);
        outsider.await_answer(PORT);
        let tables = host.ok("nft list tables");
        assert!(!tables.contains("inet minke"), "{tables}");
        rig.remove_all();
        rig.stop_engine();
        let left = rules(host);
        assert!(!left.contains("MINKE"), "{left}");
        rig.start_engine();
    });
}
