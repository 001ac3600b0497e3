//! Attaching by a websocket (RFC 6455): for programs that can speak nothing else, a browser for one.
//!
//! ```text
//! client   GET ... Upgrade: websocket      101, then frames
//! frames of the client, text or binary     the container's input, whatever they hold
//! the container's output, both streams     a frame per piece: binary since version 1.28, text before
//! a close of the client                    the end of the input; the engine answers and lets go
//! the container's end                      a close with the code 1000
//! ```
//!
//! The bytes are never framed a second time: standard output and standard error can't be told apart here, as in Docker.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use minke_api::ApiVersion;
use minke_model::{Context as _, Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use crate::body::Body;
use crate::hijack::{ClientSide, Session, descriptor, report};
use crate::response::Response;

/// The first version whose output comes in binary frames.
const BINARY: ApiVersion = ApiVersion::new(1, 28);
/// How much of the output goes into one frame.
const FRAME_BYTES: usize = 32 * 1024;
/// The longest message of a client that is taken.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Answers with a websocket and gives its other end to the session once the answer is out.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] where the client does not ask for a websocket of version 13.
pub fn answer(client: ClientSide, session: impl Session) -> Result<Response> {
    let (accept, protocol) = handshake(&client.headers)?;
    let upgrade = client.upgrade.ok_or_else(|| Error::invalid("not websocket protocol"))?;
    let data = if client.version >= BINARY { Data::Binary } else { Data::Text };
    tokio::spawn(report(connect(upgrade, session, data), client.handoff));
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// What the answer has to say to the client's key, and the protocol, if it names one.
fn handshake(headers: &HeaderMap) -> Result<(HeaderValue, Option<HeaderValue>)> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let has = |name, word: &str| text(name).split(',').any(|found| found.trim().eq_ignore_ascii_case(word));
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(Error::invalid("not websocket protocol"));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err(Error::invalid("missing or bad WebSocket Version"));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(Error::invalid("mismatch challenge/response"));
    }
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).context("a websocket's key")?;
    // Of several, nobody here could choose.
    let protocol = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
    if text(header::SEC_WEBSOCKET_PROTOCOL).contains(',') {
        return Err(Error::invalid("missing or bad WebSocket-Protocol"));
    }
    Ok((accept, protocol.cloned()))
}

async fn connect(upgrade: OnUpgrade, session: impl Session, data: Data) -> Result<()> {
    let upgraded: Upgraded = upgrade.await.context("upgrading the connection")?;
    let (near, far) = UnixStream::pair().context("socket pair")?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .max_write_buffer_size(MESSAGE_BYTES)
        .write_buffer_size(0);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    tokio::spawn(carry(socket, near, data));
    session.connect(descriptor(far).context("socket pair")?, Bytes::new()).await
}

/// Carries both directions until one side has ended. Pings are answered on the way.
async fn carry<S>(mut socket: WebSocketStream<S>, near: UnixStream, data: Data)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut output, mut input) = near.into_split();
    let mut buffer = vec![0; FRAME_BYTES];
    loop {
        tokio::select! {
            message = socket.next() => {
                let goes_on = match message {
                    Some(Ok(Message::Text(text))) => write(&mut input, text.as_bytes()).await,
                    Some(Ok(Message::Binary(bytes))) => write(&mut input, &bytes).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => true,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => false,
                };
                if !goes_on {
                    // The answer to a close is on its way by itself; it has to be flushed.
                    let _ = socket.flush().await;
                    // The input's end is to be seen before the connection's.
                    let _ = input.shutdown().await;
                    return;
                }
            }
            read = output.read(&mut buffer) => {
                let bytes = match read {
                    Ok(0) | Err(_) => break,
                    Ok(length) => &buffer[..length],
                };
                // A text's bytes are the container's own, whole characters or not.
                let frame = Frame::message(bytes.to_vec(), OpCode::Data(data), true);
                if socket.send(Message::Frame(frame)).await.is_err() {
                    return;
                }
            }
        }
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: Default::default() };
    let _ = socket.send(Message::Close(Some(close))).await;
    // Only a client that answers has read everything.
    let answered = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(CLOSING, answered).await;
}

/// How long a client may take to answer a close.
const CLOSING: std::time::Duration = std::time::Duration::from_secs(5);

/// Gives bytes to the container; one that no longer reads is no reason to let the client go.
async fn write(input: &mut OwnedWriteHalf, bytes: &[u8]) -> bool {
    let _ = input.write_all(bytes).await;
    true
}

#[cfg(test)]
mod tests;
