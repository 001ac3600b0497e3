//! Published ports: held for their container, and carried by user space where the kernel hasn't taken a packet itself.

mod connections;
mod datagrams;
mod pipes;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use super::task::Task;
use super::{Port, reserve};
use crate::ports::{Protocol, Published};

pub use connections::Limits;

/// A port of the host that is a container's.
#[derive(Debug)]
pub struct Held {
    published: Published,
    socket: Socket,
    carrying: Option<(Rc<Cell<SocketAddr>>, Task)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(Rc<TcpListener>),
    Udp(Rc<UdpSocket>),
    /// It is another netd's.
    None,
    /// What user space doesn't carry.
    Other(#[allow(dead_code, reason = "it is held")] OwnedFd),
}

/// What all ports share.
#[derive(Clone, Debug)]
pub struct Carriage {
    /// How much of it there may be.
    pub limits: Rc<Limits>,
    /// Becomes true when no new connection is to be taken.
    pub retired: watch::Receiver<bool>,
}

impl Held {
    /// Takes a port, by the socket that was given or by one of its own.
    ///
    /// # Errors
    /// Another program has it.
    pub fn new(port: &Port, given: Option<OwnedFd>, carriage: &Carriage) -> io::Result<Self> {
        let published = port.published.clone();
        let socket = match given {
            Some(socket) => socket,
            None => reserve::bind(published.protocol, published.host)?,
        };
        let socket = match published.protocol {
            Protocol::Tcp => Socket::Tcp(Rc::new(TcpListener::from_std(socket.into())?)),
            Protocol::Udp => {
                minke_sys::datagram::tell_destinations(&socket, published.host.is_ipv6())?;
                Socket::Udp(Rc::new(UdpSocket::from_std(socket.into())?))
            }
            Protocol::Sctp => Socket::Other(socket),
        };
        let mut held = Self { published, socket, carrying: None };
        held.set_target(port.target, carriage);
        Ok(held)
    }

    /// What is left of it when another netd takes over: what carries connections, which lets go of the port.
    pub fn retired(self) -> Option<Self> {
        let Self { published, socket, carrying } = self;
        let kept = matches!(socket, Socket::Tcp(_)) && carrying.is_some();
        drop(socket);
        kept.then_some(Self { published, socket: Socket::None, carrying })
    }

    /// Waits until nothing is carried any more.
    pub async fn drained(self) {
        if let Some((_, task)) = self.carrying {
            task.ended().await;
        }
    }

    /// What it is.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Changes where it leads from now on; what was carried goes on, unless nothing is carried any more.
    pub fn set_target(&mut self, target: Option<SocketAddr>, carriage: &Carriage) {
        match (target, &self.carrying) {
            (None, _) => self.carrying = None,
            (Some(target), Some((at, _))) => at.set(target),
            (Some(target), None) => {
                let at = Rc::new(Cell::new(target));
                let task = match &self.socket {
                    Socket::Tcp(socket) => {
                        Task::spawn(connections::carry(socket.clone(), at.clone(), carriage.clone()))
                    }
                    Socket::Udp(socket) => Task::spawn(datagrams::carry(socket.clone(), at.clone())),
                    Socket::Other(_) | Socket::None => return,
                };
                self.carrying = Some((at, task));
            }
        }
    }
}
