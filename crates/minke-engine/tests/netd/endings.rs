//! netd and its engine, killed, gone, and back.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use minke_network::netd::message::{self, Request};
use minke_network::netd::{Change, Port};
use minke_network::ports::Protocol;
use minke_sys::channel;

use super::Test;
use super::ports::{publish, published};
use super::stand::*;

pub const TESTS: &[Test] = &[
    ("netd_killed_twenty_times_serves_the_same_again", killed),
    ("an_engine_that_is_gone_and_back_finds_everything_served", engine_back),
    ("what_ends_while_the_engine_is_down_is_given_up_and_nothing_is_left", engine_down),
    ("an_idle_netd_ends_with_its_engine_and_none_is_started_for_nothing", idle),
    ("a_netd_killed_with_its_engine_serves_again_before_the_engine_has_said_what", kept),
    ("two_engines_notice_nothing_of_each_other", side_by_side),
    ("a_netd_that_gives_way_carries_its_connections_to_the_end", retired),
];

const SIGKILL: i32 = 9;

/// A container with a name and a port, served.
fn served(engine: &Engine, id: &str, port: u16, target: &TcpListener) -> (Container, Change) {
    let container = Container::start(id);
    let mut sandbox = container.sandbox(&[]);
    let published = published(Protocol::Tcp, at(loopback(1), port));
    sandbox.ports = vec![Port { published, target: Some(target.local_addr().unwrap()) }];
    let mut change = names(&[(id, &[id], "10.0.0.2")]);
    change.sandboxes = sandboxes(vec![(&container, sandbox)]).sandboxes;
    engine.change(change.clone(), Vec::new());
    (container, change)
}

/// Whether a stream through `port` reaches `target`.
fn reaches(port: u16, target: &TcpListener) -> Option<(TcpStream, TcpStream)> {
    let mut client = TcpStream::connect(at(loopback(1), port)).ok()?;
    client.write_all(b"x").ok()?;
    target.set_nonblocking(true).unwrap();
    let mut inside = eventually("the stream", || target.accept().ok()).0;
    inside.set_nonblocking(false).unwrap();
    inside.read_exact(&mut [0]).ok()?;
    Some((client, inside))
}

/// Whether both ends of a stream still hear each other.
fn goes_on((client, inside): &(TcpStream, TcpStream)) {
    for (mut from, mut to) in [(client, inside), (inside, client)] {
        let mut byte = [0];
        from.write_all(b"y").unwrap();
        to.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"y");
    }
}

fn killed() {
    let engine = Engine::start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let (web, _) = served(&engine, "web", port, &target);
    let mut last = engine.pid().unwrap();
    for _ in 0..20 {
        assert_eq!(web.resolve("web.").unwrap().len(), 1);
        minke_sys::process::kill(last, SIGKILL).unwrap();
        last = eventually("another netd", || engine.pid().filter(|pid| *pid != last));
        eventually("the name", || web.resolve("web.").filter(|found| found.len() == 1));
        eventually("the port", || reaches(port, &target));
    }
}

fn engine_back() {
    let mut engine = Engine::start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let (web, change) = served(&engine, "web", port, &target);
    let pid = engine.pid().unwrap();
    let stream = reaches(port, &target).unwrap();
    for ordered in [false, true] {
        if ordered {
            engine.stop()
        } else {
            drop(engine.crash())
        };
        assert_eq!(web.resolve("web.").unwrap().len(), 1, "while there is no engine");
        goes_on(&stream);
        let mut next = Engine::at(engine.root.clone());
        next.netd_replace(change.clone());
        std::mem::swap(&mut engine, &mut next);
        next.hand_folder_to(&mut engine);
        assert_eq!(engine.pid(), Some(pid), "it is the same one");
        goes_on(&stream);
        assert_eq!(web.resolve("web.").unwrap().len(), 1);
    }
    // And what the last engine served and this one doesn't know is gone.
    drop(engine.crash());
    let mut next = Engine::at(engine.root.clone());
    engine.hand_folder_to(&mut next);
    next.netd_replace(names(&[]));
    eventually("the port is free", || TcpListener::bind(at(loopback(1), port)).ok());
}

fn engine_down() {
    let mut engine = Engine::start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, two) = (free_port(), free_port());
    let (web, _) = served(&engine, "web", one, &target);
    let (db, _) = served(&engine, "db", two, &target);
    let pid = engine.pid().unwrap();
    engine.crash();
    web.end();
    eventually("the port is free", || TcpListener::bind(at(loopback(1), one)).ok());
    assert!(db.resolve("web.").unwrap().is_empty(), "its name is gone with it");
    assert_eq!(db.resolve("db.").unwrap().len(), 1);
    assert!(is_netd(pid));
    db.end();
    eventually("netd has ended", || (!is_netd(pid)).then_some(()));
    assert!(!engine.root.join("netd/socket").exists() && !engine.root.join("netd/state").exists());
}

fn idle() {
    let mut engine = Engine::start();
    assert_eq!(engine.pid(), None);
    engine.change(names(&[("web", &["web"], "10.0.0.2")]), Vec::new());
    assert_eq!(engine.pid(), None, "names that nobody asks for need no process");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (web, _) = served(&engine, "web", free_port(), &target);
    let pid = engine.pid().unwrap();
    engine.change(Change { sandboxes: [(web.id.clone(), None)].into(), ..Change::default() }, Vec::new());
    assert!(is_netd(pid), "the next container finds it");
    engine.stop();
    assert!(!is_netd(pid));
}

fn kept() {
    let mut engine = Engine::start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (web, change) = served(&engine, "web", free_port(), &target);
    let pid = engine.pid().unwrap();
    eventually("the state is kept", || {
        std::fs::read_to_string(engine.root.join("netd/state")).ok().filter(|text| text.contains("web"))
    });
    engine.crash();
    minke_sys::process::kill(pid, SIGKILL).unwrap();
    eventually("netd has ended", || (!is_netd(pid)).then_some(()));
    let mut next = Engine::at(engine.root.clone());
    engine.hand_folder_to(&mut next);
    next.wake();
    eventually("the name", || web.resolve("web.").filter(|found| found.len() == 1));
    let pid = next.pid();
    next.netd_replace(change);
    assert_eq!(next.pid(), pid);
}

fn side_by_side() {
    let (mut one, other) = (Engine::start(), Engine::start());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, other_port) = (free_port(), free_port());
    let (web, _) = served(&one, "web", port, &target);
    let (db, _) = served(&other, "db", other_port, &target);
    let pid = other.pid().unwrap();
    let stream = reaches(other_port, &target).unwrap();
    let first = one.pid().unwrap();
    assert_ne!(first, pid);
    minke_sys::process::kill(first, SIGKILL).unwrap();
    eventually("another netd", || one.pid().filter(|pid| *pid != first));
    eventually("the name", || web.resolve("web.").filter(|found| found.len() == 1));
    one.crash();
    web.end();
    goes_on(&stream);
    assert!(db.resolve("web.").unwrap().is_empty());
    assert_eq!(db.resolve("db.").unwrap().len(), 1);
    assert_eq!(other.pid(), Some(pid));
}

fn retired() {
    let engine = Engine::start();
    let container = Container::start("c");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = at(loopback(1), free_port());
    publish(&engine, &container, Protocol::Tcp, &[host], target.local_addr().unwrap());
    let stream = reaches(host.port(), &target).unwrap();
    let pid = engine.pid().unwrap();
    // Somebody tells it what an engine tells one that is too old.
    let socket = channel::connect(&engine.root.join("netd").to_string_lossy(), "socket").unwrap();
    channel::send(&socket, &message::encode(&Request::Retire), &[], message::LIMITS).unwrap();
    eventually("another netd", || engine.pid().filter(|other| *other != pid));
    eventually("the port", || reaches(host.port(), &target));
    assert!(is_netd(pid), "it carries on");
    goes_on(&stream);
    drop(stream);
    eventually("the old one has ended", || (!is_netd(pid)).then_some(()));
}
