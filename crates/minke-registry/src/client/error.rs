//! What goes wrong with a registry: kinds, and the words that Docker's users have seen before. The one place that reads a
//! registry's error documents.

use hyper::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

use super::url::Url;

/// What is said where a registry asks for a user and there is none.
pub(crate) const NO_CREDENTIALS: &str = "no basic auth credentials";

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such repository, manifest or blob, or nobody may know of it.
    NotFound,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// These credentials do not suffice.
    Denied,
    /// The registry asks for fewer requests.
    TooManyRequests,
    /// The registry can't at the moment (5xx).
    Unavailable,
    /// The answer is broken or hostile: malformed, of the wrong digest or size, in circles.
    Invalid,
    /// The answer is longer than is taken.
    TooLarge,
    /// The registry does not do this, or what it has is of a kind that is not taken.
    Unsupported,
    /// TLS did not come about: a certificate, or no TLS on the other side.
    Tls,
    /// No connection, or one that broke or fell silent.
    Network,
    /// The request or the settings are wrong.
    InvalidRequest,
    /// Something of this host: a file, a source of bytes.
    Local,
}

/// An error with its kind, the words that the user reads, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    words: String,
    /// The codes of the registry's error document.
    codes: Vec<String>,
    status: Option<StatusCode>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether there was not even a connection.
    pub(crate) unreachable: bool,
    /// The headers of a refusal that asks who we are.
    pub(crate) challenge: Option<Box<HeaderMap>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into(),
            codes: Vec::new(),
            status: None,
            retry_after: None,
            unreachable: false,
            challenge: None,
            source: None,
        }
    }

    pub(crate) fn invalid(words: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, words)
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The status that the registry answered with, if it came to that.
    pub fn status(&self) -> Option<u16> {
        self.status.map(|status| status.as_u16())
    }

    /// Whether the registry named this code, `MANIFEST_UNKNOWN` for one.
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|other| other == code)
    }

    /// Whether the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, ErrorKind::TooManyRequests | ErrorKind::Unavailable | ErrorKind::Network)
    }

    /// Whether the registry wants to know who asks, and nobody has said it.
    pub(crate) fn asks_who(&self) -> bool {
        self.kind == ErrorKind::Unauthorized && self.status.is_none() && self.words == NO_CREDENTIALS
    }

    /// Puts words before those of the error, as Go's `fmt.Errorf("...: %w")`.
    pub(crate) fn within(mut self, words: impl fmt::Display) -> Self {
        self.words = format!("{words}: {}", self.words);
        self
    }

    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// As Go's HTTP client says it: `Get "https://host/v2/": ...`.
    pub(crate) fn during(self, method: &Method, url: &Url) -> Self {
        let mut name = method.as_str().to_ascii_lowercase();
        name[..1].make_ascii_uppercase();
        self.within(format_args!("{name} \"{url}\""))
    }

    /// Names the image of a pull where Docker does.
    pub(crate) fn of_pull(mut self, familiar_name: &str, familiar: &str) -> Self {
        let known = ["DENIED", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"];
        if self.codes.first().is_some_and(|code| known.contains(&code.as_str())) {
            // Of several errors, Docker tells the first.
            let first =
                self.words.strip_prefix("errors:\n").and_then(|rest| rest.lines().next()).map(str::to_owned);
            self.words = first.unwrap_or(self.words);
        }
        match self.codes.first().map(String::as_str) {
            Some("DENIED") => self
                .within(format_args!(
                    "pull access denied for {familiar_name}, repository does not exist or may require 'docker login'"
                ))
                .of_kind(ErrorKind::Denied),
            Some("MANIFEST_UNKNOWN") => {
                self.within(format_args!("manifest for {familiar} not found")).of_kind(ErrorKind::NotFound)
            }
            Some("NAME_UNKNOWN") => {
                self.within(format_args!("repository {familiar_name} not found")).of_kind(ErrorKind::NotFound)
            }
            _ => self,
        }
    }

    /// A refusal: what `status` and the document say; `challenges` are the values of WWW-Authenticate.
    pub(crate) fn refused(
        status: StatusCode,
        challenge_error: Option<(&str, Option<&str>)>,
        body: &[u8],
    ) -> Self {
        let mut errors = document(status, body);
        // What a bearer challenge says comes first.
        if let Some((error, description)) = challenge_error.filter(|_| status == StatusCode::UNAUTHORIZED) {
            let first = match error {
                "insufficient_scope" => ("DENIED", "requested access to the resource is denied"),
                _ => ("UNAUTHORIZED", "authentication required"),
            };
            let message = description.unwrap_or(first.1).to_owned();
            if errors.first().is_none_or(|(code, _)| code != first.0) {
                errors.insert(0, (first.0.to_owned(), message));
            }
        }
        let words = match errors.as_slice() {
            [] if status.is_server_error() || body.is_empty() => {
                format!("received unexpected HTTP status: {}", named(status))
            }
            [] => format!(
                "error parsing HTTP {} response body: no error details found in HTTP response body: {:?}",
                status.as_u16(),
                excerpt(body)
            ),
            [(code, message)] => worded(code, message),
            several => several
                .iter()
                .fold("errors:\n".to_owned(), |text, (code, message)| text + &worded(code, message) + "\n"),
        };
        let kind = kind_of(status, errors.first().map(|(code, _)| code.as_str()));
        let codes = errors.into_iter().map(|(code, _)| code).collect();
        Self { codes, status: Some(status), ..Self::new(kind, words) }
    }
}

fn worded(code: &str, message: &str) -> String {
    format!("{}: {message}", code.to_ascii_lowercase().replace('_', " "))
}

fn named(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

/// The part of a body that may be shown to a user.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(256)]).into_owned()
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// Code and message of each error; what a registry leaves out is made up for by the status.
fn document(status: StatusCode, body: &[u8]) -> Vec<(String, String)> {
    let read: Option<Document> = serde_json::from_slice(body).ok();
    let details = read.as_ref().and_then(|read| read.details.clone());
    let mut errors: Vec<(String, String)> = read
        .into_iter()
        .flat_map(|read| read.errors)
        .take(16)
        .map(|entry| {
            let code: String = if entry.code.is_empty() { "UNKNOWN".into() } else { cut(&entry.code) };
            let message = entry.message.filter(|message| !message.is_empty());
            let message = message.unwrap_or_else(|| code.to_ascii_lowercase().replace('_', " "));
            (code, cut(&message))
        })
        .collect();
    if errors.is_empty() {
        match status {
            StatusCode::UNAUTHORIZED => errors.push((
                "UNAUTHORIZED".into(),
                details.map_or_else(|| "authentication required".into(), |text| cut(&text)),
            )),
            StatusCode::TOO_MANY_REQUESTS => errors.push((
                "TOOMANYREQUESTS".into(),
                details.map_or_else(|| "too many requests".into(), |text| cut(&text)),
            )),
            StatusCode::FORBIDDEN => {
                errors.push(("DENIED".into(), "requested access to the resource is denied".into()));
            }
            _ => {}
        }
    }
    errors
}

/// A text from outside, of bounded length and without control characters.
fn cut(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() || *letter == '\n').take(1024).collect()
}

fn kind_of(status: StatusCode, code: Option<&str>) -> ErrorKind {
    match code {
        Some("DENIED") => return ErrorKind::Denied,
        Some("UNAUTHORIZED") => return ErrorKind::Unauthorized,
        Some("TOOMANYREQUESTS") => return ErrorKind::TooManyRequests,
        Some("UNSUPPORTED") => return ErrorKind::Unsupported,
        _ => {}
    }
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::TooManyRequests,
        408 | 500 | 502..=599 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::Invalid,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

impl From<Error> for minke_model::Error {
    fn from(error: Error) -> Self {
        use minke_model::ErrorKind as Model;
        let kind = match error.kind {
            ErrorKind::NotFound | ErrorKind::Denied => Model::NotFound,
            ErrorKind::InvalidRequest => Model::InvalidParameter,
            // An engine that answers 401 would ask for credentials of its own.
            _ => Model::System,
        };
        if let Some(source) = error.source {
            // The words name the cause already, as Docker's do; a second time would be noise to the user.
            tracing::debug!("registry: {}: {source}", error.words);
        }
        Self::new(kind, error.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        Error::refused(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    #[test]
    fn a_refusal_has_dockers_words() {
        let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let error = refused(404, unknown).of_pull("busybox", "busybox:nope");
        assert_eq!(
            error.to_string(),
            "manifest for busybox:nope not found: manifest unknown: manifest unknown"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(refused(401, "").to_string(), "unauthorized: authentication required");
        assert_eq!(refused(502, "<html>").to_string(), "received unexpected HTTP status: 502 Bad Gateway");
        assert_eq!(refused(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#).to_string(),
            "toomanyrequests: You have reached your pull rate limit.");
        assert_eq!(refused(429, r#"{"details":"slow down"}"#).to_string(), "toomanyrequests: slow down");
    }

    #[test]
    fn an_insufficient_scope_is_a_denial_whatever_the_document_says() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let error = Error::refused(StatusCode::UNAUTHORIZED, Some(("insufficient_scope", None)), body);
        assert_eq!(
            error.to_string(),
            "errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n"
        );
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}
