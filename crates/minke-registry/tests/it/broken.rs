//! Registries that break, lie, stall and flood: each ends in what was asked for, or in an error of its kind within its bounds.

use std::time::{Duration, Instant};

use minke_registry::client::{ErrorKind, Limits, Settings};
use minke_registry::testing::Fault;

use crate::setup::{blob, noise, read, repository, repository_of, settings, stand_with, tag};

#[tokio::test]
async fn a_blob_goes_on_where_the_connection_broke() {
    let (stand, digest) = stand_with(2_000_000).await;
    for _ in 0..3 {
        stand.fault("GET", "/blobs/", 1, Fault::CutAfter(400_000));
    }
    assert_eq!(blob(&repository(&stand, "app"), &digest, 2_000_000).await.unwrap(), noise(2_000_000));
    let ranges: Vec<String> =
        stand.seen().into_iter().map(|seen| seen.range).filter(|range| !range.is_empty()).collect();
    assert_eq!(ranges.len(), 3);
    assert!(ranges.iter().all(|range| range.starts_with("bytes=")), "{ranges:?}");
}

#[tokio::test]
async fn a_registry_that_begins_anew_is_read_past_what_is_here() {
    let (stand, digest) = stand_with(1_000_000).await;
    stand.fault("GET", "/blobs/", 1, Fault::CutAfter(300_000));
    stand.fault("GET", "/blobs/", 1, Fault::IgnoreRange);
    assert_eq!(blob(&repository(&stand, "app"), &digest, 1_000_000).await.unwrap(), noise(1_000_000));
    stand.fault("GET", "/blobs/", 1, Fault::IgnoreRange);
    let rest =
        read(repository(&stand, "app").blob(&digest, 1_000_000, 999_000).await.unwrap()).await.unwrap();
    assert_eq!(rest, noise(1_000_000)[999_000..]);
}

#[tokio::test]
async fn a_blob_that_breaks_off_each_time_is_given_up() {
    let (stand, digest) = stand_with(1_000_000).await;
    stand.fault("GET", "/blobs/", 99, Fault::CutAfter(10));
    let error = blob(&repository(&stand, "app"), &digest, 1_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(stand.count("GET", "/blobs/"), 4);
}

#[tokio::test]
async fn wrong_bytes_and_wrong_lengths_are_noticed() {
    let (stand, digest) = stand_with(1000).await;
    let repository = repository(&stand, "app");
    stand.fault("GET", "/blobs/", 1, Fault::WrongByte);
    let error = blob(&repository, &digest, 1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), format!("filesystem layer verification failed for digest {digest}"));
    for size in [999, 1001] {
        assert_eq!(blob(&repository, &digest, size).await.unwrap_err().kind(), ErrorKind::Invalid, "{size}");
    }
    // Without an announced length, too.
    stand.fault(
        "GET",
        "/blobs/",
        1,
        Fault::Answer(200, vec![("transfer-encoding", "chunked".into())], "x".repeat(1001)),
    );
    assert_eq!(blob(&repository, &digest, 1000).await.unwrap_err().kind(), ErrorKind::Invalid);
    stand.fault("GET", "/manifests/", 1, Fault::WrongByte);
    assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn busy_registries_are_asked_again_after_the_pause_they_ask_for() {
    let (stand, digest) = stand_with(1000).await;
    let repository = repository(&stand, "app");
    let busy = |status| Fault::Answer(status, vec![("retry-after", "3600".into())], String::new());
    stand.fault("GET", "/manifests/", 1, busy(429));
    stand.fault("GET", "/manifests/", 2, busy(503));
    let begun = Instant::now();
    repository.manifest(&tag("1")).await.unwrap();
    // Bounded by the longest pause, three times.
    assert!(begun.elapsed() >= Duration::from_millis(150) && begun.elapsed() < Duration::from_secs(60));
    stand.fault("GET", "/blobs/", 2, busy(500));
    blob(&repository, &digest, 1000).await.unwrap();
    let limit =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    stand.fault(
        "GET",
        "/manifests/",
        4,
        Fault::Answer(429, vec![("ratelimit-remaining", "0;w=21600".into())], limit.into()),
    );
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
    assert_eq!(error.to_string(), "toomanyrequests: You have reached your pull rate limit.");
}

#[tokio::test]
async fn floods_end_at_their_bounds() {
    let (stand, _) = stand_with(10).await;
    let repository = repository(&stand, "app");
    stand.fault("GET", "/manifests/", 1, Fault::Endless);
    assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::TooLarge);
    stand.fault("GET", "/manifests/", 1, Fault::Answer(200, vec![], "x".repeat((4 << 20) + 1)));
    assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::TooLarge);
    stand.fault("GET", "/tags/", 1, Fault::Answer(200, vec![], "[".repeat(2 << 20)));
    assert_eq!(repository.tags().await.unwrap_err().kind(), ErrorKind::TooLarge);
    stand.fault("GET", "/manifests/", 1, Fault::Header("x-bomb", "x".repeat(300_000)));
    assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::Invalid);
    repository.manifest(&tag("1")).await.unwrap();
}

#[tokio::test]
async fn silence_and_dripping_end_in_time() {
    let (stand, digest) = stand_with(1000).await;
    let with = |limits: Limits| {
        repository_of(Settings { limits, ..settings() }, &stand.host(), "app", Default::default())
    };
    let limits = Limits { attempts: 2, ..settings().limits };
    stand.fault("GET", "/manifests/", 2, Fault::Silence);
    let impatient = with(Limits { answer: Duration::from_millis(300), ..limits.clone() });
    assert_eq!(impatient.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::Network);
    stand.fault("GET", "/blobs/", 2, Fault::Drip(1, Duration::from_millis(20)));
    let impatient = with(Limits { idle: Duration::from_millis(100), least_rate_bytes: 1_000_000, ..limits });
    assert_eq!(blob(&impatient, &digest, 1000).await.unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(stand.count("GET", "/blobs/"), 2);
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let (stand, _) = stand_with(10).await;
    let repository = repository(&stand, "app");
    let index = "application/vnd.oci.image.index.v1+json";
    for (kind, body, expected) in [
        (index, "{", ErrorKind::Invalid),
        (index, "<html>", ErrorKind::Invalid),
        ("text/html", "{}", ErrorKind::Unsupported),
        (index, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, ErrorKind::Invalid),
        (
            index,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
            ErrorKind::Invalid,
        ),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1}"#,
            ErrorKind::Unsupported,
        ),
        ("application/json", r#"{"schemaVersion":1}"#, ErrorKind::Unsupported),
    ] {
        let headers = vec![("content-type", kind.to_owned())];
        stand.fault("GET", "/manifests/", 1, Fault::Answer(200, headers, body.into()));
        assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), expected, "{kind} {body}");
    }
    let headers = vec![("docker-content-digest", "md5:00".to_owned())];
    stand.fault("GET", "/manifests/", 1, Fault::Answer(200, headers, "{}".into()));
    assert_eq!(repository.manifest(&tag("1")).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn an_index_that_holds_indexes_without_end_is_refused() {
    let (stand, _) = stand_with(10).await;
    let repository = repository(&stand, "app");
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut inner: Option<(minke_model::Digest, usize)> = None;
    for depth in 0..6 {
        let entries = inner.as_ref().map_or(String::new(), |(digest, size)| {
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
        });
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{entries}]}}"#);
        let size = text.len();
        let digest = repository.put_manifest(&tag(&format!("d{depth}")), kind, text.into()).await.unwrap();
        inner = Some((digest, size));
    }
    let platform = minke_model::Platform::host();
    assert_eq!(repository.image(&tag("d5"), &platform).await.unwrap_err().kind(), ErrorKind::Invalid);
    let error = repository.image(&tag("d1"), &platform).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no matching manifest for {platform} in the manifest list entries")
    );
}

#[tokio::test]
async fn redirects_go_nowhere_that_a_registry_has_no_business_at() {
    let (stand, digest) = stand_with(10).await;
    let repository = repository(&stand, "app");
    let to = |location: &str| Fault::Answer(307, vec![("location", location.to_owned())], String::new());
    for location in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "http://user:password@127.0.0.1/",
    ] {
        stand.fault("GET", "/blobs/", 1, to(location));
        let error = repository.blob(&digest, 10, 0).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{location}: {error}");
    }
    let own = format!("/v2/app/blobs/{digest}");
    stand.fault("GET", "/blobs/", 99, to(&own));
    let error = repository.blob(&digest, 10, 0).await.err().unwrap();
    assert!(error.to_string().contains("stopped after 10 redirects"), "{error}");
}
