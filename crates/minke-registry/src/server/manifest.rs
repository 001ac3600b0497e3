//! Manifests: stored when all that they name is here, given by tag and digest, removed.

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use minke_model::image::media_type as kinds;
use minke_model::{Digest, Reference};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::answer::{Answer, Refusal, Result, empty, whole};
use super::route::{Server, parsed};
use super::storage::{Arrival, Entry, Holding};
use crate::hash::Hasher;

/// The longest manifest in bytes.
const MAX_BYTES: usize = 4 << 20;

/// What of a manifest a registry reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
    #[serde(default)]
    manifests: Vec<Part>,
    #[serde(default)]
    subject: Option<Part>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    urls: Vec<String>,
}

/// A tag or digest of a path.
fn resolve(holding: &Holding, reference: &str) -> Result<Digest> {
    let digest = if reference.contains(':') {
        parsed(reference)?
    } else {
        holding.tags.get(reference).cloned().ok_or_else(Refusal::manifest_unknown)?
    };
    if holding.manifests.contains_key(&digest) { Ok(digest) } else { Err(Refusal::manifest_unknown()) }
}

impl Server {
    pub(crate) async fn get_manifest(&self, name: &str, reference: &str) -> Result<Answer> {
        let found = self.storage.look(name, |holding| {
            let digest = resolve(holding, reference)?;
            let media_type = holding.manifests[&digest].media_type.clone();
            Ok::<_, Refusal>((digest, media_type))
        });
        let (digest, media_type) = found.ok_or_else(Refusal::name_unknown)??;
        let bytes = self.storage.read(&digest, 0, MAX_BYTES)?;
        let mut answer = empty(
            StatusCode::OK,
            &[
                ("content-type", &media_type),
                ("docker-content-digest", digest.as_str()),
                ("content-length", &bytes.len().to_string()),
                ("etag", &format!("\"{digest}\"")),
            ],
        );
        *answer.body_mut() = whole(bytes);
        Ok(answer)
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        request: Request<Incoming>,
    ) -> Result<Answer> {
        let tag = (!reference.contains(':')).then_some(reference);
        if let Some(tag) = tag
            && Reference::parse("registry.invalid/x").is_ok_and(|name| name.with_tag(tag).is_err())
        {
            return Err(Refusal::manifest_invalid("invalid tag"));
        }
        let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let header = header.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_owned();
        let bytes = read_document(request).await?;
        let digest = Hasher::digest_of(&bytes);
        if tag.is_none() && parsed(reference)? != digest {
            return Err(Refusal::digest_invalid("provided digest did not match uploaded content"));
        }
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::manifest_invalid(format!("manifest invalid: {error}")))?;
        let media_type = media_type_of(&document, header)?;
        self.check_parts(name, &document)?;
        let artifact_type = document.artifact_type.or(document.config.map(|config| config.media_type));
        let entry = Entry {
            media_type,
            size: bytes.len() as u64,
            subject: document.subject.map(|subject| subject.digest),
            artifact_type,
            annotations: document.annotations.unwrap_or_default(),
        };
        let subject = entry.subject.clone();
        let mut arrival: Arrival = self.storage.arrive()?;
        arrival.write(&bytes)?;
        self.storage.keep(arrival, &digest)?;
        self.storage.change(name, |holding| {
            holding.manifests.insert(digest.clone(), entry);
            if let Some(tag) = tag {
                holding.tags.insert(tag.to_owned(), digest.clone());
            }
        })?;
        let location = format!("/v2/{name}/manifests/{digest}");
        let mut headers = vec![("location", location.as_str()), ("docker-content-digest", digest.as_str())];
        if let Some(subject) = &subject {
            headers.push(("oci-subject", subject.as_str()));
        }
        Ok(empty(StatusCode::CREATED, &headers))
    }

    /// All that a manifest names has to be in its repository, but what it is about, and what is had elsewhere.
    fn check_parts(&self, name: &str, document: &Document) -> Result<()> {
        let missing = |digest: &Digest| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {digest}"),
            )
        };
        let empty = Holding::default();
        let checked = |holding: &Holding| {
            let blobs = document.config.iter().chain(&document.layers).filter(|part| part.urls.is_empty());
            if let Some(part) = blobs.into_iter().find(|part| !holding.blobs.contains(&part.digest)) {
                return Err(missing(&part.digest));
            }
            match document.manifests.iter().find(|part| !holding.manifests.contains_key(&part.digest)) {
                Some(part) => Err(missing(&part.digest)),
                None => Ok(()),
            }
        };
        self.storage.look(name, checked).unwrap_or_else(|| checked(&empty))
    }

    pub(crate) fn delete_manifest(&self, name: &str, reference: &str) -> Result<Answer> {
        let found = self.storage.look(name, |holding| resolve(holding, reference));
        let digest = found.ok_or_else(Refusal::name_unknown)??;
        let is_tag = !reference.contains(':');
        self.storage.change(name, |holding| {
            if is_tag {
                holding.tags.remove(reference);
            } else {
                holding.manifests.remove(&digest);
                holding.tags.retain(|_, tagged| *tagged != digest);
            }
        })?;
        self.storage.collect(&digest)?;
        Ok(empty(StatusCode::ACCEPTED, &[]))
    }
}

async fn read_document(request: Request<Incoming>) -> Result<BytesMut> {
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::manifest_invalid("the manifest broke off"))?;
        if let Ok(part) = frame.into_data() {
            if bytes.len() + part.len() > MAX_BYTES {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "MANIFEST_INVALID",
                    "manifest too large",
                ));
            }
            bytes.extend_from_slice(&part);
        }
    }
    Ok(bytes)
}

/// The type of a document: both its own word and the header's, where they are there, say the same.
fn media_type_of(document: &Document, header: String) -> Result<String> {
    if document.schema_version != 2 {
        return Err(Refusal::manifest_invalid("unsupported schema version"));
    }
    match &document.media_type {
        Some(own) if header.is_empty() || *own == header => Ok(own.clone()),
        Some(own) => {
            Err(Refusal::manifest_invalid(format!("manifest of type {header} says that it is {own}")))
        }
        None if !header.is_empty() => Ok(header),
        None if document.config.is_none() => Ok(kinds::OCI_INDEX.to_owned()),
        None => Ok(kinds::OCI_MANIFEST.to_owned()),
    }
}
