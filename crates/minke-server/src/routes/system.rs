//! The engine itself: ping, version, info, events.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, header};
use minke_api::adapt::Adapt as _;
use minke_api::disk_usage::DiskUsageQuery;
use minke_api::event::{EventMessage, EventsQuery};
use minke_api::{ApiVersion, Operation};
use minke_model::Result;
use tokio::sync::mpsc;

use crate::body::Body;
use crate::request::Request;
use crate::response::{self, Response};

/// The first version that lets the client choose how events are written.
const CHOOSES_EVENT_FORM: ApiVersion = ApiVersion::new(1, 52);
/// The first version that lets the client choose what of the disk's use it is told.
const CHOOSES_KINDS: ApiVersion = ApiVersion::new(1, 42);
/// The byte before each value of a JSON text sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

pub fn ping(request: &Request) -> Response {
    let body = if request.operation == Operation::SystemPing {
        Body::Full(Bytes::from_static(b"OK"))
    } else {
        Body::Empty
    };
    let mut answer = response::of_type("text/plain; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("builder-version", HeaderValue::from_static("2"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    answer
}

pub fn version(request: &Request) -> Response {
    response::json(&request.engine.version())
}

pub async fn info(request: &Request) -> Result<Response> {
    let mut info = request.engine.info().await?;
    info.adapt(request.version);
    Ok(response::json(&info))
}

pub async fn disk_usage(request: &Request) -> Result<Response> {
    let query = match request.version < CHOOSES_KINDS {
        true => DiskUsageQuery::default(),
        false => request.query()?,
    };
    let usage = request.engine.disk_usage(&query).await?;
    let mut usage = usage.for_version(request.version, query.verbose);
    for list in usage.lists.iter_mut() {
        for image in list.images.iter_mut().flatten() {
            // Here they are counted in every version.
            let containers = image.containers;
            image.adapt(request.version);
            image.containers = containers;
        }
        list.containers.iter_mut().for_each(|containers| containers.adapt(request.version));
    }
    Ok(response::json(&usage))
}

pub fn prune_build_cache(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.build_prune(&request.query()?)?))
}

pub fn events(request: &Request) -> Result<Response> {
    let mut events = request.engine.events(&request.query::<EventsQuery>()?)?;
    let form = event_form(request.version, request.header(header::ACCEPT.as_str()));
    let version = request.version;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            };
            let Some(mut event) = event else { return };
            event.adapt(version);
            if sender.send(render(&event, form)).await.is_err() {
                return;
            }
        }
    });
    Ok(response::of_type(form, Body::Channel(receiver)))
}

fn render(event: &EventMessage, form: &str) -> io::Result<Bytes> {
    let mut line = Vec::with_capacity(512);
    if form == "application/json-seq" {
        line.push(RECORD_SEPARATOR);
    }
    serde_json::to_writer(&mut line, event)?;
    line.push(b'\n');
    Ok(line.into())
}

/// The content type of events: what the client accepts first, of those there are.
fn event_form(version: ApiVersion, accept: &str) -> &'static str {
    const FORMS: [&str; 4] =
        ["application/json", "application/jsonl", "application/x-ndjson", "application/json-seq"];
    if version < CHOOSES_EVENT_FORM {
        return FORMS[0];
    }
    accept
        .split(',')
        .map(|media| media.split(';').next().unwrap_or_default().trim())
        .find_map(|media| FORMS.into_iter().find(|form| form.eq_ignore_ascii_case(media)))
        .unwrap_or(FORMS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_form_of_events_since_1_52() {
        let new = ApiVersion::MAX;
        assert_eq!(event_form(new, ""), "application/json");
        assert_eq!(event_form(new, "*/*"), "application/json");
        assert_eq!(
            event_form(new, "text/html, application/json-seq;q=0.9, application/jsonl"),
            "application/json-seq"
        );
        assert_eq!(event_form(ApiVersion::new(1, 51), "application/json-seq"), "application/json");
    }

    #[test]
    fn a_sequence_marks_each_value() {
        let event = EventMessage { kind: "image".into(), ..EventMessage::default() };
        assert!(render(&event, "application/json-seq").unwrap().starts_with(b"\x1e{"));
        let plain = render(&event, "application/json").unwrap();
        assert!(plain.starts_with(b"{") && plain.ends_with(b"}\n"));
    }
}
