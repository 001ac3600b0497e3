//! The mounts a container asks for: checked, shown by inspect, handed to the plan. Pure but for making a missing source.

use minke_api::container::{HostConfig, Mount, MountPoint};
use minke_model::mount::{BindSpec, parse_bind};
use minke_model::{Context as _, Error, Result};
use minke_spec::docker::{BindMount, MountSettings, Writability};

/// A bind as inspect shows it.
pub fn bind_point(bind: &BindSpec) -> MountPoint {
    MountPoint {
        kind: "bind".into(),
        source: bind.source.clone(),
        destination: bind.target.clone(),
        mode: bind.mode.clone(),
        rw: !bind.read_only,
        propagation: bind.propagation.clone().unwrap_or_else(|| "rprivate".into()),
        ..MountPoint::default()
    }
}

/// Refuses a mount that contradicts itself, in Docker's words.
pub fn check(mount: &Mount) -> Result<()> {
    let invalid = |reason: String| {
        Err(Error::invalid(format!("invalid mount config for type \"{}\": {reason}", mount.kind)))
    };
    if mount.target.is_empty() {
        return invalid("field Target must not be empty".into());
    }
    if let Err(error) = minke_model::mount::check_target(&mount.target) {
        return invalid(error.message().to_owned());
    }
    match mount.kind.as_str() {
        "bind" => {
            if mount.source.is_empty() {
                return invalid("field Source must not be empty".into());
            }
            if !mount.source.starts_with('/') {
                return invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                ));
            }
            let create = mount.bind_options.as_ref().is_some_and(|options| options.create_mountpoint);
            if !create && !std::path::Path::new(&mount.source).exists() {
                return invalid(format!("bind source path does not exist: {}", mount.source));
            }
            Ok(())
        }
        "tmpfs" if mount.source.is_empty() => Ok(()),
        "tmpfs" => invalid("field Source must not be specified".into()),
        "volume" => Err(super::create::named_volume(&mount.source)),
        "image" | "npipe" | "cluster" => {
            invalid("this version of minke offers the types bind and tmpfs".into())
        }
        other => {
            Err(Error::invalid(format!("invalid mount config for type \"{other}\": mount type unknown")))
        }
    }
}

/// A mount as inspect shows it.
pub fn point(mount: &Mount) -> Result<MountPoint> {
    let propagation = match &mount.bind_options {
        Some(options) if !options.propagation.is_empty() => options.propagation.clone(),
        _ if mount.kind == "bind" => "rprivate".into(),
        _ => String::new(),
    };
    Ok(MountPoint {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        destination: mount.target.clone(),
        rw: !mount.read_only,
        propagation,
        ..MountPoint::default()
    })
}

/// What the plan is to mount. A source that `-v` names and that isn't there is made, as Docker does.
pub fn settings(host_config: &HostConfig) -> Result<Vec<MountSettings>> {
    let mut settings = Vec::new();
    for text in host_config.binds.iter().flatten() {
        let bind = parse_bind(text)?;
        make_source(&bind.source)?;
        settings.push(MountSettings::Bind(BindMount {
            source: bind.source,
            target: bind.target,
            writability: if bind.read_only { Writability::ReadOnly } else { Writability::Writable },
            propagation: bind.propagation.unwrap_or_default(),
            non_recursive: false,
        }));
    }
    for mount in &host_config.mounts {
        settings.push(of_mount(mount)?);
    }
    for (target, options) in &host_config.tmpfs {
        settings.push(MountSettings::Tmpfs { target: target.clone(), options: options.clone() });
    }
    settings.sort_by_key(|mount| target_of(mount).split('/').count());
    Ok(settings)
}

fn target_of(mount: &MountSettings) -> &str {
    match mount {
        MountSettings::Bind(bind) => &bind.target,
        MountSettings::Tmpfs { target, .. } => target,
    }
}

fn of_mount(mount: &Mount) -> Result<MountSettings> {
    if mount.kind == "tmpfs" {
        let options = mount.tmpfs_options.clone().unwrap_or_default();
        let mut words = Vec::new();
        if mount.read_only {
            words.push("ro".to_owned());
        }
        if options.size_bytes > 0 {
            words.push(format!("size={}", options.size_bytes));
        }
        if options.mode != 0 {
            words.push(format!("mode={:o}", options.mode));
        }
        words.extend(options.options.iter().map(|option| option.join("=")));
        return Ok(MountSettings::Tmpfs { target: mount.target.clone(), options: words.join(",") });
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if options.create_mountpoint {
        make_source(&mount.source)?;
    }
    let writability = match (mount.read_only, options.read_only_non_recursive) {
        (false, _) => Writability::Writable,
        (true, false) => Writability::ReadOnly,
        (true, true) => Writability::ReadOnlyNonRecursive,
    };
    Ok(MountSettings::Bind(BindMount {
        source: mount.source.clone(),
        target: mount.target.clone(),
        writability,
        propagation: options.propagation,
        non_recursive: options.non_recursive,
    }))
}

fn make_source(source: &str) -> Result<()> {
    if std::path::Path::new(source).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(source)
        .with_context(|| format!("error while creating mount source path '{source}'"))
}
