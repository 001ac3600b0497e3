//! A conversation with one shim: requests paired with their replies, events in order. Ends when the shim does.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use minke_model::{Context as _, Error, Result};
use minke_spec::shim::{self, Event, Message, Reply, Request, ShimError};
use tokio::sync::{mpsc, oneshot};

use super::socket::{self, PacketSocket};

/// A connection to a shim; cheap to clone.
#[derive(Clone, Debug)]
pub struct ShimConnection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: PacketSocket,
    next_id: AtomicU32,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u32, oneshot::Sender<(Reply, Vec<OwnedFd>)>>,
    closed: bool,
}

/// What a shim says unasked.
#[derive(Debug)]
pub enum ShimEvent {
    /// An event of the protocol.
    Event(Event),
    /// The shim is gone.
    Lost,
}

/// Why a request failed.
#[derive(Debug)]
pub enum RequestError {
    /// The shim said no.
    Refused(ShimError),
    /// The shim is gone.
    Lost,
}

impl ShimConnection {
    /// Takes over a connected socket; `events` gets what the shim says unasked, ending with [`ShimEvent::Lost`].
    pub fn new(socket: PacketSocket) -> (Self, mpsc::UnboundedReceiver<ShimEvent>) {
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { socket, next_id: AtomicU32::new(1), waiting: Mutex::default() });
        tokio::spawn(receive_all(shared.clone(), sender));
        (Self { shared }, events)
    }

    /// Connects to a shim that another engine started.
    pub fn connect(path: &Path) -> io::Result<(Self, mpsc::UnboundedReceiver<ShimEvent>)> {
        Ok(Self::new(socket::connect(path)?))
    }

    /// Sends a request and waits for its reply.
    pub async fn request(
        &self,
        request: &Request,
        descriptors: &[&OwnedFd],
    ) -> std::result::Result<(Reply, Vec<OwnedFd>), RequestError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = shim::encode(id, request).map_err(|_| RequestError::Lost)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if waiting.closed {
                return Err(RequestError::Lost);
            }
            waiting.replies.insert(id, sender);
        }
        let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
        if self.shared.socket.send(&bytes, &borrowed).await.is_err() {
            return Err(RequestError::Lost);
        }
        match receiver.await {
            Ok((Reply::Error(error), _)) => Err(RequestError::Refused(error)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(RequestError::Lost),
        }
    }
}

async fn receive_all(shared: Arc<Shared>, events: mpsc::UnboundedSender<ShimEvent>) {
    loop {
        let received = match shared.socket.receive().await {
            Ok(Some(received)) => received,
            // The shim ended with a request unread. The kernel says so once, before what the shim had said.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
            Ok(None) | Err(_) => break,
        };
        let Ok(packet) = shim::decode::<Message>(&received.bytes) else {
            tracing::debug!("a shim sent an event that is newer than this engine");
            continue;
        };
        match packet.body {
            Message::Event(event) => {
                let _ = events.send(ShimEvent::Event(event));
            }
            Message::Reply(reply) => {
                let mut waiting = shared.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Some(sender) = waiting.replies.remove(&packet.id) {
                    let _ = sender.send((reply, received.descriptors));
                }
            }
        }
    }
    {
        let mut waiting = shared.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        waiting.closed = true;
        waiting.replies.clear();
    }
    let _ = events.send(ShimEvent::Lost);
}

impl RequestError {
    /// The failure in the engine's terms; `action` says what was wanted.
    pub fn into_error(self, action: &str) -> Error {
        match self {
            RequestError::Refused(error) => Error::system(format!("{action}: {}", error.message)),
            RequestError::Lost => Error::system(format!("{action}: the container's shim is gone")),
        }
    }
}

/// Says hello on a fresh connection and returns the shim's protocol version.
pub async fn greet(connection: &ShimConnection) -> Result<u16> {
    let hello = Request::Hello { protocol: shim::PROTOCOL };
    match connection.request(&hello, &[]).await {
        Ok((Reply::Hello { protocol, .. }, _)) => Ok(protocol),
        Ok((reply, _)) => Err(Error::system(format!("the shim answered hello with {reply:?}"))),
        Err(error) => Err(error.into_error("greeting the shim")),
    }
    .context("taking over a container")
}
