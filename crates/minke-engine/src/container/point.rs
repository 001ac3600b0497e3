//! The mounts of a container, decided at its creation: who asks for which, in which order they win, and what is shown of them.
//! Pure but for looking whether the source of a `--mount` is there. `mounts` acts on it.
//!
//! ```text
//! --volumes-from   <  -v, Binds  <  --mount, Mounts  <  -v /path, the image's VOLUME (where nothing else is)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use minke_api::container::{ContainerConfig, HostConfig, Mount, MountPoint};
use minke_model::mount::{BindSpec, MountKind, check_target, join_clean, parse_bind, parse_volumes_from};
use minke_model::{Error, Result};
use serde::{Deserialize, Serialize};

use super::mounts::check;
use crate::volume::Wanted;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A path of the host.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// The files of an image.
    Image,
}

/// One mount of a container, as its record keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// What is mounted.
    pub kind: Kind,
    /// A bind's path on the host; an image's id.
    pub source: String,
    /// The volume's name, or the image as it was asked for.
    pub name: String,
    /// Where, inside the container: absolute and clean.
    pub target: String,
    /// The options as written, as inspect shows them.
    pub mode: String,
    /// It can't be written to.
    pub read_only: bool,
    /// `rprivate`, `shared` and so on; empty: the default.
    pub propagation: String,
    /// A volume that goes with the container where volumes are to go.
    pub anonymous: bool,
    /// The image's files aren't copied into an empty volume.
    pub no_copy: bool,
    /// The directory of the volume or image that is mounted instead of all of it.
    pub subpath: String,
    /// A tmpfs's options.
    pub options: String,
    /// Without the mounts below the source.
    pub non_recursive: bool,
    /// Read-only, but not what is mounted below.
    pub read_only_non_recursive: bool,
    /// A source that is not there is made.
    pub create_source: bool,
}

/// A mount, and the volume that it needs.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The mount; a volume's name is that of `volume` until it is obtained.
    pub point: Point,
    /// The volume.
    pub volume: Option<Wanted>,
}

/// Decides which mounts a container gets. `others` gives those of another container, for `--volumes-from`.
///
/// # Errors
/// Docker's words for what is wrong with one of them.
pub fn plan(
    config: &ContainerConfig,
    host: &HostConfig,
    others: &dyn Fn(&str) -> Result<Vec<Point>>,
) -> Result<Vec<Planned>> {
    let mut planned: BTreeMap<String, Planned> = BTreeMap::new();
    for text in host.volumes_from.iter().flatten() {
        let from = parse_volumes_from(text)?;
        for point in others(&from.container)? {
            planned.insert(point.target.clone(), borrowed(point, from.read_only));
        }
    }
    let mut claimed = BTreeSet::new();
    let tmpfs: BTreeSet<String> = host.tmpfs.keys().map(|target| join_clean("/", target)).collect();
    let mut claim = |target: &str| match claimed.insert(target.to_owned()) && !tmpfs.contains(target) {
        true => Ok(()),
        false => Err(Error::invalid(format!("Duplicate mount point: {target}"))),
    };
    for text in host.binds.iter().flatten() {
        let bound = of_bind(parse_bind(text)?, &host.volume_driver);
        claim(&bound.point.target)?;
        planned.insert(bound.point.target.clone(), bound);
    }
    for mount in &host.mounts {
        check(mount)?;
        let mounted = of_mount(mount);
        claim(&mounted.point.target)?;
        planned.insert(mounted.point.target.clone(), mounted);
    }
    for target in host.tmpfs.keys() {
        check_target(target)?;
    }
    for path in config.volumes.iter().flatten().map(|(path, _)| path) {
        let target = join_clean("/", path);
        if target == "/" {
            return Err(Error::invalid("invalid specification: destination can't be '/'"));
        }
        planned.entry(target.clone()).or_insert_with(|| {
            let point = Point { kind: Kind::Volume, target, anonymous: true, ..Point::default() };
            Planned {
                point,
                volume: Some(Wanted { driver: host.volume_driver.clone(), ..Wanted::default() }),
            }
        });
    }
    Ok(planned.into_values().collect())
}

/// A mount of another container. What it held of an image stays as it is.
fn borrowed(point: Point, read_only: bool) -> Planned {
    let volume =
        (point.kind == Kind::Volume).then(|| Wanted { name: point.name.clone(), ..Wanted::default() });
    let read_only = point.read_only || read_only;
    Planned { point: Point { read_only, no_copy: true, ..point }, volume }
}

fn of_bind(bind: BindSpec, driver: &str) -> Planned {
    let target = join_clean("/", &bind.target);
    let point = Point { target, mode: bind.mode, read_only: bind.read_only, ..Point::default() };
    if bind.kind == MountKind::Bind {
        let propagation = bind.propagation.unwrap_or_else(|| "rprivate".into());
        let source = join_clean("/", &bind.source);
        let point = Point { kind: Kind::Bind, source, propagation, create_source: true, ..point };
        return Planned { point, volume: None };
    }
    let wanted = Wanted { name: bind.source, driver: driver.to_owned(), ..Wanted::default() };
    volume_point(Point { no_copy: bind.no_copy, ..point }, wanted)
}

/// A volume that somebody asked for in so many words: its mode is never empty, as under Docker.
fn volume_point(point: Point, wanted: Wanted) -> Planned {
    let mode = if point.mode.is_empty() { "z".into() } else { point.mode };
    let anonymous = wanted.name.is_empty();
    let point = Point { kind: Kind::Volume, name: wanted.name.clone(), mode, anonymous, ..point };
    Planned { point, volume: Some(wanted) }
}

fn of_mount(mount: &Mount) -> Planned {
    let target = join_clean("/", &mount.target);
    let point = Point { target, read_only: mount.read_only, ..Point::default() };
    match mount.kind.as_str() {
        "volume" => {
            let options = mount.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            let some = |map: minke_api::StringMap| (!map.is_empty()).then_some(map);
            let wanted = Wanted {
                name: mount.source.clone(),
                driver: driver.name,
                labels: some(options.labels),
                options: some(driver.options),
            };
            volume_point(Point { no_copy: options.no_copy, subpath: options.subpath, ..point }, wanted)
        }
        "tmpfs" => {
            let options = tmpfs_options(mount);
            Planned { point: Point { kind: Kind::Tmpfs, options, ..point }, volume: None }
        }
        "image" => {
            let subpath = mount.image_options.clone().unwrap_or_default().subpath;
            let (name, propagation) = (mount.source.clone(), "rprivate".into());
            let point = Point { kind: Kind::Image, name, subpath, propagation, read_only: true, ..point };
            Planned { point, volume: None }
        }
        _ => {
            let options = mount.bind_options.clone().unwrap_or_default();
            let propagation =
                if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
            let point = Point {
                kind: Kind::Bind,
                source: join_clean("/", &mount.source),
                propagation,
                non_recursive: options.non_recursive,
                read_only_non_recursive: options.read_only_non_recursive,
                create_source: options.create_mountpoint,
                ..point
            };
            Planned { point, volume: None }
        }
    }
}

fn tmpfs_options(mount: &Mount) -> String {
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let mut words = Vec::new();
    if mount.read_only {
        words.push("ro".to_owned());
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes > 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    words.extend(options.options.iter().map(|option| option.join("=")));
    words.join(",")
}

impl Point {
    /// The mount as inspect and ps show it; `volume_data` gives the directory of a volume.
    pub fn shown(&self, volume_data: impl Fn(&str) -> String) -> MountPoint {
        let (source, driver) = match self.kind {
            Kind::Bind => (self.source.clone(), String::new()),
            Kind::Volume => (volume_data(&self.name), "local".to_owned()),
            Kind::Tmpfs => (String::new(), String::new()),
            Kind::Image => (self.source.clone(), String::new()),
        };
        MountPoint {
            kind: self.kind.word().into(),
            name: self.name.clone(),
            source,
            destination: self.target.clone(),
            driver,
            mode: self.mode.clone(),
            rw: !self.read_only,
            propagation: self.propagation.clone(),
        }
    }
}

impl Kind {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

/// The mounts of a container whose record was written before mounts were kept.
pub fn of_host_config(host: &HostConfig) -> Vec<Point> {
    let binds = host.binds.iter().flatten().filter_map(|text| parse_bind(text).ok());
    let binds = binds.filter(|bind| bind.kind == MountKind::Bind).map(|bind| of_bind(bind, "").point);
    binds.chain(host.mounts.iter().map(|mount| of_mount(mount).point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: &str) -> Result<Vec<Point>> {
        Err(Error::not_found("No such container: x"))
    }

    fn host(binds: &[&str]) -> HostConfig {
        HostConfig {
            binds: Some(binds.iter().map(|bind| (*bind).to_owned()).collect()),
            ..HostConfig::default()
        }
    }

    fn with_volumes(paths: &[&str]) -> ContainerConfig {
        let volumes = paths.iter().map(|path| ((*path).to_owned(), Default::default())).collect();
        ContainerConfig { volumes: Some(volumes), ..ContainerConfig::default() }
    }

    fn rows(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<String>> {
        let planned = plan(config, host, &|_| {
            let point = |target: &str, name: &str| Point {
                kind: Kind::Volume,
                name: name.into(),
                target: target.into(),
                ..Point::default()
            };
            Ok(vec![point("/a", "theirs"), point("/c", "theirs2")])
        })?;
        Ok(planned
            .iter()
            .map(|planned| {
                let Point { kind, name, source, target, mode, read_only, anonymous, .. } = &planned.point;
                let of = if *anonymous { "anonymous" } else { name.as_str() };
                format!(
                    "{} {of}{source} {target} {mode} {}",
                    kind.word(),
                    if *read_only { "ro" } else { "rw" }
                )
            })
            .collect())
    }

    #[test]
    fn what_is_asked_for_in_more_words_wins() {
        let mut host = host(&["/host/:/a/", "data:/b:ro"]);
        host.volumes_from = Some(vec!["other:ro".into()]);
        host.mounts = vec![Mount { kind: "volume".into(), target: "/d".into(), ..Mount::default() }];
        assert_eq!(
            rows(&with_volumes(&["/a", "/b/", "/e"]), &host).unwrap(),
            [
                "bind /host /a  rw",
                "volume data /b ro ro",
                "volume theirs2 /c  ro",
                "volume anonymous /d z rw",
                "volume anonymous /e  rw",
            ]
        );
    }

    #[test]
    fn a_place_is_asked_for_once() {
        let config = ContainerConfig::default();
        let refused = |host: &HostConfig| plan(&config, host, &nobody).unwrap_err().to_string();
        assert_eq!(refused(&host(&["/a:/x", "/b:/x/"])), "Duplicate mount point: /x");
        let mut with_tmpfs = host(&["/a:/x"]);
        with_tmpfs.tmpfs.insert("/x".into(), String::new());
        assert_eq!(refused(&with_tmpfs), "Duplicate mount point: /x");
        let mut from_nobody = host(&[]);
        from_nobody.volumes_from = Some(vec!["x".into()]);
        assert_eq!(refused(&from_nobody), "No such container: x");
        from_nobody.volumes_from = Some(vec!["x:rshared".into()]);
        assert_eq!(refused(&from_nobody), "invalid mode: rshared");
    }

    #[test]
    fn a_named_volume_says_so_in_its_mode() {
        let planned = plan(&ContainerConfig::default(), &host(&["data:/b"]), &nobody).unwrap();
        let shown = planned[0].point.shown(|name| format!("/v/{name}/_data"));
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            r#"{"Type":"volume","Name":"data","Source":"/v/data/_data","Destination":"/b","Driver":"local","Mode":"z","RW":true,"Propagation":""}"#
        );
    }
}
