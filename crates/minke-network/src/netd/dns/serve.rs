//! The resolver of one container: what comes to its two sockets is answered, or asked outside, within bounds that are its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exchange::framed;
use super::forward::forward;
use super::query::{self, Verdict, Way};
use crate::names::{self, Asker};
use crate::netd::Resolver;
use crate::netd::namespace::Namespace;

/// How many questions of one container are asked outside at once.
const FORWARDS: usize = 256;
/// How many connections one container may have to its resolver.
const CONNECTIONS: usize = 32;
/// The longest question that is read.
const QUESTION: usize = 4096;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// How long to rest where there are no descriptors left.
const REST: Duration = Duration::from_millis(50);

/// The names of all networks, by the network's id.
pub type Names = Rc<RefCell<BTreeMap<String, names::Names>>>;

/// What one container's resolver knows.
#[derive(Debug)]
pub struct Room {
    resolver: RefCell<Resolver>,
    names: Names,
    namespace: Option<Rc<Namespace>>,
    turn: Cell<usize>,
    forwards: Semaphore,
    connections: Semaphore,
}

impl Room {
    /// Makes one; without a namespace everybody outside is asked from the host's.
    pub fn new(resolver: Resolver, names: Names, namespace: Option<Rc<Namespace>>) -> Self {
        Self {
            resolver: RefCell::new(folded(resolver)),
            names,
            namespace,
            turn: Cell::new(0),
            forwards: Semaphore::new(FORWARDS),
            connections: Semaphore::new(CONNECTIONS),
        }
    }

    /// Changes what it is answered from now on.
    pub fn set(&self, resolver: Resolver) {
        *self.resolver.borrow_mut() = folded(resolver);
    }

    fn decide(&self, packet: &[u8], way: Way) -> Verdict {
        let (resolver, names) = (self.resolver.borrow(), self.names.borrow());
        let networks: Vec<&names::Names> = resolver.networks.iter().filter_map(|id| names.get(id)).collect();
        let asker = Asker {
            networks: &networks,
            links: &resolver.links,
            ndots_set: resolver.ndots_set,
            may_forward: resolver.may_forward,
        };
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        query::decide(packet, way, &asker, turn)
    }

    /// The answer to a packet, however long it takes.
    async fn answer(&self, packet: &[u8], way: Way) -> Option<Vec<u8>> {
        match self.decide(packet, way) {
            Verdict::Reply(answer) => Some(answer),
            Verdict::Ignore => None,
            Verdict::Forward(asked) => match self.forwards.try_acquire() {
                Ok(_permit) => {
                    let upstreams = self.resolver.borrow().upstreams.clone();
                    Some(forward(&asked, packet, &upstreams, self.namespace.as_deref()).await)
                }
                Err(_) => Some(asked.nobody()),
            },
        }
    }
}

/// Links are looked for in lower case, as all names are.
fn folded(mut resolver: Resolver) -> Resolver {
    let links = std::mem::take(&mut resolver.links);
    resolver.links = links.into_iter().map(|(name, target)| (name.to_ascii_lowercase(), target)).collect();
    resolver
}

/// Answers until it is dropped, and everything that it has begun with it.
pub async fn serve(room: Rc<Room>, datagrams: UdpSocket, connections: TcpListener) {
    let datagrams = Rc::new(datagrams);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            ready = datagrams.readable() => {
                if ready.is_err() || read(&room, &datagrams, &mut tasks).is_err() {
                    tokio::time::sleep(REST).await;
                }
            }
            accepted = connections.accept() => match accepted {
                Ok((stream, _)) => {
                    let room = room.clone();
                    tasks.spawn_local(async move {
                        if let Ok(_permit) = room.connections.try_acquire() {
                            let _ = converse(&room, stream).await;
                        }
                    });
                }
                Err(_) => tokio::time::sleep(REST).await,
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Reads some of the datagrams that wait. What is known here is answered at once, the rest by a task each.
fn read(room: &Rc<Room>, socket: &Rc<UdpSocket>, tasks: &mut JoinSet<()>) -> io::Result<()> {
    // So many in a row, then others have their turn.
    const TURN: usize = 16;
    let mut packet = [0; QUESTION];
    for _ in 0..TURN {
        let (length, from) = match socket.try_recv_from(&mut packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        };
        let packet = &packet[..length];
        match room.decide(packet, Way::Datagram) {
            Verdict::Ignore => {}
            // One that has no room for its answer has lost a datagram, as on any network.
            Verdict::Reply(answer) => drop(socket.try_send_to(&answer, from)),
            Verdict::Forward(asked) => {
                let Ok(permit) = room.forwards.try_acquire() else {
                    drop(socket.try_send_to(&asked.nobody(), from));
                    continue;
                };
                permit.forget();
                let permit = Taken(room.clone());
                let (socket, packet) = (socket.clone(), packet.to_vec());
                tasks.spawn_local(Box::pin(ask(permit, asked, packet, socket, from)));
            }
        }
    }
    Ok(())
}

/// One of a container's permits to ask outside, given back when it is dropped.
struct Taken(Rc<Room>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.forwards.add_permits(1);
    }
}

async fn ask(
    taken: Taken,
    asked: Box<query::Asked>,
    packet: Vec<u8>,
    socket: Rc<UdpSocket>,
    from: SocketAddr,
) {
    let room = &taken.0;
    let upstreams = room.resolver.borrow().upstreams.clone();
    let answer = forward(&asked, &packet, &upstreams, room.namespace.as_deref()).await;
    let _ = socket.try_send_to(&answer, from);
}

/// One connection: a question after the other.
async fn converse(room: &Room, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let question = async {
            let length = usize::from(stream.read_u16().await?);
            if length > QUESTION {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut packet = vec![0; length];
            stream.read_exact(&mut packet).await?;
            Ok::<_, io::Error>(packet)
        };
        let packet = tokio::time::timeout(IDLE, question).await??;
        let Some(answer) = room.answer(&packet, Way::Connection).await else { return Ok(()) };
        tokio::time::timeout(IDLE, stream.write_all(&framed(&answer))).await??;
    }
}
