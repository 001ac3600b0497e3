//! Which containers there are: by id, by name, by the beginning of an id. Holds handles, decides nothing about containers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use minke_model::{Error, Result};

use super::handle::{Container, View};

/// All containers of an engine.
#[derive(Debug, Default)]
pub struct Registry {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    containers: BTreeMap<String, Arc<Container>>,
    /// Every name in use, also of a container that is just being made, and the id it stands for.
    names: HashMap<String, String>,
    /// Links by their names, `parent/alias`.
    links: BTreeMap<String, Link>,
}

/// A link, by ids.
#[derive(Debug)]
struct Link {
    parent: String,
    child: String,
}

impl Registry {
    /// Keeps `name` (without a slash) for the container `id`.
    ///
    /// # Errors
    /// Docker's conflict when another container has it.
    pub fn reserve_name(&self, name: &str, id: &str) -> Result<()> {
        let mut index = self.write();
        match index.names.get(name) {
            Some(holder) if holder != id => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
            ))),
            _ => {
                index.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives a name up if it is `id`'s.
    pub fn release_name(&self, name: &str, id: &str) {
        let mut index = self.write();
        if index.names.get(name).is_some_and(|holder| holder == id) {
            index.names.remove(name);
        }
    }

    /// Adds a container, whose name is reserved already.
    pub fn insert(&self, container: Arc<Container>) {
        self.write().containers.insert(container.id.clone(), container);
    }

    /// Forgets a container, all its names, and its links.
    pub fn remove(&self, id: &str) {
        let mut index = self.write();
        index.containers.remove(id);
        index.names.retain(|_, holder| holder != id);
        index.links.retain(|_, link| link.parent != id && link.child != id);
    }

    /// Makes the name `parent/alias` stand for a container, unless it stands for one.
    pub fn link(&self, parent: &str, name: &str, child: &str) {
        let link = Link { parent: parent.to_owned(), child: child.to_owned() };
        self.write().links.entry(name.to_owned()).or_insert(link);
    }

    /// Takes the names of all links of a container away.
    pub fn unlink(&self, parent: &str) {
        self.write().links.retain(|_, link| link.parent != parent);
    }

    /// The names, `parent/alias`, that others have for a container.
    pub fn links_to(&self, child: &str) -> Vec<String> {
        let index = self.read();
        let to = index.links.iter().filter(|(_, link)| link.child == child);
        to.map(|(name, _)| name.clone()).collect()
    }

    /// All containers, by id.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.read().containers.values().cloned().collect()
    }

    /// The latest views of all containers, by id.
    pub fn views(&self) -> Vec<Arc<View>> {
        self.read().containers.values().map(|container| container.view()).collect()
    }

    /// The container that `reference` means: a full id, a name with or without its slash, or the beginning of one id.
    pub fn resolve(&self, reference: &str) -> Result<Arc<Container>> {
        let index = self.read();
        let missing = || Error::not_found(format!("No such container: {reference}"));
        if reference.is_empty() {
            return Err(Error::invalid("invalid name or ID supplied: \"\""));
        }
        if let Some(container) = index.containers.get(reference) {
            return Ok(container.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let linked = || index.links.get(name).map(|link| &link.child);
        if let Some(container) = index.names.get(name).or_else(linked).and_then(|id| index.containers.get(id))
        {
            return Ok(container.clone());
        }
        let mut found = index
            .containers
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference))
            .map(|(_, container)| container);
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(container.clone()),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {reference}")))
            }
            (None, _) => Err(missing()),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
