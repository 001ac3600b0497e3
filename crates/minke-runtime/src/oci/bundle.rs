//! A bundle: config.json read, its paths made absolute, compiled into a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minke_spec::plan::StartPlan;
use oci_spec::runtime::Spec;

use super::state::read_limited;
use super::{Failure, failed, host};

/// The longest configuration that is read.
const LIMIT_BYTES: u64 = 4 << 20;

/// A bundle that was read.
pub struct Bundle {
    /// Its absolute path.
    pub path: PathBuf,
    /// What to do.
    pub plan: StartPlan,
    /// The process wants a terminal, of this size (rows, columns).
    pub terminal: Option<Option<(u16, u16)>>,
    /// The configuration's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads a bundle for the container `id`.
    pub fn read(path: &Path, id: &str) -> Result<Self, Failure> {
        let path = path.canonicalize().map_err(failed(path.display().to_string()))?;
        let text = read_limited(&path.join("config.json"), LIMIT_BYTES)?;
        let mut spec: Spec = serde_json::from_slice(&text).map_err(failed("config.json"))?;
        make_absolute(&mut spec, &path);
        set_cgroups_path(&mut spec, id);
        let plan = minke_spec::compile::compile(&spec, &host::facts()?)?;
        let terminal =
            spec.process().as_ref().filter(|process| process.terminal().unwrap_or(false)).map(|process| {
                process.console_size().map(|size| (clamp(size.height()), clamp(size.width())))
            });
        let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { path, plan, terminal, annotations })
    }
}

fn clamp(cells: u64) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

/// Relative host paths are the bundle's.
fn make_absolute(spec: &mut Spec, bundle: &Path) {
    if let Some(mut root) = spec.root().clone() {
        root.set_path(bundle.join(root.path()));
        spec.set_root(Some(root));
    }
    if let Some(mut mounts) = spec.mounts().clone() {
        for mount in &mut mounts {
            let is_bind = mount.typ().as_deref() == Some("bind")
                || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
            let source = mount.source().clone().filter(|source| is_bind && source.is_relative());
            if let Some(source) = source {
                mount.set_source(Some(bundle.join(source)));
            }
        }
        spec.set_mounts(Some(mounts));
    }
}

/// A container without a path gets one of its own, below ours.
fn set_cgroups_path(spec: &mut Spec, id: &str) {
    let Some(mut linux) = spec.linux().clone() else { return };
    if linux.cgroups_path().as_ref().is_none_or(|path| path.as_os_str().is_empty()) {
        linux.set_cgroups_path(Some(PathBuf::from(format!("minke-{id}"))));
        spec.set_linux(Some(linux));
    }
}
