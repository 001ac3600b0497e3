//! UDP by user space: a socket for each client, so that the container's answers find their way, for as long as they talk.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

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
/// How long to rest where nothing can be read.
const REST: Duration = Duration::from_millis(50);

type Clients = Rc<RefCell<HashMap<SocketAddr, Client>>>;

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
        if outside.readable().await.is_err() || read(&outside, target.get(), &clients.0).is_err() {
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

fn read(outside: &Rc<UdpSocket>, target: SocketAddr, clients: &Clients) -> io::Result<()> {
    let mut datagram = [0; LONGEST];
    for _ in 0..TURN {
        let (length, from) = match outside.try_recv_from(&mut datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        };
        // What can't be sent is lost, as on any network.
        if let Ok(talk) = talk_with(from, outside, target, clients) {
            talk.last.set(Instant::now());
            let _ = talk.socket.try_send(&datagram[..length]);
        }
    }
    Ok(())
}

fn talk_with(
    from: SocketAddr,
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
async fn answer(talk: Rc<Talk>, to: SocketAddr, outside: Rc<UdpSocket>, clients: Clients) {
    loop {
        let until = talk.last.get() + IDLE;
        match tokio::time::timeout_at(until, talk.socket.readable()).await {
            Ok(_) => pass_back(&talk, to, &outside),
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

fn pass_back(talk: &Talk, to: SocketAddr, outside: &UdpSocket) {
    let mut datagram = [0; LONGEST];
    for _ in 0..TURN {
        // A container that doesn't listen says so here; the client hears nothing, as of any host behind another.
        let length = match talk.socket.try_recv(&mut datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => continue,
            Ok(length) => length,
        };
        talk.last.set(Instant::now());
        let _ = outside.try_send_to(&datagram[..length], to);
    }
}
