//! One `SOCK_SEQPACKET` socket that carries messages and descriptors, under tokio. Knows nothing of what a message means.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minke_spec::shim::{INLINE_LIMIT, LARGE, MESSAGE_LIMIT};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::unix::AsyncFd;

use crate::readiness;

/// The most descriptors that one message carries (the kernel's own limit is 253).
const DESCRIPTORS: usize = 64;

/// A connected socket.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<OwnedFd>,
}

/// A received message and the descriptors that came with it.
#[derive(Debug)]
pub struct Received {
    /// The encoded message.
    pub bytes: Vec<u8>,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// Two connected ends; the first is non-blocking and stays here, the second is for the shim.
pub fn pair() -> io::Result<(PacketSocket, OwnedFd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((PacketSocket { fd: readiness::watch(ours)? }, theirs))
}

/// Connects to a shim that listens at `path`, which may be longer than the 107 bytes of a socket's address.
pub fn connect(path: &Path) -> io::Result<PacketSocket> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(&*short)?)?;
    Ok(PacketSocket { fd: readiness::watch(fd)? })
}

impl PacketSocket {
    /// Sends one message. A long one travels in a sealed memfd.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() <= INLINE_LIMIT {
            return self.send_packet(bytes, descriptors).await;
        }
        let large = sealed_memfd(bytes)?;
        let mut all = vec![large.as_fd()];
        all.extend_from_slice(descriptors);
        self.send_packet(&[LARGE], &all).await
    }

    async fn send_packet(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut ready = self.fd.writable().await?;
            let sent = ready.try_io(|fd| {
                let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                let sent = rustix::net::sendmsg(
                    fd.get_ref(),
                    &[IoSlice::new(bytes)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?;
                Ok(sent)
            });
            if let Ok(result) = sent {
                return result.map(|_| ());
            }
        }
    }

    /// Receives one message; `None` when the other end is closed.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Ok(result) = ready.try_io(|fd| receive_packet(fd.get_ref().as_fd())) {
                return result;
            }
        }
    }
}

fn receive_packet(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let mut bytes = vec![0; INLINE_LIMIT + 1];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        rustix::net::recvmsg(fd, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    let mut descriptors = Vec::new();
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = received {
            descriptors.extend(rights);
        }
    }
    if bytes == [LARGE] && !descriptors.is_empty() {
        bytes = read_memfd(descriptors.remove(0))?;
    }
    Ok(Some(Received { bytes, descriptors }))
}

fn sealed_memfd(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("minke-message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

fn read_memfd(fd: OwnedFd) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::from(fd);
    let length = file.metadata()?.len();
    if length > MESSAGE_LIMIT as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_deep_directory_can_be_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let short = folder.path().join("s");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&short).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        std::fs::rename(&short, deep.join("s")).unwrap();
        assert!(connect(&deep.join("s")).is_ok());
        assert_eq!(connect(&deep.join("t")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn short_and_long_messages_arrive_with_their_descriptors() {
        let (ours, theirs) = pair().unwrap();
        rustix::io::ioctl_fionbio(&theirs, true).unwrap();
        let theirs = PacketSocket { fd: readiness::watch(theirs).unwrap() };
        for length in [1, INLINE_LIMIT, INLINE_LIMIT + 1, 1 << 20] {
            let bytes = vec![7; length];
            let null = std::fs::File::open("/dev/null").unwrap();
            ours.send(&bytes, &[null.as_fd()]).await.unwrap();
            let received = theirs.receive().await.unwrap().unwrap();
            assert_eq!((received.bytes.len(), received.descriptors.len()), (length, 1));
        }
        drop(ours);
        assert!(theirs.receive().await.unwrap().is_none());
    }
}
