//! Opening connections, and keeping the idle ones for the next request.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use minke_model::{Context as _, Error, ErrorKind, Result};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::host::{Endpoint, Host};
use crate::stream::Stream;
use crate::tls;

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One HTTP connection, waiting for its next request.
pub(crate) type Sender = SendRequest<Body>;

/// The connections to one engine.
pub(crate) struct Pool {
    endpoint: Endpoint,
    tls: Option<Arc<rustls::ClientConfig>>,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self> {
        let tls = endpoint.tls.as_ref().filter(|_| matches!(endpoint.host, Host::Tcp { .. }));
        let tls = tls.map(tls::client_config).transpose()?;
        Ok(Self { endpoint, tls, idle: Mutex::default() })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// An idle connection, where there is one that the engine has not closed.
    pub(crate) fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) async fn give_back(&self, mut sender: Sender) {
        if sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(sender);
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Sender> {
        let stream = self.dial().await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.with_context(|| self.unreachable())?;
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    async fn dial(&self) -> Result<Stream> {
        match &self.endpoint.host {
            Host::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| self.connect_error(error))?;
                Ok(Stream::Unix(stream))
            }
            Host::Tcp { name, port } => {
                let stream = TcpStream::connect((name.as_str(), *port))
                    .await
                    .map_err(|error| self.connect_error(error))?;
                let _ = stream.set_nodelay(true);
                let Some(config) = &self.tls else { return Ok(Stream::Tcp(stream)) };
                let server = rustls::pki_types::ServerName::try_from(name.clone())
                    .with_context(|| self.unreachable())?;
                let connected = TlsConnector::from(config.clone()).connect(server, stream).await;
                Ok(Stream::Tls(Box::new(connected.map_err(|error| self.tls_error(error))?)))
            }
        }
    }

    fn unreachable(&self) -> String {
        format!("error during connect: {}", self.endpoint.host)
    }

    fn tls_error(&self, error: io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, self.unreachable()).with_source(error)
    }

    fn connect_error(&self, error: io::Error) -> Error {
        let host = &self.endpoint.host;
        let (kind, message) = match error.kind() {
            io::ErrorKind::PermissionDenied => (
                ErrorKind::Forbidden,
                format!("permission denied while trying to connect to the Docker daemon socket at {host}"),
            ),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let message =
                    format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?");
                return Error::new(ErrorKind::Unavailable, message);
            }
            _ => (ErrorKind::Unavailable, self.unreachable()),
        };
        Error::new(kind, message).with_source(error)
    }
}

/// Whether an error of [`crate::Client::connect`] says that nobody listens at the engine's address; all its other
/// failures have a cause.
pub fn is_absent(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && std::error::Error::source(error).is_none()
}
