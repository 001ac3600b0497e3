//! A request on its way to a route: its parts, and the reading of its body within limits.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use http::{HeaderMap, header};
use http_body_util::{BodyDataStream, BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use minke_api::{ApiVersion, FromQuery, Operation, Query, json};
use minke_engine::Engine;
use minke_model::{Error, Result};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::handoff::Handoffs;

/// A JSON body beyond this many bytes is refused.
const MAX_JSON_BYTES: usize = 4 * 1024 * 1024;

/// A request that has found its route.
pub struct Request {
    /// The engine to ask.
    pub engine: Arc<Engine>,
    /// Connections on their way to the engine.
    pub handoffs: Arc<Handoffs>,
    /// What is asked for.
    pub operation: Operation,
    /// The version that the answer is to have.
    pub version: ApiVersion,
    /// The reference in the path.
    pub parameter: String,
    /// The parameters after the question mark.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unread.
    pub body: Incoming,
    /// The connection, once the answer has given it up.
    pub upgrade: Option<OnUpgrade>,
}

impl Request {
    /// Reads the query into the endpoint's own type.
    pub fn query<Q: FromQuery>(&self) -> Result<Q> {
        Q::from_query(&self.query)
    }

    /// A header's text, empty if it is missing or not text.
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }

    /// Reads a JSON body; without one, or with another content type, the request is refused.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        read_json(&self.headers, &mut self.body).await
    }
}

async fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: &mut Incoming) -> Result<T> {
    let content_type = text_of(headers, header::CONTENT_TYPE.as_str());
    check_content_type(content_type, body.is_end_stream())?;
    let read = Limited::new(body, MAX_JSON_BYTES).collect().await.map_err(|error| {
        match error.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => Error::invalid(format!("request body is larger than {MAX_JSON_BYTES} bytes")),
            None => Error::invalid(format!("reading the request body: {error}")),
        }
    })?;
    json::decode(&read.to_bytes()).map_err(|error| match error.message() {
        "EOF" => Error::invalid("invalid JSON: got EOF while reading request body"),
        "unexpected content after JSON" => error,
        message => Error::invalid(format!("invalid JSON: {message}")),
    })
}

/// Only JSON is read; no content type is needed where there is no body.
fn check_content_type(content_type: &str, no_body: bool) -> Result<()> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if (content_type.is_empty() && no_body) || media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::invalid(format!("Content-Type specified ({content_type}) must be 'application/json'")))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A body as a stream of bytes, for archives and input: the client waits while nobody reads.
pub fn reader(body: Incoming) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(StreamReader::new(BodyDataStream::new(body).map_err(std::io::Error::other)))
}

#[cfg(test)]
mod tests;
