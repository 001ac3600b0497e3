//! Debian's firewalld on the host, with a message bus of its own: who reaches a published port is what the zone of the interface says
//! that he comes by, and what containers send gets out.

use std::path::Path;

use minke_e2e::engine::NETWORKS_HERE;
use minke_e2e::place::NEVER;
use minke_e2e::{Client, Neighbour, Place, Rig, within};

use crate::ufw::serve;

const BUS: &str = "<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>\
    <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>";

struct Beside<'a> {
    rig: &'a Rig,
    host: &'a Place,
    log: &'a Path,
    outsider: Neighbour,
    other: Neighbour,
}

fn start(host: &Place, log: &Path) {
    host.start("firewalld --nofork --nopid", log);
    within(30, "firewalld runs", || (host.run("firewall-cmd --state").code == 0).then_some(()));
}

fn beside_firewalld(flags: &[&str], body: impl Fn(&Beside<'_>)) {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-fw-").tempdir().expect("a scratch folder");
    let host = Place::with("firewalld", scratch.path());
    let (bus, log) = (scratch.path().join("bus.conf"), scratch.path().join("log"));
    std::fs::write(&bus, BUS).expect("the scratch folder takes a file");
    host.ok("mkdir -p /run/dbus /run/firewalld");
    host.start(&format!("dbus-daemon --nofork --config-file={}", bus.display()), &log);
    within(10, "the bus is there", || {
        (host.run("test -S /run/dbus/system_bus_socket").code == 0).then_some(())
    });
    start(&host, &log);
    let inside = host.inside();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let flags = [&[NETWORKS_HERE], flags].concat();
    Rig::run_inside(Client::Minke, &inside, &flags, |rig| {
        let outsider = host.neighbour("uplink", &["192.0.2.1/24"], &["192.0.2.9/24"]);
        let other = host.neighbour("side", &["198.51.100.1/24"], &["198.51.100.9/24"]);
        body(&Beside { rig, host: &host, log: &log, outsider, other });
    });
}

const PORT: &str = "192.0.2.1:8080";
const HTTP: &str = "192.0.2.1:80";
const OTHER: &str = "198.51.100.1:8080";

#[test]
fn a_published_port_is_reached_by_whom_the_zone_lets_in() {
    who_reaches_a_published_port(&[]);
}

#[test]
fn a_published_port_is_reached_by_whom_the_zone_lets_in_with_chains_of_iptables() {
    who_reaches_a_published_port(crate::ufw::BY_CHAINS);
}

fn who_reaches_a_published_port(flags: &[&str]) {
    beside_firewalld(flags, |at| {
        serve(at.rig, "-p 80:80");
        // What firewall-cmd is told, then whether port 8080 is reached, port 80, and port 8080 by the other interface.
        let steps = [
            ("--state", false, false, false),
            ("--add-port=8080/tcp", true, false, true),
            ("--remove-port=8080/tcp", false, false, false),
            ("--permanent --add-service=http", false, false, false),
            (
                "--add-rich-rule='rule family=ipv4 source address=192.0.2.0/24 port port=8080 protocol=tcp accept'",
                true,
                false,
                false,
            ),
            ("--reload", false, true, false),
            ("--zone=trusted --change-interface=side", false, true, true),
            ("--add-rich-rule='rule family=ipv4 source address=192.0.2.9 drop'", false, false, true),
        ];
        for (command, first, http, other) in steps {
            at.host.ok(&format!("firewall-cmd {command}"));
            at.outsider.expect(PORT, first, command);
            at.outsider.expect(HTTP, http, command);
            at.other.expect(OTHER, other, command);
        }
    });
}

#[test]
fn containers_get_out_beside_firewalld_while_it_is_reloaded_and_begins_anew() {
    beside_firewalld(&[], |at| {
        serve(at.rig, "");
        at.rig.ok("network create front");
        at.rig.ok("run -d --network front --name one busybox sleep 1000");
        let gets_out = |container: &str, why: &str| {
            within(10, &format!("{container} gets out; {why}"), || {
                let ping = at.rig.cli(&format!("exec {container} ping -c 1 -W 1 192.0.2.9"));
                (ping.code == 0).then_some(())
            });
        };
        let both = |why: &str| ["web", "one"].iter().for_each(|container| gets_out(container, why));
        both("at first");
        at.host.ok("firewall-cmd --reload");
        both("reloaded");
        assert!(!at.outsider.gets(PORT, NEVER));
        at.host.stop_last();
        at.outsider.expect(PORT, true, "firewalld has ended");
        both("firewalld has ended");
        start(at.host, at.log);
        at.outsider.expect(PORT, false, "firewalld runs again");
        both("firewalld runs again");
        // A network that comes later, too.
        at.rig.ok("network create back");
        at.rig.ok("run -d --network back --name two busybox sleep 1000");
        gets_out("two", "a new network");
        // Nothing of ours is on disk.
        assert_eq!(at.host.run("grep -rli minke /etc/firewalld").code, 1);
    });
}

#[test]
fn the_policy_of_docker_opens_ports_past_firewalld() {
    beside_firewalld(&["--publish-policy", "docker"], |at| {
        serve(at.rig, "");
        at.outsider.await_answer(PORT);
        within(10, "the container gets out", || {
            (at.rig.cli("exec web ping -c 1 -W 1 192.0.2.9").code == 0).then_some(())
        });
    });
}
