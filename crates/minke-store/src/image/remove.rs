//! `rmi`: what is untagged and deleted, and what forbids it, decided as Docker decides.

use super::catalog::Edit;
use crate::image::{Image, ImageEvent, ImageEventKind};
use crate::layer::chain_id;
use crate::store::Store;
use minke_model::{AnyReference, Digest, Error, Reference, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Remove also where only a stopped container or several names stand against it.
    pub force: bool,
    /// Remove parents that nothing else needs.
    pub prune: bool,
}

/// A container that uses an image, as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's id.
    pub id: String,
    /// The image it was made from.
    pub image: Digest,
    /// Whether it is running.
    pub running: bool,
}

/// One row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image, or the layers under a chain ID, is gone.
    Deleted(Digest),
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The rows of the answer.
    pub removed: Vec<Removed>,
    /// What to send as events.
    pub events: Vec<ImageEvent>,
}

/// What stands against deleting an image.
struct Conflict {
    hard: bool,
    used: bool,
    message: String,
}

impl Store {
    /// Every layer that is here, and the bytes in its files as they were counted when it came in.
    pub fn layers(&self) -> Vec<(Digest, u64)> {
        let (layers, _) = self.inner.layers.all();
        layers.into_iter().map(|layer| (layer.clone(), self.inner.layers.size(&layer))).collect()
    }

    /// Removes a name, and the image with its last one; `containers` are all that use any image.
    pub fn remove_image(
        &self,
        name: &str,
        options: RemoveOptions,
        containers: &[ContainerUse],
    ) -> Result<Removal> {
        let removal = {
            let _change = self.change();
            let image = self.image(name)?;
            let mut removal = Removal::default();
            match name_prefixes_id(name, &image.id) {
                true => self.remove_by_id(&image, options, containers, &mut removal)?,
                false => self.remove_by_name(name, &image, options, containers, &mut removal)?,
            }
            removal
        };
        if removal.removed.iter().any(|row| matches!(row, Removed::Deleted(_))) {
            self.collect()?;
        }
        Ok(removal)
    }

    fn remove_by_id(
        &self,
        image: &Arc<Image>,
        options: RemoveOptions,
        containers: &[ContainerUse],
        removal: &mut Removal,
    ) -> Result<()> {
        let references = references(image);
        if is_single_reference(&references) {
            if let Some(conflict) = self.conflict(image, !options.force, false, containers) {
                return Err(conflict.error(&image.id));
            }
            self.untag(&image.id, &references, removal)?;
        }
        self.delete_image(&image.id, options, containers, removal, false)
    }

    fn remove_by_name(
        &self,
        name: &str,
        image: &Arc<Image>,
        options: RemoveOptions,
        containers: &[ContainerUse],
        removal: &mut Removal,
    ) -> Result<()> {
        let all = references(image);
        let user = containers.iter().find(|container| container.image == image.id);
        if let Some(container) = user
            && !options.force
            && is_single_reference(&all)
        {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference {name:?} (must force) - container {} is using its referenced image {}",
                short(&container.id),
                image.id.short()
            )));
        }
        let AnyReference::Named(reference) = AnyReference::parse(name)? else {
            return Err(Error::invalid("invalid reference format"));
        };
        let reference = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()),
            None => reference.with_default_tag(),
        };
        let mut gone = vec![reference.clone()];
        let is_tag = |other: &&Reference| other.digest().is_none();
        let last_tag = reference.digest().is_none()
            && !all
                .iter()
                .filter(is_tag)
                .any(|other| other.name() == reference.name() && *other != reference);
        if last_tag {
            // Digests of a repository whose last tag goes, go with it.
            let digests =
                all.iter().filter(|other| other.digest().is_some() && other.name() == reference.name());
            gone.extend(digests.cloned());
        }
        self.untag(&image.id, &gone, removal)?;
        match all.len() > gone.len() {
            true => Ok(()),
            false => self.delete_image(&image.id, options, containers, removal, true),
        }
    }

    fn untag(&self, id: &Digest, references: &[Reference], removal: &mut Removal) -> Result<()> {
        let edits: Vec<Edit> = references.iter().cloned().map(Edit::DeleteTag).collect();
        self.inner.catalog.apply(&edits)?;
        for reference in references {
            removal.removed.push(Removed::Untagged(reference.familiar()));
            removal.events.push(event(ImageEventKind::Untag, id));
        }
        Ok(())
    }

    /// Deletes an image with what names are left; `quiet` where a name was removed already, so that a user of the
    /// image is no failure.
    fn delete_image(
        &self,
        id: &Digest,
        options: RemoveOptions,
        containers: &[ContainerUse],
        removal: &mut Removal,
        quiet: bool,
    ) -> Result<()> {
        let Some(image) = self.image_by_id(id) else { return Ok(()) };
        if let Some(conflict) = self.conflict(&image, !options.force, true, containers) {
            let dangling = image.is_dangling() && !self.inner.catalog.has_children(id);
            return if quiet && (!dangling || conflict.used) { Ok(()) } else { Err(conflict.error(id)) };
        }
        let left = references(&image);
        self.untag(id, &left, removal)?;
        self.inner.catalog.apply(&[Edit::DeleteImage(id.clone())])?;
        removal.events.push(event(ImageEventKind::Delete, id));
        removal.removed.push(Removed::Deleted(id.clone()));
        removal.removed.extend(self.unreached_chains(&image.layers).into_iter().map(Removed::Deleted));
        match (&image.parent, options.prune) {
            (Some(parent), true) => {
                let options = RemoveOptions { force: false, prune: true };
                self.delete_image(parent, options, containers, removal, true)
            }
            _ => Ok(()),
        }
    }

    /// What stands against deletion; `soft` asks also for what force overcomes, `names` for names among that.
    fn conflict(
        &self,
        image: &Image,
        soft: bool,
        names: bool,
        containers: &[ContainerUse],
    ) -> Option<Conflict> {
        if self.inner.catalog.has_children(&image.id) {
            let message = "image has dependent child images".to_owned();
            return Some(Conflict { hard: true, used: false, message });
        }
        let using = |running: bool| {
            containers.iter().find(|container| container.image == image.id && container.running == running)
        };
        if let Some(container) = using(true) {
            let message = format!("image is being used by running container {}", short(&container.id));
            return Some(Conflict { hard: true, used: true, message });
        }
        if soft && names && !image.is_dangling() {
            let message = "image is referenced in multiple repositories".to_owned();
            return Some(Conflict { hard: false, used: false, message });
        }
        let container = using(false).filter(|_| soft)?;
        let message = format!("image is being used by stopped container {}", short(&container.id));
        Some(Conflict { hard: false, used: true, message })
    }

    /// The chain IDs, topmost first, that no image and no container stands on any more.
    fn unreached_chains(&self, layers: &[Digest]) -> Vec<Digest> {
        let mut stacks = self.inner.snapshots.chains_in_use();
        stacks.extend(self.images().iter().map(|image| image.layers.clone()));
        let reached: HashSet<&[Digest]> =
            stacks.iter().flat_map(|stack| (1..=stack.len()).map(|length| &stack[..length])).collect();
        let gone = (1..=layers.len()).rev().map(|length| &layers[..length]);
        gone.take_while(|chain| !reached.contains(chain)).filter_map(chain_id).collect()
    }
}

impl Conflict {
    fn error(&self, id: &Digest) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::conflict(format!("conflict: unable to delete {} ({force}) - {}", id.short(), self.message))
    }
}

fn references(image: &Image) -> Vec<Reference> {
    image.tags.iter().chain(&image.digests).cloned().collect()
}

/// Whether an image has one name at most, digests of the same repository not counted.
fn is_single_reference(references: &[Reference]) -> bool {
    if references.len() <= 1 {
        return true;
    }
    let tags: Vec<&Reference> = references.iter().filter(|reference| reference.digest().is_none()).collect();
    let repositories: HashSet<String> =
        references.iter().filter(|reference| reference.digest().is_some()).map(Reference::name).collect();
    tags.len() == 1 && repositories.len() == 1 && repositories.contains(&tags[0].name())
}

fn name_prefixes_id(name: &str, id: &Digest) -> bool {
    id.as_str().starts_with(name) || id.hex().starts_with(name)
}

fn event(kind: ImageEventKind, id: &Digest) -> ImageEvent {
    ImageEvent { kind, id: id.clone(), name: id.to_string() }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
