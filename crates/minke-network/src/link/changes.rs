//! What the kernel tells of interfaces and their forwarding: that somebody turned it on or off, that an interface came.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use minke_model::Result;
use minke_model::error::Context;
use minke_sys::Errno;
use minke_sys::netlink::{Family, Socket};
use netlink_packet_core::Parseable;
use netlink_packet_route::link::LinkMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::forwarding::is_way;
use super::found::found_link;
use super::message::{DELETE_LINK, NEW_LINK};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_NETCONF` and `RTNLGRP_IPV6_NETCONF`.
const GROUPS: [i32; 3] = [1, 24, 25];
/// `RTM_NEWNETCONF`.
const NEW_SETTING: u16 = 80;
/// Behind `struct netconfmsg`, as long as it is aligned.
const SETTING_HEADER: usize = 4;
/// `NETCONFA_FORWARDING` and `NETCONFA_PROXY_NEIGH`.
const FORWARDING: u16 = 2;
const PROXY: u16 = 5;

/// One change seldom comes alone: a program makes a bridge, its ports, and settings.
const TOGETHER: Duration = Duration::from_millis(30);
/// That somebody turned on forwarding that an engine had turned on is not told for IPv6: a while later is looked again.
const ONCE_MORE: Duration = Duration::from_secs(2);

/// Hears of changes after which forwarding is to be looked at again.
#[derive(Debug)]
pub struct Changes {
    socket: Socket,
    /// The interfaces that are known, by index.
    ways: BTreeMap<u32, String>,
    again: Option<Instant>,
}

impl Changes {
    /// Listens from now on, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen() -> Result<Self> {
        let socket = Socket::listen(Family::Route, GROUPS[0]);
        let socket = socket.context("failed to listen for interfaces of the host")?;
        for group in &GROUPS[1..] {
            // A kernel may lack IPv6.
            let _ = socket.join(*group);
        }
        Ok(Self { socket, ways: BTreeMap::new(), again: None })
    }

    /// Waits until something changed that matters.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self) -> Result<()> {
        let failed = "failed to hear of interfaces of the host";
        let mut matters = false;
        loop {
            let wait = if matters {
                Some(TOGETHER)
            } else {
                self.again.map(|at| at.saturating_duration_since(Instant::now()))
            };
            let told = ready(&self.socket, wait).context(failed)?;
            if told {
                matters |= self.hear().context(failed)?;
            } else if matters {
                self.again = Some(Instant::now() + ONCE_MORE);
                return Ok(());
            } else {
                self.again = None;
                return Ok(());
            }
        }
    }

    fn hear(&mut self) -> Result<bool, Errno> {
        let mut matters = false;
        let ways = &mut self.ways;
        let heard = self.socket.hear(|message| {
            matters |= match message.kind {
                NEW_SETTING => is_changed_forwarding(message.payload),
                NEW_LINK | DELETE_LINK => is_new_way(message.kind, message.payload, ways),
                _ => false,
            };
        });
        match heard {
            Err(Errno::NOBUFS) => Ok(true),
            other => other.map(|()| matters),
        }
    }
}

fn ready(socket: &Socket, wait: Option<Duration>) -> Result<bool, Errno> {
    let wait =
        wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    loop {
        match poll(&mut fds, wait.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(count) => return Ok(count > 0),
        }
    }
}

/// Whether somebody changed it: what an interface has when it comes is told with all of its settings.
fn is_changed_forwarding(payload: &[u8]) -> bool {
    let attributes = payload.get(SETTING_HEADER..).unwrap_or_default();
    let has = |wanted| crate::nft::attribute::all(attributes).any(|(kind, _)| kind == wanted);
    has(FORWARDING) && !has(PROXY)
}

/// Whether there is an interface that packets come by and that there wasn't, or by another name.
fn is_new_way(kind: u16, payload: &[u8], ways: &mut BTreeMap<u32, String>) -> bool {
    // Of a bridge's family are its ports.
    if payload.first().is_none_or(|family| *family != 0) {
        return false;
    }
    let Ok(link) = LinkMessage::parse(payload).map(found_link) else { return false };
    if kind == DELETE_LINK || !is_way(&link) {
        ways.remove(&link.index);
        return false;
    }
    let (index, name) = (link.index, link.name);
    ways.insert(index, name.clone()) != Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(attributes: &[(u16, u32)]) -> Vec<u8> {
        let mut payload = vec![2, 0, 0, 0];
        for (kind, value) in attributes {
            crate::nft::attribute::put(&mut payload, *kind, &value.to_ne_bytes());
        }
        payload
    }

    #[test]
    fn an_interface_that_comes_with_its_settings_is_none_that_somebody_changed() {
        assert!(is_changed_forwarding(&setting(&[(1, 7), (2, 1)])));
        // All of them, of IPv4 and of IPv6: as for each container that starts.
        assert!(!is_changed_forwarding(&setting(&[(1, 7), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)])));
        assert!(!is_changed_forwarding(&setting(&[(1, 7), (2, 0), (4, 0), (5, 0), (6, 0)])));
        assert!(!is_changed_forwarding(&setting(&[(1, 7), (3, 1)])));
        assert!(!is_changed_forwarding(&[2]));
    }
}
