//! What is kept of a container, in the database or, for one that ends with the boot, under the exec root.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use minke_api::container::{ContainerConfig, HostConfig, MountPoint};
use minke_api::network::EndpointSettings;
use minke_model::signal::Signal;
use minke_model::{Context as _, Error, Result};
use serde::{Deserialize, Serialize};

use super::lifecycle::Lifecycle;
use super::point::{self, Kind, Point};

/// The version that this engine writes.
const VERSION: u32 = 2;
/// The version that a record without volumes or images among its mounts has, so that earlier builds read it: they would start
/// any other container without them.
const WITHOUT_VOLUMES: u32 = 1;

/// A container as its creator made it, with what renaming changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The id of its image, `sha256:...`.
    pub image_id: String,
    /// Its configuration, with the image's filled in; `image` is as its creator named it.
    pub config: ContainerConfig,
    /// What the host does for it.
    pub host_config: HostConfig,
    /// Its mounts as inspect shows them.
    pub mounts: Vec<MountPoint>,
    /// Its mounts as a start makes them; `None` in records that are older than volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Point>>,
    /// The networks it asks for, by name; `None` in records that are older than networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, EndpointSettings>>,
    /// The storage driver's name.
    pub driver: String,
    /// The SELinux label of its processes; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub process_label: String,
    /// That of its files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
}

/// How a record stands in its file.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    version: u32,
    record: R,
    lifecycle: Lifecycle,
}

impl Record {
    /// The bytes to keep.
    pub fn render(&self, lifecycle: &Lifecycle) -> Result<Vec<u8>> {
        let needs_volumes =
            self.points.iter().flatten().any(|point| matches!(point.kind, Kind::Volume | Kind::Image));
        let version = if needs_volumes { VERSION } else { WITHOUT_VOLUMES };
        serde_json::to_vec(&Kept { version, record: self, lifecycle: lifecycle.clone() })
            .context("the container's record can't be written")
    }

    /// Reads what [`Record::render`] of this or an older version wrote.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Lifecycle)> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(bytes).context("a container's record is damaged")?;
        if version > VERSION {
            return Err(Error::system(format!(
                "a container's record has version {version}; this engine knows versions up to {VERSION}"
            )));
        }
        let kept: Kept<Self> = serde_json::from_slice(bytes).context("a container's record is damaged")?;
        Ok((kept.record, kept.lifecycle))
    }

    /// The SELinux label of its files, if it has one.
    pub fn file_label(&self) -> Option<String> {
        Some(self.mount_label.clone()).filter(|label| !label.is_empty())
    }

    /// Its mounts.
    pub fn points(&self) -> Cow<'_, [Point]> {
        match &self.points {
            Some(points) => Cow::Borrowed(points),
            None => Cow::Owned(point::of_host_config(&self.host_config)),
        }
    }

    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.iter().flatten();
        entrypoint.chain(self.config.cmd.iter().flatten()).cloned().collect()
    }

    /// The stop signal that the container was made with, if any.
    pub fn stop_signal(&self) -> Option<i32> {
        Signal::parse(&self.config.stop_signal).ok().map(Signal::number)
    }

    /// How long a stop waits, in seconds.
    pub fn stop_timeout_s(&self) -> i64 {
        self.config.stop_timeout.unwrap_or(10)
    }

    /// The values of `--group-add`.
    pub fn group_add(&self) -> &[String] {
        self.host_config.group_add.as_deref().unwrap_or_default()
    }

    /// The networks it asks for.
    pub fn networks(&self) -> Cow<'_, BTreeMap<String, EndpointSettings>> {
        match &self.networks {
            Some(networks) => Cow::Borrowed(networks),
            None => {
                let name = if self.host_config.network_mode == "host" { "host" } else { "none" };
                Cow::Owned([(name.to_owned(), EndpointSettings::default())].into())
            }
        }
    }

    /// Nothing of it is wanted after the boot.
    pub fn ends_with_boot(&self) -> bool {
        self.host_config.auto_remove
    }

    /// What every event of it says.
    pub fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.config.labels.clone().unwrap_or_default();
        attributes.insert("image".into(), self.config.image.clone());
        attributes.insert("name".into(), self.name.clone());
        attributes
    }
}

#[cfg(test)]
mod tests {
    use minke_model::restart_policy::RestartPolicy;

    use super::*;

    /// What the first released version wrote: it must be readable for ever.
    const FIRST: &str = include_str!("record-v1.json");

    #[test]
    fn the_first_version_is_still_read() {
        let (record, lifecycle) = Record::parse(FIRST.as_bytes()).unwrap();
        assert_eq!(record.name, "web");
        assert_eq!(lifecycle.policy, RestartPolicy::Always);
        assert_eq!(String::from_utf8(record.render(&lifecycle).unwrap()).unwrap(), FIRST.trim());
    }

    #[test]
    fn only_a_record_with_volumes_is_kept_from_earlier_builds() {
        let (mut record, lifecycle) = Record::parse(FIRST.as_bytes()).unwrap();
        let version = |record: &Record| {
            let bytes = record.render(&lifecycle).unwrap();
            assert_eq!(Record::parse(&bytes).unwrap().0, *record);
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["version"].as_u64()
        };
        let bind = Point { source: "/a".into(), target: "/b".into(), ..Point::default() };
        record.points = Some(vec![bind.clone()]);
        assert_eq!(version(&record), Some(1));
        record.points =
            Some(vec![bind, Point { kind: Kind::Volume, name: "data".into(), ..Point::default() }]);
        assert_eq!(version(&record), Some(2));
    }

    #[test]
    fn a_newer_version_is_refused() {
        let newer = FIRST.replacen("\"version\":1", "\"version\":3", 1);
        let error = Record::parse(newer.as_bytes()).unwrap_err();
        assert_eq!(error.message(), "a container's record has version 3; this engine knows versions up to 2");
    }
}
