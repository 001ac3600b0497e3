//! Netlink sockets, used synchronously: a batch of messages is one write, its answers are read until the last one is there.
//! What the messages say is the caller's; here is only their frame (`struct nlmsghdr`) and the kernel's acknowledgement.
//!
//! A socket belongs for its whole life to the network namespace of the thread that opened it.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::size_of;
use std::sync::Mutex;
use std::sync::PoisonError;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::raw::call;
use crate::{Errno, Result};

/// `NLM_F_ACK`: the kernel answers also where nothing failed.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP`: all that there is.
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: refused where it is there already.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_REPLACE`: takes the place of what is there.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_CREATE`: made where it isn't there.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: behind what is there.
pub const APPEND: u16 = 0x800;

const REQUEST: u16 = 0x1;
const DUMP_INTERRUPTED: u16 = 0x10;
const ACK_CAPPED: u16 = 0x100;
const ACK_TEXTS: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const SOL_SOCKET: usize = 1;
const SO_SNDBUFFORCE: usize = 32;
const SO_RCVBUFFORCE: usize = 33;
const SOL_NETLINK: usize = 270;
const NETLINK_ADD_MEMBERSHIP: usize = 1;
const NETLINK_CAP_ACK: usize = 10;
const NETLINK_EXT_ACK: usize = 11;
const NETLINK_GET_STRICT_CHK: usize = 12;
/// How many bytes of one write the kernel takes without being asked to.
const EASY_WRITE: usize = 96 * 1024;

/// With which part of the kernel a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes (`NETLINK_ROUTE`).
    Route,
    /// Packet filter and connection tracking (`NETLINK_NETFILTER`).
    Netfilter,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Which request it answers.
    pub sequence: u32,
    /// The port of the socket that asked, or 0.
    pub port: u32,
    /// What is behind the header.
    pub payload: &'a [u8],
}

/// Why the kernel refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which message of the batch, from 0.
    pub index: usize,
    /// The error.
    pub errno: Errno,
    /// The kernel's own words, if it had some.
    pub words: String,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.words.is_empty() {
            write!(out, "{} ", self.words)?;
        }
        write!(out, "({})", std::io::Error::from(self.errno))
    }
}

impl core::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { index: 0, errno, words: String::new() }
    }
}

/// Messages that are sent by one write.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    /// Where the last message begins.
    last: usize,
}

impl Batch {
    /// Adds a message; `write` appends its payload.
    pub fn push(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        self.count += 1;
    }

    /// Asks for an answer to the message that was added last, also where nothing failed.
    pub fn acknowledge_last(&mut self) {
        if let Some(low) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let flags = u16::from_ne_bytes([low[0], low[1]]) | ACK;
            low.copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes as they are sent, but for the sequence numbers, which count from 0.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A socket of one namespace. Requests of several threads take turns.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    /// The sequence number of the next message.
    next: Mutex<u32>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        let socket = Self { descriptor, next: Mutex::new(1) };
        // Older kernels lack them; then errors come without words and with the request behind them.
        let _ = socket.set(SOL_NETLINK, NETLINK_CAP_ACK, 1);
        let _ = socket.set(SOL_NETLINK, NETLINK_EXT_ACK, 1);
        if family == Family::Netfilter {
            // So that it is known from the beginning by which number its changes are told.
            socket.bind()?;
        } else {
            let _ = socket.set(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
        }
        Ok(socket)
    }

    /// Opens one that hears what is told to a group, by its number. It makes no requests.
    pub fn listen(family: Family, group: i32) -> Result<Self> {
        let socket = Self::open(family)?;
        let _ = socket.set(SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20);
        // One without a number isn't told of what the kernel does by itself.
        if socket.port() == 0 {
            socket.bind()?;
        }
        socket.join(group)?;
        Ok(socket)
    }

    /// Hears also what is told to another group.
    pub fn join(&self, group: i32) -> Result<()> {
        self.set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    }

    fn bind(&self) -> Result<()> {
        rustix::net::bind(&self.descriptor, &SocketAddrNetlink::new(0, 0))
    }

    /// Returns the number by which the kernel knows the socket in its namespace; 0 before anything was sent.
    pub fn port(&self) -> u32 {
        let address = rustix::net::getsockname(&self.descriptor);
        address.ok().and_then(|any| SocketAddrNetlink::try_from(any).ok()).map_or(0, |own| own.pid())
    }

    /// Sends the batch and reads the answers of those that asked for one by [`ACK`], and of those that failed.
    ///
    /// # Errors
    /// The first refusal; messages behind it have been worked on all the same, unless the family knows better.
    pub fn apply(&self, batch: &Batch) -> Result<(), Refusal> {
        self.request(batch, |_| {})
    }

    /// As [`Socket::apply`], and hands over what else the kernel answers.
    ///
    /// # Errors
    /// As [`Socket::apply`].
    pub fn request(&self, batch: &Batch, mut each: impl FnMut(Message<'_>)) -> Result<(), Refusal> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *next;
        let (bytes, last) = numbered(&batch.bytes, first);
        *next = next.wrapping_add(batch.count);
        self.send(&bytes)?;
        let Some(last) = last else { return Ok(()) };
        let mut failed: Option<Refusal> = None;
        let mut buffer = Vec::new();
        loop {
            let size = self.receive(&mut buffer)?;
            for message in messages(&buffer[..size]) {
                let index = message.sequence.wrapping_sub(first);
                if index >= batch.count {
                    continue; // what is left of a request that broke off
                }
                let refusal = match message.kind {
                    ERROR => refusal(&message, index as usize),
                    DONE => finished(&message, index as usize),
                    _ => {
                        each(message);
                        continue;
                    }
                };
                // What the first message is refused for may be the whole batch (nfnetlink commits at its end).
                let fatal = refusal.is_some() && index == 0 && batch.count > 1;
                if failed.is_none() {
                    failed = refusal;
                }
                if index == last || fatal {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks for everything of a kind; `payload` is the request's. What changes meanwhile has the question asked again, and
    /// `start` is called before each time.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dump(
        &self,
        kind: u16,
        payload: &[u8],
        mut start: impl FnMut(),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        let mut batch = Batch::default();
        batch.push(kind, DUMP, |bytes| bytes.extend_from_slice(payload));
        for _ in 0..16 {
            let mut torn = false;
            start();
            self.request_dump(&batch, |message| {
                torn |= message.flags & DUMP_INTERRUPTED != 0;
                each(message);
            })?;
            if !torn {
                return Ok(());
            }
        }
        Err(Errno::INTR.into())
    }

    fn request_dump(&self, batch: &Batch, mut each: impl FnMut(Message<'_>)) -> Result<(), Refusal> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *next;
        *next = next.wrapping_add(1);
        self.send(&numbered(&batch.bytes, first).0)?;
        let mut buffer = Vec::new();
        loop {
            let size = self.receive(&mut buffer)?;
            for message in messages(&buffer[..size]).filter(|message| message.sequence == first) {
                match message.kind {
                    ERROR => return refusal(&message, 0).map_or(Ok(()), Err),
                    DONE => return finished(&message, 0).map_or(Ok(()), Err),
                    _ => each(message),
                }
            }
        }
    }

    /// Waits for what a listening socket hears next and hands over each message. Where more was told than the socket could
    /// hold, the error is [`Errno::NOBUFS`]: something was missed, and what matters is to be asked for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hear(&self, mut each: impl FnMut(Message<'_>)) -> Result<()> {
        let mut buffer = Vec::new();
        let size = self.receive(&mut buffer)?;
        messages(&buffer[..size]).for_each(&mut each);
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > EASY_WRITE {
            self.set(SOL_SOCKET, SO_SNDBUFFORCE, bytes.len() as i32 * 2)?;
        }
        rustix::net::send(&self.descriptor, bytes, SendFlags::empty()).map(|_| ())
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> Result<usize> {
        if buffer.is_empty() {
            buffer.resize(32 * 1024, 0);
        }
        loop {
            // The whole length is asked for first only when it could be longer than what the kernel puts together.
            match rustix::net::recv(&self.descriptor, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((_, size)) if size > buffer.len() => return Err(Errno::MSGSIZE),
                Ok((_, size)) => return Ok(size),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn set(&self, level: usize, option: usize, value: i32) -> Result<()> {
        let descriptor = self.descriptor.as_raw_fd();
        // SAFETY: the kernel reads an int, which lives through the call.
        unsafe { call!(k::__NR_setsockopt, descriptor, level, option, &raw const value, size_of::<i32>()) }
            .map(|_| ())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The bytes with sequence numbers from `first`, and the index of the last message that is answered.
fn numbered(bytes: &[u8], first: u32) -> (Vec<u8>, Option<u32>) {
    let mut bytes = bytes.to_vec();
    let (mut at, mut index, mut last) = (0, 0, None);
    while at + HEADER <= bytes.len() {
        let length = word(&bytes[at..]) as usize;
        let flags = u16::from_ne_bytes([bytes[at + 6], bytes[at + 7]]);
        if flags & ACK != 0 {
            last = Some(index);
        }
        bytes[at + 8..at + 12].copy_from_slice(&first.wrapping_add(index).to_ne_bytes());
        at += length.max(HEADER).next_multiple_of(4);
        index += 1;
    }
    (bytes, last)
}

/// Takes a datagram apart.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let length = word(rest.get(..HEADER)?) as usize;
        let payload = rest.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([rest[4], rest[5]]),
            flags: u16::from_ne_bytes([rest[6], rest[7]]),
            sequence: word(&rest[8..]),
            port: word(&rest[12..]),
            payload,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// What an answer of type `NLMSG_ERROR` says; `None`: it was done.
fn refusal(message: &Message<'_>, index: usize) -> Option<Refusal> {
    let code = word(message.payload.get(..4).unwrap_or(&[0; 4])) as i32;
    if code == 0 {
        return None;
    }
    let behind = if message.flags & ACK_CAPPED != 0 {
        4 + HEADER
    } else {
        4 + word(message.payload.get(4..8).unwrap_or(&[0; 4])) as usize
    };
    let words = if message.flags & ACK_TEXTS != 0 { words(message.payload, behind) } else { String::new() };
    Some(Refusal { index, errno: Errno::from_raw_os_error(-code), words })
}

/// What the end of a dump says.
fn finished(message: &Message<'_>, index: usize) -> Option<Refusal> {
    let code = word(message.payload.get(..4).unwrap_or(&[0; 4])) as i32;
    (code < 0).then(|| Refusal { index, errno: Errno::from_raw_os_error(-code), words: String::new() })
}

/// `NLMSGERR_ATTR_MSG` among the attributes from `at` on.
fn words(payload: &[u8], mut at: usize) -> String {
    while let Some(header) = payload.get(at..at + 4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let Some(value) = payload.get(at + 4..at + length) else { break };
        if kind == 1 {
            return String::from_utf8_lossy(value).trim_end_matches('\0').into();
        }
        at += length.next_multiple_of(4);
    }
    String::new()
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_taken_apart_again() {
        let mut batch = Batch::default();
        batch.push(16, ACK, |bytes| bytes.extend_from_slice(b"abcde"));
        batch.push(20, 0, |_| {});
        let (bytes, last) = numbered(batch.bytes(), 7);
        assert_eq!(last, Some(0));
        let read: Vec<_> = messages(&bytes).map(|one| (one.kind, one.sequence, one.payload)).collect();
        assert_eq!(read, [(16, 7, &b"abcde"[..]), (20, 8, &b""[..])]);
        assert_eq!(messages(&bytes[..21]).count(), 1);
        assert_eq!(messages(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn a_refusal_has_the_kernels_words() {
        let socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::default();
        // RTM_DELLINK of a link that isn't there.
        batch.push(17, ACK, |bytes| {
            bytes.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0]);
        });
        let refusal = socket.apply(&batch).unwrap_err();
        assert!(matches!(refusal.errno, Errno::NODEV | Errno::PERM), "{refusal}");
    }
}
