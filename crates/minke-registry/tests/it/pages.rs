//! Lists: in pages, by referrers and their stand-in; and a registry in a folder that is opened again.

use minke_model::image::media_type as kinds;
use minke_registry::client::{Credentials, ErrorKind, Limits, Registry, Settings, UploadSource};
use minke_registry::server::{Access, Server, Storage};
use minke_registry::testing::{Fault, Stand};

use crate::setup::{blob, image, noise, push, repository, repository_of, settings, tag};

#[tokio::test]
async fn tags_and_repositories_come_in_pages() {
    let stand = Stand::open().await;
    let app = repository(&stand, "app");
    let (digest, _) = push(&app, "t0", &noise(10)).await;
    let document = app.manifest(&tag("t0")).await.unwrap().bytes;
    for number in 1..5 {
        app.put_manifest(&tag(&format!("t{number}")), kinds::OCI_MANIFEST, document.clone()).await.unwrap();
    }
    let page = |names: &str, next: &str| {
        Fault::Answer(
            200,
            vec![("link", format!("<{next}>; rel=\"next\""))],
            format!(r#"{{"name":"app","tags":{names}}}"#),
        )
    };
    stand.fault("GET", "/tags/list?n=1000", 1, page(r#"["a"]"#, "/v2/app/tags/list?last=a&n=2"));
    stand.fault("GET", "last=a&n=2", 1, page("null", "?last=t2&n=9"));
    assert_eq!(app.tags().await.unwrap(), ["a", "t3", "t4"]);
    push(&repository(&stand, "b/c"), "1", &noise(10)).await;
    let registry = Registry::new(settings());
    assert_eq!(registry.catalog(&stand.host(), &Credentials::Anonymous).await.unwrap(), ["app", "b/c"]);
    // A list in a circle ends.
    let few = Settings { limits: Limits { pages: 20, ..settings().limits }, ..settings() };
    let app = repository_of(few, &stand.host(), "app", Credentials::Anonymous);
    stand.fault("GET", "n=1000", 99, page("[]", "/v2/app/tags/list?n=1000&x=1"));
    stand.fault("GET", "n=1", 99, page("[]", "/v2/app/tags/list?n=1000"));
    let ended = app.tags().await;
    assert!(ended.is_ok() || ended.unwrap_err().kind() == ErrorKind::TooLarge);
    app.delete_manifest(&minke_registry::client::TagOrDigest::Digest(digest)).await.unwrap();
    assert_eq!(app.manifest(&tag("t1")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_said_about_a_manifest_is_found_with_and_without_the_registrys_list() {
    let stand = Stand::open().await;
    let app = repository(&stand, "app");
    let (subject, _) = push(&app, "1", &noise(10)).await;
    let empty = app.upload(UploadSource::bytes("{}".into()), |_| ()).await.unwrap();
    let said = format!(
        r#"{{"schemaVersion":2,"mediaType":"{0}","artifactType":"application/x.sig","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[],"subject":{{"mediaType":"{0}","digest":"{subject}","size":1}}}}"#,
        kinds::OCI_MANIFEST
    );
    let signature = app.put_manifest(&tag("sig"), kinds::OCI_MANIFEST, said.clone().into()).await.unwrap();
    let found = app.referrers(&subject, Some("application/x.sig")).await.unwrap();
    assert_eq!(
        found.iter().map(|row| row.digest.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&signature)
    );
    assert!(app.referrers(&subject, Some("other/type")).await.unwrap().is_empty());
    // An older registry: the list is under a tag, where there is one.
    stand.fault("GET", "/referrers/", 2, Fault::Answer(404, vec![], String::new()));
    assert!(app.referrers(&subject, None).await.unwrap().is_empty());
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{signature}","size":{},"artifactType":"application/x.sig"}}]}}"#,
        kinds::OCI_INDEX,
        kinds::OCI_MANIFEST,
        said.len()
    );
    let stand_in = tag(&subject.as_str().replace(':', "-"));
    app.put_manifest(&stand_in, kinds::OCI_INDEX, index.into()).await.unwrap();
    assert_eq!(app.referrers(&subject, Some("application/x.sig")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_registry_in_a_folder_has_it_all_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut digests = None;
    for round in 0..2 {
        let server = Server::new(Storage::on_disk(folder.path()).unwrap(), Access::Open);
        let running = server.listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let app = repository_of(settings(), &running.address.to_string(), "a/b", Credentials::Anonymous);
        if round == 0 {
            digests = Some(push(&app, "1", &noise(700_000)).await);
        }
        let (manifest, layer) = digests.clone().unwrap();
        assert_eq!(app.manifest(&tag("1")).await.unwrap().digest, manifest);
        assert_eq!(blob(&app, &layer, 700_000).await.unwrap(), noise(700_000));
    }
}

#[tokio::test]
async fn a_manifest_of_blobs_that_are_not_there_is_refused() {
    let stand = Stand::open().await;
    let app = repository(&stand, "app");
    let nothing = minke_model::Digest::sha256(&[3; 32]);
    let error =
        app.put_manifest(&tag("1"), kinds::OCI_MANIFEST, image(&nothing, &nothing, 1)).await.unwrap_err();
    assert!(error.has_code("MANIFEST_BLOB_UNKNOWN"), "{error}");
}
