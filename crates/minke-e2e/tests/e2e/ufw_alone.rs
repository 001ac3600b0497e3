//! The recipe of docs/ufw.md for who wants no rules but his own: `"iptables": false`, and ufw that routes.

use minke_e2e::place::NEVER;
use minke_e2e::{Client, Place, within};

use crate::ufw::{SERVE, beside_ufw};

/// All tables of the host, without counters.
fn tables(host: &Place) -> String {
    host.ok("nft -s list ruleset; for tool in iptables ip6tables; do $tool-save | grep -v '^#' | sed 's/\\[.*\\]//'; done")
}

#[test]
fn without_rules_of_its_own_the_engine_leaves_every_table_alone_and_ufw_decides() {
    beside_ufw(Client::Minke, &["--iptables=false", "--ip6tables=false"], |at| {
        at.host.ok("ufw default allow routed");
        let before = tables(at.host);
        at.rig.ok("network create front");
        at.rig.ok(&format!("run -d --network front --name web -p 8080:80 busybox {SERVE}"));
        at.rig.ok("run -d --network front --name one busybox sleep 1000");
        assert_eq!(tables(at.host), before);
        // Containers reach each other by name.
        within(20, "one container reaches the other", || {
            let page = at.rig.cli("exec one wget -q -O - http://web/");
            (page.text() == "hello").then_some(())
        });
        assert!(at.rig.ok("exec one cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        // A published port is carried in user space, and who may come is what ufw says about programs of the host.
        let (to, by_v6) = ("192.0.2.1:8080", "[fd01::1]:8080");
        assert!(!at.outsider.gets(to, NEVER));
        for (command, reached) in
            [("allow 8080/tcp", true), ("delete allow 8080/tcp", false), ("allow from 192.0.2.9", true)]
        {
            at.host.ok(&format!("ufw {command}"));
            at.outsider.expect(to, reached, command);
        }
        assert!(!at.other.gets("198.51.100.1:8080", NEVER));
        assert!(!at.outsider.gets(by_v6, NEVER));
        at.host.ok("ufw delete allow from 192.0.2.9");
        assert_eq!(at.rig.on_host(&["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]).text(), "hello");
        at.rig.kill_engine();
        at.rig.start_engine();
        at.rig.ok("rm -f web one");
        at.rig.ok("network rm front");
        assert_eq!(tables(at.host), before);
    });
}
