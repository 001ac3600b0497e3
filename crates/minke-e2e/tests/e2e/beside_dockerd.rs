//! A real dockerd on the same host: each engine's containers are reached and get out as if the other one were not there, while
//! either comes and goes, and ours takes with it what it has put there.

use minke_e2e::cli::Cli;
use minke_e2e::engine::NETWORKS_HERE;
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Dockerd, Engine, Neighbour, Place, Rig, http, within};

use crate::ufw::SERVE;

const OURS: &str = "192.0.2.1:8080";
const THEIRS: &str = "192.0.2.1:9090";
const FORWARDS: &str = "cat /proc/sys/net/ipv4/ip_forward";

/// dockerd in a host's network namespace.
struct Peer {
    engine: Dockerd,
    cli: Cli,
}

impl Peer {
    fn start(host: &Place, folder: &std::path::Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut engine = Dockerd::new(folder).beside(host.pid());
        // Bridges of ours are there; which subnet it chooses beside them is no matter here.
        engine.start(&["--bip", "172.29.0.1/16"]);
        let answer = http::request(
            engine.socket(),
            "POST",
            "/images/create?fromSrc=-&repo=busybox&changes=CMD%20%5B%22sh%22%5D&changes=ENV%20PATH%3D%2Fbin",
            "application/x-tar",
            busybox_tar(),
        );
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cli = Cli::new(Client::Docker, engine.socket(), &folder.join("home"));
        Self { engine, cli }
    }

    fn serve(&self) {
        self.ok(&format!("run -d --network bridge --name web -p 9090:80 busybox {SERVE}"));
    }

    fn ok(&self, line: &str) -> String {
        let output = self.cli.run(line, &[], 60);
        assert_eq!(output.code, 0, "dockerd: {line}\n{}{}", output.text(), output.stderr);
        output.text()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.engine.sweep();
    }
}

fn rules(host: &Place) -> String {
    host.ok("{ iptables-save; ip6tables-save; } 2>/dev/null | sed -e '/^#/d' -e 's/\\[[0-9:]*\\]//'")
}

/// What there is of the two engines.
struct Both<'a> {
    rig: &'a Rig,
    host: &'a Place,
    outsider: &'a Neighbour,
}

impl Both<'_> {
    fn ours_works(&self, why: &str) {
        eprintln!("--- {why}: ours");
        self.outsider.expect(OURS, true, why);
        within(10, &format!("our container gets out; {why}"), || {
            (self.rig.cli("exec web ping -c 1 -W 1 192.0.2.9").code == 0).then_some(())
        });
        self.reached_from_here(OURS, why);
    }

    fn theirs_works(&self, peer: &Peer, why: &str) {
        eprintln!("--- {why}: dockerd's");
        self.outsider.expect(THEIRS, true, why);
        within(10, &format!("dockerd's container gets out; {why}"), || {
            (peer.cli.run("exec web ping -c 1 -W 1 192.0.2.9", &[], 60).code == 0).then_some(())
        });
        self.reached_from_here(THEIRS, why);
    }

    fn reached_from_here(&self, port: &str, why: &str) {
        let busybox = minke_e2e::peers::busybox().display();
        within(10, &format!("{port} is reached from the host; {why}"), || {
            let page = self.host.run(&format!("{busybox} timeout 3 {busybox} wget -q -O - http://{port}/"));
            (page.text() == "hello").then_some(())
        });
    }
}

/// Our engine first, dockerd beside it, and who ends first.
fn side_by_side(backend: &str) {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-two-").tempdir().expect("a scratch folder");
    let host = Place::with("docker", scratch.path());
    let inside = host.inside();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    // A new namespace has the machine's own setting. Where it is off, dockerd turns it on, and then lets FORWARD drop.
    host.ok("echo 0 >/proc/sys/net/ipv4/ip_forward");
    let flag = format!("--firewall-backend={backend}");
    Rig::run_inside(Client::Minke, &inside, &[NETWORKS_HERE, &flag], |rig| {
        let outsider = host.neighbour("uplink", &["192.0.2.1/24"], &["192.0.2.9/24"]);
        let both = Both { rig, host: &host, outsider: &outsider };
        rig.ok(&format!("run -d --network bridge --name web -p 8080:80 busybox {SERVE}"));
        both.ours_works("alone");

        // Its cgroup is called after the folder's name.
        let name = scratch.path().file_name().expect("a name").to_string_lossy().into_owned();
        let place = scratch.path().join(name);
        let mut peer = Peer::start(&host, &place);
        peer.serve();
        assert_eq!(host.ok(FORWARDS).trim(), "1", "dockerd turns it on");
        assert!(rules(&host).contains(":FORWARD DROP"), "and lets the chain drop:\n{}", rules(&host));
        both.theirs_works(&peer, "dockerd has come");
        both.ours_works("dockerd has come");
        // By each other's published ports, at an address of the host.
        let ask = |port: &str| format!("exec web timeout 5 wget -q -O - http://{port}/");
        assert_eq!(rig.ok(&ask(THEIRS)).trim(), "hello", "from ours to dockerd's");
        assert_eq!(peer.ok(&ask(OURS)).trim(), "hello", "from dockerd's to ours");

        rig.ok("run -d --network bridge --name more -p 8081:80 busybox sleep 1000");
        both.theirs_works(&peer, "a second container of ours");
        rig.kill_engine();
        both.theirs_works(&peer, "our engine is killed");
        rig.start_engine();
        both.ours_works("our engine is back");
        both.theirs_works(&peer, "our engine is back");

        peer.engine.end();
        both.ours_works("dockerd has ended");
        peer = Peer::start(&host, &place);
        peer.ok("start web");
        both.theirs_works(&peer, "dockerd is back");
        both.ours_works("dockerd is back");

        rig.remove_all();
        within(10, "our container's address is free", || {
            rig.ok("network inspect bridge --format '{{len .Containers}}'").starts_with('0').then_some(())
        });
        rig.stop_engine();
        both.theirs_works(&peer, "our engine has ended");
        let left = format!("{}{}", rules(&host), host.ok("nft list tables 2>/dev/null || true"));
        let ours = ["MINKE", "minke", "0x1000000"];
        assert!(!ours.iter().any(|word| left.contains(word)), "left of ours:\n{left}");
        assert!(left.contains("-A FORWARD -j DOCKER-USER"), "dockerd's own is there:\n{left}");
        assert_eq!(host.ok(FORWARDS).trim(), "1", "as dockerd wants it");
        rig.start_engine();
        drop(peer);
    });
}

#[test]
fn dockerd_and_ours_notice_nothing_of_each_other() {
    side_by_side("nftables");
}

#[test]
fn dockerd_and_ours_notice_nothing_of_each_other_with_chains_of_iptables() {
    side_by_side("iptables");
}
