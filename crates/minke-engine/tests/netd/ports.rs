//! Ports by user space.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use minke_network::netd::{Change, Given, Port, Reservations, Sandbox};
use minke_network::ports::{Host as _, Protocol, Published};

use super::stand::*;
use super::{Test, answers};

pub const TESTS: &[Test] = &[
    ("connections_are_carried_both_ways_and_end_each_way_alone", connections),
    ("a_slow_reader_makes_the_writer_wait_and_loses_nothing", back_pressure),
    ("datagrams_are_carried_to_each_client_its_own", datagrams),
    ("a_datagram_that_nobody_wanted_costs_the_next_one_nothing", late_listener),
    ("answers_come_from_the_address_that_was_asked", every_address),
    ("a_port_is_anothers_as_soon_as_its_container_has_ended", given_up),
    ("five_hundred_ports_need_little", many),
];

/// A port of the host.
pub fn published(protocol: Protocol, host: SocketAddr) -> Published {
    Published { protocol, host, container_port: 80 }
}

/// Publishes at `hosts` what is at `target`, by sockets that the engine has reserved.
pub fn publish(
    engine: &Engine,
    container: &Container,
    protocol: Protocol,
    hosts: &[SocketAddr],
    target: SocketAddr,
) {
    let ports: Vec<Port> = hosts
        .iter()
        .map(|host| Port { published: published(protocol, *host), target: Some(target) })
        .collect();
    let mut reserved = Reservations::default();
    ports.iter().for_each(|port| reserved.reserve(&port.published).unwrap());
    let given: Vec<Given> = reserved.give(&container.id);
    let sandbox = Sandbox { run: 1, process: Some(container.process()), resolver: None, ports };
    engine.change(sandboxes(vec![(container, sandbox)]), given);
}

fn connections() {
    let engine = Engine::start();
    let container = Container::start("c");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let hosts = [at(loopback(1), port), at(IpAddr::V6(Ipv6Addr::LOCALHOST), port)];
    publish(&engine, &container, Protocol::Tcp, &hosts, server.local_addr().unwrap());
    for host in hosts {
        let mut client = TcpStream::connect(host).unwrap();
        let (mut inside, _) = server.accept().unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        inside.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        // The other way goes on.
        inside.write_all(&vec![7; 1 << 20]).unwrap();
        drop(inside);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
    }
    // Nobody listens in the container: the client is told.
    drop(server);
    let mut client = TcpStream::connect(hosts[0]).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

fn back_pressure() {
    let engine = Engine::start();
    let container = Container::start("c");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = at(loopback(1), free_port());
    publish(&engine, &container, Protocol::Tcp, &[host], server.local_addr().unwrap());
    let mut client = TcpStream::connect(host).unwrap();
    let (mut inside, _) = server.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    let chunk: Vec<u8> = (0..1 << 16).map(|number| (number % 251) as u8).collect();
    let mut sent = Vec::new();
    // Until nothing more is taken, several times over.
    let mut full = 0;
    while full < 20 {
        match client.write(&chunk) {
            Ok(count) => sent.extend_from_slice(&chunk[..count]),
            Err(_) => {
                full += 1;
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert!(sent.len() < 256 << 20, "somebody takes it all");
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    inside.read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}

fn datagrams() {
    let engine = Engine::start();
    let container = Container::start("c");
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = free_port();
    let hosts = [at(loopback(1), port), at(IpAddr::V6(Ipv6Addr::LOCALHOST), port)];
    publish(&engine, &container, Protocol::Udp, &hosts, server.local_addr().unwrap());
    let clients: Vec<UdpSocket> = (0..4)
        .map(|number| {
            let client = UdpSocket::bind(if number % 2 == 0 { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
            client.connect(hosts[number % 2]).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        })
        .collect();
    for round in 0..3u8 {
        for (number, client) in clients.iter().enumerate() {
            client.send(&[number as u8, round]).unwrap();
        }
        for _ in &clients {
            let mut datagram = [0; 16];
            let (length, from) = server.recv_from(&mut datagram).unwrap();
            server.send_to(&datagram[..length], from).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut datagram = [0; 16];
            assert_eq!(client.recv(&mut datagram).unwrap(), 2);
            assert_eq!(datagram[..2], [number as u8, round]);
        }
    }
}

fn late_listener() {
    let engine = Engine::start();
    let container = Container::start("c");
    let (host, target) = (at(loopback(1), free_port()), at(loopback(3), free_port()));
    publish(&engine, &container, Protocol::Udp, &[host], target);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(host).unwrap();
    client.send(b"too early").unwrap();
    // Until it has been told that nobody listens, or not: neither may cost the next one.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let server = UdpSocket::bind(target).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"now").unwrap();
    let mut datagram = [0; 16];
    assert_eq!(server.recv(&mut datagram).unwrap(), 3);
}

fn every_address() {
    let engine = Engine::start();
    let container = Container::start("c");
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = free_port();
    publish(
        &engine,
        &container,
        Protocol::Udp,
        &[at("0.0.0.0".parse().unwrap(), port)],
        server.local_addr().unwrap(),
    );
    for last in [1, 77] {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // Connected: what comes from another address isn't heard.
        client.connect(at(loopback(last), port)).unwrap();
        client.send(b"x").unwrap();
        let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
        server.send_to(b"y", from).unwrap();
        assert_eq!(client.recv(&mut [0; 16]).unwrap(), 1);
    }
}

fn given_up() {
    let engine = Engine::start();
    let container = Container::start("c");
    let (tcp, udp) = (at(loopback(1), free_port()), at(loopback(1), free_port()));
    let ports = [published(Protocol::Tcp, tcp), published(Protocol::Udp, udp)];
    let all: Vec<Port> = ports.iter().cloned().map(|published| Port { published, target: None }).collect();
    let sandbox = Sandbox { run: 1, process: Some(container.process()), resolver: None, ports: all };
    engine.change(sandboxes(vec![(&container, sandbox)]), Vec::new());
    for port in &ports {
        assert!(Reservations::default().reserve(port).is_err());
    }
    container.end();
    for port in &ports {
        eventually("the port is free", || Reservations::default().reserve(port).ok());
    }
}

fn many() {
    let engine = Engine::start();
    let container = Container::start("c");
    // One that is there already, so that only the ports are counted.
    publish(&engine, &container, Protocol::Tcp, &[at(loopback(2), free_port())], at(loopback(1), 9));
    let pid = engine.pid().unwrap();
    let (memory, files) = (private_kib(pid), answers::descriptors(pid));
    let mut hosts = Vec::new();
    while hosts.len() < 1000 {
        // Both families each, as a port that is published everywhere has.
        let port = 20000 + hosts.len() as u16;
        hosts.extend([at(loopback(1), port), at(IpAddr::V6(Ipv6Addr::LOCALHOST), port)]);
    }
    publish(&engine, &container, Protocol::Tcp, &hosts, at(loopback(1), 9));
    let (more_memory, more_files) =
        (private_kib(pid) - memory, answers::descriptors(pid) as i64 - files as i64);
    println!(
        "netd: {memory} KiB of its own and {files} descriptors; 500 ports of both families: {more_memory} KiB and {more_files} descriptors more"
    );
    assert!(more_memory < 4096, "{more_memory} KiB");
    assert!(more_files <= 1000, "{more_files} descriptors");
    engine.change(Change { sandboxes: [("c".to_string(), None)].into(), ..Change::default() }, Vec::new());
    eventually("they are given up", || (answers::descriptors(pid) <= files).then_some(()));
}

/// The memory that a process has for itself.
fn private_kib(pid: i32) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |name: &str| -> i64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    of("Private_Dirty:") + of("Private_Clean:")
}
