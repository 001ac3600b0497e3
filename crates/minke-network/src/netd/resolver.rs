//! The sockets at which a container's questions arrive: 127.0.0.11, in its own network namespace.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::redirect::{self, ADDRESS, PORT};

/// Where it listens unless a program of the container does: no registered service, below the ports that the kernel gives away.
const USUAL: u16 = 31153;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 64;

/// What listens at 127.0.0.11 in one namespace; bound, non-blocking.
#[derive(Debug)]
pub struct Sockets {
    /// For datagrams.
    pub datagrams: OwnedFd,
    /// For connections; listens.
    pub connections: OwnedFd,
}

/// Makes them in the calling thread's namespace, in which `lo` must be up, with the redirect from port 53. `fresh`: nobody has been
/// in it yet. Where the kernel has no nftables they are at port 53 themselves.
///
/// # Errors
/// No descriptors, or no port: another program of the container has 53 and the kernel has no nftables.
pub fn prepare(fresh: bool) -> io::Result<Sockets> {
    let (sockets, port) = bind_anywhere()?;
    match redirect::put(port, fresh) {
        Ok(()) => Ok(sockets),
        Err(error) => {
            drop(sockets);
            bind(PORT).map_err(|_| error)
        }
    }
}

fn bind_anywhere() -> io::Result<(Sockets, u16)> {
    let mut result = bind(USUAL).map(|sockets| (sockets, USUAL));
    for _ in 0..16 {
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            break;
        }
        result = bind(0).and_then(|sockets| {
            let port = SocketAddr::try_from(rustix::net::getsockname(&sockets.datagrams)?)?.port();
            Ok((sockets, port))
        });
    }
    result
}

/// Binds both to the same port; 0: to one that is free for datagrams.
fn bind(port: u16) -> io::Result<Sockets> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let datagrams = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    rustix::net::bind(&datagrams, &SocketAddrV4::new(ADDRESS, port))?;
    let at = rustix::net::getsockname(&datagrams)?;
    let connections = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&connections, true)?;
    rustix::net::bind(&connections, &at)?;
    rustix::net::listen(&connections, BACKLOG)?;
    Ok(Sockets { datagrams, connections })
}
