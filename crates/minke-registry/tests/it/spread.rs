//! A large blob over several connections: the same bytes in the same order, whatever the registry does to one of them.

use std::sync::Arc;
use std::time::Duration;

use minke_model::Digest;
use minke_model::image::{Descriptor, media_type};
use minke_registry::client::{Limits, Registry, Result, SpreadStream};
use minke_registry::testing::{Fault, Stand};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::setup::{noise, settings, stand_with};

const SIZE: usize = 2_000_000;
const PART: u64 = 100_000;

async fn stream(
    stand: &Stand,
    digest: &Digest,
    from: u64,
    connections: usize,
) -> Result<SpreadStream<OwnedSemaphorePermit>> {
    let limits = Limits { spread_bytes: 500_000, part_bytes: PART, ..settings().limits };
    let registry = Registry::new(minke_registry::client::Settings { limits, ..settings() });
    let name = minke_model::Reference::parse(&format!("{}/app", stand.host())).unwrap();
    let repository = registry.repository(&name, Default::default());
    let layer = Descriptor::new(media_type::OCI_LAYER, digest.clone(), SIZE as u64);
    let leaves = Arc::new(Semaphore::new(connections));
    let spare = Box::new(move || leaves.clone().try_acquire_owned().ok());
    repository.layer_spread(&layer, from, spare).await
}

async fn read(mut stream: SpreadStream<OwnedSemaphorePermit>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn ranges(stand: &Stand) -> Vec<String> {
    stand
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "GET" && seen.target.contains("/blobs/"))
        .map(|seen| seen.range)
        .collect()
}

#[tokio::test]
async fn its_parts_come_ahead_and_are_given_in_order() {
    let (stand, digest) = stand_with(SIZE).await;
    assert!(read(stream(&stand, &digest, 0, 3).await.unwrap()).await.unwrap() == noise(SIZE));
    let mut asked = ranges(&stand);
    assert_eq!(asked[0], "bytes=0-99999");
    asked.sort();
    asked.dedup();
    assert!(asked.len() > 3, "{asked:?}");
    assert_eq!(stand.count("GET", "/blobs/"), asked.len(), "nothing twice: {asked:?}");
    let rest = read(stream(&stand, &digest, 123_456, 3).await.unwrap()).await.unwrap();
    assert!(rest == noise(SIZE)[123_456..]);
}

#[tokio::test]
async fn without_a_connection_to_spare_it_comes_by_one_in_longer_parts() {
    let (stand, digest) = stand_with(SIZE).await;
    assert!(read(stream(&stand, &digest, 0, 0).await.unwrap()).await.unwrap() == noise(SIZE));
    assert_eq!(
        ranges(&stand),
        ["bytes=0-99999", "bytes=100000-899999", "bytes=900000-1699999", "bytes=1700000-"]
    );
}

#[tokio::test]
async fn a_registry_without_ranges_sends_all_of_it_once() {
    let (stand, digest) = stand_with(SIZE).await;
    stand.fault("GET", "/blobs/", 1, Fault::IgnoreRange);
    assert!(read(stream(&stand, &digest, 0, 3).await.unwrap()).await.unwrap() == noise(SIZE));
    assert_eq!(stand.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn one_that_begins_to_ignore_them_or_refuses_them_is_read_by_one_connection() {
    for fault in [
        Fault::IgnoreRange,
        Fault::Answer(403, Vec::new(), String::new()),
        Fault::Answer(416, Vec::new(), String::new()),
        Fault::Header("content-range", "bytes 5-9/2000000".into()),
        Fault::Header("content-range", "bytes 100000-199999/77".into()),
    ] {
        let (stand, digest) = stand_with(SIZE).await;
        // The first part is good, some after it are not.
        stand.fault_after("GET", "/blobs/", 1, 4, fault);
        let read = read(stream(&stand, &digest, 0, 3).await.unwrap()).await.unwrap();
        assert!(read == noise(SIZE), "{} bytes", read.len());
    }
}

#[tokio::test]
async fn what_breaks_or_crawls_is_asked_for_again() {
    for (times, fault) in [(2, Fault::CutAfter(10)), (1, Fault::Drip(1000, Duration::from_millis(100)))] {
        let (stand, digest) = stand_with(SIZE).await;
        stand.fault_after("GET", "/blobs/", 2, times, fault);
        assert!(read(stream(&stand, &digest, 0, 3).await.unwrap()).await.unwrap() == noise(SIZE));
    }
}

#[tokio::test]
async fn nothing_is_in_memory_but_a_few_parts() {
    let (stand, digest) = stand_with(SIZE).await;
    let mut stream = stream(&stand, &digest, 0, 100).await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    // Nobody reads on: what is ahead comes, and no more than that.
    while stand.count("GET", "/blobs/") < 4 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stand.count("GET", "/blobs/"), 4);
}
