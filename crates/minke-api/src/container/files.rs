//! A container's files: what `cp`, `diff` and `commit` take and answer.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::base64;
use minke_model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{FromQuery, Query, QueryWriter, Time, ToQuery};

/// The header that tells of what an archive's path names.
pub const PATH_STAT_HEADER: &str = "x-docker-container-path-stat";

/// What a path in a container names: JSON in base64 in [`PATH_STAT_HEADER`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStat {
    pub name: String,
    pub size: i64,
    /// In Go's bits: see [`go_mode`].
    pub mode: u32,
    pub mtime: Time,
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// Go's bit of a directory.
pub const GO_DIRECTORY: u32 = 1 << 31;
/// Go's bit of a symbolic link.
pub const GO_SYMLINK: u32 = 1 << 27;
/// Go's bit of a device.
pub const GO_DEVICE: u32 = 1 << 26;

/// The kernel's mode, with the file's type, as Go counts it.
pub fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => GO_DIRECTORY,
        0o120_000 => GO_SYMLINK,
        0o060_000 => GO_DEVICE,
        0o020_000 => GO_DEVICE | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bit = |own: u32, go: u32| if mode & own != 0 { go } else { 0 };
    kind | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20) | (mode & 0o777)
}

impl PathStat {
    /// The header's value.
    pub fn to_header(&self) -> String {
        base64::render(&crate::json::encode(self))
    }

    /// Reads a header's value.
    ///
    /// # Errors
    /// One that is not base64 of such a value.
    pub fn from_header(text: &str) -> Result<Self> {
        let bytes = base64::parse(text).ok_or_else(|| {
            Error::system("unable to decode container path stat header: illegal base64 data")
        })?;
        crate::json::decode(&bytes)
            .map_err(|error| Error::system(format!("unable to decode container path stat header: {error}")))
    }
}

/// The query of `GET` and `HEAD /containers/{id}/archive`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveQuery {
    pub path: String,
}

impl FromQuery for ArchiveQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { path: path_of(query)? })
    }
}

impl ToQuery for ArchiveQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("path", &self.path);
    }
}

fn path_of(query: &Query) -> Result<String> {
    match query.text("path") {
        path if path.is_empty() => Err(Error::invalid("bad parameter: path cannot be empty")),
        path => Ok(path),
    }
}

/// The query of `PUT /containers/{id}/archive`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePutQuery {
    pub path: String,
    pub no_overwrite_dir_non_dir: bool,
    pub copy_uid_gid: bool,
}

impl FromQuery for ArchivePutQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            path: path_of(query)?,
            no_overwrite_dir_non_dir: query.flag("noOverwriteDirNonDir"),
            copy_uid_gid: query.flag("copyUIDGID"),
        })
    }
}

impl ToQuery for ArchivePutQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("path", &self.path)
            .flag("noOverwriteDirNonDir", self.no_overwrite_dir_non_dir)
            .flag("copyUIDGID", self.copy_uid_gid);
    }
}

/// One change of `GET /containers/{id}/changes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FilesystemChange {
    pub path: String,
    /// 0 modified, 1 added, 2 deleted.
    pub kind: u8,
}

/// The query of `POST /commit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitQuery {
    pub container: String,
    pub repo: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    pub pause: bool,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
}

impl FromQuery for CommitQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            container: query.text("container"),
            repo: query.text("repo"),
            tag: query.text("tag"),
            comment: query.text("comment"),
            author: query.text("author"),
            pause: query.flag_or("pause", true),
            changes: query.all("changes"),
        })
    }
}

impl ToQuery for CommitQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("container", &self.container)
            .text("repo", &self.repo)
            .text("tag", &self.tag)
            .text("comment", &self.comment)
            .text("author", &self.author)
            .list("changes", &self.changes);
        if !self.pause {
            out.pair("pause", "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_counted_as_go_does() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o041_777), GO_DIRECTORY | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020_666), GO_DEVICE | 1 << 21 | 0o666);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
    }

    #[test]
    fn a_header_is_read_back() {
        assert_eq!(base64::render(b"a"), "YQ==");
        assert_eq!(base64::render(b"ab"), "YWI=");
        assert_eq!(base64::render(b"abc"), "YWJj");
        for length in 0..10 {
            let bytes = vec![0xa5; length];
            assert_eq!(base64::parse(&base64::render(&bytes)), Some(bytes));
        }
        let stat = PathStat { name: "x".into(), mode: 0o644, ..PathStat::default() };
        assert_eq!(PathStat::from_header(&stat.to_header()).unwrap(), stat);
        assert!(PathStat::from_header("?").is_err());
    }
}
