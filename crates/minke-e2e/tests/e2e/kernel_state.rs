//! What an engine says of its networks, compared with what is in the kernel, at netd and in its files.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;

use minke_e2e::{Rig, deadline, peers, process};
use minke_network::Names;
use minke_network::firewall::frame;
use minke_network::link::Kernel;
use minke_network::nft::{Data, Element, Nft, Set, Table};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
use serde_json::Value;

/// Does something in the network namespace of a process.
pub fn in_network_of<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            process::enter_network(pid).expect("the process's network namespace");
            work()
        });
        inside.join().expect("the work is done")
    })
}

/// An applet's output in the network namespace of a process.
fn applet(pid: i64, words: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg(peers::busybox()).args(words);
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until there is no difference.
pub fn await_settled(rig: &Rig, when: &str) {
    let end = std::time::Instant::now() + deadline::seconds(15);
    loop {
        let found = differences(rig);
        if found.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < end, "{when}:\n{}", found.join("\n"));
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}

/// One endpoint as inspect shows it.
struct Seen {
    container: String,
    network: String,
    endpoint: String,
    address: String,
}

/// What is other than it should be, a line per thing.
pub fn differences(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    let listed = rig.get("/containers/json").json();
    let running: Vec<Value> = listed
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| rig.get(&format!("/containers/{}/json", row["Id"].as_str().unwrap_or_default())).json())
        .filter(|shown| shown["State"]["Running"] == true)
        .collect();
    let seen: Vec<Seen> = running.iter().flat_map(endpoints).collect();
    in_networks(rig, &seen, &mut found);
    in_bridges(rig, &mut found);
    in_links(rig, &running, &seen, &mut found);
    in_firewall(rig, &running, &mut found);
    at_netd(rig, &running, &seen, &mut found);
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// Those with an interface.
fn endpoints(shown: &Value) -> Vec<Seen> {
    let networks = shown["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
    let one = |(_, settings): (String, Value)| Seen {
        container: text(&shown["Id"]),
        network: text(&settings["NetworkID"]),
        endpoint: text(&settings["EndpointID"]),
        address: text(&settings["IPAddress"]),
    };
    networks.into_iter().filter(|(name, _)| name != "none" && name != "host").map(one).collect()
}

fn compare<T: std::fmt::Debug + Ord>(
    what: &str,
    wanted: BTreeSet<T>,
    there: BTreeSet<T>,
    found: &mut Vec<String>,
) {
    found.extend(wanted.difference(&there).map(|one| format!("{what}: {one:?} is missing")));
    found.extend(there.difference(&wanted).map(|one| format!("{what}: {one:?} is too much")));
}

fn in_networks(rig: &Rig, seen: &[Seen], found: &mut Vec<String>) {
    let mut there = BTreeSet::new();
    for network in rig.get("/networks").json().as_array().into_iter().flatten() {
        let id = text(&network["Id"]);
        let shown = rig.get(&format!("/networks/{id}")).json();
        for (container, member) in shown["Containers"].as_object().into_iter().flatten() {
            let address = text(&member["IPv4Address"]);
            if !address.is_empty() {
                let address = address.split('/').next().unwrap_or_default().to_string();
                there.insert((id.clone(), container.clone(), text(&member["EndpointID"]), address));
            }
        }
    }
    let wanted = seen
        .iter()
        .map(|one| (one.network.clone(), one.container.clone(), one.endpoint.clone(), one.address.clone()));
    compare("the networks' members", wanted.collect(), there, found);
}

fn in_bridges(rig: &Rig, found: &mut Vec<String>) {
    let networks = rig.get("/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D").json();
    let wanted = networks.as_array().into_iter().flatten().filter(|network| network["Driver"] == "bridge");
    let wanted = wanted.map(|network| minke_network::engine::bridge_of(&text(&network["Id"])));
    let names = Names::of(&rig.marks().exec_root);
    let there = in_network_of(rig.engine_pid(), || Kernel::open(&names).and_then(|kernel| kernel.found()));
    let there = there.expect("the links").made.into_keys();
    // The default bridge is made when it is needed.
    compare("bridges", wanted.collect(), there.filter(|name| *name != names.bridge).collect(), found);
}

fn in_links(rig: &Rig, running: &[Value], seen: &[Seen], found: &mut Vec<String>) {
    let names = Names::of(&rig.marks().exec_root);
    let links = applet(rig.engine_pid().into(), &["ip", "-o", "link"]);
    let there = links.lines().filter_map(|line| {
        let name = line.split(": ").nth(1)?.split('@').next()?;
        name.starts_with(&names.host_end).then(|| name.to_string())
    });
    let wanted = seen.iter().map(|one| names.host_end_of(&one.endpoint));
    compare("the host's ends", wanted.collect(), there.collect(), found);
    for shown in running {
        let (id, pid) = (text(&shown["Id"]), shown["State"]["Pid"].as_i64().unwrap_or_default());
        let addresses = applet(pid, &["ip", "-o", "-4", "addr"]);
        let there = addresses.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let address = words.iter().position(|word| *word == "inet").and_then(|at| words.get(at + 1))?;
            (words.get(1) != Some(&"lo")).then(|| address.split('/').next().unwrap_or_default().to_string())
        });
        let own: Vec<&Seen> = seen.iter().filter(|one| one.container == id).collect();
        let what = format!("addresses in {}", text(&shown["Name"]));
        compare(&what, own.iter().map(|one| one.address.clone()).collect(), there.collect(), found);
        let ways = applet(pid, &["ip", "route"]).matches("default via").count();
        if ways != usize::from(!own.is_empty()) {
            found.push(format!("{} has {ways} ways out", text(&shown["Name"])));
        }
    }
}

/// The published ports of a container that the kernel carries: protocol, port, and where they lead.
fn published(shown: &Value) -> Vec<(u8, u16, SocketAddr)> {
    let ports = shown["NetworkSettings"]["Ports"].as_object().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for (inside, bindings) in ports {
        let (port, protocol) = inside.split_once('/').unwrap_or((&inside, "tcp"));
        let port: u16 = port.parse().unwrap_or_default();
        let number = if protocol == "udp" { 17 } else { 6 };
        for binding in bindings.as_array().into_iter().flatten().filter(|one| one["HostIp"] == "0.0.0.0") {
            let host = text(&binding["HostPort"]).parse().unwrap_or_default();
            // The container has the port at one of its addresses; which one, the element says.
            all.push((number, host, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
        }
    }
    all
}

fn elements(nft: &Nft, table: &Table, set: &Set) -> BTreeSet<Element> {
    nft.elements(table, set).ok().flatten().unwrap_or_default()
}

fn in_firewall(rig: &Rig, running: &[Value], found: &mut Vec<String>) {
    let names = Names::of(&rig.marks().exec_root);
    let there = in_network_of(rig.engine_pid(), || {
        let nft = Nft::open().expect("a socket");
        let table = frame::packets(&names.table, None, None);
        elements(&nft, &table, &frame::PUBLISHED4)
    });
    let mut leads: BTreeMap<(u8, u16), SocketAddr> = BTreeMap::new();
    for element in there {
        let (key, Data::Value(value)) = (&element.key, &element.data) else { continue };
        let port = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        let address = IpAddr::from([value[0], value[1], value[2], value[3]]);
        leads.insert((key[0], port(&key[4..])), SocketAddr::new(address, port(&value[4..])));
    }
    let mut wanted = BTreeSet::new();
    for shown in running {
        for (protocol, host, inside) in published(shown) {
            wanted.insert((protocol, host));
            let own = endpoints(shown);
            let leads_to = leads.get(&(protocol, host)).map(|to| (to.ip().to_string(), to.port()));
            let right = leads_to.as_ref().is_some_and(|(address, port)| {
                *port == inside.port() && own.iter().any(|one| one.address == *address)
            });
            if !right {
                found.push(format!("port {host} of {} leads to {leads_to:?}", text(&shown["Name"])));
            }
        }
    }
    compare("the firewall's ports", wanted, leads.into_keys().collect(), found);
}

fn at_netd(rig: &Rig, running: &[Value], seen: &[Seen], found: &mut Vec<String>) {
    let state = std::fs::read(rig.marks().exec_root.join("netd/state")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&state).unwrap_or_default();
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let bridge = text(&rig.get("/networks/bridge").json()["Id"]);
    let on_user: Vec<&Seen> = seen.iter().filter(|one| one.network != bridge).collect();
    let wanted = on_user.iter().map(|one| one.endpoint.clone());
    compare("netd's names", wanted.collect(), keys(&state["named"]), found);
    let served = running.iter().filter(|shown| {
        let id = text(&shown["Id"]);
        !published(shown).is_empty() || on_user.iter().any(|one| one.container == id)
    });
    let wanted = served.map(|shown| text(&shown["Id"]));
    compare("netd's containers", wanted.collect(), keys(&state["sandboxes"]), found);
    for shown in running {
        let kept = &state["sandboxes"][text(&shown["Id"])];
        if !kept.is_null() && kept["process"]["pid"] != shown["State"]["Pid"] {
            found.push(format!("netd watches {} for {}", kept["process"], text(&shown["Name"])));
        }
    }
    let mut there = BTreeSet::new();
    for (flag, protocol) in [("-ltn", 6), ("-lun", 17)] {
        for line in applet(rig.engine_pid().into(), &["netstat", flag]).lines() {
            let local = line.split_whitespace().nth(3).unwrap_or_default();
            if let Some(port) = local.strip_prefix("0.0.0.0:").and_then(|port| port.parse().ok()) {
                there.insert((protocol, port));
            }
        }
    }
    let wanted: BTreeSet<(u8, u16)> =
        running.iter().flat_map(published).map(|(protocol, host, _)| (protocol, host)).collect();
    // Another engine may have ports beside it.
    found.extend(wanted.difference(&there).map(|one| format!("nobody listens at {one:?}")));
}

/// What the kernel tells of links, addresses, routes and the packet filter of a network namespace, from now on.
pub struct Notifications {
    sockets: Vec<(&'static str, OwnedFd)>,
}

impl Notifications {
    /// Begins to listen where a process is.
    pub fn listen(pid: i32) -> Self {
        // RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE; and NFNLGRP_NFTABLES.
        let groups = 1 | 0x10 | 0x40 | 0x100 | 0x400;
        let open = |protocol, groups| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
                .expect("a socket");
            rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, groups)).expect("its groups");
            socket
        };
        let sockets = in_network_of(pid, || {
            vec![
                ("links, addresses and routes", open(None, groups)),
                ("the packet filter", open(Some(netlink::NETFILTER), 1 << 6)),
            ]
        });
        Self { sockets }
    }

    /// What was told, a line per message.
    pub fn so_far(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        let mut bytes = [0; 65536];
        for (what, socket) in &self.sockets {
            while let Ok((length, _)) = rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
                told.push(format!("{what}: message of the kind {kind:#x}, {length} bytes"));
            }
        }
        told
    }
}
