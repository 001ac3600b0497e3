//! The three ways to ask for a mount (`-v`, `--mount`, `--tmpfs`), read into plain values.
//! Owns their grammar and Docker's words for what is wrong with it; looks at no file and resolves no path.

use crate::{Error, Result, size};

/// What is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume of the engine.
    #[default]
    Volume,
    /// A file system in memory.
    Tmpfs,
    /// The root file system of an image.
    Image,
    /// A type that another engine may know.
    Other(String),
}

impl MountKind {
    /// The type's name in the API.
    pub fn name(&self) -> &str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
            Self::Other(name) => name,
        }
    }

    /// Reads the API's name; an unknown one is kept.
    pub fn from_name(name: &str) -> Self {
        match name {
            "bind" => Self::Bind,
            "volume" => Self::Volume,
            "tmpfs" => Self::Tmpfs,
            "image" => Self::Image,
            other => Self::Other(other.to_string()),
        }
    }
}

/// A mount as `--mount` describes it; the same fields as the API's `Mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Path, volume or image; empty for an anonymous volume or a tmpfs.
    pub source: String,
    /// Where, inside the container.
    pub target: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
    /// Kept for other platforms, without effect here.
    pub consistency: String,
    /// Present where a `bind-*` key was given.
    pub bind: Option<BindOptions>,
    /// Present where a `volume-*` key was given.
    pub volume: Option<VolumeOptions>,
    /// Present where a `tmpfs-*` key was given.
    pub tmpfs: Option<TmpfsOptions>,
    /// Present where an `image-*` key was given.
    pub image: Option<ImageOptions>,
}

/// The `bind-*` keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// `rprivate`, `shared` …; empty for the default.
    pub propagation: String,
    /// Leaves mounts below the source out.
    pub non_recursive: bool,
    /// Makes a missing source directory.
    pub create_mountpoint: bool,
    /// Read-only, but mounts below the source stay writable.
    pub read_only_non_recursive: bool,
    /// Fails where mounts below the source cannot be made read-only.
    pub read_only_force_recursive: bool,
}

/// The `volume-*` keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Leaves a new volume empty instead of copying the image's content.
    pub no_copy: bool,
    /// Labels of a new volume, in the order given.
    pub labels: Vec<(String, String)>,
    /// A directory inside the volume.
    pub subpath: String,
    /// The driver that makes a new volume.
    pub driver: String,
    /// The driver's options, in the order given.
    pub driver_options: Vec<(String, String)>,
}

/// The `tmpfs-*` keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// 0 for the kernel's default.
    pub size_bytes: i64,
    /// 0 for the default of 1777.
    pub mode: u32,
}

/// The `image-*` keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// A directory inside the image.
    pub subpath: String,
}

/// What one `-v` means to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFlag {
    /// Goes into the API's `Binds` as it stands.
    Bind(String),
    /// A destination alone: an anonymous volume.
    Anonymous(String),
}

/// One entry of the API's `Binds`, as an engine reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindSpec {
    /// [`MountKind::Bind`] or [`MountKind::Volume`].
    pub kind: MountKind,
    /// Host path or volume name; empty for an anonymous volume.
    pub source: String,
    /// Where, inside the container; absolute and not `/`.
    pub target: String,
    /// The options as written, without consistency.
    pub mode: String,
    /// Whether `ro` was given.
    pub read_only: bool,
    /// Whether `nocopy` was given.
    pub no_copy: bool,
    /// `z` (shared) or `Z` (private) where SELinux labels are wanted.
    pub relabel: Option<char>,
    /// The propagation where one was given.
    pub propagation: Option<String>,
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// Reads a `-v` for a client, which sends it on unchanged but for a leading `.`, made absolute under `directory`.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] for an empty part; all else is the engine's to judge.
pub fn parse_volume_flag(text: &str, directory: &str) -> Result<VolumeFlag> {
    if text.is_empty() {
        return Err(Error::invalid("invalid empty volume spec"));
    }
    if text.split(':').any(str::is_empty) {
        return Err(Error::invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    if text.split(':').count() > 3 {
        return Err(Error::invalid(format!("invalid spec: {text}: too many colons")));
    }
    let Some((source, rest)) = text.split_once(':') else {
        return Ok(VolumeFlag::Anonymous(text.to_string()));
    };
    if source.starts_with('.') {
        return Ok(VolumeFlag::Bind(format!("{}:{rest}", join_clean(directory, source))));
    }
    Ok(VolumeFlag::Bind(text.to_string()))
}

/// Joins a relative path to a directory and removes `.` and `..` by text alone.
pub fn join_clean(directory: &str, relative: &str) -> String {
    let whole =
        if relative.starts_with('/') { relative.to_string() } else { format!("{directory}/{relative}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Reads one entry of the API's `Binds` as an engine does.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`]: `invalid volume specification: 'x'`, `invalid mode: x`, and why the mount is wrong.
pub fn parse_bind(text: &str) -> Result<BindSpec> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    if parts[0].is_empty() {
        return Err(invalid());
    }
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [_, mode] if is_mode(mode) => return Err(invalid()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if !is_mode(mode) {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    if let Err(cause) = check_target(target) {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": {cause}",
            kind.name()
        )));
    }
    let mut spec = BindSpec {
        kind,
        source: source.into(),
        target: target.into(),
        mode: mode.into(),
        ..BindSpec::default()
    };
    for option in mode.split(',') {
        match option {
            "ro" => spec.read_only = true,
            "nocopy" => spec.no_copy = true,
            "z" => spec.relabel = Some('z'),
            "Z" => spec.relabel = Some('Z'),
            other if PROPAGATIONS.contains(&other) => spec.propagation = Some(other.into()),
            _ => {}
        }
    }
    let extra = match spec.kind {
        MountKind::Volume if spec.propagation.is_some() => Some("BindOptions"),
        MountKind::Bind if spec.no_copy => Some("VolumeOptions"),
        _ => None,
    };
    match extra {
        Some(field) => Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": field {field} must not be specified",
            spec.kind.name()
        ))),
        None => Ok(spec),
    }
}

/// One entry of the API's `VolumesFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumesFrom {
    /// The container whose mounts are taken.
    pub container: String,
    /// They can't be written to.
    pub read_only: bool,
}

/// Reads one entry of the API's `VolumesFrom`: a container and perhaps a mode.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`]: an empty entry, a mode that is none or that would change more than the right to write.
pub fn parse_volumes_from(text: &str) -> Result<VolumesFrom> {
    if text.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be an empty string"));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    let changes_more = |option: &str| option == "nocopy" || PROPAGATIONS.contains(&option);
    if !is_mode(mode) || mode.split(',').any(changes_more) {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    Ok(VolumesFrom { container: container.into(), read_only: mode.split(',').any(|option| option == "ro") })
}

/// Checks where a mount goes: absolute, and not the root itself.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in Docker's words, without the mount's type.
pub fn check_target(target: &str) -> Result<()> {
    if target.is_empty() {
        return Err(Error::invalid("field Target must not be empty"));
    }
    if !target.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    if join_clean("/", target) == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(())
}

/// Each class of option at most once, each option known.
fn is_mode(mode: &str) -> bool {
    if mode.is_empty() {
        return true;
    }
    let mut seen = [false; 5];
    mode.split(',').all(|option| {
        let class = match option {
            "ro" | "rw" => 0,
            "z" | "Z" => 1,
            "nocopy" => 2,
            "consistent" | "cached" | "delegated" | "default" => 3,
            other if PROPAGATIONS.contains(&other) => 4,
            _ => return false,
        };
        !std::mem::replace(&mut seen[class], true)
    })
}

/// Splits a `--tmpfs` into the path and its options.
pub fn split_tmpfs(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// Reads a `--mount`: comma separated `key=value`, quoted as in CSV.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in the words of Docker's client; whether paths exist is the engine's to judge.
pub fn parse_mount_flag(text: &str) -> Result<Mount> {
    let mut mount = Mount::default();
    for field in split_csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value),
            None => match field.to_lowercase().as_str() {
                key @ ("readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src") => {
                    (key.to_string(), "true")
                }
                _ => return Err(Error::invalid(format!("invalid field '{field}' must be a key=value pair"))),
            },
        };
        mount.set(&key, value, &field)?;
    }
    mount.check()?;
    Ok(mount)
}

impl Mount {
    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<()> {
        match key {
            "type" => self.kind = MountKind::from_name(&value.to_lowercase()),
            "source" | "src" => self.source = value.into(),
            "target" | "dst" | "destination" => self.target = value.into(),
            "readonly" | "ro" => self.read_only = parse_bool(key, value)?,
            "consistency" => self.consistency = value.to_lowercase(),
            _ if key.starts_with("bind-") => return self.bind.get_or_insert_default().set(key, value, field),
            _ if key.starts_with("volume-") => {
                return self.volume.get_or_insert_default().set(key, value, field);
            }
            "image-subpath" => self.image.get_or_insert_default().subpath = value.into(),
            "tmpfs-size" => {
                self.tmpfs.get_or_insert_default().size_bytes =
                    size::parse_binary(value).map_err(|_| invalid_value(key, value))?;
            }
            "tmpfs-mode" => {
                self.tmpfs.get_or_insert_default().mode =
                    u32::from_str_radix(value, 8).map_err(|_| invalid_value(key, value))?;
            }
            _ => return Err(unexpected(key, field)),
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.target.is_empty() {
            return Err(Error::invalid("target is required"));
        }
        let groups = [
            ("volume", self.volume.is_some(), MountKind::Volume),
            ("bind", self.bind.is_some(), MountKind::Bind),
            ("tmpfs", self.tmpfs.is_some(), MountKind::Tmpfs),
            ("image", self.image.is_some(), MountKind::Image),
        ];
        for (group, given, kind) in groups {
            if given && self.kind != kind {
                return Err(Error::invalid(format!(
                    "cannot mix '{group}-*' options with mount type '{}'",
                    self.kind.name()
                )));
            }
        }
        let Some(bind) = &self.bind else { return Ok(()) };
        let needs = |mode: &str, what: &str| {
            Err(Error::invalid(format!(
                "option 'bind-recursive={mode}' requires '{what}' to be specified in conjunction"
            )))
        };
        if bind.read_only_non_recursive && !self.read_only {
            return needs("writable", "readonly");
        }
        if bind.read_only_force_recursive && !self.read_only {
            return needs("readonly", "readonly");
        }
        if bind.read_only_force_recursive && bind.propagation != "rprivate" {
            return needs("readonly", "bind-propagation=rprivate");
        }
        Ok(())
    }
}

impl BindOptions {
    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<()> {
        match key {
            "bind-propagation" => self.propagation = value.to_lowercase(),
            "bind-nonrecursive" => self.non_recursive = parse_bool(key, value)?,
            "bind-create-src" => self.create_mountpoint = parse_bool(key, value)?,
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => self.non_recursive = true,
                "writable" => self.read_only_non_recursive = true,
                "readonly" => self.read_only_force_recursive = true,
                other => {
                    return Err(Error::invalid(format!(
                        "invalid value for {key}: {other} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    )));
                }
            },
            _ => return Err(unexpected(key, field)),
        }
        Ok(())
    }
}

impl VolumeOptions {
    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<()> {
        let pair = || {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            (name.to_string(), value.to_string())
        };
        match key {
            "volume-nocopy" => {
                self.no_copy = parse_bool(key, value)
                    .map_err(|_| Error::invalid(format!("invalid value for volume-nocopy: {value}")))?
            }
            "volume-label" => self.labels.push(pair()),
            "volume-subpath" => self.subpath = value.into(),
            "volume-driver" => self.driver = value.into(),
            "volume-opt" => self.driver_options.push(pair()),
            _ => return Err(unexpected(key, field)),
        }
        Ok(())
    }
}

fn unexpected(key: &str, field: &str) -> Error {
    Error::invalid(format!("unexpected key '{key}' in '{field}'"))
}

fn invalid_value(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for {key}: {value}"))
}

fn parse_bool(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(invalid_value(key, other)),
    }
}

/// Splits one record of comma separated values; a field that starts with `"` ends at the next lone `"`.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] for nothing at all, or a quote in the wrong place.
pub fn split_csv(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Err(Error::invalid("EOF"));
    }
    let bare = |at: usize| {
        Error::invalid(format!("parse error on line 1, column {}: bare \" in non-quoted-field", at + 1))
    };
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let offset = text.len() - rest.len();
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let (field, length) = read_quoted(quoted).ok_or_else(|| {
                Error::invalid(format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() + 1
                ))
            })?;
            fields.push(field);
            length + 1
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(quote) = rest[..end].find('"') {
                return Err(bare(offset + quote));
            }
            fields.push(rest[..end].to_string());
            end
        };
        rest = &rest[end..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(bare(text.len() - rest.len())),
        }
    }
}

/// Reads up to the closing quote; gives the field and the bytes taken, the quote included.
fn read_quoted(text: &str) -> Option<(String, usize)> {
    let mut field = String::new();
    let mut at = 0;
    loop {
        let quote = at + text[at..].find('"')?;
        field.push_str(&text[at..quote]);
        if !text[quote + 1..].starts_with('"') {
            return Some((field, quote + 1));
        }
        field.push('"');
        at = quote + 2;
    }
}

#[cfg(test)]
mod tests;
