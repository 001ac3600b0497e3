//! `history`: an image's steps with their sizes, newest first.

use super::Image;
use crate::store::Store;
use minke_model::{Digest, Result};

/// One row of `GET /images/{name}/history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's ID in the newest row, a parent's where one is known; `None` is `<missing>`.
    pub id: Option<Digest>,
    /// Seconds since 1970.
    pub created: i64,
    /// The command that made the step.
    pub created_by: String,
    /// The names of that image, familiar.
    pub tags: Vec<String>,
    /// The bytes that the step added.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

impl Store {
    /// The steps of the image `name`, newest first; reads no file tree.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let image = self.image(name)?;
        Ok(self.plan_history(&image))
    }

    fn plan_history(&self, image: &Image) -> Vec<HistoryEntry> {
        let mut sizes = image.layers.iter().map(|layer| self.inner.layers.size(layer));
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for step in &image.config.history {
            let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
            let created = step.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            entries.push(HistoryEntry {
                id: None,
                created: created.map_or(0, |created| created.as_second()),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone(),
            });
        }
        entries.reverse();
        let mut current = Some((
            image.id.clone(),
            image.tags.iter().map(|tag| tag.familiar()).collect(),
            image.parent.clone(),
        ));
        for entry in &mut entries {
            let Some((id, tags, parent)) = current else { break };
            entry.id = Some(id);
            entry.tags = tags;
            current = parent.and_then(|parent| self.image_by_id(&parent)).map(|parent| {
                (
                    parent.id.clone(),
                    parent.tags.iter().map(|tag| tag.familiar()).collect(),
                    parent.parent.clone(),
                )
            });
        }
        entries
    }
}
