use std::convert::Infallible;

use hyper::service::service_fn;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::connection::{Scope, serve_unix};
use crate::{error, response};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Sample {
    tty: bool,
}

/// Sends a request with these headers and this body; gives the answer's status and body.
async fn post(headers: &str, body: &str) -> (u16, String) {
    let (mut client, server) = tokio::net::UnixStream::pair().unwrap();
    let service = service_fn(|mut request: http::Request<Incoming>| async move {
        let headers = std::mem::take(request.headers_mut());
        let read = read_json::<Sample>(&headers, request.body_mut()).await;
        Ok::<_, Infallible>(
            read.map_or_else(|error| error::answer(&error), |sample| response::json(&sample.tty)),
        )
    });
    tokio::spawn(serve_unix(server, service, Scope::default()));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    // The server may answer and close before it has read all.
    let _ = client.write_all((head + body).as_bytes()).await;
    let mut text = Vec::new();
    let _ = client.read_to_end(&mut text).await;
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
}

const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

#[tokio::test]
async fn json_is_read_with_keys_in_any_case() {
    assert_eq!(post(JSON, r#"{"tTy":true,"unknown":[1]}"#).await, (200, "true".into()));
    assert_eq!(post(JSON, r#"{"Tty":null}"#).await, (200, "false".into()));
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let refusal =
        |given| format!(r#"{{"message":"Content-Type specified ({given}) must be 'application/json'"}}"#);
    assert_eq!(post("Content-Type: text/plain\r\n", "{}").await, (400, refusal("text/plain")));
    assert_eq!(post("", "{}").await, (400, refusal("")));
}

#[tokio::test]
async fn broken_and_missing_bodies_are_refused() {
    let check = async |headers, body, expected: &str| {
        let (status, answer) = post(headers, body).await;
        assert_eq!((status, answer), (400, format!(r#"{{"message":"{expected}"}}"#)));
    };
    check("", "", "invalid JSON: got EOF while reading request body").await;
    check(JSON, "", "invalid JSON: got EOF while reading request body").await;
    check(JSON, "{", "invalid JSON: unexpected EOF").await;
    check(JSON, "nope", "invalid JSON: invalid character 'o' in literal null (expecting 'u')").await;
    check(JSON, "{}x", "unexpected content after JSON").await;
    check(
        JSON,
        r#"{"Tty":1}"#,
        "invalid JSON: json: cannot unmarshal number into Go struct field Sample.Tty of type bool",
    )
    .await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let body = format!(r#"{{"x":"{}"}}"#, "a".repeat(MAX_JSON_BYTES));
    let (status, answer) = post(JSON, &body).await;
    assert_eq!((status, answer), (400, r#"{"message":"request body is larger than 4194304 bytes"}"#.into()));
}
