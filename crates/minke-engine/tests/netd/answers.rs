//! What a container is answered.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use minke_network::netd::{Given, Sandbox, Upstream};

use super::Test;
use super::stand::*;

pub const TESTS: &[Test] = &[
    ("names_are_answered_by_datagram_and_by_connection", names_are_answered),
    ("sockets_that_were_made_ahead_are_served_before_there_is_a_process", made_ahead),
    ("a_container_may_have_port_53_and_the_resolvers_itself", own_port_53),
    ("others_are_asked_from_where_they_are_reached", upstreams),
    ("what_outside_resolvers_say_to_another_question_is_not_heard", liars),
    ("dead_resolvers_are_a_failure_before_the_asker_gives_up", dead),
    ("one_container_that_asks_without_end_leaves_others_their_answers", flood),
];

fn names_are_answered() {
    let engine = Engine::start();
    let web = Container::start("web");
    let mut change = names(&[("web", &["web", "all"], "10.0.0.2"), ("db", &["db", "all"], "10.0.0.3")]);
    change.sandboxes = sandboxes(vec![(&web, web.sandbox(&[]))]).sandboxes;
    engine.change(change, Vec::new());
    assert_eq!(web.resolve("db.").unwrap(), ["10.0.0.3".parse::<std::net::IpAddr>().unwrap()]);
    let (one, other) = (web.resolve("all.").unwrap(), web.resolve("all.front.").unwrap());
    assert_eq!(one.len(), 2);
    assert_ne!(one[0], other[0], "each comes first in turn");
    web.inside(|| {
        assert_eq!(addresses(&ask_connected(&question("web.", RecordType::A))).len(), 1);
        let v6 = ask(&question("web.", RecordType::AAAA)).unwrap();
        assert_eq!((v6.metadata.response_code, v6.answers.len()), (ResponseCode::NoError, 0));
        let back = ask(&question("3.0.0.10.in-addr.arpa.", RecordType::PTR)).unwrap();
        assert!(matches!(&back.answers[0].data, RData::PTR(name) if name.to_ascii() == "db.front."));
    });
    // A link is its own, in any case.
    let mut sandbox = web.sandbox(&[]);
    sandbox.resolver.as_mut().unwrap().links.insert("Store".into(), "db".into());
    engine.change(sandboxes(vec![(&web, sandbox)]), Vec::new());
    assert_eq!(web.resolve("stORE.").unwrap().len(), 1);
    // A name comes and another goes, without a new socket.
    let mut change = names(&[("new", &["new"], "10.0.0.4")]);
    change.named.insert("e-db".into(), None);
    engine.change(change, Vec::new());
    assert_eq!(web.resolve("new.").unwrap().len(), 1);
    assert!(web.resolve("db.").unwrap().is_empty());
}

fn made_ahead() {
    let engine = Engine::start();
    let (namespace, sockets) = std::thread::spawn(|| {
        let namespace = minke_sys::link::enter_new_network().unwrap();
        let began = Instant::now();
        let sockets = minke_network::netd::resolver::prepare(true).unwrap();
        println!("the resolver's sockets and redirect: made in {:?}", began.elapsed());
        (namespace, sockets)
    })
    .join()
    .unwrap();
    let resolver = Container::start("x").sandbox(&[]).resolver;
    let mut change = names(&[("web", &["web"], "10.0.0.2")]);
    change.sandboxes.insert("web".into(), Some(Sandbox { run: 1, resolver, ..Sandbox::default() }));
    let inside = namespace.try_clone().unwrap();
    let given = Given::Namespace { sandbox: "web".into(), namespace, sockets: Some(sockets) };
    engine.change(change, vec![given]);
    let asker = std::thread::spawn(move || {
        minke_sys::process::join_namespaces(&inside, u64::from(minke_sys::process::CLONE_NEWNET)).unwrap();
        assert_eq!(addresses(&ask(&question("web.", RecordType::A)).unwrap()).len(), 1);
        assert_eq!(addresses(&ask_connected(&question("web.", RecordType::A))).len(), 1);
    });
    asker.join().unwrap();
}

fn own_port_53() {
    let engine = Engine::start();
    let web = Container::start("web");
    // Whatever it has, in whatever order.
    let _held = web.inside(|| {
        let ports = [53, 31153].map(|port| (UdpSocket::bind(at(loopback(11), port)), port));
        ports.map(|(socket, port)| (socket.unwrap(), TcpListener::bind(at(loopback(11), port)).unwrap()))
    });
    let mut change = names(&[("web", &["web"], "10.0.0.2")]);
    change.sandboxes = sandboxes(vec![(&web, web.sandbox(&[]))]).sandboxes;
    engine.change(change, Vec::new());
    assert_eq!(web.resolve("web.").unwrap().len(), 1);
    web.inside(|| assert_eq!(addresses(&ask_connected(&question("web.", RecordType::A))).len(), 1));
}

/// Answers with `address` what it is asked, once and by datagram.
fn answer_once(socket: &UdpSocket, address: Ipv4Addr) -> SocketAddr {
    let mut packet = [0; 4096];
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (length, from) = socket.recv_from(&mut packet).unwrap();
    let asked = Message::from_vec(&packet[..length]).unwrap();
    socket.send_to(&answer_of(&asked, address).to_vec().unwrap(), from).unwrap();
    from
}

fn answer_of(asked: &Message, address: Ipv4Addr) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.add_queries(asked.queries.clone());
    answer.add_answer(Record::from_rdata(asked.queries[0].name().clone(), 60, RData::A(A(address))));
    answer
}

fn upstreams() {
    let engine = Engine::start();
    let web = Container::start("web");
    let (inside, outside) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let mut asked_from = Vec::new();
    for (from_host, address) in [(false, inside), (true, outside)] {
        let bind = || UdpSocket::bind(at(loopback(5), 53)).unwrap();
        let socket = if from_host { bind() } else { web.inside(bind) };
        engine.change(
            sandboxes(vec![(&web, web.sandbox(&[Upstream::new(loopback(5), from_host)]))]),
            Vec::new(),
        );
        let other = std::thread::spawn(move || answer_once(&socket, address));
        assert_eq!(web.resolve("example.com.").unwrap(), [std::net::IpAddr::V4(address)]);
        asked_from.push(other.join().unwrap());
    }
    assert_ne!(asked_from[0], asked_from[1]);
    // One that isn't there is passed over at once.
    let socket = UdpSocket::bind(at(loopback(6), 53)).unwrap();
    let both = [Upstream::new(loopback(7), true), Upstream::new(loopback(6), true)];
    engine.change(sandboxes(vec![(&web, web.sandbox(&both))]), Vec::new());
    let other = std::thread::spawn(move || answer_once(&socket, outside));
    let began = Instant::now();
    assert_eq!(web.resolve("example.com.").unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_millis(1400), "refused is as good as said");
    other.join().unwrap();
}

fn liars() {
    let engine = Engine::start();
    let web = Container::start("web");
    let socket = UdpSocket::bind(at(loopback(5), 53)).unwrap();
    let stranger = UdpSocket::bind(at(loopback(5), 54)).unwrap();
    engine.change(sandboxes(vec![(&web, web.sandbox(&[Upstream::new(loopback(5), true)]))]), Vec::new());
    let (wrong, right) = (Ipv4Addr::new(192, 0, 2, 66), Ipv4Addr::new(192, 0, 2, 1));
    let liar = std::thread::spawn(move || {
        let mut packet = [0; 4096];
        let (length, from) = socket.recv_from(&mut packet).unwrap();
        let asked = Message::from_vec(&packet[..length]).unwrap();
        // From elsewhere, under another number, to another question, and no message at all.
        stranger.send_to(&answer_of(&asked, wrong).to_vec().unwrap(), from).unwrap();
        let mut other = answer_of(&asked, wrong);
        other.metadata.id ^= 1;
        socket.send_to(&other.to_vec().unwrap(), from).unwrap();
        let mut other = asked.clone();
        other.queries = question("example.org.", RecordType::A).queries;
        socket.send_to(&answer_of(&other, wrong).to_vec().unwrap(), from).unwrap();
        socket.send_to(&packet[..11], from).unwrap();
        socket.send_to(&answer_of(&asked, right).to_vec().unwrap(), from).unwrap();
    });
    assert_eq!(web.resolve("example.com.").unwrap(), [std::net::IpAddr::V4(right)]);
    liar.join().unwrap();
}

fn dead() {
    let engine = Engine::start();
    let web = Container::start("web");
    let silent = UdpSocket::bind(at(loopback(5), 53)).unwrap();
    engine.change(sandboxes(vec![(&web, web.sandbox(&[Upstream::new(loopback(5), true)]))]), Vec::new());
    let began = Instant::now();
    let answer = web.inside(|| ask(&question("example.com.", RecordType::A))).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(silent);
    let began = Instant::now();
    let answer = web.inside(|| ask(&question("example.com.", RecordType::A))).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(began.elapsed() < Duration::from_secs(1), "nobody is there");
}

fn flood() {
    let engine = Engine::start();
    let (bad, good) = (Container::start("bad"), Container::start("good"));
    let _silent = UdpSocket::bind(at(loopback(5), 53)).unwrap();
    let upstreams = [Upstream::new(loopback(5), true)];
    let mut change = names(&[("good", &["good"], "10.0.0.2")]);
    change.sandboxes =
        sandboxes(vec![(&bad, bad.sandbox(&upstreams)), (&good, good.sandbox(&upstreams))]).sandboxes;
    engine.change(change, Vec::new());
    let pid = engine.pid().unwrap();
    let before = descriptors(pid);
    let (over, told) = mpsc::channel();
    bad.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(ASK).unwrap();
        let message = question("example.com.", RecordType::A).to_vec().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut answer = [0; 512];
        // What is too much is told at once.
        let length = eventually("an answer", || {
            for _ in 0..50 {
                let _ = socket.send(&message);
            }
            socket.recv(&mut answer).ok()
        });
        let answer = Message::from_vec(&answer[..length]).unwrap();
        over.send(answer.metadata.response_code).unwrap();
    });
    assert_eq!(told.recv().unwrap(), ResponseCode::ServFail);
    assert!(descriptors(pid) <= before + 256 + 4);
    let began = Instant::now();
    assert_eq!(good.resolve("good.").unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// How many descriptors a process has.
pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
