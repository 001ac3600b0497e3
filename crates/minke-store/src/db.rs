//! The database file of durable facts, and the files of facts that end with the boot.
//! Must never know what a record means: tables of bytes by id, written before success is reported.
//!
//! `minke.db` carries a schema version; an older one is raised at open, a newer one is refused by name.

use minke_model::{Context, Error, Result};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The version that this program writes. Raise it with a step in [`migrate`].
const SCHEMA_VERSION: u64 = 2;
/// The database's own pages in memory; its default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// A table of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Images by ID, as [`crate::record::ImageRecord`].
    Images,
    /// Tags and digests by canonical reference, as [`crate::record::TagRecord`].
    Tags,
    /// Layers by diff ID, as [`crate::record::LayerRecord`].
    Layers,
    /// Top layers by chain ID, as [`crate::record::ChainRecord`].
    Chains,
    /// Containers' own layers by container id, as [`crate::record::RwRecord`].
    Rw,
    /// The engine's containers.
    Containers,
    /// The engine's networks.
    Networks,
    /// The engine's volumes.
    Volumes,
    /// What must not be collected, by lease.
    Leases,
    /// Single facts about the engine, by name (its ID, for one).
    Engine,
}

impl Table {
    const ALL: [Self; 10] = [
        Self::Images,
        Self::Tags,
        Self::Layers,
        Self::Chains,
        Self::Rw,
        Self::Containers,
        Self::Networks,
        Self::Volumes,
        Self::Leases,
        Self::Engine,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Tags => "tags",
            Self::Layers => "layers",
            Self::Chains => "chains",
            Self::Rw => "rw",
            Self::Containers => "containers",
            Self::Networks => "networks",
            Self::Volumes => "volumes",
            Self::Leases => "leases",
            Self::Engine => "engine",
        }
    }

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// How long a record must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It survives a power cut: on disk before the call returns.
    Durable,
    /// It survives the engine but not the boot: no disk write is waited for.
    Boot,
}

/// One change in a transaction.
pub(crate) enum Write<'a> {
    Put(Table, &'a str, &'a [u8]),
    Delete(Table, &'a str),
}

/// The open database.
pub(crate) struct Database {
    redb: redb::Database,
    boot: PathBuf,
    /// The kernel's name for this boot.
    pub(crate) boot_id: String,
}

impl Database {
    pub(crate) fn open(data_root: &Path, exec_root: &Path) -> Result<Self> {
        let path = data_root.join("minke.db");
        let fresh = !path.exists();
        let redb = redb::Database::builder().set_cache_size(CACHE_BYTES).create(&path);
        let redb = redb.with_context(|| format!("cannot open the database {}", path.display()))?;
        // The environments of containers are in it, and the data root may be searched by everybody.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect the database {}", path.display()))?;
        if fresh {
            sync_directory(data_root)?;
        }
        migrate(&redb, &path)?;
        let boot = open_boot_records(exec_root)?;
        Ok(Self { redb, boot, boot_id: boot_id()? })
    }

    pub(crate) fn put(&self, table: Table, id: &str, bytes: &[u8], keep: Keep) -> Result<()> {
        self.put_with(table, id, bytes, keep, None)
    }

    /// As [`Self::put`], with a second record of the same id in the same transaction.
    pub(crate) fn put_with(
        &self,
        table: Table,
        id: &str,
        bytes: &[u8],
        keep: Keep,
        second: Option<(Table, &[u8])>,
    ) -> Result<()> {
        match keep {
            Keep::Durable => {
                let mut writes = vec![Write::Put(table, id, bytes)];
                writes.extend(second.map(|(table, bytes)| Write::Put(table, id, bytes)));
                self.write(&writes)?;
                self.delete_boot_record(table, id).map(|_| ())
            }
            Keep::Boot => self.put_boot_record(table, id, bytes),
        }
    }

    pub(crate) fn delete(&self, table: Table, id: &str) -> Result<()> {
        if self.delete_boot_record(table, id)? {
            return Ok(());
        }
        self.write(&[Write::Delete(table, id)])
    }

    /// Applies all of `writes` durably, or none.
    pub(crate) fn write(&self, writes: &[Write<'_>]) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let failed = "cannot write to the database";
        let transaction = self.redb.begin_write().context(failed)?;
        for write in writes {
            apply(&transaction, write).context(failed)?;
        }
        transaction.commit().context(failed)
    }

    pub(crate) fn list(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>> {
        let failed = || format!("cannot read {} from the database", table.name());
        let transaction = self.redb.begin_read().with_context(failed)?;
        let opened = transaction.open_table(table.definition()).with_context(failed)?;
        let mut records = BTreeMap::new();
        for row in opened.iter().with_context(failed)? {
            let (id, bytes) = row.with_context(failed)?;
            records.insert(id.value().to_owned(), bytes.value().to_vec());
        }
        records.extend(self.list_boot_records(table)?);
        Ok(records.into_iter().collect())
    }

    fn boot_record(&self, table: Table, id: &str) -> PathBuf {
        self.boot.join(table.name()).join(id)
    }

    fn put_boot_record(&self, table: Table, id: &str, bytes: &[u8]) -> Result<()> {
        if id.is_empty() || id.starts_with('.') || id.contains('/') {
            return Err(Error::system(format!("{id:?} cannot name a record")));
        }
        let path = self.boot_record(table, id);
        let partial = self.boot.join(table.name()).join(format!(".{id}"));
        let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    fn delete_boot_record(&self, table: Table, id: &str) -> Result<bool> {
        let path = self.boot_record(table, id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    fn list_boot_records(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>> {
        let directory = self.boot.join(table.name());
        let failed = || format!("cannot read {}", directory.display());
        let mut records = Vec::new();
        for entry in fs::read_dir(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let id = entry.file_name().to_string_lossy().into_owned();
            if !id.starts_with('.') {
                records.push((id, fs::read(entry.path()).with_context(failed)?));
            }
        }
        Ok(records)
    }
}

fn apply(transaction: &WriteTransaction, write: &Write<'_>) -> Result<(), redb::Error> {
    match write {
        Write::Put(table, id, bytes) => {
            transaction.open_table(table.definition())?.insert(*id, *bytes)?;
        }
        Write::Delete(table, id) => {
            transaction.open_table(table.definition())?.remove(*id)?;
        }
    }
    Ok(())
}

/// Reads the schema version, refuses a newer one, raises an older one step by step, and makes every table.
fn migrate(redb: &redb::Database, path: &Path) -> Result<()> {
    let failed = || format!("cannot prepare the database {}", path.display());
    let found = {
        let transaction = redb.begin_read().with_context(failed)?;
        match transaction.open_table(META) {
            Ok(meta) => meta.get("schema").with_context(failed)?.map(|version| version.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error).with_context(failed),
        }
    };
    match found {
        Some(SCHEMA_VERSION) => return Ok(()),
        Some(newer) if newer > SCHEMA_VERSION => {
            return Err(Error::system(format!(
                "the database {} has version {newer}, written by a newer minke; this one reads up to {SCHEMA_VERSION}",
                path.display()
            )));
        }
        _ => {}
    }
    let transaction = redb.begin_write().with_context(failed)?;
    // Version 1 had no tables `chains` and `rw`; both are rebuilt from what is found, so making them is the step.
    for table in Table::ALL {
        transaction.open_table(table.definition()).with_context(failed)?;
    }
    transaction
        .open_table(META)
        .with_context(failed)?
        .insert("schema", SCHEMA_VERSION)
        .with_context(failed)?;
    transaction.commit().with_context(failed)
}

/// Makes the directories for this boot's records, and drops those of earlier boots.
fn open_boot_records(exec_root: &Path) -> Result<PathBuf> {
    let records = exec_root.join("records");
    let boot = records.join(boot_id()?);
    let failed = || format!("cannot prepare {}", boot.display());
    // The environment of a container is in its record, and the exec root may be searched by everybody.
    fs::create_dir_all(&records).with_context(failed)?;
    fs::set_permissions(&records, fs::Permissions::from_mode(0o700)).with_context(failed)?;
    for table in Table::ALL {
        fs::create_dir_all(boot.join(table.name())).with_context(failed)?;
    }
    for entry in fs::read_dir(&records).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path != boot {
            fs::remove_dir_all(&path).with_context(failed)?;
        }
    }
    Ok(boot)
}

/// The kernel's name for this boot.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
}

pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot sync {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Result<Database> {
        Database::open(directory, &directory.join("exec"))
    }

    #[test]
    fn records_of_both_kinds_are_listed_and_survive_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let db = open(directory.path()).unwrap();
        db.put(Table::Containers, "a", b"1", Keep::Durable).unwrap();
        db.put(Table::Containers, "b", b"2", Keep::Boot).unwrap();
        drop(db);
        let db = open(directory.path()).unwrap();
        let expected = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())];
        assert_eq!(db.list(Table::Containers).unwrap(), expected);
        db.delete(Table::Containers, "a").unwrap();
        db.delete(Table::Containers, "b").unwrap();
        db.delete(Table::Containers, "c").unwrap();
        assert!(db.list(Table::Containers).unwrap().is_empty());
    }

    #[test]
    fn records_of_an_earlier_boot_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("exec/records/earlier/containers");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("x"), b"1").unwrap();
        let db = open(directory.path()).unwrap();
        assert!(db.list(Table::Containers).unwrap().is_empty());
        assert!(!old.exists());
    }

    #[test]
    fn a_record_that_becomes_durable_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let db = open(directory.path()).unwrap();
        db.put(Table::Containers, "a", b"1", Keep::Boot).unwrap();
        db.put(Table::Containers, "a", b"2", Keep::Durable).unwrap();
        assert_eq!(db.list(Table::Containers).unwrap(), [("a".to_owned(), b"2".to_vec())]);
    }

    /// The database of an engine of version 0.1.0 with one image and one container, as it was on the disk.
    const WRITTEN_BY_0_1_0: &[u8] = include_bytes!("golden/minke-2.db.gz");

    #[test]
    fn a_database_file_that_an_earlier_build_wrote_is_read_and_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(WRITTEN_BY_0_1_0), &mut bytes).unwrap();
        fs::write(directory.path().join("minke.db"), bytes).unwrap();
        let db = open(directory.path()).unwrap();
        let only = |table: Table| {
            let [(key, value)] = <[_; 1]>::try_from(db.list(table).unwrap()).unwrap();
            (key, String::from_utf8(value).unwrap())
        };
        let (image, record) = only(Table::Images);
        serde_json::from_str::<crate::record::ImageRecord>(&record).unwrap();
        let (tag, record) = only(Table::Tags);
        assert!(tag.contains("small:1") && record.contains(&image), "{tag}: {record}");
        serde_json::from_str::<crate::record::TagRecord>(&record).unwrap();
        serde_json::from_str::<crate::record::LayerRecord>(&only(Table::Layers).1).unwrap();
        assert!(db.list(Table::Chains).unwrap().is_empty());
        let (container, record) = only(Table::Containers);
        assert!(record.contains("\"name\":\"web\""), "{record}");
        let (of, record) = only(Table::Rw);
        assert_eq!(of, container);
        serde_json::from_str::<crate::record::RwRecord>(&record).unwrap();
        db.put(Table::Containers, "new", b"1", Keep::Durable).unwrap();
        assert_eq!(db.list(Table::Containers).unwrap().len(), 2);
        // It is older than volumes, and takes them all the same.
        assert!(db.list(Table::Volumes).unwrap().is_empty());
        db.put(Table::Volumes, "data", b"1", Keep::Durable).unwrap();
        drop(db);
        let db = open(directory.path()).unwrap();
        assert_eq!(db.list(Table::Volumes).unwrap(), [("data".to_owned(), b"1".to_vec())]);
    }

    #[test]
    fn the_database_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        let mode = fs::metadata(directory.path().join("minke.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_database_of_version_1_is_raised_and_a_newer_one_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minke.db");
        let set_version = |version: u64| {
            let redb = redb::Database::create(&path).unwrap();
            let transaction = redb.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("schema", version).unwrap();
            let table = Table::Containers.definition();
            transaction.open_table(table).unwrap().insert("old", b"record".as_slice()).unwrap();
            transaction.commit().unwrap();
        };
        set_version(1);
        let db = open(directory.path()).unwrap();
        assert_eq!(db.list(Table::Containers).unwrap().len(), 1);
        assert!(db.list(Table::Rw).unwrap().is_empty());
        drop(db);
        set_version(SCHEMA_VERSION + 1);
        let error = open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("newer minke") && error.contains("minke.db"), "{error}");
    }
}
