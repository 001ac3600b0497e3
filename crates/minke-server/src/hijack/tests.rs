use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::connection::{End, Scope, serve_stream};
use crate::handoff::Handoffs;

/// Says what was read before the connection was taken, then echoes to the end.
struct Echo;

impl Session for Echo {
    fn tty(&self) -> bool {
        false
    }

    async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let mut stream = UnixStream::from_std(stream).unwrap();
        stream.write_all(&[b"[", prefix.as_ref(), b"]"].concat()).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        Ok(())
    }
}

fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|mut request: http::Request<Incoming>| async move {
        let upgrade = request.extensions_mut().remove();
        let (parts, body) = request.into_parts();
        let version = if parts.uri.path() == "/old" { ApiVersion::new(1, 41) } else { ApiVersion::MAX };
        let client = ClientSide {
            version,
            headers: parts.headers,
            body,
            upgrade,
            handoff: Arc::<Handoffs>::default().begin(""),
        };
        Ok::<_, Infallible>(answer(client, Echo).unwrap())
    });
    tokio::spawn(serve_stream(stream, service, Scope::default(), End::OfConnection));
}

/// Sends `request`, then after the answer's head `later`, then ends the writing side, and reads to the end.
async fn talk(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    later: &str,
) -> (String, String) {
    let whole = async {
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        while !text.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(client.read_buf(&mut text).await.unwrap(), 0);
        }
        client.write_all(later.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    };
    let text = tokio::time::timeout(Duration::from_secs(10), whole).await.expect("an answer in time");
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), rest.to_owned())
}

const UPGRADE: &str = "POST / HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

#[tokio::test]
async fn a_unix_socket_is_handed_over_with_what_was_read_of_it() {
    let (client, server) = UnixStream::pair().unwrap();
    serve(server);
    let (head, rest) = talk(client, &format!("{UPGRADE}early"), " late").await;
    assert!(head.starts_with("http/1.1 101 upgraded\r\n"), "{head}");
    for line in
        ["connection: upgrade", "upgrade: tcp", "content-type: application/vnd.docker.multiplexed-stream"]
    {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert_eq!(rest, "[early] late");
}

#[tokio::test]
async fn other_connections_are_copied_through_a_socket_pair() {
    let (client, server) = tokio::io::duplex(64);
    serve(server);
    let (head, rest) = talk(client, &format!("{UPGRADE}early"), " late").await;
    assert!(head.starts_with("http/1.1 101 upgraded\r\n"), "{head}");
    assert_eq!(rest, "[]early late");
}

#[tokio::test]
async fn a_client_that_does_not_upgrade_gets_a_streamed_body() {
    let (client, server) = UnixStream::pair().unwrap();
    serve(server);
    let request = "POST /old HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: 5\r\n\r\ninput";
    let (head, rest) = talk(client, request, "").await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-type: application/vnd.docker.raw-stream"), "{head}");
    let plain: String = rest.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(plain, "[]input");
}

#[tokio::test]
async fn our_own_client_is_told_that_its_frames_come() {
    let (client, server) = UnixStream::pair().unwrap();
    serve(server);
    let request = UPGRADE.replace("POST / ", "POST /old ").replace("Host: d", "Host: d\r\nMinke-Stream: 1");
    let (head, _) = talk(client, &request, "").await;
    assert!(head.contains("minke-stream: 1"), "{head}");
    assert!(head.contains("content-type: application/vnd.docker.multiplexed-stream"), "{head}");
}
