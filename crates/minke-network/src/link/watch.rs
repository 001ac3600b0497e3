//! Which of an engine's links the kernel has reported gone: only then does an address return to its pool.

use std::os::fd::{AsFd, BorrowedFd};

use minke_model::Result;
use minke_model::error::Context;
use minke_sys::Errno;
use minke_sys::netlink::{Family, Socket};
use netlink_packet_core::Parseable;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::message::DELETE_LINK;

/// `RTNLGRP_LINK`.
const GROUP_LINK: i32 = 1;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Host ends and bridges whose links are gone, by their names.
    Links(Vec<String>),
    /// More was told than could be held: what is there is to be asked for ([`super::Kernel::found`]).
    Missed,
}

/// Hears which of an engine's links go. Its descriptor becomes readable when there is something.
#[derive(Debug)]
pub struct GoneLinks {
    socket: Socket,
    prefix: String,
}

impl GoneLinks {
    pub(super) fn open(prefix: &str) -> Result<Self> {
        let socket =
            Socket::listen(Family::Route, GROUP_LINK).context("failed to listen for links of the host")?;
        Ok(Self { socket, prefix: prefix.to_string() })
    }

    /// Waits for the next message; what it says may be no link of this engine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&self) -> Result<Gone> {
        let mut names = Vec::new();
        let heard = self.socket.hear(|message| {
            if message.kind == DELETE_LINK {
                names.extend(name_of(message.payload).filter(|name| name.starts_with(&self.prefix)));
            }
        });
        match heard {
            Ok(()) => Ok(Gone::Links(names)),
            Err(Errno::NOBUFS) => Ok(Gone::Missed),
            Err(error) => Err(error).context("failed to hear of links of the host"),
        }
    }
}

impl AsFd for GoneLinks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn name_of(payload: &[u8]) -> Option<String> {
    // A port that leaves its bridge is told as a deleted link of the bridge's family.
    if payload.first().is_none_or(|family| *family != 0) {
        return None;
    }
    LinkMessage::parse(payload).ok()?.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}
