//! What stands in the tables of the older iptables, asked as its own tool asks: nobody tells when it changes.

use linux_raw_sys::general as k;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::raw::call;
use crate::{Errno, Result};

/// `IPPROTO_IP` and `IPPROTO_IPV6`, where the options are.
const IP: i32 = 0;
const IPV6: i32 = 41;
/// `IPPROTO_RAW`: nothing is ever received by such a socket.
const RAW: core::num::NonZeroU32 = core::num::NonZeroU32::new(255).unwrap();
/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`; the same of IPv6.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// The name of a table, in both requests.
const NAME: usize = 32;
/// `struct ipt_getinfo`: behind the name which hooks there are, five places of each kind, how many entries, and their size.
const INFO: usize = NAME + 4 + 2 * 5 * 4 + 4 + 4;
/// `struct ipt_get_entries` without the entries.
const HEAD: usize = 40;
/// More than any table has that a person could have written.
const MOST: usize = 64 << 20;

/// The tables of one family, of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Xtables {
    socket: OwnedFd,
    level: i32,
}

impl Xtables {
    /// Opens a socket to ask by, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's, where the caller may not.
    pub fn open(v6: bool) -> Result<Self> {
        let (family, level) = if v6 { (AddressFamily::INET6, IPV6) } else { (AddressFamily::INET, IP) };
        let protocol = Some(Protocol::from_raw(RAW));
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        Ok(Self { socket, level })
    }

    /// Returns the entries of a table, as `struct ipt_entry` (or `ip6t_entry`) one behind the other. A table that isn't there yet
    /// is made by that.
    ///
    /// # Errors
    /// The kernel's; [`Errno::NOENT`] where it has no such table.
    pub fn entries(&self, table: &str) -> Result<Vec<u8>> {
        loop {
            let mut info = named(table, INFO)?;
            self.ask(GET_INFO, &mut info)?;
            let size =
                info.get(INFO - 4..).and_then(|last| last.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let length = HEAD + size as usize;
            if length > MOST {
                return Err(Errno::FBIG);
            }
            let mut all = named(table, length)?;
            all[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
            match self.ask(GET_ENTRIES, &mut all) {
                // Somebody has written another one since.
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(all.split_off(HEAD)),
            }
        }
    }

    fn ask(&self, option: i32, bytes: &mut [u8]) -> Result<()> {
        let mut length = bytes.len() as u32;
        let (socket, level) = (self.socket.as_raw_fd(), self.level);
        let (place, size) = (bytes.as_mut_ptr(), &raw mut length);
        // SAFETY: the kernel reads and writes no more than `length` bytes there, and the length; both live through the call.
        unsafe { call!(k::__NR_getsockopt, socket, level, option, place, size) }.map(|_| ())
    }
}

/// A request of this length, which begins with a table's name.
fn named(table: &str, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let place = bytes.get_mut(..table.len()).filter(|_| table.len() < NAME).ok_or(Errno::INVAL)?;
    place.copy_from_slice(table.as_bytes());
    Ok(bytes)
}
