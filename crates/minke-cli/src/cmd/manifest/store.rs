//! The lists that are being made, below `manifests` in the configuration's folder: a folder for each list, a file for each of
//! its manifests. Names and contents are laid out as Docker's client does it, so either finds the other's.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use minke_client::Config;
use minke_model::{Context as _, Error, Reference, Result};

use super::entry::Entry;
use super::missing;

/// The longest file that is read.
const LIMIT_BYTES: u64 = 16 << 20;

/// The lists of a configuration.
pub struct Lists(PathBuf);

impl Lists {
    /// Those beside a configuration file.
    pub fn of(config: &Config) -> Self {
        Self(config.directory.join("manifests"))
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// The manifests of a list, by the names of their files; none where there is no such list.
    pub fn all(&self, list: &Reference) -> Result<Vec<Entry>> {
        let Ok(entries) = fs::read_dir(self.folder(list)) else { return Ok(Vec::new()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// One manifest of a list.
    pub fn find(&self, list: &Reference, manifest: &Reference) -> Result<Option<Entry>> {
        let path = self.folder(list).join(file_name(manifest));
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Keeps a manifest of a list.
    pub fn save(&self, list: &Reference, manifest: &Reference, entry: &Entry) -> Result<()> {
        let folder = self.folder(list);
        let failed = || format!("cannot keep a manifest in {}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).with_context(failed)?;
        let path = folder.join(file_name(manifest));
        let part = self.0.join(format!(".part-{}", std::process::id()));
        let bytes = entry.render()?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.open(&part).with_context(failed)?;
        std::io::Write::write_all(&mut file, bytes.as_bytes()).with_context(failed)?;
        fs::rename(&part, &path).with_context(failed)
    }

    /// Forgets a list.
    pub fn remove(&self, list: &Reference) -> Result<()> {
        match fs::remove_dir_all(self.folder(list)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing(&list.canonical())),
            removed => removed.with_context(|| format!("cannot remove {}", list.canonical())),
        }
    }
}

fn read(path: &Path) -> Result<Entry> {
    let failed = || format!("cannot read {}", path.display());
    if fs::metadata(path).with_context(failed)?.len() > LIMIT_BYTES {
        return Err(Error::invalid(format!("{} is too long", path.display())));
    }
    serde_json::from_slice(&fs::read(path).with_context(failed)?).with_context(failed)
}

/// A name that a file can have.
fn file_name(reference: &Reference) -> String {
    reference.canonical().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_in_files_that_docker_finds() {
        let reference = Reference::parse("localhost:5000/a/b:1").unwrap();
        assert_eq!(file_name(&reference), "localhost-5000_a_b-1");
    }
}
