//! One `SOCK_SEQPACKET` socket between engine and netd, under tokio. Knows nothing of what a message means.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minke_sys::channel::{self, Received};
use tokio::io::unix::AsyncFd;

use super::message::{self, DESCRIPTORS, LIMITS, Request, Tag};

/// A connected socket.
#[derive(Debug)]
pub struct Packets {
    fd: AsyncFd<OwnedFd>,
}

impl Packets {
    /// Takes over a socket. Must be called inside the runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd: watch(fd)? })
    }

    /// Sends one message.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut ready = self.fd.writable().await?;
            let sent =
                ready.try_io(|fd| Ok(channel::send(fd.get_ref().as_fd(), bytes, descriptors, LIMITS)?));
            if let Ok(result) = sent {
                return result;
            }
        }
    }

    /// Sends a request with its descriptors, in as many packets as those need; `request` makes it of what they are.
    pub async fn send_with(
        &self,
        mut given: Vec<(&Tag, BorrowedFd<'_>)>,
        request: impl FnOnce(Vec<Tag>) -> Request,
    ) -> io::Result<()> {
        let tags = given.iter().map(|(tag, _)| (*tag).clone()).collect();
        let more = message::encode(&Request::More);
        while given.len() > DESCRIPTORS {
            let first: Vec<BorrowedFd<'_>> = given.drain(..DESCRIPTORS).map(|(_, fd)| fd).collect();
            self.send(&more, &first).await?;
        }
        let last: Vec<BorrowedFd<'_>> = given.into_iter().map(|(_, fd)| fd).collect();
        self.send(&message::encode(&request(tags)), &last).await
    }

    /// Receives one message; `None` when the other end is closed.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Ok(result) = ready.try_io(|fd| Ok(channel::receive(fd.get_ref().as_fd(), LIMITS)?)) {
                return result;
            }
        }
    }
}

/// Watches `fd` for reading and writing. Must be called inside the runtime.
#[allow(
    deprecated,
    reason = "its replacement is unsafe for types that may close their descriptor behind tokio's back; OwnedFd can't"
)]
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_descriptors_than_a_packet_takes_arrive_in_order() {
        let (one, other) = channel::pair().unwrap();
        let (one, other) = (Packets::new(one).unwrap(), Packets::new(other).unwrap());
        let count = DESCRIPTORS * 2 + 1;
        let null = std::fs::File::open("/dev/null").unwrap();
        let tags: Vec<Tag> = (0..count).map(|number| Tag::Namespace(number.to_string())).collect();
        let given = tags.iter().map(|tag| (tag, null.as_fd())).collect();
        let request = |given| Request::Change { number: 1, whole: false, change: Default::default(), given };
        one.send_with(given, request).await.unwrap();
        let mut descriptors = Vec::new();
        loop {
            let received = other.receive().await.unwrap().unwrap();
            descriptors.extend(received.descriptors);
            match message::decode(&received.body).unwrap() {
                Request::More => {}
                Request::Change { given, .. } => {
                    assert_eq!((given.len(), descriptors.len()), (count, count));
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
