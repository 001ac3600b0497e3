//! Volumes: their records and their directories. What is in a volume is never changed here but by removing all of it.
//!
//! A volume that was acknowledged is on disk, directory and record. One that ends with the boot has a note of that boot
//! beside its files instead; a later boot removes it. A directory without record or note, as a copied data root may have,
//! becomes a volume again: data that nobody asked to remove stays.

use crate::db::{Keep, Table, sync_directory};
use crate::record::{decode, encode};
use crate::snapshot::size_of_tree;
use crate::store::Store;
use minke_model::{Context, Error, Result, volume};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The note beside the files of a volume that ends with the boot.
const NOTE: &str = "boot";

/// What is kept of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// The driver; `local` alone so far.
    pub driver: String,
    /// Labels, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The driver's options, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
}

impl Store {
    /// Every volume, by name. Takes in directories that have no record and drops those of an earlier boot;
    /// call it once after opening.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        let mut known = BTreeMap::new();
        for (name, bytes) in self.list(Table::Volumes)? {
            let record: VolumeRecord = decode("volume", &name, &bytes)?;
            known.insert(name, record);
        }
        let directory = self.inner.data_root.join("volumes");
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(known.into_values().collect());
            }
            entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if known.contains_key(&name) || volume::check_name(&name).is_err() {
                continue;
            }
            if let Some(record) = self.take_in(&name, &entry.path())? {
                known.insert(name, record);
            }
        }
        Ok(known.into_values().collect())
    }

    /// Decides about a directory that no record tells of.
    fn take_in(&self, name: &str, place: &Path) -> Result<Option<VolumeRecord>> {
        let data = place.join("_data");
        let is_empty = || fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_none());
        // Half made, or of an earlier boot: nobody was told that it would stay.
        if place.join(NOTE).exists() || is_empty() {
            self.inner.trash.take(place)?;
            return Ok(None);
        }
        let Ok(metadata) = fs::symlink_metadata(&data) else { return Ok(None) };
        if !metadata.is_dir() {
            return Ok(None);
        }
        tracing::warn!(volume = name, "a directory of a volume that has no record becomes a volume again");
        let created = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let record = VolumeRecord {
            name: name.to_owned(),
            created: created.unwrap_or_default(),
            driver: volume::LOCAL.to_owned(),
            ..VolumeRecord::default()
        };
        self.put(Table::Volumes, name, &encode(&record), Keep::Durable)?;
        Ok(Some(record))
    }

    /// Makes a volume's directory and keeps its record; on return it is as safe as `keep` says.
    ///
    /// # Errors
    /// The disk's; then nothing of it is left.
    pub fn create_volume(&self, record: &VolumeRecord, keep: Keep) -> Result<()> {
        volume::check_name(&record.name)?;
        let place = self.volume_place(&record.name);
        let made = self
            .make_volume_directory(&place, keep)
            .and_then(|()| self.put(Table::Volumes, &record.name, &encode(record), keep));
        if made.is_err() {
            let _ = self.inner.trash.take(&place);
        }
        made
    }

    fn make_volume_directory(&self, place: &Path, keep: Keep) -> Result<()> {
        let volumes = self.inner.data_root.join("volumes");
        let failed = || format!("error while creating volume path '{}'", place.display());
        let make = |path: &Path, mode: u32| -> Result<()> {
            match DirBuilder::new().mode(mode).create(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                // Not by the mode of mkdir alone, which the process's umask narrows.
                made => made
                    .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
                    .with_context(failed),
            }
        };
        let first = !volumes.exists();
        make(&volumes, 0o701)?;
        make(place, 0o701)?;
        make(&place.join("_data"), 0o755)?;
        if keep == Keep::Boot {
            return fs::write(place.join(NOTE), &self.inner.db.boot_id).with_context(failed);
        }
        sync_directory(place)?;
        sync_directory(&volumes)?;
        if first { sync_directory(&self.inner.data_root) } else { Ok(()) }
    }

    /// Removes a volume's record, then its files: a rename, the unlinking is done in the background. Whoever calls has
    /// made sure that nothing is mounted there.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        volume::check_name(name)?;
        self.delete(Table::Volumes, name)?;
        self.inner.trash.take(&self.volume_place(name))
    }

    /// The directory of a volume's files.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume_place(name).join("_data")
    }

    /// The bytes of the files in a volume, by walking it: only for who asks for sizes.
    pub fn volume_size(&self, name: &str) -> u64 {
        size_of_tree(&self.volume_data(name))
    }

    /// Makes a volume's directory again where somebody has removed it.
    ///
    /// # Errors
    /// The disk's.
    pub fn restore_volume_data(&self, name: &str) -> Result<PathBuf> {
        let data = self.volume_data(name);
        if !data.is_dir() {
            volume::check_name(name)?;
            self.make_volume_directory(&self.volume_place(name), Keep::Durable)?;
            if !data.is_dir() {
                return Err(Error::system(format!("{} is not a directory", data.display())));
            }
        }
        Ok(data)
    }

    fn volume_place(&self, name: &str) -> PathBuf {
        self.inner.data_root.join("volumes").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStore;

    fn record(name: &str) -> VolumeRecord {
        VolumeRecord {
            name: name.into(),
            created: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            driver: "local".into(),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            options: None,
        }
    }

    /// What the first build with volumes wrote: it must be readable for ever.
    #[test]
    fn the_first_version_is_still_read() {
        let first = r#"{"name":"data","created":"2023-11-14T22:13:20Z","driver":"local","labels":{"a":"b"}}"#;
        assert_eq!(decode::<VolumeRecord>("volume", "data", first.as_bytes()).unwrap(), record("data"));
        assert_eq!(String::from_utf8(encode(&record("data"))).unwrap(), first);
    }

    #[test]
    fn a_volume_survives_the_process_and_leaves_nothing_when_it_is_removed() {
        let test = TestStore::new();
        test.store.create_volume(&record("data"), Keep::Durable).unwrap();
        fs::write(test.store.volume_data("data").join("f"), "12345").unwrap();
        assert_eq!(test.store.volume_size("data"), 5);
        let test = test.reopen(|_| {});
        assert_eq!(test.store.volumes().unwrap(), [record("data")]);
        test.store.remove_volume("data").unwrap();
        assert!(test.store.volumes().unwrap().is_empty() && !test.store.volume_data("data").exists());
    }

    #[test]
    fn a_volume_of_an_earlier_boot_is_gone_and_data_without_a_record_stays() {
        let TestStore { store, directory: _directory, .. } = TestStore::new();
        store.create_volume(&record("boot"), Keep::Boot).unwrap();
        fs::write(store.volume_data("boot").join("f"), "x").unwrap();
        store.create_volume(&record("stray"), Keep::Durable).unwrap();
        fs::write(store.volume_data("stray").join("f"), "x").unwrap();
        store.create_volume(&record("half-made"), Keep::Durable).unwrap();
        assert_eq!(store.volumes().unwrap().len(), 3);
        for name in ["boot", "stray", "half-made"] {
            store.delete(Table::Volumes, name).unwrap();
        }
        let names: Vec<_> = store.volumes().unwrap().into_iter().map(|record| record.name).collect();
        assert_eq!(names, ["stray"]);
        assert!(!store.volume_data("boot").exists() && store.volume_data("stray").join("f").exists());
    }
}
