//! A registry's repository as the engine sees it: its manifests, by tag and digest.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use minke_model::image::{Descriptor, media_type as kinds};
use minke_model::{Digest, Reference};
use serde::Deserialize;

use super::auth::Who;
use super::body::Answer;
use super::error::{Error, ErrorKind};
use super::place::{self, Place};
use super::proxy;
use super::send::{Call, Client, Payload};
use super::settings::{Credentials, Settings};
use super::spread::{Spare, SpreadStream};
use super::url::{Origin, encode};
use super::{BlobStream, Limits, Result};
use crate::hash::Hasher;

/// The client of all registries: keeps connections and tokens. Cheap to clone; one per engine.
#[derive(Clone)]
pub struct Registry {
    pub(crate) client: Arc<Client>,
    /// Which of an insecure registry's two ways has answered, by its name.
    settled: Arc<Mutex<HashMap<String, Place>>>,
}

/// One repository of a registry, as somebody. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) registry: Registry,
    pub(crate) domain: Arc<str>,
    /// The path below the registry, `library/busybox`.
    pub(crate) path: Arc<str>,
    pub(crate) familiar_name: Arc<str>,
    pub(crate) credentials: Credentials,
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOrDigest {
    /// A tag.
    Tag(String),
    /// A digest.
    Digest(Digest),
}

/// A document as the registry gave it: an image's manifest, or an index of several.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What it is, without parameters.
    pub media_type: String,
    /// The digest of `bytes`, checked.
    pub digest: Digest,
    /// The document.
    pub bytes: Bytes,
    /// The `host[:port]` that gave it: the registry's, or a mirror's.
    pub host: String,
}

/// What a registry says about a manifest without giving it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub media_type: String,
    /// Its digest, where the registry says it.
    pub digest: Option<Digest>,
    /// Its length in bytes.
    pub size: Option<u64>,
}

/// What came of asking to take a blob over from another repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountAnswer {
    /// It is in this repository now.
    Mounted,
    /// It has to be uploaded.
    NotMounted,
}

impl Registry {
    /// Makes a client. Opens, reads and resolves nothing.
    pub fn new(settings: Settings) -> Self {
        Self { client: Arc::new(Client::new(settings)), settled: Arc::default() }
    }

    /// Goes on with other settings; forgets connections and tokens. What is under way keeps the old ones.
    pub fn reconfigure(&self, settings: Settings) {
        self.client.reconfigure(settings);
        self.settled().clear();
    }

    /// The repository of a name; its tag and digest do not matter.
    pub fn repository(&self, name: &Reference, credentials: Credentials) -> Repository {
        Repository {
            registry: self.clone(),
            domain: name.domain().into(),
            path: name.path().into(),
            familiar_name: name.familiar_name().into(),
            credentials,
        }
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, HashMap<String, Place>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places to ask at, to be gone through.
    pub(crate) fn tour(&self, domain: &str, mirrors: bool) -> Result<Tour> {
        let settings = self.client.settings();
        let mut places = if mirrors { place::mirrors(&settings, domain) } else { Vec::new() };
        match self.settled().get(domain) {
            Some(place) => places.push(place.clone()),
            None => places.extend(place::origins(&settings, domain)),
        }
        if places.is_empty() {
            return Err(Error::new(ErrorKind::InvalidRequest, format!("invalid registry host {domain:?}")));
        }
        Ok(Tour {
            registry: self.clone(),
            settings,
            domain: domain.to_owned(),
            places,
            at: 0,
            resolved: false,
        })
    }
}

/// The places that stand for a registry, one after the other.
pub(crate) struct Tour {
    registry: Registry,
    settings: Arc<Settings>,
    domain: String,
    places: Vec<Place>,
    at: usize,
    resolved: bool,
}

impl Tour {
    /// Where to ask now.
    pub(crate) fn place(&self) -> Place {
        self.places[self.at].clone()
    }

    /// The place that has an address, if any has; else the current one.
    pub(crate) fn place_of(&self, origin: &Origin) -> Place {
        let there = self.places[self.at..].iter().find(|place| place.base.origin == *origin);
        there.unwrap_or(&self.places[self.at]).clone()
    }

    /// The current place has answered: the registry is not looked for again.
    pub(crate) fn settle(&self) {
        let place = &self.places[self.at];
        if !place.mirror && !place.verify {
            self.registry.settled().insert(self.domain.clone(), place.clone());
        }
    }

    /// Goes to the next place, if this failure says that there may be more to get there.
    pub(crate) async fn next(&mut self, error: Error) -> Result<()> {
        let place = &self.places[self.at];
        let no_answer =
            matches!(error.kind(), ErrorKind::Tls | ErrorKind::Network) && error.status().is_none();
        if place.mirror {
            tracing::debug!("registry: mirror {}: {error}", place.base);
        } else if !no_answer {
            self.settle();
            return Err(error);
        } else {
            self.registry.settled().remove(&self.domain);
        }
        if self.at + 1 == self.places.len() && place.verify && !place.mirror && no_answer {
            self.add_insecure().await;
        }
        if self.at + 1 == self.places.len() {
            return Err(error);
        }
        self.at += 1;
        Ok(())
    }

    /// A name that stands for an address in an insecure network is insecure; looked up only where checked TLS has failed.
    async fn add_insecure(&mut self) {
        let origin = &self.places[self.at].base.origin;
        if std::mem::replace(&mut self.resolved, true) || origin.ip().is_some() {
            return;
        }
        // A proxy resolves names itself, and may do so differently.
        if !matches!(proxy::choose(&self.settings.proxies, origin), Ok(None)) {
            return;
        }
        let Ok(found) = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await else { return };
        let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        if addresses.iter().any(|address| self.settings.is_insecure_address(*address)) {
            self.places.extend(place::insecure_origins(&self.domain));
        }
    }
}

impl Repository {
    /// The path below the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The document that a tag or digest stands for, with its digest checked. Asks the mirrors, then the registry.
    ///
    /// # Errors
    /// In Docker's words, as `manifest for X not found: manifest unknown: manifest unknown`.
    pub async fn manifest(&self, reference: &TagOrDigest) -> Result<Manifest> {
        let mut tour = self.registry.tour(&self.domain, true)?;
        loop {
            let place = tour.place();
            match Box::pin(self.manifest_at(&place, reference)).await {
                Ok(manifest) => {
                    tour.settle();
                    return Ok(manifest);
                }
                Err(error) => tour.next(error).await.map_err(|error| self.of_pull(error, reference))?,
            }
        }
    }

    /// What the registry says about a manifest; `None` where it has none.
    pub async fn head(&self, reference: &TagOrDigest) -> Result<Option<Head>> {
        let mut tour = self.registry.tour(&self.domain, true)?;
        loop {
            let place = tour.place();
            let call =
                Call { headers: accepted(), ..Call::new(Method::HEAD, self.manifest_url(&place, reference)) };
            let error = match self.send(&place, "pull", call).await {
                Ok(answer) => {
                    tour.settle();
                    return Ok(Some(Head {
                        media_type: answer.media_type().to_owned(),
                        digest: announced_digest(&answer)?,
                        size: answer.header("content-length").and_then(|text| text.parse().ok()),
                    }));
                }
                Err(error) => error,
            };
            if error.status() == Some(404) && !place.mirror {
                tour.settle();
                return Ok(None);
            }
            tour.next(error).await.map_err(|error| self.of_pull(error, reference))?;
        }
    }

    /// A blob's bytes from `from` on; see [`BlobStream`].
    ///
    /// # Errors
    /// It is not there, or its size is another.
    pub async fn blob(&self, digest: &Digest, size: u64, from: u64) -> Result<BlobStream> {
        BlobStream::open(self.clone(), digest.clone(), size, from).await
    }

    /// A layer's bytes from `from` on: as [`Self::blob`], and from the layer's own addresses where the registry does not have it,
    /// as with layers that may not be distributed. Nobody's credentials go there.
    pub async fn layer(&self, layer: &Descriptor, from: u64) -> Result<BlobStream> {
        BlobStream::open_layer(self.clone(), layer, from).await
    }

    /// The same, where it is large over several connections: one always, others as long as `spare` gives leave.
    pub async fn layer_spread<P: Send + 'static>(
        &self,
        layer: &Descriptor,
        from: u64,
        spare: Spare<P>,
    ) -> Result<SpreadStream<P>> {
        SpreadStream::open(self.clone(), layer, from, spare).await
    }

    /// The bounds that it keeps to.
    pub(crate) fn limits(&self) -> Limits {
        self.registry.client.settings().limits.clone()
    }

    /// Stores a manifest, which must name what the registry has; gives its digest.
    pub async fn put_manifest(
        &self,
        reference: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest> {
        let digest = match reference {
            TagOrDigest::Digest(digest) => digest.clone(),
            TagOrDigest::Tag(_) => Hasher::digest_of(&bytes),
        };
        let mut tour = self.registry.tour(&self.domain, false)?;
        loop {
            let place = tour.place();
            let mut headers = HeaderMap::new();
            let kind = HeaderValue::from_str(media_type)
                .map_err(|_| Error::new(ErrorKind::InvalidRequest, "invalid media type"))?;
            headers.insert(CONTENT_TYPE, kind);
            let url = self.manifest_url(&place, reference);
            let call = Call { headers, body: Payload::Bytes(bytes.clone()), ..Call::new(Method::PUT, url) };
            match self.send(&place, "pull,push", call).await {
                Ok(answer) => {
                    tour.settle();
                    let stored = announced_digest(&answer)?;
                    answer.body.discard().await;
                    return match stored {
                        Some(stored) if stored.algorithm() == digest.algorithm() && stored != digest => {
                            Err(Error::invalid(format!("the registry stored {stored} instead of {digest}")))
                        }
                        _ => Ok(digest),
                    };
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    /// Removes a manifest by digest, or a tag by its name. Not every registry does.
    pub async fn delete_manifest(&self, reference: &TagOrDigest) -> Result<()> {
        let mut tour = self.registry.tour(&self.domain, false)?;
        loop {
            let place = tour.place();
            let call = Call::new(Method::DELETE, self.manifest_url(&place, reference));
            match self.send(&place, "pull,push,delete", call).await {
                Ok(answer) => {
                    tour.settle();
                    answer.body.discard().await;
                    return Ok(());
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    async fn manifest_at(&self, place: &Place, reference: &TagOrDigest) -> Result<Manifest> {
        let settings = self.registry.client.settings();
        let call =
            Call { headers: accepted(), ..Call::new(Method::GET, self.manifest_url(place, reference)) };
        let url = call.url.clone();
        let answer = self.send(place, "pull", call).await;
        let answer = answer.map_err(|error| match error.asks_who() {
            // Docker asks about a tag before it asks for it, and is refused then.
            true if matches!(reference, TagOrDigest::Tag(_)) => error.during(&Method::HEAD, &url),
            true => error.during(&Method::GET, &url),
            false => error,
        })?;
        let (announced, mut media_type) = (announced_digest(&answer), answer.media_type().to_owned());
        let bytes = answer.body.whole(settings.limits.manifest_bytes).await?;
        let digest = match (reference, announced?) {
            (TagOrDigest::Digest(digest), _) => digest.clone(),
            (TagOrDigest::Tag(_), Some(digest)) => digest,
            (TagOrDigest::Tag(_), None) => Hasher::digest_of(&bytes),
        };
        let mut hasher = Hasher::of(&digest);
        hasher.update(&bytes);
        if hasher.digest() != digest {
            return Err(Error::invalid(format!("manifest verification failed for digest {digest}")));
        }
        let own = own_media_type(&bytes)?;
        match own {
            // The document's own word counts: what the header says may be what a proxy thinks of JSON.
            Some(own) if media_type.is_empty() || is_plain(&media_type) || own == SCHEMA_1 => {
                media_type = own
            }
            Some(own) if own != media_type => {
                return Err(Error::invalid(format!("manifest of type {media_type} says that it is {own}")));
            }
            _ => {}
        }
        check_kind(&media_type, &self.familiar(reference))?;
        Ok(Manifest { media_type, digest, bytes, host: place.base.origin.authority() })
    }

    fn manifest_url(&self, place: &Place, reference: &TagOrDigest) -> super::url::Url {
        place.url(&format!("{}/manifests/{}", self.path, encode(&reference.to_string())))
    }

    /// Sends as whom this repository is used, for the scope of `actions`.
    pub(crate) async fn send(&self, place: &Place, actions: &str, call: Call) -> Result<Answer> {
        self.registry.client.send(place, &self.who(actions), call).await
    }

    pub(crate) fn who(&self, actions: &str) -> Who {
        Who {
            credentials: self.credentials.clone(),
            scopes: vec![format!("repository:{}:{actions}", self.path)],
        }
    }

    pub(crate) fn of_pull(&self, error: Error, reference: &TagOrDigest) -> Error {
        error.of_pull(&self.familiar_name, &self.familiar(reference))
    }

    fn familiar(&self, reference: &TagOrDigest) -> String {
        let sign = if matches!(reference, TagOrDigest::Tag(_)) { ':' } else { '@' };
        format!("{}{sign}{reference}", self.familiar_name)
    }
}

/// The documents that are taken.
fn accepted() -> HeaderMap {
    let kinds = [kinds::OCI_INDEX, kinds::OCI_MANIFEST, kinds::DOCKER_LIST, kinds::DOCKER_MANIFEST];
    let mut headers: HeaderMap =
        kinds.into_iter().map(|kind| (ACCEPT, HeaderValue::from_static(kind))).collect();
    headers.append(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// What Docker-Content-Digest says.
fn announced_digest(answer: &Answer) -> Result<Option<Digest>> {
    let Some(text) = answer.header("docker-content-digest") else { return Ok(None) };
    Digest::parse(text.trim()).map(Some).map_err(|error| Error::invalid(error.to_string()))
}

/// Types that say nothing but that it is a document.
fn is_plain(media_type: &str) -> bool {
    ["application/json", "text/plain", "application/octet-stream"].contains(&media_type)
}

/// What a document says it is; what says nothing is told by what it has.
fn own_media_type(bytes: &[u8]) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        schema_version: Option<u64>,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        layers: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("invalid manifest: {error}")).with_source(error))?;
    if shape.schema_version == Some(1) {
        return Ok(Some(SCHEMA_1.to_owned()));
    }
    // A document that can be read in two ways is one that somebody means to be.
    if shape.manifests.is_some() && shape.layers.is_some() {
        return Err(Error::invalid("invalid manifest: it is an index and an image at once"));
    }
    Ok(match shape.media_type.filter(|kind| !kind.is_empty()) {
        None if shape.manifests.is_some() => Some(kinds::OCI_INDEX.to_owned()),
        None if shape.layers.is_some() => Some(kinds::OCI_MANIFEST.to_owned()),
        own => own,
    })
}

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// Refuses documents of kinds that no image has.
fn check_kind(media_type: &str, name: &str) -> Result<()> {
    if media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "Docker Image manifest version 2, schema 1 is no longer supported: {name} has to be pushed anew, as Docker Image manifest v2, schema 2 or in the OCI format"
            ),
        ));
    }
    if kinds::is_index(media_type) || kinds::is_manifest(media_type) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("unsupported manifest media type {media_type:?} of {name}"),
    ))
}

impl From<&Reference> for TagOrDigest {
    /// The digest where there is one, else the tag, else `latest`.
    fn from(reference: &Reference) -> Self {
        match reference.digest() {
            Some(digest) => Self::Digest(digest.clone()),
            None => Self::Tag(reference.tag().unwrap_or(minke_model::reference::DEFAULT_TAG).to_owned()),
        }
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}
