//! Whether overlay can stack on a data root: tried once at open, on directories of its own.

use super::SnapshotKind;
use minke_model::{Context, Result};
use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::fs;
use std::path::Path;

impl SnapshotKind {
    /// [`SnapshotKind::Overlay`] where a whiteout, an opaque mark and a detached overlay mount can be made
    /// on `data_root`, else [`SnapshotKind::Copy`].
    pub(crate) fn probe(data_root: &Path) -> Result<Self> {
        let directory = data_root.join("staging/probe");
        let failed = || format!("cannot make {}", directory.display());
        for name in ["lower", "upper", "work"] {
            fs::create_dir_all(directory.join(name)).with_context(failed)?;
        }
        let tried = try_overlay(&directory);
        fs::remove_dir_all(&directory).with_context(failed)?;
        match tried {
            Ok(()) => Ok(Self::Overlay),
            Err(error) => {
                tracing::warn!(%error, "overlay cannot stack here: containers get a copy of their image each");
                Ok(Self::Copy)
            }
        }
    }
}

fn try_overlay(directory: &Path) -> rustix::io::Result<()> {
    let lower = directory.join("lower");
    let whiteout = lower.join("whiteout");
    rustix::fs::mknodat(rustix::fs::CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0)?;
    rustix::fs::setxattr(&lower, crate::layer::unpack::OPAQUE_XATTR, b"n", XattrFlags::empty())?;
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, name) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
        rustix::mount::fsconfig_set_string(&context, key, directory.join(name))?;
    }
    rustix::mount::fsconfig_create(&context)?;
    // The mount is nowhere: it ends with this descriptor.
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}
