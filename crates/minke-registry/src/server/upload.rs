//! Uploads: in one part or many, taken over from another repository, asked after, given up.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_RANGE;
use hyper::{Request, StatusCode};
use minke_model::Digest;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{MutexGuard, PoisonError};

use super::access::Action;
use super::answer::{Answer, Refusal, Result, empty};
use super::route::{Pending, Server, parsed};
use super::storage::Arrival;
use crate::query::Query;

/// The most uploads that are open at once.
const MAX_PENDING: usize = 4096;

impl Server {
    fn uploads(&self) -> MutexGuard<'_, std::collections::HashMap<String, Pending>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an upload out, to work on it.
    pub(crate) fn take_upload(&self, name: &str, id: &str) -> Result<Arrival> {
        let mut uploads = self.uploads();
        match uploads.get(id) {
            Some(pending) if pending.repository == name => {
                Ok(uploads.remove(id).expect("it was just there").arrival)
            }
            _ => Err(Refusal::upload_unknown()),
        }
    }

    fn put_back(&self, name: &str, id: &str, arrival: Arrival) {
        self.uploads().insert(id.to_owned(), Pending { repository: name.to_owned(), arrival });
    }

    pub(crate) async fn begin_upload(
        &self,
        name: &str,
        query: &Query,
        request: Request<Incoming>,
    ) -> Result<Answer> {
        if let Some(digest) = query.get("mount")
            && let Some(from) = query.get("from")
        {
            let digest = parsed(digest)?;
            let may = self.gate.check(&request, Some(from), Action::Pull).is_ok();
            if may && self.storage.has_blob(from, &digest) {
                self.storage.change(name, |holding| holding.blobs.insert(digest.clone()))?;
                return Ok(stored(name, &digest));
            }
        }
        let mut arrival = self.storage.arrive()?;
        if let Some(digest) = query.get("digest") {
            let digest = parsed(digest)?;
            receive(&mut arrival, request).await.1?;
            return self.finish(name, arrival, digest).await;
        }
        if self.uploads().len() >= MAX_PENDING {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                "too many uploads are open",
            ));
        }
        let id = new_id();
        self.put_back(name, &id, arrival);
        Ok(accepted(name, &id, 0, StatusCode::ACCEPTED))
    }

    pub(crate) fn upload_status(&self, name: &str, id: &str) -> Result<Answer> {
        let size = match self.uploads().get(id) {
            Some(pending) if pending.repository == name => pending.arrival.size(),
            _ => return Err(Refusal::upload_unknown()),
        };
        Ok(accepted(name, id, size, StatusCode::NO_CONTENT))
    }

    pub(crate) async fn go_on_with_upload(
        &self,
        name: &str,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer> {
        let arrival = self.take_upload(name, id)?;
        self.receive_part(name, id, arrival, request).await?;
        let size = self.uploads().get(id).map_or(0, |pending| pending.arrival.size());
        Ok(accepted(name, id, size, StatusCode::ACCEPTED))
    }

    pub(crate) async fn end_upload(
        &self,
        name: &str,
        id: &str,
        query: &Query,
        request: Request<Incoming>,
    ) -> Result<Answer> {
        let digest = query.get("digest").ok_or_else(|| Refusal::digest_invalid("digest missing"))?;
        let digest = parsed(digest)?;
        let arrival = self.take_upload(name, id)?;
        self.receive_part(name, id, arrival, request).await?;
        let arrival = self.take_upload(name, id)?;
        self.finish(name, arrival, digest).await
    }

    /// Takes in a request's body; what came before a connection broke is kept.
    async fn receive_part(
        &self,
        name: &str,
        id: &str,
        arrival: Arrival,
        request: Request<Incoming>,
    ) -> Result<()> {
        let first = request.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let first = first
            .map(|range| range.trim_start_matches("bytes ").split('-').next().unwrap_or_default().parse());
        if first.is_some_and(|first: Result<u64, _>| first != Ok(arrival.size())) {
            let range = range_of(arrival.size());
            self.put_back(name, id, arrival);
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                "blob upload invalid",
            )
            .with("location", format!("/v2/{name}/blobs/uploads/{id}"))
            .with("range", range));
        }
        // Put back whatever becomes of this future: a client that goes away may come again.
        let mut held = Held { server: self, name, id, arrival: Some(arrival) };
        let arrival = held.arrival.as_mut().expect("it is held");
        receive(arrival, request).await.1
    }

    async fn finish(&self, name: &str, arrival: Arrival, digest: Digest) -> Result<Answer> {
        let (storage, expected) = (self.storage.clone(), digest.clone());
        let kept = tokio::task::spawn_blocking(move || storage.keep(arrival, &expected)).await;
        kept.map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "unknown error"))??;
        self.storage.change(name, |holding| holding.blobs.insert(digest.clone()))?;
        Ok(stored(name, &digest))
    }
}

/// An upload that somebody works on.
struct Held<'a> {
    server: &'a Server,
    name: &'a str,
    id: &'a str,
    arrival: Option<Arrival>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(arrival) = self.arrival.take() {
            self.server.put_back(self.name, self.id, arrival);
        }
    }
}

/// Writes a request's body; gives how much of it came.
async fn receive(arrival: &mut Arrival, request: Request<Incoming>) -> (u64, Result<()>) {
    let before = arrival.size();
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let written = match frame {
            Ok(frame) => match frame.into_data() {
                // A write to the page cache: shorter than a trip to another thread.
                Ok(bytes) => arrival.write(&bytes).map_err(Refusal::from),
                Err(_) => Ok(()),
            },
            Err(_) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "the upload broke off"))
            }
        };
        if written.is_err() {
            return (arrival.size() - before, written);
        }
    }
    (arrival.size() - before, Ok(()))
}

fn stored(name: &str, digest: &Digest) -> Answer {
    let location = format!("/v2/{name}/blobs/{digest}");
    empty(StatusCode::CREATED, &[("location", &location), ("docker-content-digest", digest.as_str())])
}

fn accepted(name: &str, id: &str, size: u64, status: StatusCode) -> Answer {
    let location = format!("/v2/{name}/blobs/uploads/{id}");
    empty(status, &[("location", &location), ("docker-upload-uuid", id), ("range", &range_of(size))])
}

fn range_of(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// A name that nobody guesses.
pub(crate) fn new_id() -> String {
    (0..2).map(|part| format!("{:016x}", RandomState::new().hash_one(part))).collect()
}
