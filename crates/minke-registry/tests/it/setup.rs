//! What the tests share: settings with short bounds, an image in a registry, reading a blob to its end.

use std::time::Duration;

use bytes::Bytes;
use minke_model::image::media_type as kinds;
use minke_model::{Digest, Reference};
use minke_registry::client::{
    BlobStream, Credentials, Error, Limits, Registry, Repository, Settings, TagOrDigest, UploadSource,
};
use minke_registry::testing::Stand;

/// Settings whose pauses are short; nobody's certificates but those of `certs`.
pub fn settings() -> Settings {
    let limits = Limits {
        attempts: 4,
        backoff: Duration::from_millis(2),
        longest_pause: Duration::from_millis(50),
        connect: Duration::from_secs(20),
        answer: Duration::from_secs(20),
        idle: Duration::from_secs(20),
        ..Limits::default()
    };
    Settings { certs_dirs: Vec::new(), limits, ..Settings::default() }
}

pub fn repository_of(settings: Settings, host: &str, name: &str, credentials: Credentials) -> Repository {
    let reference = Reference::parse(&format!("{host}/{name}")).unwrap();
    Registry::new(settings).repository(&reference, credentials)
}

pub fn repository(stand: &Stand, name: &str) -> Repository {
    repository_of(settings(), &stand.host(), name, Credentials::Anonymous)
}

pub fn user(name: &str, password: &str) -> Credentials {
    Credentials::Basic { username: name.into(), password: password.into() }
}

pub fn tag(name: &str) -> TagOrDigest {
    TagOrDigest::Tag(name.into())
}

/// Some bytes that differ from each other.
pub fn noise(length: usize) -> Bytes {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect::<Vec<_>>().into()
}

pub fn image(config: &Digest, layer: &Digest, size: usize) -> Bytes {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config}","size":2}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":{size}}}]}}"#,
        kinds::OCI_MANIFEST,
        kinds::OCI_CONFIG,
        kinds::OCI_LAYER
    )
    .into()
}

/// Pushes an image with one layer; gives its manifest's digest and the layer's.
pub async fn push(repository: &Repository, name: &str, layer: &Bytes) -> (Digest, Digest) {
    let config = repository.upload(UploadSource::bytes("{}".into()), |_| ()).await.unwrap();
    let digest = repository.upload(UploadSource::bytes(layer.clone()), |_| ()).await.unwrap();
    let document = image(&config, &digest, layer.len());
    (repository.put_manifest(&tag(name), kinds::OCI_MANIFEST, document).await.unwrap(), digest)
}

/// A registry with one image `app`, and its layer's digest.
pub async fn stand_with(layer: usize) -> (Stand, Digest) {
    let stand = Stand::open().await;
    let (_, digest) = push(&repository(&stand, "app"), "1", &noise(layer)).await;
    (stand, digest)
}

pub async fn read(mut stream: BlobStream) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// A whole blob, its digest checked.
pub async fn blob(repository: &Repository, digest: &Digest, size: usize) -> Result<Vec<u8>, Error> {
    read(repository.blob(digest, size as u64, 0).await?.verified()).await
}
