//! One request: built from an endpoint's row, sent, and its answer read in the form that the row promises.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use minke_api::registry::{AUTH_HEADER, AuthConfig};
use minke_api::run::{MINKE_RUN_HEADER, RunAnswer, RunMode};
use minke_api::stream::{MINKE_STREAM_HEADER, MULTIPLEXED_STREAM};
use minke_api::{ApiVersion, ErrorResponse, Operation, ToQuery};
use minke_model::{Context as _, Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Client;
use crate::connection::{Body, Sender};
use crate::frame::Framing;
use crate::stream::{Hijacked, Stream};

/// The longest answer that is read whole.
const VALUE_LIMIT_BYTES: usize = 256 << 20;
/// The longest line of a stream of JSON values.
const LINE_LIMIT_BYTES: usize = 16 << 20;

/// A request in the making.
pub(crate) struct Call<'a> {
    client: &'a Client,
    operation: Operation,
    parameter: String,
    query: String,
    body: Payload,
    upgrade: bool,
    run: Option<RunMode>,
    /// Credentials for a registry, as their header has them.
    registry_auth: String,
}

enum Payload {
    None,
    Json(Bytes),
    Upload(Upload),
}

/// Bytes on their way to the engine.
pub struct Upload(Body);

impl Upload {
    /// Sends what a stream of chunks gives.
    pub fn new(chunks: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync())
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(client: &'a Client, operation: Operation, parameter: &str) -> Self {
        Self {
            client,
            operation,
            parameter: parameter.to_string(),
            query: String::new(),
            body: Payload::None,
            upgrade: false,
            run: None,
            registry_auth: String::new(),
        }
    }

    pub(crate) fn query(mut self, query: &impl ToQuery) -> Self {
        self.query = query.query_string();
        self
    }

    /// Adds the parameters of a further query.
    pub(crate) fn more_query(mut self, query: &impl ToQuery) -> Self {
        let more = query.query_string();
        if !self.query.is_empty() && !more.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(&more);
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        self.body = Payload::Json(serde_json::to_vec(body).context("a request's body")?.into());
        Ok(self)
    }

    /// Lets the engine ask a registry as somebody.
    pub(crate) fn registry_auth(mut self, auth: &AuthConfig) -> Self {
        self.registry_auth = auth.to_header();
        self
    }

    pub(crate) fn upload(mut self, upload: Upload) -> Self {
        self.body = Payload::Upload(upload);
        self
    }

    /// The answer's JSON as a type of the API.
    pub(crate) async fn value<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        minke_api::json::decode(&bytes)
            .map_err(|error| Error::system(format!("the engine's answer is not understood: {error}")))
    }

    /// The answer's bytes as they came.
    pub(crate) async fn bytes(self) -> Result<Bytes> {
        let client = self.client;
        let (response, sender) = self.send().await?;
        let bytes = read_whole(response.into_body()).await?;
        client.pool.give_back(sender).await;
        Ok(bytes)
    }

    /// Waits for a status without caring for a body.
    pub(crate) async fn done(self) -> Result<()> {
        self.bytes().await.map(drop)
    }

    /// The answer's body as it comes.
    pub(crate) async fn chunks(self) -> Result<Chunks> {
        let (response, sender) = self.send().await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Chunks {
            multiplexed: content_type == MULTIPLEXED_STREAM,
            body: response.into_body(),
            _sender: sender,
        })
    }

    /// The value of one of the answer's headers; empty where it is not there.
    pub(crate) async fn header(self, name: &str) -> Result<String> {
        let client = self.client;
        let (response, sender) = self.send().await?;
        let value = header_of(&response, name);
        client.pool.give_back(sender).await;
        Ok(value)
    }

    /// As [`Call::chunks`], with the value of a header.
    pub(crate) async fn chunks_with_header(self, name: &str) -> Result<(String, Chunks)> {
        let (response, sender) = self.send().await?;
        let value = header_of(&response, name);
        Ok((value, Chunks { multiplexed: false, body: response.into_body(), _sender: sender }))
    }

    /// The connection itself; `tty` says how an engine that does not say so itself packs its output.
    pub(crate) async fn hijack(mut self, tty: bool) -> Result<Hijacked> {
        self.upgrade = true;
        let (response, sender) = self.send().await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::system(format!(
                "unable to upgrade to tcp, received {}",
                response.status().as_u16()
            )));
        }
        let framing = if response.headers().contains_key(MINKE_STREAM_HEADER) {
            Framing::WithExit
        } else if tty {
            Framing::Raw
        } else {
            Framing::Multiplexed
        };
        take_over(response, sender, framing).await
    }

    /// What was made, and the streams of what is being started for it, if the engine knows how to do both at once. Speaks the
    /// engine's own newest version where none is agreed on, and learns it.
    pub(crate) async fn run(mut self, mode: RunMode) -> Result<(RunAnswer, Option<Hijacked>)> {
        self.run = Some(mode);
        self.upgrade = mode == RunMode::Attach;
        let client = self.client;
        let (response, sender) = self.send().await?;
        client.learn(newest_version(&response));
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let bytes = read_whole(response.into_body()).await?;
            client.pool.give_back(sender).await;
            return Ok((decode(&bytes)?, None));
        }
        let made = response.headers().get(MINKE_RUN_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        let made = RunAnswer { started: true, ..decode(made)? };
        let stream = take_over(response, sender, Framing::WithExit).await?;
        Ok((made, Some(stream)))
    }

    async fn send(mut self) -> Result<(Response<Incoming>, Sender)> {
        let replay = match &self.body {
            Payload::None => Some(Bytes::new()),
            Payload::Json(bytes) => Some(bytes.clone()),
            Payload::Upload(_) => None,
        };
        if let (Some(mut sender), Some(_)) = (self.client.pool.take_idle(), &replay) {
            match sender.try_send_request(self.request()?).await {
                Ok(response) => return self.client.accept(response, sender).await,
                Err(mut error) => {
                    if error.take_message().is_none() {
                        return Err(broken(error.into_error()));
                    }
                }
            }
        }
        let mut sender = self.client.pool.open().await?;
        let response = sender.send_request(self.request()?).await.map_err(broken)?;
        self.client.accept(response, sender).await
    }

    fn request(&mut self) -> Result<Request<Body>> {
        let row = self.operation.endpoint();
        let mut path = match self.client.version() {
            Some(version) => format!("/v{version}{}", row.path_for(&self.parameter)),
            None => row.path_for(&self.parameter),
        };
        if !self.query.is_empty() {
            path.push('?');
            path.push_str(&self.query);
        }
        let mut request = Request::builder().method(row.method.as_str()).uri(path);
        request = request.header(HOST, "api.moby.localhost").header(USER_AGENT, self.client.user_agent());
        for (name, value) in self.client.headers() {
            request = request.header(name, value);
        }
        if self.upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
            request =
                request.header(HeaderName::from_static(MINKE_STREAM_HEADER), HeaderValue::from_static("1"));
        }
        if !self.registry_auth.is_empty() {
            request = request.header(AUTH_HEADER, self.registry_auth.as_str());
        }
        if let Some(mode) = self.run {
            request = request.header(HeaderName::from_static(MINKE_RUN_HEADER), mode.as_str());
        }
        let (content_type, body) = match std::mem::replace(&mut self.body, Payload::None) {
            Payload::None => (None, Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()),
            Payload::Json(bytes) => {
                self.body = Payload::Json(bytes.clone());
                (Some("application/json"), Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
            }
            Payload::Upload(Upload(body)) => (Some("application/x-tar"), body),
        };
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(body).context("the request")
    }
}

/// The connection itself, after a 101.
async fn take_over(response: Response<Incoming>, sender: Sender, framing: Framing) -> Result<Hijacked> {
    let upgraded = hyper::upgrade::on(response).await.context("the engine's connection")?;
    drop(sender);
    let parts = upgraded
        .downcast::<TokioIo<Stream>>()
        .map_err(|_| Error::system("the engine's connection is of an unknown kind"))?;
    Ok(Hijacked::new(parts.io.into_inner(), parts.read_buf, framing))
}

/// The newest version of the engine that has answered.
fn newest_version(response: &Response<Incoming>) -> ApiVersion {
    let version = response.headers().get("api-version").and_then(|value| value.to_str().ok());
    version.and_then(|text| text.parse().ok()).unwrap_or(ApiVersion::MIN)
}

fn header_of(response: &Response<Incoming>, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Asks for the engine's newest version, without a prefix in the path.
pub(crate) async fn ping(client: &Client) -> Result<ApiVersion> {
    let call = Call::new(client, Operation::SystemPing, "");
    let (response, sender) = call.send().await?;
    let version = newest_version(&response);
    read_whole(response.into_body()).await?;
    client.pool.give_back(sender).await;
    Ok(version)
}

impl Client {
    /// Passes a success on; a refusal's connection is kept for the next request.
    async fn accept(
        &self,
        response: Response<Incoming>,
        sender: Sender,
    ) -> Result<(Response<Incoming>, Sender)> {
        match check(response).await {
            Ok(response) => Ok((response, sender)),
            Err(error) => {
                self.pool.give_back(sender).await;
                Err(error)
            }
        }
    }
}

fn broken(error: hyper::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "error during connect: the engine closed the connection")
        .with_source(error)
}

/// Turns a refusal into an error; an answer of 304 is one of [`ErrorKind::NotModified`].
async fn check(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let body = read_whole(response.into_body()).await.unwrap_or_default();
    let said = match serde_json::from_slice::<ErrorResponse>(&body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&body).trim().to_string(),
    };
    let said = if said.is_empty() { format!("{status}") } else { said };
    Err(Error::new(kind_of(status), format!("Error response from daemon: {said}")))
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        304 => ErrorKind::NotModified,
        400 => ErrorKind::InvalidParameter,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        501 => ErrorKind::NotImplemented,
        503 => ErrorKind::Unavailable,
        _ => ErrorKind::System,
    }
}

async fn read_whole(mut body: Incoming) -> Result<Bytes> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if rest.len() + data.len() > VALUE_LIMIT_BYTES {
            return Err(Error::system("the engine's answer is too long"));
        }
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(head) => {
                rest.extend_from_slice(&head);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// An answer's body, part by part.
pub struct Chunks {
    body: Incoming,
    multiplexed: bool,
    _sender: Sender,
}

impl Chunks {
    /// Whether the engine says that the body is framed (since API 1.42; older engines never say).
    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// The next part, or nothing at the end.
    ///
    /// # Errors
    /// The connection failed, or ended too early.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The body as a reader.
    pub fn into_reader(self) -> ChunkReader {
        ChunkReader { chunks: self, left: Bytes::new() }
    }
}

/// [`Chunks`] read as a stream of bytes.
pub struct ChunkReader {
    chunks: Chunks,
    left: Bytes,
}

impl tokio::io::AsyncRead for ChunkReader {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        use hyper::body::Body as _;
        let this = self.get_mut();
        while this.left.is_empty() {
            match std::task::ready!(std::pin::Pin::new(&mut this.chunks.body).poll_frame(cx)) {
                None => return std::task::Poll::Ready(Ok(())),
                Some(Err(error)) => return std::task::Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => this.left = frame.into_data().unwrap_or_default(),
            }
        }
        let take = this.left.len().min(buf.remaining());
        buf.put_slice(&this.left[..take]);
        this.left.advance(take);
        std::task::Poll::Ready(Ok(()))
    }
}

/// A stream of JSON values, one per line.
pub struct JsonLines<T> {
    chunks: Chunks,
    buffer: BytesMut,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self { chunks, buffer: BytesMut::new(), kind: PhantomData }
    }

    /// The next value, or nothing at the stream's end.
    ///
    /// # Errors
    /// The connection failed, or a line is not JSON of the right form or is longer than 16 MiB.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return decode(&line).map(Some);
            }
            if self.buffer.len() > LINE_LIMIT_BYTES {
                return Err(Error::system("a line of the engine's answer is too long"));
            }
            match self.chunks.next().await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => return decode(&self.buffer.split()).map(Some),
            }
        }
    }
}

fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    minke_api::json::decode(line)
        .map_err(|error| Error::system(format!("the engine's answer is not understood: {error}")))
}
