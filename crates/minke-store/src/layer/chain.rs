//! What only a whole chain of layers shows, repaired by a small layer on top that holds nothing but
//! directories:
//!
//! - a directory that a layer's tar left out, and that a lower layer has with another owner or mode:
//!   the top layer repeats the lower one;
//! - a whiteout in a directory that no other layer has: overlay reads such a directory as it is and would
//!   list the whiteout; with the same directory on top it merges, and hides it.
//!
//! [`plan_repair`] decides over [`LayerView`]s, [`Layers::complete_chain`] acts.

use super::meta::LayerMeta;
use super::name::{ancestors, split};
use super::root::{open_directory, stat_at};
use super::unpack::Form;
use super::{Layers, chain_id, missing, read, write};
use crate::db::{Table, Write};
use crate::record::{ChainRecord, encode};
use minke_model::{Context, Digest, Result};
use rustix::fs::{FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands at a path in one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, and nothing that would hide what is below.
    Nothing,
    /// A directory.
    Directory,
    /// Something else, there or above it.
    Other,
}

/// One layer as the plan sees it.
pub(crate) trait LayerView {
    fn meta(&self) -> &LayerMeta;
    fn look(&self, path: &[u8]) -> Result<Found>;
}

/// The directories of the top layer, each with the index of the layer that it repeats. `layers` stand
/// topmost first.
pub(crate) fn plan_repair(layers: &[impl LayerView]) -> Result<BTreeMap<Vec<u8>, usize>> {
    let mut wanted = BTreeSet::new();
    for (index, layer) in layers.iter().enumerate() {
        for path in layer.meta().implicit.iter().filter(|path| !path.is_empty()) {
            let parts = merged(layers, path)?;
            if parts.first() == Some(&index) && explicit(layers, path)?.is_some_and(|source| source > index) {
                wanted.insert(path.clone());
            }
        }
        let parents: BTreeSet<&[u8]> = layer.meta().whiteouts.iter().map(|path| split(path).0).collect();
        for parent in parents.into_iter().filter(|parent| !parent.is_empty()) {
            if merged(layers, parent)? == [index] {
                wanted.insert(parent.to_vec());
            }
        }
    }
    let above: Vec<Vec<u8>> = wanted.iter().flat_map(|path| ancestors(path)).map(<[u8]>::to_vec).collect();
    wanted.extend(above.into_iter().filter(|path| !path.is_empty()));
    let mut plan = BTreeMap::new();
    for path in wanted {
        let source = match explicit(layers, &path)? {
            Some(source) => Some(source),
            None => merged(layers, &path)?.first().copied(),
        };
        if let Some(source) = source {
            plan.insert(path, source);
        }
    }
    Ok(plan)
}

/// The layers whose directory `path` takes part in the merged one, topmost first.
pub(crate) fn merged(layers: &[impl LayerView], path: &[u8]) -> Result<Vec<usize>> {
    let mut parts = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        match layer.look(path)? {
            Found::Directory => parts.push(index),
            Found::Other => break,
            Found::Nothing => {}
        }
        if layer.meta().hides(path) || layer.meta().opaque.contains(path) {
            break;
        }
    }
    Ok(parts)
}

/// The topmost visible layer that says owner and mode of directory `path`, if any does.
pub(crate) fn explicit(layers: &[impl LayerView], path: &[u8]) -> Result<Option<usize>> {
    for (index, layer) in layers.iter().enumerate() {
        match layer.look(path)? {
            Found::Directory if !layer.meta().implicit.contains(path) => return Ok(Some(index)),
            Found::Other => return Ok(None),
            Found::Directory | Found::Nothing => {}
        }
        if layer.meta().hides(path) {
            return Ok(None);
        }
    }
    Ok(None)
}

/// A layer on disk.
pub(crate) struct DiskLayer {
    meta: LayerMeta,
    directory: File,
}

impl DiskLayer {
    /// The directory of its files.
    pub(crate) fn root(&self) -> &File {
        &self.directory
    }
}

impl LayerView for DiskLayer {
    fn meta(&self) -> &LayerMeta {
        &self.meta
    }

    fn look(&self, path: &[u8]) -> Result<Found> {
        let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
        match stat_at(&self.directory, path)?.map(kind) {
            Some(FileType::Directory) => return Ok(Found::Directory),
            Some(_) => return Ok(Found::Other),
            None => {}
        }
        for parent in ancestors(path) {
            match stat_at(&self.directory, parent)?.map(kind) {
                Some(FileType::Directory) => return Ok(Found::Nothing),
                Some(_) => return Ok(Found::Other),
                None => {}
            }
        }
        Ok(Found::Nothing)
    }
}

/// The owner, mode and times of a directory.
pub(crate) struct DirectoryFacts {
    stat: fs::Metadata,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl DirectoryFacts {
    pub(crate) fn read(directory: &File) -> Result<Self> {
        let stat = directory.metadata().context("cannot look at a directory")?;
        Ok(Self { stat, xattrs: crate::snapshot::copy::read_xattrs(directory)? })
    }

    pub(crate) fn apply(&self, directory: &File) -> Result<()> {
        let failed = "cannot set what a directory repeats";
        let (uid, gid) = (Uid::from_raw(self.stat.uid()), Gid::from_raw(self.stat.gid()));
        rustix::fs::fchown(directory, Some(uid), Some(gid)).context(failed)?;
        for (name, value) in &self.xattrs {
            rustix::fs::fsetxattr(directory, name.as_slice(), value, XattrFlags::empty()).context(failed)?;
        }
        rustix::fs::fchmod(directory, Mode::from_raw_mode(self.stat.mode() & 0o7777)).context(failed)?;
        let time = Timespec { tv_sec: self.stat.mtime(), tv_nsec: self.stat.mtime_nsec() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(directory, &times).context(failed)
    }
}

impl Layers {
    /// The layers that show, topmost first: those below one whose root is opaque do not.
    pub(crate) fn visible(&self, layers: &[Digest]) -> Result<Vec<(Digest, DiskLayer)>> {
        let mut visible = Vec::new();
        for diff_id in layers.iter().rev() {
            let path = self.directory(diff_id);
            let directory =
                File::open(&path).with_context(|| format!("cannot open the layer {}", path.display()))?;
            let meta = self.meta(diff_id)?;
            let last = meta.hides_contents(b"");
            visible.push((diff_id.clone(), DiskLayer { meta, directory }));
            if last {
                break;
            }
        }
        Ok(visible)
    }

    /// The lower directories of a chain, topmost first; at least one. Quick: nothing is computed.
    pub(crate) fn lowers(&self, layers: &[Digest]) -> Result<Vec<PathBuf>> {
        let mut lowers = Vec::new();
        if let Some(id) = chain_id(layers)
            && read(&self.chains).contains_key(&id)
        {
            lowers.push(self.paths.chains.join(id.hex()).join("fs"));
        }
        for diff_id in layers.iter().rev() {
            lowers.push(self.directory(diff_id));
            if self.record(diff_id).ok_or_else(|| missing(diff_id))?.opaque_root {
                break;
            }
        }
        if lowers.is_empty() {
            lowers.push(self.empty_directory().to_owned());
        }
        Ok(lowers)
    }

    /// Makes the top layer that a chain needs, if it needs one and has none.
    pub(crate) fn complete_chain(&self, layers: &[Digest]) -> Result<()> {
        let Some(id) = chain_id(layers) else { return Ok(()) };
        if self.form == Form::Plain || read(&self.chains).contains_key(&id) {
            return Ok(());
        }
        let views: Vec<DiskLayer> = self.visible(layers)?.into_iter().map(|(_, layer)| layer).collect();
        let plan = plan_repair(&views)?;
        if plan.is_empty() {
            return Ok(());
        }
        let staging = self.staging()?;
        apply_repair(&plan, &views, &staging.join("fs"))?;
        let place = self.paths.chains.join(id.hex());
        self.trash.take(&place)?;
        fs::rename(&staging, &place).context("cannot commit a chain's top layer")?;
        let record = ChainRecord { layers: layers.to_vec(), staged: Some(self.boot.clone()) };
        self.db.write(&[Write::Put(Table::Chains, id.as_str(), &encode(&record))])?;
        write(&self.chains).insert(id, record);
        Ok(())
    }
}

fn apply_repair(plan: &BTreeMap<Vec<u8>, usize>, layers: &[DiskLayer], directory: &Path) -> Result<()> {
    let root = File::open(directory).context("cannot open a chain's top layer")?;
    let open = |from: &File, path: &[u8]| {
        let opened = open_directory(from.as_fd(), path, OFlags::RDONLY).map(File::from);
        opened.with_context(|| format!("cannot open {}", String::from_utf8_lossy(path)))
    };
    for path in plan.keys() {
        let (parent, base) = split(path);
        let made = rustix::fs::mkdirat(open(&root, parent)?, base, Mode::from_raw_mode(0o700));
        made.context("cannot make a directory of a chain's top layer")?;
    }
    // From the inside out, so that no time is changed by what is made later.
    for (path, source) in plan.iter().rev() {
        DirectoryFacts::read(&open(&layers[*source].directory, path)?)?.apply(&open(&root, path)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    struct Fake {
        meta: LayerMeta,
        directories: BTreeSet<Vec<u8>>,
        files: BTreeSet<Vec<u8>>,
    }

    impl LayerView for Fake {
        fn meta(&self) -> &LayerMeta {
            &self.meta
        }
        fn look(&self, path: &[u8]) -> Result<Found> {
            if path.is_empty() || self.directories.contains(path) {
                return Ok(Found::Directory);
            }
            let blocked =
                self.files.contains(path) || ancestors(path).any(|parent| self.files.contains(parent));
            Ok(if blocked { Found::Other } else { Found::Nothing })
        }
    }

    /// A layer from words: `a/` a directory, `(a)/` an implicit one, `a` a file, `!a` a whiteout, `a/!` opaque.
    fn layer(words: &str) -> Fake {
        let mut fake =
            Fake { meta: LayerMeta::default(), directories: BTreeSet::new(), files: BTreeSet::new() };
        for word in words.split_whitespace() {
            let bytes = |text: &str| text.as_bytes().to_vec();
            if let Some(path) = word.strip_prefix('!') {
                fake.meta.whiteouts.insert(bytes(path));
            } else if let Some(path) = word.strip_suffix("/!") {
                fake.meta.opaque.insert(bytes(path));
            } else if let Some(path) = word.strip_prefix('(').and_then(|word| word.strip_suffix(")/")) {
                fake.meta.implicit.insert(bytes(path));
                fake.directories.insert(bytes(path));
            } else if let Some(path) = word.strip_suffix('/') {
                fake.directories.insert(bytes(path));
            } else {
                fake.files.insert(bytes(word));
            }
        }
        fake
    }

    fn check(layers_bottom_first: &[&str], expected: &[(&str, usize)]) {
        let layers: Vec<Fake> = layers_bottom_first.iter().rev().map(|words| layer(words)).collect();
        let plan = plan_repair(&layers).unwrap();
        let plan: Vec<_> =
            plan.iter().map(|(path, source)| (std::str::from_utf8(path).unwrap(), *source)).collect();
        assert_eq!(plan, expected, "{layers_bottom_first:?}");
    }

    #[test]
    fn an_implicit_directory_repeats_the_explicit_one_below() {
        check(&["a/", "(a)/ a/x"], &[("a", 1)]);
        check(&["a/ a/b/", "(a)/ (a/b)/ a/b/x"], &[("a", 1), ("a/b", 1)]);
        check(&["a/", "a/ a/x"], &[]);
        check(&["(a)/ a/y", "(a)/ a/x"], &[]);
        check(&["(a)/ a/y", "a/"], &[]);
        check(&["a/", "(a)/ a/x", "a/"], &[]);
        check(&["a/", "!a", "(a)/ a/x"], &[]);
        check(&["a", "(a)/ a/x"], &[]);
        check(&["a/", "(a)/ a/x", "!a"], &[]);
        check(&["a/", "a/! (a)/ a/x"], &[("a", 1)]);
    }

    #[test]
    fn a_whiteout_alone_in_its_directory_is_merged_away() {
        check(&["x", "a/ !a/w"], &[("a", 0)]);
        check(&["a/ a/w", "a/ !a/w"], &[]);
        check(&["x", "a/ !a/w", "a/"], &[]);
        check(&["x", "!w"], &[]);
        check(&["a/ a/b/", "a/ a/c/ !a/c/w"], &[("a", 0), ("a/c", 0)]);
        check(&["x", "a/ !a/w", "!a"], &[]);
    }
}
