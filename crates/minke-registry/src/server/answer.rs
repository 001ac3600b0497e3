//! Answers, and refusals as the specification writes them.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Response, StatusCode};
use minke_model::ErrorKind;
use serde::Serialize;
use serde_json::json;

/// An answer's body.
pub type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub type Answer = Response<AnswerBody>;

/// A refusal: status, code and words of the specification's table of errors.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: &'static str,
    message: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn blob_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    }

    pub(crate) fn name_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")
    }

    pub(crate) fn name_invalid() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name")
    }

    pub(crate) fn manifest_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
    }

    pub(crate) fn manifest_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(crate) fn digest_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    }

    pub(crate) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "The operation is unsupported.")
    }

    pub(crate) fn answer(self) -> Answer {
        let body = json!({"errors": [{"code": self.code, "message": self.message, "detail": null}]});
        let mut answer = json_answer(self.status, &body);
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                answer.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        answer
    }
}

impl From<minke_model::Error> for Refusal {
    fn from(error: minke_model::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidParameter => Self::digest_invalid(error.to_string()),
            ErrorKind::NotFound => Self::blob_unknown(),
            _ => {
                tracing::warn!("registry: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "unknown error")
            }
        }
    }
}

/// A body that is there.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode, headers: &[(&'static str, &str)]) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

/// An answer that is a JSON document.
pub(crate) fn json_answer(status: StatusCode, document: &impl Serialize) -> Answer {
    let mut answer = Response::new(whole(serde_json::to_vec(document).expect("a value is JSON")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a type"));
    answer
}

/// An answer of any status, headers and text.
pub fn text_answer(status: u16, headers: &[(&'static str, &str)], text: &str) -> Answer {
    let mut answer = empty(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), headers);
    *answer.body_mut() = whole(text.to_owned());
    answer
}
