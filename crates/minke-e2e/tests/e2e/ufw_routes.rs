//! ufw's rules about what is routed (`ufw route`) decide about what goes to and from containers.

use minke_e2e::Client;
use minke_e2e::place::NEVER;

use crate::ufw::{BY_CHAINS, beside_ufw, bridge, serve};

const PORT: &str = "192.0.2.1:8080";

#[test]
fn a_route_rule_opens_and_closes_what_is_published() {
    route_rules_open_and_close(&[]);
}

#[test]
fn a_route_rule_opens_and_closes_what_is_published_with_chains_of_iptables() {
    route_rules_open_and_close(BY_CHAINS);
}

fn route_rules_open_and_close(flags: &[&str]) {
    beside_ufw(Client::Minke, flags, |at| {
        serve(at.rig, "");
        let network = at.rig.inspect("web")["NetworkSettings"]["Networks"]["bridge"].clone();
        let container = network["IPAddress"].as_str().unwrap_or_default();
        at.outsider.route(&format!("{container}/32"), "192.0.2.1");
        let straight = format!("{container}:80");
        let allow_address = format!("route allow proto tcp from 192.0.2.0/24 to {container} port 80");
        let allow_out = format!("route allow in on uplink out on {}", bridge(at.rig));
        let deny_out = format!("route deny in on uplink out on {}", bridge(at.rig));
        // Command, whether the published port is then reached, whether the container itself is.
        let steps = [
            // By the container's port, whatever it is published as: no container is named, so none is reached straight.
            ("route allow proto tcp from any to any port 80", true, false),
            ("route deny proto tcp from 192.0.2.9 to any port 80", true, false),
            ("route delete allow proto tcp from any to any port 80", false, false),
            // A rule for the host's port does not open what a route rule closes.
            ("allow 8080/tcp", false, false),
            ("route delete deny proto tcp from 192.0.2.9 to any port 80", true, false),
            ("delete allow 8080/tcp", false, false),
            (allow_address.as_str(), true, true),
            // Nor the other way round.
            ("deny 8080/tcp", false, true),
            ("delete deny 8080/tcp", true, true),
            ("--force reset", true, false),
            ("--force enable", false, false),
            (allow_out.as_str(), true, true),
            (deny_out.as_str(), false, false),
        ];
        for (command, published, itself) in steps {
            at.host.ok(&format!("ufw {command}"));
            at.outsider.expect(PORT, published, command);
            at.outsider.expect(&straight, itself, command);
        }
        // The other side is not asked about `uplink`.
        assert!(!at.other.gets("198.51.100.1:8080", NEVER));
    });
}

#[test]
fn what_containers_send_is_denied_by_a_route_rule_alone() {
    beside_ufw(Client::Minke, &[], |at| {
        at.rig.ok("run -d --network bridge --name one busybox sleep 1000");
        at.rig.ok("run -d --network bridge --name two busybox sleep 1000");
        let found = at.rig.inspect("two");
        let two = found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap_or_default();
        let ping = |to: &str| at.rig.cli(&format!("exec one ping -c 1 -W 1 {to}")).code == 0;
        // ufw's default for what is routed is to deny, and containers get out all the same.
        assert!(ping("192.0.2.9") && ping(two));
        let out = format!("in on {} out on uplink", bridge(at.rig));
        at.host.ok(&format!("ufw route deny {out}"));
        minke_e2e::within(10, "the way out is closed", || (!ping("192.0.2.9")).then_some(()));
        assert!(ping("198.51.100.9") && ping(two));
        at.host.ok(&format!("ufw route delete deny {out}"));
        minke_e2e::within(10, "the way out is open again", || ping("192.0.2.9").then_some(()));
    });
}
