//! Answers captured from dockerd 20.10.24 (version 1.41) pass through the types unchanged: same values, same `null`,
//! same empty, same absent; and where Docker has not moved fields since, the same bytes.

use std::collections::BTreeSet;

use minke_api::adapt::Adapt;
use minke_api::container::{ContainerCreateRequest, ContainerInspect, ContainerSummary};
use minke_api::event::EventMessage;
use minke_api::exec::ExecInspect;
use minke_api::image::{ImageHistoryItem, ImageInspect, ImageSummary};
use minke_api::system::{SystemInfo, SystemVersion};
use minke_api::{ApiVersion, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/", $name, ".json"))
    };
}

fn read<T: DeserializeOwned>(sample: &str) -> T {
    json::decode(sample.as_bytes()).unwrap()
}

fn read_adapted<T: DeserializeOwned + Adapt>(sample: &str) -> T {
    let mut value: T = read(sample);
    value.adapt(ApiVersion::new(1, 41));
    value
}

fn same_bytes<T: Serialize>(value: &T, sample: &str) {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    ")))
        .unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), sample.trim_end());
}

/// Every value of the sample is there, and nothing else but the fields that newer versions added.
fn same_values<T: Serialize>(value: &T, sample: &str, added: &[&str]) {
    let mut extra = BTreeSet::new();
    compare(&serde_json::from_str(sample).unwrap(), &serde_json::to_value(value).unwrap(), "", &mut extra);
    assert_eq!(extra, added.iter().map(|name| (*name).to_owned()).collect());
}

fn compare(sample: &Value, ours: &Value, path: &str, extra: &mut BTreeSet<String>) {
    match (sample, ours) {
        (Value::Object(sample), Value::Object(ours)) => {
            for (key, value) in sample {
                let path = format!("{path}.{key}");
                compare(value, ours.get(key).unwrap_or_else(|| panic!("{path} is missing")), &path, extra);
            }
            extra.extend(ours.keys().filter(|key| !sample.contains_key(*key)).cloned());
        }
        (Value::Array(sample), Value::Array(ours)) if sample.len() == ours.len() => {
            sample.iter().zip(ours).for_each(|(sample, ours)| compare(sample, ours, path, extra));
        }
        _ => assert_eq!(sample, ours, "{path}"),
    }
}

#[test]
fn version() {
    same_bytes(&read::<SystemVersion>(sample!("version")), sample!("version"));
}

#[test]
fn info() {
    same_values(&read_adapted::<SystemInfo>(sample!("info")), sample!("info"), &[]);
}

#[test]
fn images() {
    same_bytes(&read_adapted::<Vec<ImageSummary>>(sample!("images_json")), sample!("images_json"));
}

#[test]
fn image_inspect() {
    same_bytes(&read_adapted::<ImageInspect>(sample!("image_inspect")), sample!("image_inspect"));
}

#[test]
fn image_history() {
    same_bytes(&read::<Vec<ImageHistoryItem>>(sample!("image_history")), sample!("image_history"));
}

#[test]
fn containers() {
    let added = ["DNSNames", "GwPriority"];
    same_values(
        &read_adapted::<Vec<ContainerSummary>>(sample!("containers_json")),
        sample!("containers_json"),
        &added,
    );
}

#[test]
fn container_inspect() {
    let added = ["DNSNames", "GwPriority"];
    for sample in [sample!("container_inspect_created"), sample!("container_inspect_running")] {
        same_values(&read_adapted::<ContainerInspect>(sample), sample, &added);
    }
}

#[test]
fn exec_inspect() {
    same_bytes(&read::<ExecInspect>(sample!("exec_inspect")), sample!("exec_inspect"));
}

#[test]
fn events() {
    let mut event: EventMessage = read(sample!("event"));
    (event.status, event.id, event.from) = Default::default();
    let newest = event.clone();
    event.adapt(ApiVersion::new(1, 41));
    same_bytes(&event, sample!("event"));
    event = newest.clone();
    event.adapt(ApiVersion::new(1, 52));
    assert_eq!(event, newest);
}

#[test]
fn an_image_is_inspected_in_the_form_of_each_version() {
    let mut image: ImageInspect = read(sample!("image_inspect"));
    image.config = minke_api::image::ImageInspectConfig::Image(image.config.image());
    (image.container, image.container_config, image.virtual_size, image.parent) = Default::default();
    (image.docker_version, image.author) = Default::default();
    let newest = serde_json::to_value(&image).unwrap();
    assert_eq!(newest["Config"], serde_json::json!({}));
    assert!(newest.get("Author").is_none());
    let mut old = image.clone();
    old.adapt(ApiVersion::new(1, 41));
    old.docker_version = Some("20.10.24+dfsg1".into());
    same_bytes(&old, sample!("image_inspect"));
}

/// The body that docker 28 sends for nearly every flag of `create`.
#[test]
fn a_create_request_loses_nothing() {
    let sample = sample!("create_request");
    let request: ContainerCreateRequest = read(sample);
    let mut as_old = request.clone();
    as_old.config.on_build = Some(None);
    same_bytes(&as_old, sample);
    let lower =
        sample.replace("\"HostConfig\"", "\"hostconfig\"").replace("\"Entrypoint\"", "\"entryPOINT\"");
    assert_eq!(read::<ContainerCreateRequest>(&lower), request);
}

#[test]
fn a_command_may_be_one_word() {
    let request: ContainerCreateRequest =
        read(r#"{"Cmd":"ls -l","Entrypoint":["a",null],"HostConfig":null}"#);
    assert_eq!(request.config.cmd, Some(vec!["ls -l".to_owned()]));
    assert_eq!(request.config.entrypoint, Some(vec!["a".to_owned(), String::new()]));
    assert_eq!(request.host_config, None);
}

#[test]
fn a_wrong_type_deep_in_a_create_request_is_named() {
    let error = json::decode::<ContainerCreateRequest>(br#"{"HostConfig":{"Memory":"much"}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "json: cannot unmarshal string into Go struct field HostConfig.HostConfig.Memory of type int64"
    );
}
