//! Answers and the headers that all of them have.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minke_api::{ApiVersion, json};
use serde::Serialize;

use crate::body::Body;

const API_VERSION: HeaderName = HeaderName::from_static("api-version");
const EXPERIMENTAL: HeaderName = HeaderName::from_static("docker-experimental");
const OS_TYPE: HeaderName = HeaderName::from_static("ostype");

/// An answer.
pub type Response = http::Response<Body>;

/// A status and nothing else.
pub fn empty(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = status;
    answer
}

/// `200` and one JSON value.
pub fn json<T: Serialize>(value: &T) -> Response {
    of_type("application/json", Body::from(json::encode(value)))
}

/// `200` and a body of some type.
pub fn of_type(content_type: &'static str, body: Body) -> Response {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// `200` and JSON when it is ready; the headers are sent at once.
pub fn json_later(body: impl Future<Output = Vec<u8>> + Send + 'static) -> Response {
    of_type("application/json", Body::Later(Box::pin(async { Bytes::from(body.await) })))
}

/// The headers of every answer.
pub struct CommonHeaders {
    version: HeaderValue,
    server: HeaderValue,
}

impl CommonHeaders {
    /// Computes them for an engine's version.
    pub fn new(engine_version: &str) -> Self {
        let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            version: text(ApiVersion::MAX.to_string()),
            server: text(format!("Docker/{engine_version} (linux)")),
        }
    }

    /// Adds them to an answer.
    pub fn add(&self, answer: &mut Response) {
        let headers = answer.headers_mut();
        headers.insert(API_VERSION, self.version.clone());
        headers.insert(EXPERIMENTAL, HeaderValue::from_static("false"));
        headers.insert(OS_TYPE, HeaderValue::from_static("linux"));
        headers.insert(header::SERVER, self.server.clone());
    }
}
