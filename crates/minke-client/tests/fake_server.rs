//! The client against a server that says exactly what a test wants it to say, on a socket of its own.

use std::sync::{Arc, Mutex};

use minke_api::container::{
    AttachQuery, ContainerCreateQuery, ContainerCreateRequest, ContainerListQuery, ContainerStartQuery,
    WaitQuery,
};
use minke_client::frame::Output;
use minke_client::{Client, Config, Endpoint, Host, Introduction, is_absent};
use minke_model::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A server that answers each request, in the order they come on all connections, with the next of its texts.
struct Fake {
    directory: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Fake {
    fn start(answers: Vec<Vec<u8>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let fake = Self { directory, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (fake.requests.clone(), fake.connections.clone());
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, requests.clone(), answers.clone()));
            }
        });
        fake
    }

    async fn client(&self, implicit: bool) -> Client {
        let client = Client::connect(self.endpoint(implicit), &Config::default(), Introduction::default())
            .await
            .unwrap();
        client.agree().await.unwrap();
        client
    }

    fn endpoint(&self, implicit: bool) -> Endpoint {
        Endpoint {
            host: Host::Unix(self.directory.path().join("s")),
            tls: None,
            implicit,
            context: "default".into(),
        }
    }

    fn request_lines(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| {
                request.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_string()
            })
            .collect()
    }
}

type Answers = Arc<Mutex<std::vec::IntoIter<Vec<u8>>>>;

async fn serve(mut stream: UnixStream, requests: Arc<Mutex<Vec<String>>>, answers: Answers) {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            request.push(byte);
        }
        let head = String::from_utf8(request).unwrap();
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").and_then(|text| text.parse().ok()));
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        requests.lock().unwrap().push(head + &String::from_utf8_lossy(&body));
        let Some(answer) = answers.lock().unwrap().next() else { return };
        stream.write_all(&answer).await.unwrap();
        if answer.starts_with(b"HTTP/1.1 101") {
            let mut input = Vec::new();
            stream.read_to_end(&mut input).await.unwrap();
            requests.lock().unwrap().push(format!("input: {}", String::from_utf8_lossy(&input)));
            return;
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn the_lower_version_is_spoken_with_a_named_engine_and_none_is_asked_of_our_own() {
    let named =
        Fake::start(vec![answer("200 OK", "Api-Version: 1.41\r\n", "OK"), answer("200 OK", "", "[]")]);
    let client = named.client(false).await;
    assert!(client.container_list(&ContainerListQuery::default()).await.unwrap().is_empty());
    assert_eq!(named.request_lines(), ["GET /_ping", "GET /v1.41/containers/json"]);
    let own = Fake::start(vec![answer("200 OK", "", "[]")]);
    let client = own.client(true).await;
    client.container_list(&ContainerListQuery { all: true, ..Default::default() }).await.unwrap();
    assert_eq!(own.request_lines(), [format!("GET /v{}/containers/json?all=1", minke_api::ApiVersion::MAX)]);
}

#[tokio::test]
async fn a_run_takes_three_requests_on_two_connections() {
    let mut upgraded =
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nMinke-Stream: 1\r\n\r\n".to_vec();
    upgraded.extend(b"\x01\0\0\0\0\0\0\x03out\x10\0\0\0\0\0\0\x04\0\0\0\x05");
    let fake = Fake::start(vec![
        answer("201 Created", "", "{\"Id\":\"abc\",\"Warnings\":[]}"),
        upgraded,
        answer("204 No Content", "", ""),
    ]);
    let client = fake.client(true).await;
    let made = client
        .container_create(&ContainerCreateQuery::default(), &ContainerCreateRequest::default())
        .await
        .unwrap();
    let query = AttachQuery { stream: true, stdout: true, ..Default::default() };
    let mut streams = client.container_attach(&made.id, &query, false).await.unwrap();
    client.container_start(&made.id, &ContainerStartQuery::default()).await.unwrap();
    assert!(streams.reports_exit());
    assert_eq!(streams.reader.next().await.unwrap(), Some(Output::Stdout("out".into())));
    assert_eq!(streams.reader.next().await.unwrap(), Some(Output::Exit(5)));
    streams.writer.write_all(b"typed").await.unwrap();
    streams.writer.half_close().await.unwrap();
    assert_eq!(streams.reader.next().await.unwrap(), None);
    assert_eq!(*fake.connections.lock().unwrap(), 2);
    let lines = fake.request_lines();
    assert!(lines[1].ends_with("/containers/abc/attach?stream=1&stdout=1"), "{lines:?}");
    assert_eq!(lines[3], "input: typed");
}

#[tokio::test]
async fn a_refusal_has_the_engines_words_and_a_kind() {
    let fake = Fake::start(vec![
        answer(
            "404 Not Found",
            "Content-Type: application/json\r\n",
            "{\"message\":\"No such container: x\"}",
        ),
        answer("409 Conflict", "", "plain text\n"),
        answer("304 Not Modified", "", ""),
    ]);
    let client = fake.client(true).await;
    let error = client.container_inspect("x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "Error response from daemon: No such container: x")
    );
    let error = client.container_inspect("x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Conflict, "Error response from daemon: plain text")
    );
    client.container_start("x", &ContainerStartQuery::default()).await.unwrap();
    assert_eq!(*fake.connections.lock().unwrap(), 1, "a refusal leaves the connection usable");
}

#[tokio::test]
async fn a_wait_is_registered_before_its_answer_comes() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"StatusCode\":137\r\n".to_vec();
    let rest = b"1\r\n}\r\n0\r\n\r\n".to_vec();
    let fake = Fake::start(vec![[head, rest].concat()]);
    let client = fake.client(true).await;
    let pending = client.container_wait("x", &WaitQuery { condition: "next-exit".into() }).await.unwrap();
    assert_eq!(pending.exit_code().await.unwrap(), 137);
}

#[tokio::test]
async fn an_absent_engine_is_told_from_one_that_fails() {
    let fake = Fake::start(vec![answer("503 Service Unavailable", "", "{\"message\":\"later\"}")]);
    let failing =
        Client::connect(fake.endpoint(false), &Config::default(), Introduction::default()).await.unwrap();
    let failing = failing.agree().await.unwrap_err();
    assert!(!is_absent(&failing));
    let mut endpoint = fake.endpoint(false);
    endpoint.host = Host::Unix(fake.directory.path().join("nobody"));
    let absent = Client::connect(endpoint, &Config::default(), Introduction::default()).await.err().unwrap();
    assert!(is_absent(&absent));
    assert!(absent.to_string().starts_with("Cannot connect to the Docker daemon at unix://"));
}

#[tokio::test]
async fn a_connection_that_the_engine_closed_is_replaced() {
    let fake = Fake::start(vec![answer("200 OK", "Connection: close\r\n", "[]"), answer("200 OK", "", "[]")]);
    let client = fake.client(true).await;
    for _ in 0..2 {
        client.container_list(&ContainerListQuery::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_container_is_run_by_one_request_where_the_engine_knows_how() {
    let fake = Fake::start(vec![answer(
        "101 UPGRADED",
        "Connection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.55\r\nMinke-Run: {\"Id\":\"ab\",\"Warnings\":[\"w\"]}\r\n",
        "\x01\0\0\0\0\0\0\x02hi\x10\0\0\0\0\0\0\x04\0\0\0\x07",
    )]);
    let client =
        Client::connect(fake.endpoint(false), &Config::default(), Introduction::default()).await.unwrap();
    let attach = AttachQuery { stream: true, stdout: true, ..AttachQuery::default() };
    let query = ContainerCreateQuery { name: "n".into(), ..ContainerCreateQuery::default() };
    let (made, stream) =
        client.container_run(&query, &ContainerCreateRequest::default(), Some(&attach)).await.unwrap();
    assert_eq!((made.id.as_str(), made.started, &made.warnings[..]), ("ab", true, &["w".to_string()][..]));
    let mut stream = stream.unwrap();
    assert_eq!(stream.reader.next().await.unwrap(), Some(Output::Stdout("hi".into())));
    assert_eq!(stream.reader.next().await.unwrap(), Some(Output::Exit(7)));
    assert_eq!(fake.request_lines(), ["POST /containers/create?name=n&stream=1&stdout=1"]);
    assert_eq!(client.version(), Some(minke_api::ApiVersion::MAX));
}

#[tokio::test]
async fn an_engine_that_only_makes_the_container_leaves_the_rest_to_be_asked_for() {
    let made = "{\"Id\":\"ab\",\"Warnings\":[]}";
    let fake = Fake::start(vec![
        answer("201 Created", "Api-Version: 1.41\r\n", made),
        answer("204 No Content", "", ""),
    ]);
    let client =
        Client::connect(fake.endpoint(false), &Config::default(), Introduction::default()).await.unwrap();
    let query = ContainerCreateQuery::default();
    let (made, stream) =
        client.container_run(&query, &ContainerCreateRequest::default(), None).await.unwrap();
    assert!(!made.started && stream.is_none());
    client.container_start(&made.id, &ContainerStartQuery::default()).await.unwrap();
    assert_eq!(fake.request_lines(), ["POST /containers/create", "POST /v1.41/containers/ab/start"]);
}
