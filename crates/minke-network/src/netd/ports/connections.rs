//! TCP by user space: each connection to the host's port becomes one to the container, and bytes go both ways as fast as the
//! slower side takes them. Each direction ends by itself.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{Shutdown, sockopt};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Carriage;
use super::pipes::Pipes;

/// How many connections are carried at once, of all ports, where the limit of descriptors allows it.
const MOST: usize = 16 * 1024;
/// How long the container may take to accept.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to rest where there are no descriptors left.
const REST: Duration = Duration::from_millis(50);
/// The most bytes that go into a pipe at once.
const CHUNK: usize = 1 << 20;

/// What all connections share.
#[derive(Debug)]
pub struct Limits {
    connections: Semaphore,
    pipes: Pipes,
}

impl Limits {
    /// Allows as many connections as `descriptors` suffice for: two each, a pipe now and then, and half for everything else.
    pub fn for_descriptors(descriptors: u64) -> Self {
        let most = usize::try_from(descriptors / 8).unwrap_or(MOST).clamp(16, MOST);
        Self { connections: Semaphore::new(most), pipes: Pipes::default() }
    }
}

/// Accepts until it is retired, then carries until the last connection has ended. When it is dropped, all have.
pub async fn carry(listener: Rc<TcpListener>, target: Rc<Cell<SocketAddr>>, mut carriage: Carriage) {
    let mut open = JoinSet::new();
    let limits = carriage.limits.clone();
    loop {
        tokio::select! {
            _ = carriage.retired.wait_for(|retired| *retired) => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            // Whoever comes when there are too many waits where the kernel lets it wait.
            accepted = accept(&listener, &limits) => match accepted {
                Ok((stream, permit)) => {
                    permit.forget();
                    let (limits, target) = (Permit(limits.clone()), target.get());
                    open.spawn_local(async move { drop(connect(&limits.0.pipes, stream, target).await) });
                }
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn accept<'a>(
    listener: &TcpListener,
    limits: &'a Limits,
) -> io::Result<(TcpStream, tokio::sync::SemaphorePermit<'a>)> {
    let permit = limits.connections.acquire().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, permit))
}

/// One of the connections that there may be; given back when it is dropped.
struct Permit(Rc<Limits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.add_permits(1);
    }
}

async fn connect(pipes: &Pipes, outside: TcpStream, target: SocketAddr) -> io::Result<()> {
    let inside = tokio::time::timeout(PATIENCE, TcpStream::connect(target)).await??;
    for stream in [&outside, &inside] {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
    }
    tokio::try_join!(move_bytes(pipes, &outside, &inside), move_bytes(pipes, &inside, &outside))?;
    Ok(())
}

/// Moves what comes from one until it ends, and passes the end on.
async fn move_bytes(pipes: &Pipes, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        let pipe = pipes.take()?;
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let taken =
            from.try_io(Interest::READABLE, || Ok(splice(from, None, &pipe.writer, None, CHUNK, flags)?));
        let mut left = match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipes.give_back(pipe);
                continue;
            }
            result => result?,
        };
        if left == 0 {
            pipes.give_back(pipe);
            rustix::net::shutdown(to, Shutdown::Write)?;
            return Ok(());
        }
        while left > 0 {
            let given =
                to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.reader, None, to, None, left, flags)?));
            match given {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                result => left -= result?,
            }
        }
        pipes.give_back(pipe);
    }
}
