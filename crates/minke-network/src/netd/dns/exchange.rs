//! One attempt to have a question answered by one resolver outside: from a port that nobody chose, under a number that nobody
//! can guess, and only what comes from there and fits is heard.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Unwatched};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpSocket, UdpSocket};

use super::query::{Asked, Heard, Way, renumbered};
use crate::netd::Upstream;
use crate::netd::namespace::Namespace;

/// The most bytes that are taken from a datagram.
const DATAGRAM: usize = 4096;
/// How many packets that don't fit are read before the resolver is given up: somebody guesses.
const STRANGERS: usize = 64;

/// What an attempt came to.
#[derive(Debug)]
pub enum Outcome {
    /// The packet for the one who asked.
    Answer(Vec<u8>),
    /// This resolver can't, won't, or isn't there.
    Failure,
    /// It has said nothing.
    Silence,
}

/// Asks one resolver, and waits for as long as `patience`.
pub async fn ask(
    asked: &Asked,
    packet: &[u8],
    upstream: &Upstream,
    namespace: Option<&Namespace>,
    patience: Duration,
) -> Outcome {
    let Ok(id) = random() else { return Outcome::Failure };
    let packet = renumbered(packet, id);
    let exchange = async {
        match asked.way() {
            Way::Datagram => by_datagram(asked, &packet, id, upstream, namespace).await,
            Way::Connection => by_connection(asked, &packet, id, upstream, namespace).await,
        }
    };
    match tokio::time::timeout(patience, exchange).await {
        Err(_) => Outcome::Silence,
        Ok(Err(_)) => Outcome::Failure,
        Ok(Ok(outcome)) => outcome,
    }
}

async fn by_datagram(
    asked: &Asked,
    packet: &[u8],
    id: u16,
    upstream: &Upstream,
    namespace: Option<&Namespace>,
) -> io::Result<Outcome> {
    let any = any_like(upstream.at());
    let make = || {
        let socket = Unwatched::bind(any)?;
        socket.set_nonblocking(true)?;
        // From now on the kernel drops what comes from anybody else.
        socket.connect(upstream.at())?;
        Ok(socket)
    };
    let socket = UdpSocket::from_std(inside(upstream, namespace, make)?)?;
    socket.send(packet).await?;
    // That nobody is there is an error of the socket, and nothing to read.
    let news = Interest::READABLE | Interest::ERROR;
    for _ in 0..STRANGERS {
        let ready = socket.ready(news).await?;
        let news = if ready.is_error() { Interest::ERROR } else { Interest::READABLE };
        let mut answer = vec![0; DATAGRAM + 1];
        let read = || Ok(rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?.0);
        let length = match socket.try_io(news, read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            result => result?,
        };
        let cut = length > DATAGRAM;
        answer.truncate(length.min(DATAGRAM));
        match asked.hear(&answer, id) {
            Heard::Answer => return Ok(Outcome::Answer(asked.pass_on(answer, cut))),
            Heard::Failure => return Ok(Outcome::Failure),
            Heard::Stranger => {}
        }
    }
    Ok(Outcome::Failure)
}

async fn by_connection(
    asked: &Asked,
    packet: &[u8],
    id: u16,
    upstream: &Upstream,
    namespace: Option<&Namespace>,
) -> io::Result<Outcome> {
    let make = || if upstream.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let mut stream = inside(upstream, namespace, make)?.connect(upstream.at()).await?;
    stream.write_all(&framed(packet)).await?;
    let length = stream.read_u16().await?;
    // What it says to be long is believed as it comes.
    let mut answer = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut answer).await?;
    if answer.len() < usize::from(length) {
        return Ok(Outcome::Failure);
    }
    Ok(match asked.hear(&answer, id) {
        Heard::Answer => Outcome::Answer(asked.pass_on(answer, false)),
        Heard::Failure | Heard::Stranger => Outcome::Failure,
    })
}

/// A message as it goes over a connection (RFC 1035, 4.2.2).
pub fn framed(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap_or(0);
    [&length.to_be_bytes(), &packet[..usize::from(length)]].concat()
}

/// Makes a socket where the resolver is to be asked from.
fn inside<T>(
    upstream: &Upstream,
    namespace: Option<&Namespace>,
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match namespace.filter(|_| !upstream.from_host) {
        Some(namespace) => namespace.enter(make),
        None => make(),
    }
}

fn any_like(other: SocketAddr) -> SocketAddr {
    match other {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
