//! A bundle: its configuration read, its paths made absolute, compiled into a plan.

use std::path::{Path, PathBuf};

use minke_spec::config;
use minke_spec::host::{CgroupMode, HostFacts};
use minke_spec::plan::StartPlan;
use oci_spec::runtime::Spec;

use super::arguments::Global;
use super::scope::{self, Unit};
use super::state::read_limited;
use super::{Failure, failed, host};

/// The annotation by which podman asks for the caller's own groups (`--group-add keep-groups`).
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// A bundle that was read.
pub struct Bundle {
    /// Its absolute path.
    pub path: PathBuf,
    /// The configuration, with absolute paths.
    pub spec: Spec,
    /// What to do.
    pub plan: StartPlan,
    /// The process wants a terminal, of this size (rows, columns).
    pub terminal: Option<Option<(u16, u16)>>,
    /// The configuration's `cgroupsPath`, or the one that it got.
    pub cgroups_path: String,
    /// The unit that the container is in, with `--systemd-cgroup`.
    pub unit: Option<Unit>,
}

impl Bundle {
    /// Reads a bundle for the container `id`; `file` is its configuration.
    pub fn read(global: &Global, path: &Path, file: &Path, id: &str) -> Result<Self, Failure> {
        let path = path.canonicalize().map_err(failed(path.display().to_string()))?;
        let file = path.join(file);
        let text = read_limited(&file, config::CONFIG_LIMIT as u64).map_err(|failure| {
            if file.exists() {
                failure
            } else {
                Failure::new(format!("JSON specification file {} not found", file.display()))
            }
        })?;
        let mut spec = config::parse(&text)?;
        config::make_absolute(&mut spec, &path);
        let mut facts = host::facts()?;
        let (cgroups_path, unit) = place_in_groups(global, &mut spec, &mut facts, id)?;
        let mut plan = minke_spec::compile::compile(&spec, &facts)?;
        if global.no_cgroups {
            plan.cgroup = minke_spec::plan::CgroupPlan::default();
        } else {
            join_unified_too(&mut plan, &cgroups_path);
        }
        if spec.annotations().as_ref().is_some_and(|map| map.get(KEEP_GROUPS).is_some_and(|word| word == "1"))
        {
            plan.process.groups = own_groups()?;
        }
        let terminal =
            spec.process().as_ref().filter(|process| process.terminal().unwrap_or(false)).map(|process| {
                process.console_size().map(|size| (clamp(size.height()), clamp(size.width())))
            });
        Ok(Self { path, spec, plan, terminal, cgroups_path, unit })
    }

    /// Where the root file system is on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.plan.root.path.as_deref().unwrap_or_default().into()
    }
}

fn own_groups() -> Result<Vec<u32>, Failure> {
    let groups = rustix::process::getgroups().map_err(failed("reading the groups"))?;
    Ok(groups.into_iter().map(rustix::fs::Gid::as_raw).collect())
}

/// Narrows a number of cells to what a terminal can have.
pub fn clamp(cells: u64) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

/// A container without a path gets one of its own, below ours; a slice, prefix and name become a unit.
fn place_in_groups(
    global: &Global,
    spec: &mut Spec,
    facts: &mut HostFacts,
    id: &str,
) -> Result<(String, Option<Unit>), Failure> {
    let v2 = matches!(facts.cgroups, CgroupMode::V2 { .. });
    if let CgroupMode::V2 { own, .. } = &mut facts.cgroups {
        // Whoever calls is in that group itself, which then can't pass controllers on.
        *own = own.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    }
    let Some(mut linux) = spec.linux().clone() else { return Ok((id.to_owned(), None)) };
    let given =
        linux.cgroups_path().as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let (path, unit) = if global.systemd_cgroup {
        scope::check(v2)?;
        let unit = scope::parse(&given, id)?;
        (unit.path()?, Some(unit))
    } else if given.is_empty() {
        (id.to_owned(), None)
    } else {
        (given, None)
    };
    linux.set_cgroups_path(Some(PathBuf::from(&path)));
    spec.set_linux(Some(linux));
    Ok((path, unit))
}

/// Where a cgroup2 tree without controllers stands beside version 1, a container is in it too, as under the field's runtimes.
fn join_unified_too(plan: &mut StartPlan, path: &str) {
    if plan.cgroup.v1.is_empty() || plan.cgroup.v2.is_some() {
        return;
    }
    let Ok(found) = minke_sys::host::probe() else { return };
    if let Some(unified) = found.cgroup2 {
        let mount = unified.mount.display();
        let own = unified.own.trim_end_matches('/');
        let below = if path.starts_with('/') { path.to_owned() } else { format!("{own}/{path}") };
        plan.cgroup.v2 = Some(format!("{mount}{below}"));
    }
}

/// Takes over descriptors that `LISTEN_FDS` announces: how many.
pub fn listen_descriptors() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}
