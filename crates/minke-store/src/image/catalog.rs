//! The index of images in memory, from which every read is served, and the one place that writes images and
//! tags: to the database first, then here.

use crate::db::{Database, Table, Write};
use crate::image::Image;
use crate::layer::Layers;
use crate::record::{ImageRecord, TagRecord, decode, encode};
use minke_content::ContentStore;
use minke_model::image::ImageConfig;
use minke_model::{Context, Digest, Reference, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A configuration is held in memory; longer ones are refused.
pub(crate) const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Images and tags as one immutable value; a change makes a new one.
pub(crate) struct Catalog {
    db: Arc<Database>,
    index: RwLock<Arc<Entries>>,
}

#[derive(Clone, Default)]
struct Entries {
    images: BTreeMap<Digest, Arc<Image>>,
    /// The same, newest first.
    sorted: Vec<Arc<Image>>,
    /// By canonical reference.
    tags: BTreeMap<String, (Reference, TagRecord)>,
}

/// One change to images and tags.
pub(crate) enum Edit {
    PutImage(ImageRecord, Arc<Vec<u8>>),
    DeleteImage(Digest),
    PutTag(Reference, TagRecord),
    DeleteTag(Reference),
}

impl Catalog {
    /// Reads every image. One whose configuration or layers were lost is told of and left out.
    pub(crate) fn load(db: Arc<Database>, content: &ContentStore, layers: &Layers) -> Result<Self> {
        let mut entries = Entries::default();
        for (id, bytes) in db.list(Table::Images)? {
            let record: ImageRecord = decode("image", &id, &bytes)?;
            if let Some(lost) = record.layers.iter().find(|layer| layers.record(layer).is_none()) {
                tracing::error!(image = id, layer = %lost, "an image has lost a layer");
                continue;
            }
            let image = content.read(&record.id, MAX_CONFIG_BYTES).and_then(|bytes| build(&record, &bytes));
            match image {
                Ok(image) => drop(entries.images.insert(record.id, Arc::new(image))),
                Err(error) => tracing::error!(image = id, %error, "an image has lost its configuration"),
            }
        }
        for (name, bytes) in db.list(Table::Tags)? {
            let tag: TagRecord = decode("tag", &name, &bytes)?;
            if entries.images.contains_key(&tag.image) {
                entries.tags.insert(name.clone(), (Reference::parse(&name)?, tag));
            }
        }
        let ids: Vec<Digest> = entries.images.keys().cloned().collect();
        ids.iter().for_each(|id| entries.name(id));
        entries.sort();
        Ok(Self { db, index: RwLock::new(Arc::new(entries)) })
    }

    /// Writes all of `edits` in one durable transaction, then shows them.
    pub(crate) fn apply(&self, edits: &[Edit]) -> Result<()> {
        let rows: Vec<(Table, String, Option<Vec<u8>>)> = edits.iter().map(row).collect();
        let writes: Vec<Write<'_>> = (rows.iter())
            .map(|(table, key, bytes)| match bytes {
                Some(bytes) => Write::Put(*table, key, bytes),
                None => Write::Delete(*table, key),
            })
            .collect();
        let mut entries = (*self.entries()).clone();
        for edit in edits {
            entries.edit(edit)?;
        }
        entries.sort();
        self.db.write(&writes)?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
        Ok(())
    }

    /// Every image, newest first.
    pub(crate) fn images(&self) -> Vec<Arc<Image>> {
        self.entries().sorted.clone()
    }

    /// Whether any image satisfies `test`.
    pub(crate) fn any(&self, test: impl Fn(&Image) -> bool) -> bool {
        self.entries().images.values().any(|image| test(image))
    }

    pub(crate) fn by_id(&self, id: &Digest) -> Option<Arc<Image>> {
        self.entries().images.get(id).cloned()
    }

    /// The image that exactly this reference names; by its digest where it has one.
    pub(crate) fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        let tag = self.tag(reference)?;
        self.by_id(&tag.image)
    }

    /// What exactly this reference names; by its digest where it has one.
    pub(crate) fn tag(&self, reference: &Reference) -> Option<TagRecord> {
        let key = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()).canonical(),
            None => reference.canonical(),
        };
        self.entries().tags.get(&key).map(|(_, tag)| tag.clone())
    }

    /// Every tag, by reference.
    pub(crate) fn tags(&self) -> Vec<(Reference, TagRecord)> {
        self.entries().tags.values().cloned().collect()
    }

    /// The images whose hex digits begin with `prefix`, two at most.
    pub(crate) fn by_prefix(&self, prefix: &str) -> Vec<Arc<Image>> {
        let entries = self.entries();
        entries.images.values().filter(|image| image.id.hex().starts_with(prefix)).take(2).cloned().collect()
    }

    /// Whether any image was made from `id`.
    pub(crate) fn has_children(&self, id: &Digest) -> bool {
        self.any(|image| image.parent.as_ref() == Some(id))
    }

    fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entries {
    fn edit(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::PutImage(record, config) => {
                self.images.insert(record.id.clone(), Arc::new(build(record, config)?));
                self.name(&record.id);
            }
            Edit::DeleteImage(id) => {
                self.images.remove(id);
            }
            Edit::PutTag(reference, tag) => {
                let earlier = self.tags.insert(reference.canonical(), (reference.clone(), tag.clone()));
                if let Some((_, earlier)) = earlier {
                    self.name(&earlier.image);
                }
                self.name(&tag.image);
            }
            Edit::DeleteTag(reference) => {
                if let Some((_, earlier)) = self.tags.remove(&reference.canonical()) {
                    self.name(&earlier.image);
                }
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.sorted = self.images.values().cloned().collect();
        self.sorted.sort_by_cached_key(|image| (std::cmp::Reverse(image.created_unix()), image.id.clone()));
    }

    /// Writes the names of an image into its value.
    fn name(&mut self, id: &Digest) {
        let Some(image) = self.images.get_mut(id) else { return };
        let names =
            self.tags.values().filter(|(_, tag)| tag.image == *id).map(|(reference, _)| reference.clone());
        let (digests, tags) = names.partition(|reference: &Reference| reference.digest().is_some());
        let image = Arc::make_mut(image);
        (image.tags, image.digests) = (tags, digests);
    }
}

fn row(edit: &Edit) -> (Table, String, Option<Vec<u8>>) {
    match edit {
        Edit::PutImage(record, _) => (Table::Images, record.id.to_string(), Some(encode(record))),
        Edit::DeleteImage(id) => (Table::Images, id.to_string(), None),
        Edit::PutTag(reference, tag) => (Table::Tags, reference.canonical(), Some(encode(tag))),
        Edit::DeleteTag(reference) => (Table::Tags, reference.canonical(), None),
    }
}

fn build(record: &ImageRecord, config_bytes: &[u8]) -> Result<Image> {
    let config: ImageConfig = serde_json::from_slice(config_bytes)
        .with_context(|| format!("the configuration of image {} cannot be read", record.id))?;
    Ok(Image {
        id: record.id.clone(),
        config,
        config_bytes: config_bytes.to_vec(),
        manifest: record.manifest.clone(),
        tags: Vec::new(),
        digests: Vec::new(),
        layers: record.layers.clone(),
        parent: record.parent.clone(),
        size: record.size,
        last_tagged: record.last_tagged.clone(),
    })
}

/// The record of an image as it is in memory.
pub(crate) fn record_of(image: &Image) -> ImageRecord {
    ImageRecord {
        id: image.id.clone(),
        manifest: image.manifest.clone(),
        layers: image.layers.clone(),
        parent: image.parent.clone(),
        size: image.size,
        last_tagged: image.last_tagged.clone(),
    }
}
