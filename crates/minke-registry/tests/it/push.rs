//! Uploads that break, registries that want them in another way.

use bytes::Bytes;
use minke_registry::client::{Chunks, Limits, Settings, UploadSource};
use minke_registry::testing::{Fault, Stand};
use std::sync::{Arc, Mutex};

use crate::setup::{blob, noise, repository, repository_of, settings};

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_says() {
    let stand = Stand::open().await;
    stand.fault("PATCH", "/uploads/", 1, Fault::RefuseAfter(300_000));
    let repository = repository(&stand, "app");
    let told = Arc::new(Mutex::new(Vec::new()));
    let digest = {
        let told = told.clone();
        repository
            .upload(UploadSource::bytes(noise(2_000_000)), move |sent| told.lock().unwrap().push(sent))
            .await
            .unwrap()
    };
    assert_eq!(blob(&repository, &digest, 2_000_000).await.unwrap(), noise(2_000_000));
    assert_eq!(stand.count("PATCH", "/uploads/"), 2);
    assert_eq!(told.lock().unwrap().last(), Some(&2_000_000));
}

#[tokio::test]
async fn a_registry_that_takes_no_parts_gets_all_at_once() {
    let stand = Stand::open().await;
    let unsupported = r#"{"errors":[{"code":"UNSUPPORTED","message":"no parts"}]}"#;
    stand.fault("PATCH", "/uploads/", 9, Fault::Answer(405, vec![], unsupported.into()));
    let repository = repository(&stand, "app");
    let digest = repository.upload(UploadSource::bytes(noise(600_000)), |_| ()).await.unwrap();
    assert_eq!(blob(&repository, &digest, 600_000).await.unwrap(), noise(600_000));
}

#[tokio::test]
async fn an_upload_that_the_registry_has_lost_begins_anew() {
    let stand = Stand::open().await;
    let lost = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}"#;
    stand.fault("PATCH", "/uploads/", 1, Fault::Answer(404, vec![], lost.into()));
    let repository = repository(&stand, "app");
    let digest = repository.upload(UploadSource::bytes(noise(1000)), |_| ()).await.unwrap();
    assert!(repository.has_blob(&digest).await.unwrap());
    assert_eq!(stand.count("POST", "/uploads/"), 2);
}

#[tokio::test]
async fn small_and_empty_blobs_are_uploaded_too() {
    let stand = Stand::open().await;
    let repository = repository(&stand, "app");
    for length in [0, 1, 2] {
        let digest = repository.upload(UploadSource::bytes(noise(length)), |_| ()).await.unwrap();
        assert_eq!(blob(&repository, &digest, length).await.unwrap(), noise(length));
    }
}

#[tokio::test]
async fn chunks_are_sent_again_where_they_were_not_taken() {
    let stand = Stand::open().await;
    let settings = Settings { limits: Limits { chunk_bytes: 100_000, ..settings().limits }, ..settings() };
    let repository = repository_of(settings, &stand.host(), "app", Default::default());
    stand.fault_after("PATCH", "/uploads/", 1, 1, Fault::Answer(503, vec![], String::new()));
    stand.fault_after("PATCH", "/uploads/", 3, 1, Fault::RefuseAfter(10));
    let parts: Vec<std::io::Result<Bytes>> =
        noise(450_000).chunks(37_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let chunks: Chunks = Box::pin(futures_util::stream::iter(parts));
    let digest = repository.upload(UploadSource::Stream(chunks), |_| ()).await.unwrap();
    assert_eq!(blob(&repository, &digest, 450_000).await.unwrap(), noise(450_000));
}

#[tokio::test]
async fn a_source_that_fails_is_an_error_of_this_host() {
    let stand = Stand::open().await;
    let parts = vec![Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("disk on fire"))];
    let chunks: Chunks = Box::pin(futures_util::stream::iter(parts));
    let error = repository(&stand, "app").upload(UploadSource::Stream(chunks), |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), minke_registry::client::ErrorKind::Local);
    assert!(error.to_string().contains("disk on fire"), "{error}");
}
