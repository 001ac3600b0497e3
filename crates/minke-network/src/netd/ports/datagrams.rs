//! UDP by user space: a socket for each client, so that the container's answers find their way, for as long as they talk.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use minke_sys::datagram::{self, Destination};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::super::task::Task;

/// How long a client that is silent, and is sent nothing, is remembered: as long as Docker does.
const IDLE: Duration = Duration::from_secs(90);
/// How many clients of one port are remembered.
const CLIENTS: usize = 512;
/// The longest datagram.
const LONGEST: usize = 65536;
/// How many datagrams are moved in a row before others have their turn.
const TURN: usize = 32;
/// What a talk's socket is waited for: that nobody listens is an error, and nothing to read.
const NEWS: Interest = Interest::READABLE.add(Interest::ERROR);
/// How long to rest where nothing can be read.
const REST: Duration = Duration::from_millis(50);

/// A client, and the address of this host that it talks to.
type Pair = (SocketAddr, Option<Destination>);
thread_local! {
    /// Where a datagram is on its way through.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST]);
}

type Clients = Rc<RefCell<HashMap<Pair, Client>>>;

struct Client {
    talk: Rc<Talk>,
    _answers: Task,
}

/// What one client and the container say to each other.
struct Talk {
    socket: UdpSocket,
    target: SocketAddr,
    last: Cell<Instant>,
}

/// Carries until it is dropped.
pub async fn carry(outside: Rc<UdpSocket>, target: Rc<Cell<SocketAddr>>) {
    let clients = Forgotten(Clients::default());
    loop {
        let ready = outside.readable().await;
        let read = BUFFER.with_borrow_mut(|bytes| read(&outside, target.get(), &clients.0, bytes));
        if ready.and(read).is_err() {
            tokio::time::sleep(REST).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Clients whose talks end when this is dropped.
struct Forgotten(Clients);

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.0.borrow_mut().clear();
    }
}

fn read(outside: &Rc<UdpSocket>, target: SocketAddr, clients: &Clients, bytes: &mut [u8]) -> io::Result<()> {
    for _ in 0..TURN {
        let received = outside.try_io(Interest::READABLE, || Ok(datagram::receive(&**outside, bytes)?));
        let (length, from, to) = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        };
        // What can't be sent is lost, as on any network.
        if let Ok(talk) = talk_with((from, to), outside, target, clients) {
            talk.last.set(Instant::now());
            // Not by tokio, which doesn't know yet that a new socket can be written to.
            let send = || rustix::net::send(&talk.socket, &bytes[..length], SendFlags::DONTWAIT);
            // What the container answered to an earlier one, when it didn't listen, is told now, and nothing sent.
            let _ = send().or_else(|_| send());
        }
    }
    Ok(())
}

fn talk_with(
    from: Pair,
    outside: &Rc<UdpSocket>,
    target: SocketAddr,
    clients: &Clients,
) -> io::Result<Rc<Talk>> {
    let mut all = clients.borrow_mut();
    if let Some(client) = all.get(&from).filter(|client| client.talk.target == target) {
        return Ok(client.talk.clone());
    }
    if all.len() >= CLIENTS {
        let oldest = all.iter().min_by_key(|(_, client)| client.talk.last.get()).map(|(from, _)| *from);
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(target)?;
    let socket = UdpSocket::from_std(socket)?;
    let talk = Rc::new(Talk { socket, target, last: Cell::new(Instant::now()) });
    let answers = Task::spawn(answer(talk.clone(), from, outside.clone(), clients.clone()));
    all.insert(from, Client { talk: talk.clone(), _answers: answers });
    Ok(talk)
}

/// Carries answers back until both have been silent for long.
async fn answer(talk: Rc<Talk>, to: Pair, outside: Rc<UdpSocket>, clients: Clients) {
    loop {
        let until = talk.last.get() + IDLE;
        match tokio::time::timeout_at(until, talk.socket.ready(NEWS)).await {
            Ok(ready) => {
                let error = ready.is_ok_and(|ready| ready.is_error());
                let news = if error { Interest::ERROR } else { Interest::READABLE };
                BUFFER.with_borrow_mut(|bytes| pass_back(&talk, news, to, &outside, bytes));
            }
            Err(_) if talk.last.get() + IDLE > Instant::now() => {}
            Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
    // Another talk may have begun under this address since.
    let mut clients = clients.borrow_mut();
    if clients.get(&to).is_some_and(|client| Rc::ptr_eq(&client.talk, &talk)) {
        clients.remove(&to);
    }
}

fn pass_back(talk: &Talk, news: Interest, (to, from): Pair, outside: &UdpSocket, bytes: &mut [u8]) {
    for _ in 0..TURN {
        let read = || Ok(rustix::net::recv(&talk.socket, &mut bytes[..], RecvFlags::DONTWAIT)?.0);
        // A container that doesn't listen says so here; the client hears nothing, as of any host behind another.
        let length = match talk.socket.try_io(news, read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => continue,
            Ok(length) => length,
        };
        talk.last.set(Instant::now());
        let _ = datagram::send(outside, &bytes[..length], to, from);
    }
}
