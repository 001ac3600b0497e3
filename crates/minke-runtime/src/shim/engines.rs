//! The connections of engines: the one that has started this shim and those that come later.

use alloc::vec::Vec;

use minke_spec::shim::{Event, INLINE_LIMIT, LARGE, MESSAGE_LIMIT, Message, Reply};
use minke_sys::epoll::{self, Epoll};
use minke_sys::{AsFd, Errno, OwnedFd, channel, descriptor};

use super::client;
use super::process::Asked;
use super::token::{Kind, Token};

/// The limits of messages.
pub const LIMITS: channel::Limits =
    channel::Limits { inline: INLINE_LIMIT, message: MESSAGE_LIMIT, large_mark: LARGE };

/// An engine that has so many messages unread is given up.
const QUEUE_LIMIT: usize = 256;

/// How many engines may be connected at once.
const ENGINE_LIMIT: usize = 16;

struct Engine {
    number: u32,
    socket: OwnedFd,
    queue: Vec<(Vec<u8>, Option<OwnedFd>)>,
    registered: Option<u32>,
    gone: bool,
}

/// All of them.
#[derive(Default)]
pub struct Engines {
    engines: Vec<Engine>,
    next: u32,
}

impl Engines {
    /// Adds a connection; the oldest goes if there are too many.
    pub fn add(&mut self, socket: OwnedFd) -> minke_sys::Result<()> {
        descriptor::set_nonblocking(&socket)?;
        if self.engines.len() >= ENGINE_LIMIT
            && let Some(oldest) = self.engines.iter_mut().find(|engine| !engine.gone)
        {
            oldest.gone = true;
        }
        let number = self.next;
        self.next += 1;
        self.engines.push(Engine { number, socket, queue: Vec::new(), registered: None, gone: false });
        Ok(())
    }

    /// Receives one message from an engine; `None` when there is none, or when it has gone.
    pub fn receive(&mut self, number: u32) -> Option<channel::Received> {
        let engine = self.engines.iter_mut().find(|engine| engine.number == number && !engine.gone)?;
        match channel::receive(&engine.socket, LIMITS) {
            Ok(Some(received)) => Some(received),
            Err(Errno::AGAIN) => None,
            Ok(None) | Err(_) => {
                engine.gone = true;
                None
            }
        }
    }

    /// Sends what waits for an engine.
    pub fn flush(&mut self, number: u32) {
        if let Some(engine) = self.engines.iter_mut().find(|engine| engine.number == number) {
            engine.flush();
        }
    }

    /// Answers a request; an engine that has gone meanwhile isn't missed.
    pub fn reply(&mut self, asked: Asked, reply: Reply, fd: Option<OwnedFd>) {
        let Ok(bytes) = minke_spec::shim::encode(asked.request, &Message::Reply(reply)) else { return };
        if let Some(engine) = self.engines.iter_mut().find(|engine| engine.number == asked.engine) {
            engine.send(bytes, fd);
        }
    }

    /// Tells every engine.
    pub fn tell(&mut self, event: &Event) {
        // The event is borrowed for encoding only; the enum's variant is the second of `Message`.
        let Ok(bytes) = minke_spec::shim::encode(0, &EventMessage::Event(event)) else { return };
        for engine in &mut self.engines {
            engine.send(bytes.clone(), None);
        }
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Whether all that is to be said has been sent.
    pub fn are_flushed(&self) -> bool {
        self.engines.iter().all(|engine| engine.queue.is_empty())
    }

    /// The numbers of those that have gone and aren't forgotten yet.
    pub fn gone(&self) -> Vec<u32> {
        self.engines.iter().filter(|engine| engine.gone).map(|engine| engine.number).collect()
    }

    /// Forgets those that have gone and tells the kernel what is waited for.
    pub fn register(&mut self, epoll: &Epoll) {
        self.engines.retain(|engine| !engine.gone);
        for engine in &mut self.engines {
            let wanted = epoll::IN | if engine.queue.is_empty() { 0 } else { epoll::OUT };
            let token = Token { kind: Kind::Engine, process: 0, client: engine.number }.pack();
            client::update(epoll, &engine.socket, &mut engine.registered, Some(wanted), token);
        }
    }
}

/// [`Message`] with its event borrowed.
#[derive(serde::Serialize)]
enum EventMessage<'a> {
    #[expect(dead_code, reason = "keeps the place of the first variant")]
    Reply(()),
    Event(&'a Event),
}

impl Engine {
    fn send(&mut self, bytes: Vec<u8>, fd: Option<OwnedFd>) {
        if self.queue.len() >= QUEUE_LIMIT {
            self.gone = true;
            self.queue.clear();
            return;
        }
        self.queue.push((bytes, fd));
        self.flush();
    }

    fn flush(&mut self) {
        let mut sent = 0;
        for (bytes, fd) in &self.queue {
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            match channel::send(&self.socket, bytes, &fds, LIMITS) {
                Ok(()) => sent += 1,
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.gone = true;
                    sent = self.queue.len();
                    break;
                }
            }
        }
        self.queue.drain(..sent);
    }
}
