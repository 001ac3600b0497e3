//! Messages over a `SOCK_SEQPACKET` socket, with descriptors; a long message travels in a sealed memfd.
//!
//! None of these functions waits if the socket is non-blocking: [`Errno::AGAIN`] says that it would.

use alloc::vec;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::{Errno, Result};

/// The most descriptors in one message (the kernel's limit, less the memfd of a long one).
pub const MAX_DESCRIPTORS: usize = 252;

/// How messages are put into packets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest message sent in the packet itself.
    pub inline: usize,
    /// The longest message accepted at all.
    pub message: usize,
    /// The whole packet of a message that is in a memfd, the packet's first descriptor.
    pub large_mark: u8,
}

/// A message with the descriptors that came with it.
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub body: Vec<u8>,
    /// The descriptors, all close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Makes a connected pair of sockets, close-on-exec and blocking.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message.
pub fn send(socket: impl AsFd, body: &[u8], descriptors: &[BorrowedFd<'_>], limits: Limits) -> Result<()> {
    if body.len() <= limits.inline {
        return send_packet(socket.as_fd(), body, descriptors);
    }
    if body.len() > limits.message {
        return Err(Errno::MSGSIZE);
    }
    let memory = rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    crate::descriptor::write_all(&memory, body).map_err(|(_, errno)| errno)?;
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    let mut all = vec![memory.as_fd()];
    all.extend_from_slice(descriptors);
    send_packet(socket.as_fd(), &[limits.large_mark], &all)
}

fn send_packet(socket: BorrowedFd<'_>, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(body)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| ()),
        }
    }
}

/// Receives one message; `None` at the end of the connection.
pub fn receive(socket: impl AsFd, limits: Limits) -> Result<Option<Received>> {
    let mut body = vec![0u8; limits.inline];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 1))];
    let (length, flags, mut descriptors) = loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut body)];
        match rustix::net::recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for item in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = item {
                        descriptors.extend(received);
                    }
                }
                break (message.bytes, message.flags, descriptors);
            }
        }
    };
    if length == 0 {
        return Ok(None);
    }
    if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    if length == 1 && body[0] == limits.large_mark && !descriptors.is_empty() {
        let memory = descriptors.remove(0);
        return Ok(Some(Received { body: read_sealed(&memory, limits.message)?, descriptors }));
    }
    body.truncate(length);
    Ok(Some(Received { body, descriptors }))
}

/// Reads a memfd that nobody can change any more.
fn read_sealed(memory: &OwnedFd, limit: usize) -> Result<Vec<u8>> {
    let needed = SealFlags::WRITE | SealFlags::SHRINK;
    if !rustix::fs::fcntl_get_seals(memory)?.contains(needed) {
        return Err(Errno::PERM);
    }
    let length = usize::try_from(rustix::fs::fstat(memory)?.st_size).map_err(|_| Errno::INVAL)?;
    if length > limit {
        return Err(Errno::MSGSIZE);
    }
    let mut body = vec![0u8; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(memory, &mut body[done..], done as u64)? {
            0 => return Err(Errno::IO),
            count => done += count,
        }
    }
    Ok(body)
}

/// Listens at `name` in the current directory, non-blocking; what was there before is replaced.
pub fn listen_here(name: &str) -> Result<OwnedFd> {
    let _ = rustix::fs::unlink(name);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(name)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Accepts a connection, non-blocking; `None` when none waits.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Connects to a socket in a directory, whatever the length of the directory's path; blocking.
pub fn connect(directory: &str, name: &str) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let opened =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = alloc::format!("{}/{name}", crate::descriptor::magic_path(&opened));
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_str())?)?;
    Ok(socket)
}

/// The pid of the process at the other end of a connected socket, as it was when it connected.
pub fn peer_pid(socket: impl AsFd) -> Result<i32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.pid.as_raw_nonzero().get())
}

/// Ends a stream in both directions and throws away what the peer has sent, so that it reads what was sent to it and then the end,
/// never a reset.
pub fn close_gently(socket: OwnedFd) {
    let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
    let mut sink = [0u8; 512];
    while matches!(crate::descriptor::read(&socket, &mut sink), Ok(Some(count)) if count > 0) {}
}

/// Closes one's own hold on a socket that others may hold too, without the peer's unread bytes making an error of it.
pub fn close_ours(socket: OwnedFd) {
    let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Read);
    let mut sink = [0u8; 512];
    while matches!(crate::descriptor::read(&socket, &mut sink), Ok(Some(count)) if count > 0) {}
}

/// Ends a stream's direction towards the peer.
pub fn end_output(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}
