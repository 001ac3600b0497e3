//! Interfaces of the host that vendors' devices bring into a container: moved with name and addresses, and gone with it.

use minke_e2e::engine::NETWORKS;
use minke_e2e::neighbour::{Neighbour, ip_in};
use minke_e2e::{Client, Rig, clients};
use serde_json::json;

/// A folder with a vendor's description of network cards.
fn descriptions() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let card = |name: &str, from: &str, to: &str| json!({"name": name, "containerEdits": {"netDevices": [{"hostInterfaceName": from, "name": to}]}});
    let description = json!({
        "cdiVersion": "1.1.0",
        "kind": "vendor.com/net",
        "devices": [
            card("card", "card0", "net7"),
            card("numbered", "card0", "eth%d"),
            card("clash", "card0", "eth0"),
            card("absent", "card9", "net9"),
            card("misnamed", "card0", "net/0"),
            {"name": "nameless", "containerEdits": {"netDevices": [{"hostInterfaceName": "card0"}]}},
        ],
    });
    std::fs::write(folder.path().join("vendor.json"), description.to_string()).expect("a file");
    folder
}

/// A card on the host with addresses, and the machine at the other end of its cable.
fn card(rig: &Rig) -> Neighbour {
    let neighbour = Neighbour::start(rig.engine_pid(), "card0", "cable0");
    neighbour.ip("addr add 10.221.0.254/24 dev cable0");
    for line in [
        "link set card0 mtu 1400",
        "addr add 10.221.0.1/24 brd 10.221.0.255 dev card0",
        "addr add fd00:221::1/64 nodad dev card0",
        "addr add 169.254.221.1/16 scope link dev card0",
        "addr add 10.222.0.1/24 valid_lft 1000 preferred_lft 1000 dev card0",
    ] {
        ip_in(rig.engine_pid(), line);
    }
    neighbour
}

/// The card is where it was, as it was.
fn is_untouched(rig: &Rig) {
    let found = ip_in(rig.engine_pid(), "addr show card0");
    assert!(found.contains("10.221.0.1/24") && found.contains("fd00:221::1/64"), "{found}");
    assert!(found.contains(",UP"), "{found}");
}

/// The container has the card under a name, with the addresses that last, and reaches the neighbour by it.
fn has_card(rig: &Rig, container: &str, name: &str) {
    let found = rig.ok(&format!("exec {container} ip addr show {name}"));
    for expected in ["mtu 1400", "10.221.0.1/24 brd 10.221.0.255", "fd00:221::1/64 scope global", ",UP"] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    assert!(!found.contains("169.254") && !found.contains("10.222"), "{found}");
    rig.ok(&format!("exec {container} ping -c 1 -W 5 10.221.0.254"));
    let links = ip_in(rig.engine_pid(), "link");
    assert!(!links.contains("card0"), "{links}");
}

/// Ends the container; the card is virtual and ends with it.
fn ends(rig: &Rig, container: &str, neighbour: &Neighbour) {
    rig.ok(&format!("rm -f {container}"));
    minke_e2e::within(10, "the card is gone with its namespace", || {
        (!neighbour.ip("link").contains("cable0")).then_some(())
    });
}

#[test]
fn a_card_of_the_host_is_moved_into_its_container() {
    let folder = descriptions();
    let folder = folder.path().to_str().expect("a name in ASCII");
    for client in clients() {
        Rig::run(client, &[NETWORKS, "--cdi-spec-dir", folder], |rig| {
            if !rig.is_like(25) {
                return;
            }
            let neighbour = card(rig);
            let run = |how: &str, card: &str| {
                format!("run -d {how} --device vendor.com/net={card} busybox sleep 1000")
            };
            for (network, card, words) in [
                ("none", "absent", "link not found for interface card9 on runtime namespace: no such device"),
                ("bridge", "clash", "fail to move network device card0 to network namespace: file exists"),
                ("host", "card", "unable to move network devices without a private NET namespace"),
                ("none", "misnamed", "invalid network device name \"net/0\""),
                ("none", "nameless", "invalid linux net device, empty Name"),
            ] {
                rig.fails(&run(&format!("--rm --network {network}"), card), 125, words);
                is_untouched(rig);
            }
            rig.ok(&run("--name one --network none", "card"));
            has_card(rig, "one", "net7");
            rig.fails(&run("--rm --network none", "card"), 125, "link not found for interface card0");
            ends(rig, "one", &neighbour);
            let neighbour = self::card(rig);
            rig.ok(&run("--name two --network bridge --sysctl net.ipv4.conf.eth1.forwarding=0", "numbered"));
            has_card(rig, "two", "eth1");
            ends(rig, "two", &neighbour);
            let neighbour = self::card(rig);
            rig.ok("run -d --name owner --network none busybox sleep 1000");
            rig.ok(&run("--name three --network container:owner", "card"));
            has_card(rig, "owner", "net7");
            rig.ok("rm -f three");
            assert!(rig.ok("exec owner ip link").contains("net7"), "it is the namespace's");
            ends(rig, "owner", &neighbour);
        });
    }
}

#[test]
fn a_card_is_its_containers_in_a_user_namespace_too() {
    let (folder, etc) = (descriptions(), super::userns::etc());
    let folder = folder.path().to_str().expect("a name in ASCII");
    let inside = super::userns::inside(etc.path());
    let own_network = ["unshare", "--net"].into_iter();
    let inside: Vec<&str> = own_network.chain(inside.iter().map(String::as_str)).collect();
    let flags = ["--userns-remap", "default", "--cdi-spec-dir", folder];
    Rig::run_inside(Client::Minke, &inside, &flags, |rig| {
        let neighbour = card(rig);
        let line = "--network none --cap-add NET_ADMIN --device vendor.com/net=card busybox sleep 1000";
        rig.ok(&format!("run -d --name one {line}"));
        has_card(rig, "one", "net7");
        // It may do with it what it likes.
        rig.ok("exec one ip addr add 10.223.0.1/24 dev net7");
        rig.fails(&format!("run --rm {line}"), 125, "link not found for interface card0");
        ends(rig, "one", &neighbour);
    });
}
