//! `--metrics-addr`: the engine's numbers, for Prometheus.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use minke_e2e::{Client, EngineKind, Rig, deadline};

/// Asks for a path and returns the whole answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(deadline::seconds(30))).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn numbers_are_served_and_nothing_else() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let address = free.to_string();
    Rig::run(Client::Docker, &["--metrics-addr", &address], |rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // its network is its own
        }
        rig.ok("run -d --network none --name one busybox sleep 100000");
        let answer = get(&address, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("engine_daemon_container_states_containers{state=\"running\"} 1\n"),
            "{answer}"
        );
        assert!(answer.contains("engine_daemon_engine_info{"), "{answer}");
        assert!(get(&address, "/containers/json").starts_with("HTTP/1.1 404"));
    });
}
