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
    });
}

#[test]
fn nothing_is_left_in_iptables_when_the_engine_ends_but_what_people_put_there() {
    by_each_backend(|rig, host, outsider| {
        host.ok("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP");
        outsider.await_answer(PORT);
        let end = || {
            rig.remove_all();
            await_free(rig);
            rig.stop_engine();
            rules(host)
        };
        let left = end();
        let ours = ["MINKE", "DOCKER-USER", "-A FORWARD"];
        assert!(!ours.iter().any(|word| left.contains(word)), "{left}");
        // Who has rules in the users' chain keeps it.
        rig.start_engine();
        rig.ok("run --rm --network bridge busybox true");
        host.ok("iptables -A DOCKER-USER -s 203.0.113.0/24 -j DROP");
        let left = end();
        assert!(!left.contains("MINKE") && !left.contains("0x1000000"), "{left}");
        assert!(left.contains("-A FORWARD -j DOCKER-USER"), "{left}");
        assert!(left.contains("-A DOCKER-USER -s 203.0.113.0/24 -j DROP"), "{left}");
        rig.start_engine();
    });
}

fn await_free(rig: &minke_e2e::Rig) {
    within(10, "the container's address is free", || {
        rig.ok("network inspect bridge --format '{{len .Containers}}'").starts_with('0').then_some(())
    });
}

/// A folder whose `iptables` is the older one.
const OLDER: &str = "mkdir -p /run/older && for name in iptables ip6tables iptables-save ip6tables-save \
    iptables-restore ip6tables-restore; do \
    case $name in *-*) older=${name%-*}-legacy-${name##*-} ;; *) older=$name-legacy ;; esac; \
    ln -s /usr/sbin/$older /run/older/$name; done";

#[test]
fn what_is_flushed_by_the_older_iptables_is_back_too() {
    for backend in ["nftables", "iptables"] {
        eprintln!("--- by {backend}");
        let scratch = tempfile::Builder::new().prefix("minke-e2e-old-").tempdir().expect("a scratch folder");
        let host = Place::with("docker", scratch.path());
        host.ok(OLDER);
        // There before the engine is: its own tables of the other kind tell of nothing here.
        host.ok("iptables-legacy -P FORWARD DROP && ip6tables-legacy -P FORWARD DROP");
        let mut inside = host.inside();
        let path = std::env::var("PATH").unwrap_or_default();
        inside.extend(["env".to_owned(), format!("PATH=/run/older:{path}")]);
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        let flags = [minke_e2e::engine::NETWORKS_HERE, &format!("--firewall-backend={backend}")];
        minke_e2e::Rig::run_inside(minke_e2e::Client::Minke, &inside, &flags, |rig| {
            let outsider = host.neighbour("uplink", &["192.0.2.1/24"], &["192.0.2.9/24"]);
            rig.ok(&format!("run -d --network bridge --name web -p 8080:80 busybox {SERVE}"));
            outsider.await_answer(PORT);
            let rules = || {
                let text = host.ok("iptables-legacy-save | sed -e '/^#/d' -e 's/\\[[0-9:]*\\]//' | sort");
                text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>()
            };
            let before = rules();
            assert!(before.iter().any(|rule| rule == "-A FORWARD -j DOCKER-USER"), "{before:?}");
            for command in ["-F", "-t nat -F", "-t mangle -F", "-F FORWARD"] {
                eprintln!("--- iptables-legacy {command}");
                host.ok(&format!("iptables-legacy {command}"));
                // In the tables themselves: for a moment user space carries a port whose rule is gone.
                within(10, "all rules are back", || (rules() == before).then_some(()));
                outsider.await_answer(PORT);
            }
            rig.remove_all();
            await_free(rig);
            rig.stop_engine();
            let left = host.ok("iptables-legacy-save; ip6tables-legacy-save");
            let ours = ["MINKE", "DOCKER-USER", "0x1000000"];
            assert!(!ours.iter().any(|word| left.contains(word)), "{left}");
            rig.start_engine();
        });
    }
}
