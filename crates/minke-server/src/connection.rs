//! Accepting connections and serving each with HTTP/1.1, or HTTP/2 where the client begins with it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listener::{Client, Listener};
use crate::response::Response;
use crate::rest::Rest;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client that comes by the network may take for the head of a request.
const HEAD: Duration = Duration::from_secs(60);
/// How many clients may be connected to one TCP listener at once; attached ones, who have left HTTP, don't count.
const MOST_CLIENTS: usize = 1024;
/// How long to wait when the system has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long a connection lasts before its client is watched for having gone.
const UNWATCHED: Duration = Duration::from_millis(200);

/// What a server's tasks share.
#[derive(Clone, Default)]
pub struct Scope {
    /// No new connection and no further request.
    pub ending: CancellationToken,
    /// Nothing at all.
    pub dropped: CancellationToken,
    /// All tasks.
    pub tasks: TaskTracker,
    /// Whom every client keeps from resting.
    pub rest: Rest,
}

/// Serves every client of a listener until the server is ending.
pub async fn accept_all<S>(listener: Listener, service: S, scope: Scope)
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let room = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let accept = async {
            let place = match listener.is_local() {
                true => None,
                false => room.clone().acquire_owned().await.ok(),
            };
            (listener.accept().await, place)
        };
        let (client, place) = tokio::select! {
            accepted = accept => accepted,
            () = scope.ending.cancelled() => return,
        };
        match client {
            Ok(client) => {
                scope.rest.stir();
                drop(scope.tasks.spawn(serve_client(client, place, service.clone(), scope.clone())));
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(listener = listener.address(), "can't accept: {error}");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn serve_client<S>(client: Client, _place: Option<OwnedSemaphorePermit>, service: S, scope: Scope)
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    match client {
        Client::Unix(stream) => serve_unix(stream, service, scope).await,
        Client::Tcp(stream) => {
            let _ = stream.set_nodelay(true);
            serve_remote(stream, service, scope).await;
        }
        Client::Tls(stream, acceptor) => {
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve_remote(stream, service, scope).await,
                Ok(Err(error)) => tracing::info!("TLS handshake: {error}"),
                Err(_) => tracing::info!("TLS handshake: timeout"),
            }
        }
    }
}

/// Serves a client that comes by the network. One that doesn't bring its request in time is let go: hyper looks at the time from the
/// second byte of a connection on, what precedes is watched here.
async fn serve_remote<I, S>(stream: I, service: S, scope: Scope)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let begun = Arc::new(AtomicBool::new(false));
    let noticing = Noticing { service, begun: begun.clone() };
    let late = async {
        tokio::time::sleep(HEAD).await;
        if begun.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = serve_stream(stream, noticing, scope, End::OfInput) => {}
        () = late => tracing::debug!("a client has connected and asks for nothing"),
    }
}

/// A service that notes its first request.
struct Noticing<S> {
    service: S,
    begun: Arc<AtomicBool>,
}

impl<S> Service<http::Request<Incoming>> for Noticing<S>
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

/// Serves a unix socket, whose client may end its writing side and still wait for an answer.
pub async fn serve_unix<S>(stream: UnixStream, service: S, scope: Scope)
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let watched = stream.as_fd().try_clone_to_owned();
    let connection = serve_stream(stream, service, scope, End::OfConnection);
    match watched {
        Ok(watched) => tokio::select! {
            () = connection => {}
            () = hung_up(watched) => {}
        },
        Err(_) => connection.await,
    }
}

/// Ends when the other side of a socket has been closed in both directions. Nothing is read and, for the short
/// connections of a command line, nothing is watched.
async fn hung_up(socket: OwnedFd) {
    tokio::time::sleep(UNWATCHED).await;
    let Ok(socket) = UnixStream::from_std(socket.into()) else { return pending().await };
    loop {
        match socket.ready(Interest::WRITABLE).await {
            Ok(ready) if ready.is_write_closed() => return,
            // Says that it was not writable, to be woken by the next change only.
            Ok(_) => {
                drop(socket.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into())))
            }
            Err(_) => return pending().await,
        }
    }
}

/// What tells that a client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end of its input: it never only stops writing.
    OfInput,
    /// Something outside; the end of input means nothing.
    OfConnection,
}

/// Serves one connection to its end, its upgrade, or the server's end.
pub async fn serve_stream<I, S>(stream: I, service: S, scope: Scope, end: End)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Only root and who is as good as that comes by a unix socket.
    let patience = (end == End::OfInput).then_some(HEAD);
    builder
        .http1()
        .timer(TokioTimer::new())
        .half_close(end == End::OfConnection)
        .header_read_timeout(patience)
        .title_case_headers(true);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = scope.ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = scope.dropped.cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("connection: {error}");
    }
}

#[cfg(test)]
mod tests;
