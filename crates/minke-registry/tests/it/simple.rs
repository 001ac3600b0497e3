//! The plain way: anonymous, over HTTP, to and from a registry in memory.

use bytes::Bytes;
use minke_model::Reference;
use minke_model::image::media_type as kinds;
use minke_registry::client::{
    Credentials, ErrorKind, MountAnswer, Registry, Repository, Settings, TagOrDigest, UploadSource,
};
use minke_registry::server::{Access, Running, Server, Storage};

async fn registry() -> Running {
    let server = Server::new(Storage::in_memory(), Access::Open);
    server.listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap()
}

fn repository(running: &Running, name: &str) -> Repository {
    let reference = Reference::parse(&format!("{}/{name}", running.address)).unwrap();
    Registry::new(Settings::default()).repository(&reference, Credentials::Anonymous)
}

fn manifest(config: &minke_model::Digest, layer: &minke_model::Digest, size: usize) -> Bytes {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config}","size":2}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":{size}}}]}}"#,
        kinds::OCI_MANIFEST, kinds::OCI_CONFIG, kinds::OCI_LAYER
    ).into()
}

#[tokio::test]
async fn what_was_pushed_is_pulled() {
    let running = registry().await;
    let repository = repository(&running, "team/app");
    let layer = Bytes::from(vec![7; 3_000_000]);
    let config = repository.upload(UploadSource::bytes("{}".into()), |_| ()).await.unwrap();
    assert!(!repository.has_blob(&minke_model::Digest::sha256(&[0; 32])).await.unwrap());
    let digest = repository.upload(UploadSource::bytes(layer.clone()), |_| ()).await.unwrap();
    assert!(repository.has_blob(&digest).await.unwrap());
    let document = manifest(&config, &digest, layer.len());
    let tag = TagOrDigest::Tag("1.0".into());
    let stored = repository.put_manifest(&tag, kinds::OCI_MANIFEST, document.clone()).await.unwrap();

    let pulled = repository.manifest(&tag).await.unwrap();
    assert_eq!(
        (pulled.bytes, pulled.digest.clone(), pulled.media_type.as_str()),
        (document, stored.clone(), kinds::OCI_MANIFEST)
    );
    assert_eq!(
        repository.head(&TagOrDigest::Digest(stored)).await.unwrap().unwrap().digest,
        Some(pulled.digest)
    );
    assert_eq!(repository.tags().await.unwrap(), ["1.0"]);
    for from in [0, 1_000_001, 3_000_000] {
        let mut stream = repository.blob(&digest, 3_000_000, from).await.unwrap().verified();
        let mut got = Vec::new();
        while let Some(bytes) = stream.next().await.unwrap() {
            got.extend_from_slice(&bytes);
        }
        assert_eq!(got.len() as u64, 3_000_000 - from);
    }
}

#[tokio::test]
async fn a_layer_made_while_it_is_sent_goes_in_chunks_and_is_mounted_elsewhere() {
    let running = registry().await;
    let first = repository(&running, "one");
    let parts = (0..40).map(|part| Ok(Bytes::from(vec![part as u8; 300_000])));
    let chunks: minke_registry::client::Chunks =
        Box::pin(futures_util::stream::iter(parts.collect::<Vec<_>>()));
    let digest = first.upload(UploadSource::Stream(chunks), |_| ()).await.unwrap();
    assert!(first.has_blob(&digest).await.unwrap());
    let second = repository(&running, "two");
    assert_eq!(second.mount(&digest, "one").await.unwrap(), MountAnswer::Mounted);
    assert!(second.has_blob(&digest).await.unwrap());
    let unknown = minke_model::Digest::sha256(&[9; 32]);
    assert_eq!(second.mount(&unknown, "one").await.unwrap(), MountAnswer::NotMounted);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_dockers_words() {
    let running = registry().await;
    let repository = repository(&running, "app");
    repository.upload(UploadSource::bytes("x".into()), |_| ()).await.unwrap();
    let error = repository.manifest(&TagOrDigest::Tag("no".into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("manifest for {}/app:no not found: manifest unknown: manifest unknown", running.address)
    );
}
