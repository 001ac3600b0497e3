//! What hooks read of a container: a bundle with its configuration as an OCI runtime has it. Made only for a container that has hooks.

use minke_model::{Context as _, Error, Result};
use minke_spec::docker::{self, ContainerSettings};
use minke_spec::host::HostFacts;

use super::paths::ContainerPaths;

/// Writes a start's configuration; returns the bundle's folder.
pub fn write(paths: &ContainerPaths, settings: &ContainerSettings, host: &HostFacts) -> Result<String> {
    let folder = paths.runtime.join("bundle");
    let root = folder.join("rootfs");
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    // As a runtime's is named in its bundle; in the child's mount namespace it is there.
    let settings = ContainerSettings { root_path: root.to_string_lossy().into_owned(), ..settings.clone() };
    let spec = docker::generate(&settings, host)?;
    let text = serde_json::to_vec(&spec).map_err(|error| {
        Error::system("the container's configuration can't be written").with_source(error)
    })?;
    let file = folder.join("config.json");
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(folder.to_string_lossy().into_owned())
}
