//! Published ports: who carries what comes by localhost, and clients that go on sending while their container is restarted.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use minke_e2e::engine::NETWORKS;
use minke_e2e::neighbour::gets_page;
use minke_e2e::{Client, EngineKind, Rig, networked, process, within};

use crate::kernel_state::{await_settled, in_network_of};

/// Serves a page at port 80, and logs who asked.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -v -p 80 -h /www'";

fn fetch(rig: &Rig, at: &str) {
    within(20, &format!("{at} answers"), || {
        let output = rig.on_host(&["wget", "-q", "-O", "-", &format!("http://{at}/")]);
        (output.text() == "hello").then_some(())
    });
}

fn gateway(rig: &Rig, container: &str) -> String {
    let shown = rig.inspect(container);
    shown["NetworkSettings"]["Networks"]["bridge"]["Gateway"].as_str().unwrap_or_default().to_string()
}

/// What a setting of the engine's host is, by its path below `/proc/sys/net`.
fn setting(rig: &Rig, path: &str) -> String {
    rig.on_host(&["cat", &format!("/proc/sys/net/{path}")]).text()
}

#[test]
fn localhost_is_led_by_the_kernel_and_the_port_stays_held() {
    networked(|rig| {
        rig.ok(&format!(
            "run -d --network bridge --name web -p 8080:80 -p 127.0.0.1:8081:80 busybox {SERVE}"
        ));
        for at in ["127.0.0.1:8080", "127.0.0.2:8080", "127.0.0.1:8081"] {
            fetch(rig, at);
        }
        let gateway = gateway(rig, "web");
        rig.await_log("web", &gateway);
        let log = rig.cli("logs web");
        assert!(!log.stderr.contains("127.0.0.1"), "the gateway is seen, as on dockerd: {}", log.stderr);
        let pid = rig.engine_pid();
        for port in [8080, 8081] {
            let taken = in_network_of(pid, move || TcpListener::bind(("127.0.0.1", port)));
            assert!(taken.is_err(), "{port} is the container's");
        }
        if rig.kind() == EngineKind::Minke {
            let bridge = rig.on_host(&["ip", "-o", "addr"]).text();
            let bridge = bridge.lines().find(|line| line.contains(&format!("inet {gateway}/")));
            let bridge =
                bridge.and_then(|line| line.split_whitespace().nth(1)).expect("the bridge").to_string();
            let localnet = |name: &str| setting(rig, &format!("ipv4/conf/{name}/route_localnet"));
            assert_eq!(["all", "default", "lo", &bridge].map(localnet), ["0", "0", "0", "1"]);
        }
        rig.ok("rm -f web");
        let free =
            in_network_of(pid, || TcpListener::bind("127.0.0.1:8080").and_then(|one| one.local_addr()));
        assert!(free.is_ok(), "{free:?}");
    });
}

#[test]
fn without_a_firewall_user_space_carries_and_nothing_is_set() {
    let flags = [NETWORKS, "--iptables=false", "--ip6tables=false"];
    Rig::run(Client::Minke, &flags, |rig| {
        rig.ok(&format!("run -d --network bridge --name web -p 8080:80 busybox {SERVE}"));
        let gateway = gateway(rig, "web");
        for host in ["127.0.0.1", &gateway] {
            fetch(rig, &format!("{host}:8080"));
        }
        let interfaces = rig.on_host(&["ls", "/proc/sys/net/ipv4/conf"]).text();
        for name in interfaces.split_whitespace() {
            assert_eq!(setting(rig, &format!("ipv4/conf/{name}/route_localnet")), "0", "{name}");
        }
    });
}

/// What was told of one family alone holds also where a network has both.
#[test]
fn a_family_that_is_left_alone_is_so_in_networks_of_both() {
    let flags = [NETWORKS, "--iptables=false"];
    Rig::run(Client::Minke, &flags, |rig| {
        let closed = "-o com.docker.network.bridge.enable_icc=false";
        rig.ok(&format!(
            "network create {closed} --ipv6 --subnet 10.241.1.0/24 --subnet fd00:241:1::/64 one"
        ));
        rig.ok("network create --ipv6 --subnet 10.241.2.0/24 --subnet fd00:241:2::/64 two");
        rig.ok(&format!(
            "run -d --name web --network one --ip 10.241.1.9 --ip6 fd00:241:1::9 busybox {SERVE}"
        ));
        rig.ok("run -d --name beside --network one busybox sleep 1000");
        rig.ok("run -d --name far --network two busybox sleep 1000");
        let get = |from: &str, at: &str| {
            let pid = rig.inspect(from)["State"]["Pid"].as_i64().expect("a pid");
            let at: IpAddr = at.parse().expect("an address");
            gets_page(pid as i32, SocketAddr::new(at, 80), "hello", Duration::from_secs(1))
        };
        for (from, why) in [("beside", "the same network"), ("far", "another network")] {
            within(20, &format!("IPv4 is left alone: {why}"), || get(from, "10.241.1.9").then_some(()));
            assert!(!get(from, "fd00:241:1::9"), "IPv6 isn't: {why}");
        }
        assert!(get("web", "fd00:241:1::9"), "it serves there");
        rig.ok("rm -f web beside far");
        rig.ok("network rm one two");
    });
}

#[test]
fn five_hundred_ports_take_two_descriptors_each_and_little_memory() {
    Rig::run(Client::Minke, &[NETWORKS], |rig| {
        rig.ok("run -d --network bridge --name first -p 19999:80 busybox sleep 1000");
        let netd = within(20, "netd runs", || crate::netd::netd(rig));
        let costs = || {
            let descriptors = std::fs::read_dir(format!("/proc/{netd}/fd")).map_or(0, Iterator::count);
            (descriptors, process::anonymous_kib(netd), process::anonymous_kib(rig.engine_pid()))
        };
        let (few, small, engine) = costs();
        rig.ok("run -d --network bridge --name many -p 20000-20499:20000-20499 busybox sleep 1000");
        await_settled(rig, "with 500 ports");
        let (descriptors, memory, engine_then) = costs();
        eprintln!("--- {few} {small} {engine}, with 500 ports {descriptors} {memory} {engine_then}");
        assert!(descriptors <= few + 2 * 500 + 8, "{descriptors} descriptors");
        assert!(memory <= small + 4 * 1024, "netd has {memory} KiB instead of {small}");
        assert!(engine_then <= engine + 8 * 1024, "the engine has {engine_then} KiB instead of {engine}");
        rig.ok("rm -f many");
        within(20, "the ports are given up", || (costs().0 <= few + 8).then_some(()));
        await_settled(rig, "without them");
    });
}

/// Sends what comes to a port of a container back, until it is dropped; its socket is in the container's namespace.
struct Echo {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(rig: &Rig, container: &str) -> Self {
        let pid = rig.inspect(container)["State"]["Pid"].as_i64().expect("a pid") as i32;
        let socket = in_network_of(pid, || UdpSocket::bind("0.0.0.0:90")).expect("a port in the container");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let end = Arc::new(AtomicBool::new(false));
        let told = end.clone();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 16];
            while !told.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends again and again until an answer comes, from the socket that it always was.
fn asked(socket: &UdpSocket, what: &str) {
    within(30, what, || {
        socket.send(b"there").ok()?;
        let mut bytes = [0; 16];
        socket.recv(&mut bytes).ok().filter(|length| &bytes[..*length] == b"there").map(drop)
    });
}

#[test]
fn a_client_that_keeps_sending_datagrams_gets_answers_after_a_restart() {
    networked(|rig| {
        let run = "run -d --network bridge --name echo -p 9090:90/udp busybox sleep 1000";
        rig.ok(run);
        let hosts = ["127.0.0.1".to_string(), gateway(rig, "echo")];
        let client = |host: &String| {
            let to = SocketAddr::new(host.parse::<IpAddr>().expect("an address"), 9090);
            let socket = in_network_of(rig.engine_pid(), move || {
                let any = if to.ip().is_loopback() { "127.0.0.1:0" } else { "0.0.0.0:0" };
                UdpSocket::bind(any).and_then(|socket| socket.connect(to).map(|()| socket))
            });
            let socket = socket.expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
            socket
        };
        let clients: Vec<UdpSocket> = hosts.iter().map(client).collect();
        let answers = |what: &str| {
            let _echo = Echo::start(rig, "echo");
            clients.iter().for_each(|one| asked(one, what));
        };
        let send_on = || {
            for one in &clients {
                (0..5).for_each(|_| drop(one.send(b"there")));
            }
        };
        answers("an answer");
        rig.ok("restart -t 0 echo");
        answers("an answer after the restart");
        // They send on while nobody has the port, then another container has it, at another address.
        rig.ok("rm -f echo");
        send_on();
        rig.ok("run -d --network bridge --name other busybox sleep 1000");
        rig.ok(run);
        answers("an answer of the next container");
    });
}

#[test]
fn connections_of_an_address_are_forgotten_when_it_goes() {
    networked(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // its network can't be looked into from here
        }
        rig.ok("network create --subnet 10.211.26.0/24 front");
        let known = |address: &str| {
            let all = rig.on_host(&["cat", "/proc/net/nf_conntrack"]).text();
            all.lines().filter(|line| line.contains(&format!("src={address} "))).count()
        };
        for (name, address) in [("one", "10.211.26.7"), ("two", "10.211.26.8")] {
            rig.ok(&format!("run -d --network front --ip {address} --name {name} busybox sleep 1000"));
            let pid = rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32;
            // Nobody listens at the gateway, but the kernel remembers who asked.
            let sent = in_network_of(pid, || UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", "10.211.26.1:9999"));
            sent.expect("the container sends");
            assert_eq!(known(address), 1, "{address}");
        }
        rig.ok("rm -f one");
        within(10, "the one that went is forgotten", || (known("10.211.26.7") == 0).then_some(()));
        assert_eq!(known("10.211.26.8"), 1, "nothing else is");
        rig.ok("network disconnect front two");
        within(10, "so is one that was taken off", || (known("10.211.26.8") == 0).then_some(()));
    });
}
