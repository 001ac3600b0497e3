use hyper::service::service_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::response::json_later;

/// The server's end of an answer that comes when `outcome` is sent.
struct Waiting {
    client: UnixStream,
    outcome: oneshot::Sender<&'static str>,
    scope: Scope,
    served: tokio::task::JoinHandle<()>,
}

/// A client that has sent a request whose answer waits.
async fn wait() -> Waiting {
    let (mut client, server) = UnixStream::pair().unwrap();
    let (outcome, outcomes) = oneshot::channel();
    let (requests, mut waiting) = mpsc::channel(1);
    requests.send(outcomes).await.unwrap();
    let waiting = std::sync::Arc::new(std::sync::Mutex::new(waiting.try_recv().ok()));
    let service = service_fn(move |_request: http::Request<Incoming>| {
        let outcome = waiting.lock().unwrap().take().expect("one request");
        async { Ok::<_, Infallible>(json_later(async { outcome.await.unwrap_or("gone").into() })) }
    });
    let scope = Scope::default();
    let served = tokio::spawn(serve_unix(server, service, scope.clone()));
    client.write_all(b"POST /wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    Waiting { client, outcome, scope, served }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), work).await.expect("in time")
}

async fn read_head(client: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_head_of_a_wait_is_sent_at_once() {
    let Waiting { mut client, outcome, .. } = wait().await;
    let head = in_time(read_head(&mut client)).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    outcome.send("done").unwrap();
    let mut body = [0; 14];
    in_time(client.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"4\r\ndone\r\n0\r\n\r\n"[..14].as_ref());
}

#[tokio::test]
async fn a_client_that_only_ends_its_writing_side_gets_its_answer() {
    let Waiting { mut client, outcome, .. } = wait().await;
    client.shutdown().await.unwrap();
    in_time(read_head(&mut client)).await;
    tokio::time::sleep(UNWATCHED * 2).await;
    outcome.send("done").unwrap();
    let mut body = Vec::new();
    in_time(client.read_to_end(&mut body)).await.unwrap();
    assert!(body.starts_with(b"4\r\ndone\r\n"));
}

#[tokio::test]
async fn what_waits_for_a_client_that_has_gone_is_dropped() {
    let Waiting { mut client, mut outcome, served, .. } = wait().await;
    in_time(read_head(&mut client)).await;
    drop(client);
    in_time(outcome.closed()).await;
    in_time(served).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_drops_what_waits() {
    let Waiting { mut client, mut outcome, scope, served } = wait().await;
    in_time(read_head(&mut client)).await;
    scope.ending.cancel();
    scope.dropped.cancel();
    in_time(outcome.closed()).await;
    in_time(served).await.unwrap();
}

/// What a client of the network gets that sends `bytes` and then nothing, however long.
async fn answer_to_slow_client(bytes: &[u8]) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(4096);
    let service = service_fn(|_request: http::Request<Incoming>| async {
        Ok::<_, Infallible>(json_later(async { "done".into() }))
    });
    let served = tokio::spawn(serve_remote(server, service, Scope::default()));
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(HEAD * 3, client.read_to_end(&mut answer)).await.expect("it is let go").unwrap();
    served.await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn a_client_of_the_network_that_is_too_slow_is_let_go() {
    assert_eq!(answer_to_slow_client(b"").await, b"");
    assert_eq!(answer_to_slow_client(b"PRI * HT").await, b"");
    let answer = answer_to_slow_client(b"GET /info HTTP/1.1\r\nHost: d\r\n").await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    let answer = answer_to_slow_client(b"GET /info HTTP/1.1\r\nHost: d\r\n\r\nGET /").await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}
