//! The volumes of an engine: which there are, which containers refer to them, and what is mounted for those that run.
//! Reads are served from memory and never wait for a change; changes are made one at a time.
//!
//! A volume can't be removed while a container refers to it. Who makes a container obtains its volumes first, so that
//! none of them can go in between.

mod api;
mod mounting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use minke_model::volume::{ANONYMOUS_LABEL, LOCAL, check_name, check_options};
use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_store::{Keep, Store, VolumeRecord};

use crate::engine::random_hex;

pub use mounting::Run;

/// What a volume is to be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its name; empty: one is made up, and the volume is anonymous.
    pub name: String,
    /// The driver; empty: that of the volume, or the local one.
    pub driver: String,
    /// Labels, for one that has to be made.
    pub labels: Option<BTreeMap<String, String>>,
    /// The driver's options, for one that has to be made.
    pub options: Option<BTreeMap<String, String>>,
}

/// A volume that was asked for.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// It.
    pub record: Arc<VolumeRecord>,
    /// It was made just now.
    pub is_new: bool,
}

/// All volumes of an engine.
pub struct Volumes {
    store: Store,
    /// Who owns new ones, if not root: the root of containers.
    owner: Option<(u32, u32)>,
    /// Held while a volume is made or removed.
    change: Mutex<()>,
    state: RwLock<State>,
    mounted: Mutex<mounting::Mounted>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<String, Arc<VolumeRecord>>,
    /// The containers that refer to each.
    users: HashMap<String, BTreeSet<String>>,
}

impl Volumes {
    /// Reads what is kept; new volumes belong to `owner`.
    pub fn open(store: &Store, owner: Option<(u32, u32)>) -> Result<Self> {
        let known =
            store.volumes()?.into_iter().map(|record| (record.name.clone(), Arc::new(record))).collect();
        Ok(Self {
            store: store.clone(),
            owner,
            change: Mutex::default(),
            state: RwLock::new(State { known, users: HashMap::new() }),
            mounted: Mutex::default(),
        })
    }

    /// Finds the volume, or makes it; `user` refers to it from then on. Blocks.
    ///
    /// # Errors
    /// A name or an option that is not right, another driver than the volume's, the disk's.
    pub fn obtain(&self, wanted: Wanted, user: Option<&str>, keep: Keep) -> Result<Obtained> {
        let fail = |name: &str, error: Error| Error::new(error.kind(), format!("create {name}: {error}"));
        if !wanted.name.is_empty()
            && let Some(record) = self.find_for(&wanted, user).map_err(|error| fail(&wanted.name, error))?
        {
            return Ok(Obtained { record, is_new: false });
        }
        let _change = lock(&self.change);
        let mut wanted = wanted;
        if wanted.name.is_empty() {
            wanted.name = random_hex(32)?;
            wanted.labels.get_or_insert_default().insert(ANONYMOUS_LABEL.into(), String::new());
        } else if let Some(record) =
            self.find_for(&wanted, user).map_err(|error| fail(&wanted.name, error))?
        {
            // Somebody else has made it meanwhile.
            return Ok(Obtained { record, is_new: false });
        }
        let record = self.make(&wanted, keep).map_err(|error| fail(&wanted.name, error))?;
        let record = Arc::new(record);
        let mut state = self.write();
        state.known.insert(record.name.clone(), record.clone());
        if let Some(user) = user {
            state.users.entry(record.name.clone()).or_default().insert(user.to_owned());
        }
        Ok(Obtained { record, is_new: true })
    }

    fn find_for(&self, wanted: &Wanted, user: Option<&str>) -> Result<Option<Arc<VolumeRecord>>> {
        let mut state = self.write();
        let Some(record) = state.known.get(&wanted.name).cloned() else { return Ok(None) };
        if !wanted.driver.is_empty() && wanted.driver != record.driver {
            check_driver(&wanted.driver)?;
            return Err(Error::conflict(format!(
                "driver '{}' already has volume '{}': volume name must be unique",
                record.driver, record.name
            )));
        }
        if let Some(user) = user {
            state.users.entry(record.name.clone()).or_default().insert(user.to_owned());
        }
        Ok(Some(record))
    }

    fn make(&self, wanted: &Wanted, keep: Keep) -> Result<VolumeRecord> {
        if !wanted.driver.is_empty() {
            check_driver(&wanted.driver)?;
        }
        check_name(&wanted.name)?;
        check_options(wanted.options.as_ref().unwrap_or(&BTreeMap::new()))?;
        let record = VolumeRecord {
            name: wanted.name.clone(),
            created: Timestamp::now(),
            driver: LOCAL.to_owned(),
            labels: wanted.labels.clone(),
            options: wanted.options.clone(),
        };
        self.store.create_volume(&record, keep)?;
        self.give(&record.name)?;
        Ok(record)
    }

    /// Gives a new volume's directory to its owner.
    fn give(&self, name: &str) -> Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let data = self.data(name);
        std::os::unix::fs::chown(&data, Some(uid), Some(gid))
            .with_context(|| format!("error while creating volume path '{}'", data.display()))
    }

    /// A volume by its whole name.
    pub fn get(&self, name: &str) -> Option<Arc<VolumeRecord>> {
        self.read().known.get(name).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<VolumeRecord>> {
        self.read().known.values().cloned().collect()
    }

    /// The containers that refer to a volume.
    pub fn users(&self, name: &str) -> Vec<String> {
        self.read().users.get(name).into_iter().flatten().cloned().collect()
    }

    /// Notes that a container, found at the engine's start, refers to a volume.
    pub fn refer(&self, name: &str, user: &str) {
        self.write().users.entry(name.to_owned()).or_default().insert(user.to_owned());
    }

    /// A container refers to a volume no more.
    pub fn release(&self, name: &str, user: &str) {
        let mut state = self.write();
        if let Some(users) = state.users.get_mut(name) {
            users.remove(user);
            if users.is_empty() {
                state.users.remove(name);
            }
        }
    }

    /// The directory of a volume's files.
    pub fn data(&self, name: &str) -> PathBuf {
        self.store.volume_data(name)
    }

    /// Removes a volume that no container refers to. Blocks.
    ///
    /// # Errors
    /// Docker's words for one that is not there or is in use.
    pub fn remove(&self, name: &str) -> Result<()> {
        let _change = lock(&self.change);
        let record = {
            let mut state = self.write();
            if let Some(users) = state.users.get(name).filter(|_| state.known.contains_key(name)) {
                let users: Vec<&str> = users.iter().map(String::as_str).collect();
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            // Gone for everybody from here on: who wants one of this name waits for its turn to make another.
            state.known.remove(name).ok_or_else(|| missing(name))?
        };
        let removed = mounting::clear(&self.store.volume_data(name), record.options.is_some())
            .and_then(|()| self.store.remove_volume(name));
        if removed.is_err() {
            self.write().known.insert(name.to_owned(), record);
        }
        removed.map_err(|error| Error::new(error.kind(), format!("remove {name}: {error}")))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

/// Whether nobody gave the volume its name.
pub fn is_anonymous(record: &VolumeRecord) -> bool {
    record.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS_LABEL))
}

/// No driver but the built-in one is known: plugins are not there.
fn check_driver(driver: &str) -> Result<()> {
    if driver == LOCAL {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!("error looking up volume plugin {driver}: plugin {driver:?} not found"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let directory = tempfile::tempdir().unwrap();
        let options = minke_store::Options::new(directory.path().join("exec"));
        let store = Store::open(&directory.path().join("data"), options).unwrap();
        let volumes = Volumes::open(&store, None).unwrap();
        (directory, volumes)
    }

    fn named(name: &str) -> Wanted {
        Wanted { name: name.into(), ..Wanted::default() }
    }

    #[test]
    fn a_volume_in_use_is_not_removed() {
        let (_directory, volumes) = volumes();
        assert!(volumes.obtain(named("data"), Some("c1"), Keep::Durable).unwrap().is_new);
        assert!(!volumes.obtain(named("data"), Some("c2"), Keep::Durable).unwrap().is_new);
        let error = volumes.remove("data").unwrap_err();
        assert_eq!(error.to_string(), "remove data: volume is in use - [c1, c2]");
        volumes.release("data", "c1");
        volumes.release("data", "c2");
        volumes.remove("data").unwrap();
        assert_eq!(volumes.remove("data").unwrap_err().to_string(), "get data: no such volume");
    }

    #[test]
    fn a_volume_without_a_name_is_anonymous() {
        let (_directory, volumes) = volumes();
        let made = volumes.obtain(Wanted::default(), None, Keep::Boot).unwrap().record;
        assert!(is_anonymous(&made) && made.name.len() == 64);
        assert!(!is_anonymous(&volumes.obtain(named("data"), None, Keep::Durable).unwrap().record));
    }

    #[test]
    fn another_driver_is_refused_in_dockers_words() {
        let (_directory, volumes) = volumes();
        let wanted = Wanted { driver: "nope".into(), ..named("data") };
        let error = volumes.obtain(wanted, None, Keep::Durable).unwrap_err();
        assert_eq!(
            error.to_string(),
            "create data: error looking up volume plugin nope: plugin \"nope\" not found"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
