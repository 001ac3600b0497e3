//! The one place where a kind of error becomes an HTTP status.

use http::StatusCode;
use minke_api::ErrorResponse;
use minke_model::{Error, ErrorKind};

use crate::body::Body;
use crate::response::{self, Response};

/// The status of each kind.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Cancelled | ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a request that failed: `{"message": "..."}`, and nothing with a 304.
pub fn answer(error: &Error) -> Response {
    let status = status(error.kind());
    if status == StatusCode::NOT_MODIFIED {
        return response::empty(status);
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!("{error}");
    }
    let mut answer = response::json(&ErrorResponse { message: error.to_string() });
    *answer.status_mut() = status;
    answer
}

/// The answer to a path that nothing serves.
pub fn no_such_page() -> http::Response<Body> {
    answer(&Error::not_found("page not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_had_nothing_to_do_gets_no_body() {
        let answer = answer(&Error::new(ErrorKind::NotModified, "already started"));
        assert_eq!(answer.status(), 304);
        assert!(http_body::Body::is_end_stream(answer.body()));
    }
}
