//! Snapshots by overlay: the layers stay where they are, the container has an upper directory.

use super::RootFs;
use crate::db::Keep;
use crate::layer::Layers;
use minke_model::{Context, Digest, Result};
use std::fs;
use std::io;
use std::path::Path;

/// Makes upper and work. The upper directory's own owner and mode are what the root of the mount shows.
pub(super) fn create(place: &Path) -> Result<()> {
    for name in ["upper", "work"] {
        let path = place.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        super::set_root_mode(&path)?;
    }
    Ok(())
}

/// Where its parts are.
pub(super) fn layout(place: &Path, chain: &[Digest], keep: Keep, layers: &Layers) -> Result<RootFs> {
    let (upper, work) = (place.join("upper"), place.join("work"));
    Ok(RootFs::Overlay { lowers: layers.lowers(chain)?, upper, work, volatile: keep == Keep::Boot })
}

/// Makes it ready to be mounted.
pub(super) fn prepare(place: &Path) -> Result<()> {
    let (upper, work) = (place.join("upper"), place.join("work"));
    if !upper.exists() || !work.exists() {
        create(place)?;
    }
    clear_volatile_mark(&work)
}

/// After a volatile mount overlay refuses the directory, since a power cut may have torn it. In the same boot
/// nothing was torn, and after another boot a volatile layer is not here any more.
fn clear_volatile_mark(work: &Path) -> Result<()> {
    let mark = work.join("work/incompat");
    match fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", mark.display()))
        }
        _ => Ok(()),
    }
}
