//! The host's own firewall decides who reaches a published port: ufw's files, as ufw writes them, and real packets.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use minke_network::firewall::{Firewall, Keeper, NetworkRules, PublishedRule, Settings, Wanted};
use minke_network::ports::Protocol;

use crate::place::{Host, NEVER, SOON, network, seen, serve};

fn write(etc: &Path, enabled: bool, rules: &str) {
    std::fs::create_dir_all(etc.join("ufw")).unwrap();
    std::fs::create_dir_all(etc.join("default")).unwrap();
    std::fs::write(etc.join("default/ufw"), "IPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\n").unwrap();
    std::fs::write(etc.join("ufw/user.rules"), rules).unwrap();
    std::fs::write(etc.join("ufw/user6.rules"), "").unwrap();
    // Last, as one write is heard at a time.
    let enabled = if enabled { "yes" } else { "no" };
    std::fs::write(etc.join("ufw/ufw.conf"), format!("ENABLED={enabled}\n")).unwrap();
}

#[test]
fn a_published_port_is_reached_by_whom_ufw_lets_in() {
    let host = Host::forwarding();
    let outside = host.neighbour("up", &["192.0.2.1/24", "fd01::1/64"], &["192.0.2.9/24", "fd01::9/64"]);
    let net = network("n", &[], &["10.0.0.0/24", "fd00::/64"]);
    host.make(&net);
    let server = host.guest(&net, &["10.0.0.2/24", "fd00::2/64"]);
    let other = host.guest(&net, &["10.0.0.3/24", "fd00::3/64"]);
    serve(&server.namespace, "[::]:80");
    let rules = NetworkRules::of(&net).unwrap().unwrap();
    let published = |host: &str, to: &str| PublishedRule {
        bridge: rules.bridge.clone(),
        protocol: Protocol::Tcp,
        host: host.parse().unwrap(),
        to: to.parse().unwrap(),
    };
    let wanted = Wanted {
        networks: vec![rules.clone()],
        published: vec![
            published("0.0.0.0:8080", "10.0.0.2:80"),
            published("192.0.2.1:8443", "10.0.0.2:80"),
            published("[::]:8080", "[fd00::2]:80"),
        ],
        ..Wanted::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path();
    write(etc, true, "");
    let mut firewall =
        host.namespace.run(|| Firewall::open(&host.names, Settings::default())).unwrap().unwrap();
    firewall.honour_ufw(etc.to_path_buf());
    firewall.apply(&wanted).unwrap();
    let came = |to: &str, wait| seen(&outside, to, wait).is_some();
    for to in ["192.0.2.1:8080", "192.0.2.1:8443", "[fd01::1]:8080"] {
        assert!(!came(to, NEVER), "{to}");
    }
    // From the host and its containers it is reached all the same.
    assert!(seen(&host.namespace, "192.0.2.1:8080", SOON).is_some());
    assert!(seen(&other.namespace, "192.0.2.1:8080", SOON).is_some());
    let cases: &[(&str, bool, bool)] = &[
        ("allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in", true, false),
        ("allow tcp 8000:8100 0.0.0.0/0 any 192.0.2.0/24 in", true, false),
        ("allow any 8443 192.0.2.1 any 192.0.2.9 in_up", false, true),
        ("allow tcp 8080 0.0.0.0/0 any 198.51.100.0/24 in", false, false),
        ("allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in_eth7", false, false),
        ("allow udp 8080 0.0.0.0/0 any 0.0.0.0/0 in", false, false),
        ("allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in", false, false),
        (
            "deny tcp 8080 0.0.0.0/0 any 192.0.2.9 in\n### tuple ### allow any any 0.0.0.0/0 any 0.0.0.0/0 in",
            false,
            true,
        ),
    ];
    for (rule, first, second) in cases {
        write(etc, true, &format!("### tuple ### {rule}\n"));
        assert!(firewall.repair().unwrap(), "{rule}");
        assert_eq!(came("192.0.2.1:8080", if *first { SOON } else { NEVER }), *first, "{rule}");
        assert_eq!(came("192.0.2.1:8443", if *second { SOON } else { NEVER }), *second, "{rule}");
    }
    // While it is kept, a change of the files is enough.
    let firewall = Arc::new(Mutex::new(firewall));
    let (send, repaired) = mpsc::channel();
    let _keeper = host
        .namespace
        .run(|| {
            Keeper::start(firewall, move |result| {
                let _ = send.send(result.is_ok());
            })
        })
        .unwrap()
        .unwrap();
    write(etc, false, "");
    assert_eq!(repaired.recv_timeout(SOON), Ok(true));
    assert!(came("192.0.2.1:8080", SOON));
    assert!(came("[fd01::1]:8080", SOON));
}
