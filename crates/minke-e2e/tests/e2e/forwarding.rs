//! Forwarding that an engine turns on for its containers: it is known as its own, gives way to others, and is taken back.

use minke_e2e::engine::NETWORKS_HERE;
use minke_e2e::{Client, Neighbour, Place, Rig, peers, within};

const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";
const PORT: &str = "192.0.2.1:8080";

/// Runs a test on a host with the packages of `peer` and an outsider 192.0.2.9 at `uplink`, and a published web server.
pub fn on_host_with(peer: &str, flags: &[&str], body: impl Fn(&Rig, &Place, &Neighbour)) {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-host-").tempdir().expect("a scratch folder");
    let host = Place::with(peer, scratch.path());
    let inside = host.inside();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    // A new namespace has the machine's own setting.
    host.ok("echo 0 >/proc/sys/net/ipv4/ip_forward");
    Rig::run_inside(Client::Minke, &inside, &[&[NETWORKS_HERE], flags].concat(), |rig| {
        let outsider = host.neighbour("uplink", &["192.0.2.1/24"], &["192.0.2.9/24"]);
        rig.ok(&format!("run -d --network bridge --name web -p 8080:80 busybox {SERVE}"));
        body(rig, &host, &outsider);
    });
}

/// What podman hands to netavark for a container on its default network with `-p 9090:80`.
fn netavarks_plan() -> serde_json::Value {
    serde_json::json!({
        "container_id": "2".repeat(64),
        "container_name": "p",
        "networks": {"podman": {"static_ips": ["10.88.0.2"], "interface_name": "eth0"}},
        "network_info": {"podman": {
            "name": "podman",
            "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
            "driver": "bridge",
            "network_interface": "podman0",
            "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
            "ipv6_enabled": false,
            "internal": false,
            "dns_enabled": false,
            "ipam_options": {"driver": "host-local"}
        }},
        "port_mappings": [
            {"host_ip": "", "container_port": 80, "host_port": 9090, "range": 1, "protocol": "tcp"}
        ]
    })
}

fn forwarding(host: &Place, of: &str) -> String {
    host.ok(&format!("cat /proc/sys/net/ipv4/{of}")).trim().to_owned()
}

const UPLINK: &str = "conf/uplink/forwarding";
const ALL: &str = "ip_forward";

#[test]
fn podman_beside_us_forwards_as_if_we_were_not_there() {
    on_host_with("podman", &[], |rig, host, outsider| {
        outsider.await_answer(PORT);
        assert_eq!([ALL, UPLINK].map(|of| forwarding(host, of)), ["0", "2"]);
        // Its program for networks alone: whether its containers start is no matter here.
        let page = rig.scratch().join("www");
        std::fs::create_dir(&page).expect("a folder");
        std::fs::write(page.join("index.html"), "hello\n").expect("a page");
        let plan = rig.scratch().join("plan.json");
        std::fs::write(&plan, netavarks_plan().to_string()).expect("a plan");
        let netavark =
            |word: &str| format!("/usr/lib/podman/netavark {word} /run/netns/pod <{}", plan.display());
        host.ok(&format!("ip netns add pod && {}", netavark("setup")));
        let (busybox, page) = (peers::busybox().display(), page.display());
        host.ok(&format!(
            "timeout 60 ip netns exec pod {busybox} httpd -f -p 80 -h {page} </dev/null >/dev/null 2>&1 &"
        ));
        outsider.await_answer("192.0.2.1:9090");
        let settings = [ALL, UPLINK].map(|of| forwarding(host, of));
        assert_eq!(settings, ["1", "1"], "podman says that this host forwards");
        outsider.await_answer(PORT);
        host.ok(&format!("{} && ip netns pids pod | xargs kill; ip netns del pod", netavark("teardown")));
        outsider.await_answer(PORT);
    });
}

#[test]
fn what_was_off_before_is_known_after_kill_9_and_put_back_at_the_end() {
    on_host_with("docker", &[], |rig, host, outsider| {
        outsider.await_answer(PORT);
        rig.kill_engine();
        rig.start_engine();
        outsider.await_answer(PORT);
        assert_eq!([ALL, UPLINK].map(|of| forwarding(host, of)), ["0", "2"]);
        // Somebody says yes, and no again.
        host.ok("echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/ip_forward");
        within(10, "forwarding is turned on again", || (forwarding(host, UPLINK) == "2").then_some(()));
        outsider.await_answer(PORT);
        // With a container on a bridge it all stays.
        rig.stop_engine();
        assert_eq!(forwarding(host, UPLINK), "2");
        rig.start_engine();
        rig.remove_all();
        within(10, "the container's address is free", || {
            rig.ok("network inspect bridge --format '{{len .Containers}}'").starts_with('0').then_some(())
        });
        rig.stop_engine();
        assert_eq!([ALL, UPLINK].map(|of| forwarding(host, of)), ["0", "0"]);
        let tables = host.ok("nft list tables");
        assert!(!tables.contains("minke"), "{tables}");
        rig.start_engine_with(&[NETWORKS_HERE, "--ip-forward=false"]);
        rig.ok("run --rm --network bridge busybox true");
        assert_eq!(forwarding(host, UPLINK), "0");
    });
}
