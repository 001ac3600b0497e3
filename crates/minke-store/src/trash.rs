//! What is removed: renamed here at once, unlinked by a thread in the background.

use minke_model::{Context, Result};
use std::path::{Path, PathBuf};

pub(crate) struct Trash {
    _directory: PathBuf,
}

impl Trash {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).context("cannot make the trash")?;
        Ok(Self { _directory: directory.to_owned() })
    }
    pub(crate) fn wait(&self) {}
}
