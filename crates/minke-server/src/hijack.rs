//! Connections that stop being HTTP: attach and exec start.
//!
//! ```text
//! client asks to upgrade     101, then the raw socket and what hyper had read of it go to the engine
//! ... over TCP or TLS        as above, with one end of a socket pair; two tasks copy between it and the client
//! client does not ask        200, and the socket pair's other end is the body of the answer (and of the request)
//! ```

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use minke_api::ApiVersion;
use minke_api::run::{MINKE_RUN_HEADER, RunAnswer, RunMode};
use minke_api::stream::{MINKE_STREAM_HEADER, MULTIPLEXED_STREAM, RAW_STREAM};
use minke_engine::{Attachment, ExecSession, RunSession};
use minke_model::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::body::Body;
use crate::handoff::Handoff;
use crate::request::{Request, reader};
use crate::response::{self, Response};

/// The first version that tells framed from raw streams by the content type.
const TELLS_FRAMED: ApiVersion = ApiVersion::new(1, 42);
/// How much of a streamed answer is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the engine does with a connection.
pub trait Session: Send + 'static {
    /// Whether the stream is raw.
    fn tty(&self) -> bool;
    /// Gives the connection to the engine.
    fn connect(self, socket: OwnedFd, prefix: Bytes) -> impl Future<Output = Result<()>> + Send;
}

impl Session for Attachment {
    fn tty(&self) -> bool {
        self.tty
    }

    async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        Attachment::connect(self, socket, prefix).await
    }
}

impl Session for RunSession {
    fn tty(&self) -> bool {
        false
    }

    async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        RunSession::connect(self, socket, prefix).await
    }
}

impl Session for ExecSession {
    fn tty(&self) -> bool {
        self.tty
    }

    async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        ExecSession::connect(self, socket, prefix).await
    }
}

/// The client's side of a request that may take the connection.
pub struct ClientSide {
    /// The version of the request.
    pub version: ApiVersion,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, the input of a client that does not upgrade.
    pub body: Incoming,
    /// The connection, once the answer has given it up.
    pub upgrade: Option<OnUpgrade>,
    /// Lasts until the engine has the connection.
    pub handoff: Handoff,
}

impl ClientSide {
    /// Takes what is needed of a request.
    pub fn of(request: Request) -> Self {
        let handoff = request.handoffs.begin(&request.parameter);
        Self {
            handoff,
            version: request.version,
            headers: request.headers,
            body: request.body,
            upgrade: request.upgrade,
        }
    }
}

/// Whether the client asks for the frames of our own command line.
pub fn wants_exit_frames(headers: &HeaderMap) -> bool {
    headers.get(MINKE_STREAM_HEADER).is_some_and(|value| value == "1")
}

/// What our own client asks to be done with what it makes, if its connection can become the stream where that is needed.
pub fn run_mode(request: &Request) -> Option<RunMode> {
    let mode = RunMode::parse(request.header(MINKE_RUN_HEADER))?;
    let can = mode == RunMode::Detach || (request.upgrade.is_some() && wants_exit_frames(&request.headers));
    can.then_some(mode)
}

/// As [`answer`], and says what has been made.
pub fn answer_run(client: ClientSide, made: &RunAnswer, session: impl Session) -> Result<Response> {
    let made = serde_json::to_vec(made).context("what was made")?;
    let made = HeaderValue::from_bytes(&made).context("what was made")?;
    let mut answer = answer(client, session)?;
    answer.headers_mut().insert(MINKE_RUN_HEADER, made);
    Ok(answer)
}

/// Answers with the connection itself and gives it to the session once the answer is out.
pub fn answer(client: ClientSide, session: impl Session) -> Result<Response> {
    let exit_frames = wants_exit_frames(&client.headers);
    let framed = exit_frames || (!session.tty() && client.version >= TELLS_FRAMED);
    let content_type = if framed { MULTIPLEXED_STREAM } else { RAW_STREAM };
    let protocol = client.headers.get(header::UPGRADE).cloned();
    let mut answer = match (protocol, client.upgrade) {
        (Some(protocol), Some(upgrade)) => {
            let late = reads_head_in_pieces(&client.headers);
            tokio::spawn(report(connect_upgraded(upgrade, session, late), client.handoff));
            switching(content_type, protocol)
        }
        _ => response::of_type(content_type, stream(client.body, session, client.handoff)?),
    };
    if exit_frames {
        answer.headers_mut().insert(MINKE_STREAM_HEADER, HeaderValue::from_static("1"));
    }
    Ok(answer)
}

/// `101 UPGRADED`, as Docker words it.
fn switching(content_type: &'static str, protocol: HeaderValue) -> Response {
    let mut answer = response::of_type(content_type, Body::Empty);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(header::UPGRADE, protocol);
    answer
}

/// Does the work of a connection that is no longer HTTP; an error is only logged.
pub async fn report(work: impl Future<Output = Result<()>>, _until_then: Handoff) {
    if let Err(error) = work.await {
        tracing::warn!("attached connection: {error}");
    }
}

/// How long a client may take to read the answer's head before the stream begins all the same.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// The same where nobody can tell whether it has.
const HEAD_DELAY: Duration = Duration::from_millis(20);

/// Whether the client loses what comes in one piece with the answer's head: docker-py reads the head through a buffer, and the
/// stream past it.
fn reads_head_in_pieces(headers: &HeaderMap) -> bool {
    agent(headers).starts_with("docker-sdk-python/")
}

/// Whether the client is Docker's command line or ours.
pub fn is_command_line(headers: &HeaderMap) -> bool {
    ["Docker-Client/", "Minke-Client/"].iter().any(|name| agent(headers).starts_with(name))
}

/// What the client calls itself.
fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// Waits until the other end of a unix socket has read all that was written.
async fn await_read(socket: &OwnedFd) {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < HEAD_PATIENCE
        && minke_sys::descriptor::unread_bytes(socket).is_ok_and(|bytes| bytes > 0)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn connect_upgraded(upgrade: OnUpgrade, session: impl Session, late: bool) -> Result<()> {
    let upgraded = upgrade.await.context("upgrading the connection")?;
    let (socket, prefix) = match downcast::<TokioIo<UnixStream>>(upgraded) {
        Ok(parts) => {
            let socket = descriptor(parts.io.into_inner()).context("taking the connection")?;
            if late {
                await_read(&socket).await;
            }
            (socket, parts.read_buf)
        }
        Err(upgraded) => {
            if late {
                tokio::time::sleep(HEAD_DELAY).await;
            }
            let (near, far) = UnixStream::pair().context("socket pair")?;
            tokio::spawn(proxy(upgraded, near));
            (descriptor(far).context("socket pair")?, Bytes::new())
        }
    };
    session.connect(socket, prefix).await
}

/// The socket itself, out of the runtime's hands.
pub fn descriptor(stream: UnixStream) -> io::Result<OwnedFd> {
    Ok(stream.into_std()?.into())
}

/// Copies between a client that is not a unix socket and the socket pair; each direction ends by itself.
async fn proxy(upgraded: Upgraded, near: UnixStream) {
    let mut client = TokioIo::new(upgraded);
    let mut near = near;
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut near).await {
        tracing::debug!("attached connection: {error}");
    }
}

/// The way of clients that did not ask to upgrade: the request's body is the input, the answer's the output.
fn stream(body: Incoming, session: impl Session, handoff: Handoff) -> Result<Body> {
    let (near, far) = UnixStream::pair().context("socket pair")?;
    let far = descriptor(far).context("socket pair")?;
    let (mut output, mut input) = near.into_split();
    let has_body = !hyper::body::Body::is_end_stream(&body);
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(report(session.connect(far, Bytes::new()), handoff));
    tokio::spawn(async move {
        if has_body {
            let mut body = reader(body);
            let _ = tokio::io::copy(&mut body, &mut input).await;
            let _ = input.shutdown().await;
        } else {
            // There will be no input, but its end is not told either: the client is only not able to send any.
            input.forget();
        }
    });
    tokio::spawn(async move {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            let read = tokio::select! {
                read = output.read_buf(&mut buffer) => read,
                () = sender.closed() => return,
            };
            let piece = match read {
                Ok(0) => return,
                Ok(_) => Ok(buffer.split().freeze()),
                Err(error) => Err(error),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
            buffer.reserve(CHUNK_BYTES);
        }
    });
    Ok(Body::Channel(receiver))
}

#[cfg(test)]
mod tests;
