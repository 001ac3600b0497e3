//! Path and method to what is meant. The grammar of names and tags is enforced here, before anything else sees them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use minke_model::{Digest, Reference};

use super::access::{Access, Action, Gate};
use super::answer::{Answer, Refusal, Result, empty};
use super::listen::{Handler, Running, TlsFiles, serve};
use super::storage::{Arrival, Storage};
use crate::query::Query;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) storage: Storage,
    pub(crate) gate: Arc<Gate>,
    pub(crate) uploads: Arc<Mutex<HashMap<String, Pending>>>,
}

/// An upload that has begun; taken out while a request works on it.
pub(crate) struct Pending {
    pub(crate) repository: String,
    pub(crate) arrival: Arrival,
}

/// The noun of a path below `/v2/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Base,
    Token,
    Catalog,
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Tags { name: String },
    Referrers { name: String, digest: String },
}

impl Server {
    /// Makes a registry of what is stored, for those whom `access` lets in.
    pub fn new(storage: Storage, access: Access) -> Self {
        Self { storage, gate: Arc::new(Gate::new(access)), uploads: Arc::default() }
    }

    /// Listens at an address, of which the port may be 0, until the result is dropped.
    pub async fn listen(&self, address: SocketAddr, tls: Option<&TlsFiles>) -> io::Result<Running> {
        serve(address, tls, self.handler()).await
    }

    /// What answers requests.
    pub fn handler(&self) -> Handler {
        let server = self.clone();
        Arc::new(move |request| {
            let server = server.clone();
            Box::pin(async move { Ok(server.answer(request).await) })
        })
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let is_head = request.method() == Method::HEAD;
        let mut answer = match Box::pin(self.route(request)).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(),
        };
        if is_head {
            *answer.body_mut() = super::answer::whole("");
        }
        answer
            .headers_mut()
            .insert("docker-distribution-api-version", "registry/2.0".parse().expect("a value"));
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer> {
        let noun = Noun::parse(request.uri().path())?;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let method = request.method().clone();
        if noun == Noun::Token {
            return self.gate.token(request, &query).await;
        }
        self.gate.check(&request, noun.name(), Action::of(&method, &noun))?;
        let reading = method == Method::GET || method == Method::HEAD;
        match (noun, method) {
            (Noun::Base, _) if reading => {
                Ok(super::answer::json_answer(StatusCode::OK, &serde_json::json!({})))
            }
            (Noun::Catalog, Method::GET) => self.catalog(&query),
            (Noun::Tags { name }, Method::GET) => self.tags(&name, &query),
            (Noun::Referrers { name, digest }, Method::GET) => {
                self.referrers(&name, &parsed(&digest)?, &query)
            }
            (Noun::Manifest { name, reference }, _) if reading => self.get_manifest(&name, &reference).await,
            (Noun::Manifest { name, reference }, Method::PUT) => {
                self.put_manifest(&name, &reference, request).await
            }
            (Noun::Manifest { name, reference }, Method::DELETE) => self.delete_manifest(&name, &reference),
            (Noun::Blob { name, digest }, _) if reading => {
                self.get_blob(&name, &parsed(&digest)?, request.headers()).await
            }
            (Noun::Blob { name, digest }, Method::DELETE) => self.delete_blob(&name, &parsed(&digest)?),
            (Noun::Uploads { name }, Method::POST) => self.begin_upload(&name, &query, request).await,
            (Noun::Upload { name, id }, Method::GET) => self.upload_status(&name, &id),
            (Noun::Upload { name, id }, Method::PATCH) => self.go_on_with_upload(&name, &id, request).await,
            (Noun::Upload { name, id }, Method::PUT) => self.end_upload(&name, &id, &query, request).await,
            (Noun::Upload { name, id }, Method::DELETE) => {
                self.take_upload(&name, &id)?;
                Ok(empty(StatusCode::NO_CONTENT, &[]))
            }
            _ => Err(Refusal::unsupported()),
        }
    }
}

/// Reads a digest of a path or query.
pub(crate) fn parsed(digest: &str) -> Result<Digest> {
    Digest::parse(digest).map_err(|error| Refusal::digest_invalid(error.to_string()))
}

impl Noun {
    /// Reads a path.
    pub(crate) fn parse(path: &str) -> Result<Self> {
        if path == "/token" {
            return Ok(Self::Token);
        }
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such path");
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let noun = |name: &[&str], last: &str| match name {
            [name @ .., "manifests"] => Some((name.join("/"), "manifests")),
            [name @ .., "blobs", "uploads"] => {
                Some((name.join("/"), if last.is_empty() { "uploads" } else { "upload" }))
            }
            [name @ .., "blobs"] if last == "uploads" => Some((name.join("/"), "uploads")),
            [name @ .., "blobs"] => Some((name.join("/"), "blobs")),
            [name @ .., "tags"] if last == "list" => Some((name.join("/"), "tags")),
            [name @ .., "referrers"] => Some((name.join("/"), "referrers")),
            _ => None,
        };
        let (last, before) = parts.split_last().ok_or_else(unknown)?;
        let (name, kind) = noun(before, last).ok_or_else(unknown)?;
        if Reference::parse(&format!("registry.invalid/{name}")).is_err() {
            return Err(Refusal::name_invalid());
        }
        let last = (*last).to_owned();
        Ok(match kind {
            "manifests" => Self::Manifest { name, reference: last },
            "uploads" => Self::Uploads { name },
            "upload" => Self::Upload { name, id: last },
            "blobs" => Self::Blob { name, digest: last },
            "tags" => Self::Tags { name },
            _ => Self::Referrers { name, digest: last },
        })
    }

    /// The repository's name, of those that have one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Token | Self::Catalog => None,
            Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Tags { name }
            | Self::Referrers { name, .. } => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noun_stands_behind_a_name_of_any_depth() {
        let noun = |path| Noun::parse(path).ok();
        assert_eq!(noun("/v2/"), Some(Noun::Base));
        assert_eq!(noun("/v2/a/b/blobs/uploads/"), Some(Noun::Uploads { name: "a/b".into() }));
        assert_eq!(noun("/v2/a/blobs/uploads/x"), Some(Noun::Upload { name: "a".into(), id: "x".into() }));
        assert_eq!(noun("/v2/tags/list/tags/list"), Some(Noun::Tags { name: "tags/list".into() }));
        assert_eq!(
            noun("/v2/a/manifests/1"),
            Some(Noun::Manifest { name: "a".into(), reference: "1".into() })
        );
        for bad in
            ["/", "/v1/", "/v2/a/../b/manifests/x", "/v2//manifests/x", "/v2/A/manifests/x", "/v2/a/other/x"]
        {
            assert_eq!(noun(bad), None, "{bad}");
        }
    }
}
