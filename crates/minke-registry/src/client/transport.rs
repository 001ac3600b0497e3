//! Connections: dialled with bounds, through proxies and TLS where that is asked for, kept for the next request, and dropped when
//! nobody asks for half a minute. Must never know what is asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{Error, ErrorKind};
use super::proxy::{self, Proxy};
use super::settings::Settings;
use super::tls::HostFiles;
use super::url::Origin;
use super::{Result, tls};

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How long a connection is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(30);
/// The most connections kept to one place.
const KEPT_EACH: usize = 8;
/// The most headers, and the most bytes of them, that an answer may have.
const MAX_HEADERS: usize = 128;
const MAX_HEAD_BYTES: usize = 128 << 10;

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// Whether its certificate is looked at.
    pub(crate) verify: bool,
}

/// What may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The user named this place.
    Anywhere,
    /// A registry named it: not this host's loopback, nor what clouds keep at link-local addresses.
    Public,
    /// A registry on this host's loopback named it.
    PublicOrLoopback,
}

/// One HTTP connection.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Body>,
    /// Whether requests name the whole address, as a proxy wants.
    pub(crate) absolute: bool,
    /// What the proxy itself wants to be shown.
    pub(crate) proxy_authorization: Option<HeaderValue>,
    since: Instant,
}

/// A stream of bytes to somewhere.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Stream = Box<dyn Io>;

/// All connections of a client.
#[derive(Default)]
pub(crate) struct Connections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: HashMap<Target, Vec<Connection>>,
    /// With the files that each was made of.
    configs: HashMap<Target, (HostFiles, Arc<ClientConfig>)>,
    /// The system's authorities: some hundred KiB, for as long as there are connections.
    roots: Option<Arc<RootCertStore>>,
    last_use: Option<Instant>,
    sweeping: bool,
}

impl Connections {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: certificates may have changed.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        *state = State { sweeping: state.sweeping, ..State::default() };
    }

    /// A connection that has served before, if one is open.
    pub(crate) fn take_idle(&self, target: &Target) -> Option<Connection> {
        let mut state = self.state();
        let idle = state.idle.get_mut(target)?;
        idle.retain(|connection| !connection.sender.is_closed() && connection.since.elapsed() < KEPT);
        idle.pop()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) fn give_back(self: &Arc<Self>, target: &Target, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.since = Instant::now();
        let mut state = self.state();
        let idle = state.idle.entry(target.clone()).or_default();
        if idle.len() < KEPT_EACH {
            idle.push(connection);
        }
        self.sweep_later(&mut state);
    }

    /// Sees to it that what nobody uses is dropped.
    fn sweep_later(self: &Arc<Self>, state: &mut State) {
        state.last_use = Some(Instant::now());
        if std::mem::replace(&mut state.sweeping, true) {
            return;
        }
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEPT).await;
                if Weak::upgrade(&connections).is_none_or(|connections| connections.sweep()) {
                    return;
                }
            }
        });
    }

    /// Drops what is old; says whether nothing is left.
    fn sweep(&self) -> bool {
        let mut state = self.state();
        state.idle.retain(|_, idle| {
            idle.retain(|connection| !connection.sender.is_closed() && connection.since.elapsed() < KEPT);
            !idle.is_empty()
        });
        if state.idle.is_empty() && state.last_use.is_none_or(|last| last.elapsed() >= KEPT) {
            *state = State::default();
        }
        !state.sweeping
    }

    /// Opens a connection.
    pub(crate) async fn open(
        self: &Arc<Self>,
        settings: &Settings,
        target: &Target,
        reach: Reach,
    ) -> Result<Connection> {
        let timeout = settings.limits.connect;
        let opening = Box::pin(self.open_unbounded(settings, target, reach));
        let opened = tokio::time::timeout(timeout, opening).await;
        opened.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Network,
                "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            ))
        })
    }

    async fn open_unbounded(
        self: &Arc<Self>,
        settings: &Settings,
        target: &Target,
        reach: Reach,
    ) -> Result<Connection> {
        let origin = &target.origin;
        let stream: Stream = match proxy::choose(&settings.proxies, origin)? {
            None => Box::new(dial(&origin.host, origin.port, reach, settings.limits.connect / 2).await?),
            Some(proxy) => {
                let stream = self
                    .reach_proxy(settings, &proxy)
                    .await
                    .map_err(|error| error.within("proxyconnect tcp"))?;
                if !origin.secure {
                    let connection = shake_hands(stream, true).await?;
                    return Ok(Connection { proxy_authorization: proxy.authorization, ..connection });
                }
                tunnel(stream, origin, proxy.authorization).await?
            }
        };
        if origin.secure {
            shake_hands(self.secured(settings, target, stream).await?, false).await
        } else {
            shake_hands(stream, false).await
        }
    }

    async fn reach_proxy(self: &Arc<Self>, settings: &Settings, proxy: &Proxy) -> Result<Stream> {
        let origin = &proxy.origin;
        let stream = dial(&origin.host, origin.port, Reach::Anywhere, settings.limits.connect / 2).await?;
        if !origin.secure {
            return Ok(Box::new(stream));
        }
        let target = Target { origin: origin.clone(), verify: !settings.is_insecure(origin) };
        self.secured(settings, &target, Box::new(stream)).await
    }

    /// Begins TLS on a stream.
    async fn secured(
        self: &Arc<Self>,
        settings: &Settings,
        target: &Target,
        stream: Stream,
    ) -> Result<Stream> {
        let config = self.config(settings, target).await?;
        let name = ServerName::try_from(target.origin.host.clone())
            .map_err(|error| Error::new(ErrorKind::Tls, format!("tls: {error}")))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(connected.map_err(tls::handshake_error)?))
    }

    /// The settings of TLS for a place, made again where its files are others than those that they were made of.
    async fn config(self: &Arc<Self>, settings: &Settings, target: &Target) -> Result<Arc<ClientConfig>> {
        let (kept, roots) = {
            let mut state = self.state();
            self.sweep_later(&mut state);
            (state.configs.remove(target), state.roots.clone())
        };
        let (folders, asked) = (settings.certs_dirs.clone(), target.clone());
        let made = tokio::task::spawn_blocking(move || {
            let files = HostFiles::find(&folders, &asked.origin)?;
            if let Some((of, config)) = kept
                && of == files
            {
                return Ok((files, config, roots));
            }
            let roots = match roots {
                Some(roots) => roots,
                None if asked.verify => Arc::new(tls::system_roots()),
                None => Arc::new(RootCertStore::empty()),
            };
            let config = tls::client_config(roots.clone(), &files, asked.verify)?;
            Ok::<_, Error>((files, config, asked.verify.then_some(roots)))
        });
        let (files, config, roots) = made
            .await
            .map_err(|error| Error::new(ErrorKind::Local, "tls: no thread").with_source(error))??;
        let mut state = self.state();
        if roots.is_some() {
            state.roots = roots;
        }
        state.configs.insert(target.clone(), (files, config.clone()));
        Ok(config)
    }
}

/// Asks a proxy for a way through to a place.
async fn tunnel(stream: Stream, to: &Origin, authorization: Option<HeaderValue>) -> Result<Stream> {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let shaken = builder.handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(http_error)?;
    tokio::spawn(connection.with_upgrades());
    let mut request =
        Request::builder().method(Method::CONNECT).uri(to.host_port()).header(HOST, to.host_port());
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|error| Error::invalid("invalid address").with_source(error))?;
    let response = sender.send_request(request).await.map_err(http_error)?;
    if !response.status().is_success() {
        let status = response.status();
        let words = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        return Err(Error::new(ErrorKind::Network, words));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(http_error)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// Begins HTTP on a stream.
async fn shake_hands(stream: Stream, absolute: bool) -> Result<Connection> {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(http_error)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!("registry: connection: {error}");
        }
    });
    Ok(Connection { sender, absolute, proxy_authorization: None, since: Instant::now() })
}

/// Connects to one of a host's addresses, those that `reach` allows.
async fn dial(host: &str, port: u16, reach: Reach, each: Duration) -> Result<TcpStream> {
    let looked_up = tokio::net::lookup_host((host, port)).await;
    let addresses = looked_up.map_err(|error| {
        Error::new(ErrorKind::Network, format!("dial tcp: lookup {host}: no such host")).with_source(error)
    })?;
    let mut refusal = Error::new(ErrorKind::Network, format!("dial tcp: lookup {host}: no such host"));
    for address in addresses.take(16) {
        if !reach.allows(address.ip()) {
            refusal = Error::invalid(format!("refusing to follow a registry to {address}"));
            continue;
        }
        match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => refusal = dial_error(address, error),
            Err(_) => {
                refusal = Error::new(ErrorKind::Network, format!("dial tcp {address}: i/o timeout"));
            }
        }
    }
    Err(refusal)
}

fn dial_error(address: SocketAddr, error: io::Error) -> Error {
    let words = format!("dial tcp {address}: connect: {}", io_words(&error));
    Error::new(ErrorKind::Network, words).with_source(error)
}

impl Reach {
    /// Whether an address may be connected to.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Anywhere => true,
            Self::Public => !address.is_loopback() && !is_of_this_host(address),
            Self::PublicOrLoopback => !is_of_this_host(address),
        }
    }
}

/// Addresses that lead to the host itself or to its cloud's metadata.
fn is_of_this_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_unspecified() || address.octets() == [100, 100, 100, 200]
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.is_unspecified()
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// An error of the system as Go words it.
pub(crate) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}

/// A failure of HTTP itself.
pub(crate) fn http_error(error: hyper::Error) -> Error {
    if error.is_parse_too_large() {
        return Error::new(ErrorKind::Invalid, "net/http: server response headers exceeded the limit")
            .with_source(error);
    }
    if error.is_parse() {
        return Error::new(
            ErrorKind::Invalid,
            "net/http: HTTP/1.x transport connection broken: malformed HTTP response",
        )
        .with_source(error);
    }
    if error.is_user() {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        return Error::new(ErrorKind::Local, format!("the request's body failed: {source}"))
            .with_source(error);
    }
    let inner = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(words) = inner.and_then(tls::tls_words) {
        return Error::new(ErrorKind::Tls, words).with_source(error);
    }
    let words = match inner {
        Some(inner) => io_words(inner),
        None if error.is_incomplete_message() => "unexpected EOF".to_owned(),
        None => "EOF".to_owned(),
    };
    Error::new(ErrorKind::Network, words).with_source(error)
}
