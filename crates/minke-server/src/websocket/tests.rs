use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;
use crate::connection::{End, Scope, serve_stream};
use crate::handoff::Handoffs;

/// Echoes to the end of its input, then says so.
struct Echo;

impl Session for Echo {
    fn tty(&self) -> bool {
        true
    }

    async fn connect(self, socket: OwnedFd, _prefix: Bytes) -> Result<()> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let (mut read, mut write) = UnixStream::from_std(stream).unwrap().into_split();
        let mut buffer = [0; 64];
        loop {
            match read.read(&mut buffer).await.unwrap() {
                0 => return Ok(()),
                // What a container that ends does.
                length if &buffer[..length] == b"bye" => return Ok(()),
                length => write.write_all(&buffer[..length]).await.unwrap(),
            }
        }
    }
}

/// A client of `version` that has been accepted.
async fn client(version: ApiVersion) -> WebSocketStream<impl AsyncRead + AsyncWrite + Unpin> {
    let (near, far) = tokio::io::duplex(4096);
    let service = service_fn(move |mut request: http::Request<Incoming>| async move {
        let upgrade = request.extensions_mut().remove();
        let (parts, body) = request.into_parts();
        let handoff = Arc::<Handoffs>::default().begin("");
        let client = ClientSide { version, headers: parts.headers, body, upgrade, handoff };
        Ok::<_, Infallible>(answer(client, Echo).unwrap_or_else(|error| crate::error::answer(&error)))
    });
    tokio::spawn(serve_stream(far, service, Scope::default(), End::OfConnection));
    let mut request = "ws://engine/".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("one"));
    let (client, answer) = client_async(request, near).await.expect("an accepted websocket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "one");
    client
}

async fn next(client: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(10), client.next());
    next.await.expect("a message in time").expect("a message").expect("a sound message")
}

#[tokio::test]
async fn frames_of_either_kind_are_input_and_output_is_binary() {
    let mut client = client(ApiVersion::MAX).await;
    client.send(Message::text("text")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::binary("text"));
    client.send(Message::binary(vec![0xff, 0])).await.unwrap();
    assert_eq!(next(&mut client).await, Message::binary(vec![0xff, 0]));
    client.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Pong("p".into()));
}

#[tokio::test]
async fn older_versions_get_text() {
    let mut client = client(ApiVersion::new(1, 27)).await;
    client.send(Message::binary("x")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("x"));
}

#[tokio::test]
async fn the_end_of_the_output_is_a_close() {
    let mut client = client(ApiVersion::MAX).await;
    client.send(Message::text("bye")).await.unwrap();
    let Message::Close(Some(close)) = next(&mut client).await else { panic!("no close") };
    assert_eq!(close.code, CloseCode::Normal);
}

#[tokio::test]
async fn a_close_is_answered() {
    let mut client = client(ApiVersion::MAX).await;
    client.close(None).await.unwrap();
    assert!(matches!(next(&mut client).await, Message::Close(_)));
}

#[test]
fn what_is_no_websocket_is_refused() {
    let headers = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        handshake(&pairs.collect::<HeaderMap>()).map(|(accept, _)| accept).map_err(|error| error.to_string())
    };
    let whole = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(headers(&whole).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers(&[]).unwrap_err(), "not websocket protocol");
    assert_eq!(headers(&whole[..2]).unwrap_err(), "missing or bad WebSocket Version");
    assert_eq!(headers(&whole[..3]).unwrap_err(), "mismatch challenge/response");
}
