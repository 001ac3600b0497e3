//! What is kept of a container, in the database or, for one that ends with the boot, under the exec root.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minke_api::container::{ContainerConfig, HostConfig, MountPoint};
use minke_model::signal::Signal;
use minke_model::{Context as _, Error, Result};
use serde::{Deserialize, Serialize};

use super::lifecycle::Lifecycle;

/// The version that this engine writes.
const VERSION: u32 = 1;

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
    /// The storage driver's name.
    pub driver: String,
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
        serde_json::to_vec(&Kept { version: VERSION, record: self, lifecycle: lifecycle.clone() })
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

    /// The name of its network.
    pub fn network_name(&self) -> &str {
        match self.host_config.network_mode.as_str() {
            "host" => "host",
            _ => "none",
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
    fn a_newer_version_is_refused() {
        let newer = FIRST.replacen("\"version\":1", "\"version\":2", 1);
        let error = Record::parse(newer.as_bytes()).unwrap_err();
        assert_eq!(error.message(), "a container's record has version 2; this engine knows versions up to 1");
    }
}
