//! What the ends of paths mean to `cp`, and under which names things arrive: Docker's rules, decided here over plain values.

use std::fs;
use std::path::Path;

use minke_model::Error;

use crate::cmd::container::create::reason;

const MAX_LINKS: usize = 10;

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, with a slash or `/.` at the end where the user wrote one.
    pub path: String,
    /// It is a directory.
    pub is_directory: bool,
    /// The name that it is to have, where a link had another one.
    pub rebased: Option<String>,
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its path, as above.
    pub path: String,
    /// Something is there.
    pub exists: bool,
    /// It is a directory.
    pub is_directory: bool,
}

/// The first part of every name in an archive and what stands in its place.
pub type Rename = Option<(String, String)>;

/// How an archive of the source is to be unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In which directory.
    pub directory: String,
    /// Under which names.
    pub rename: Rename,
}

impl Source {
    /// The renaming that a followed link needs, before any other.
    pub fn rename(&self) -> Rename {
        self.rebased.clone().map(|name| (split_entry(&self.path).1, name))
    }
}

/// A container and a path in it, or a path of this host.
pub fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        _ if argument.starts_with('/') => (None, argument),
        Some((container, path)) if !container.starts_with('.') => (Some(container), path),
        _ => (None, argument),
    }
}

/// Where an archive of `source` has to be unpacked, and how its names change.
pub fn plan(source: &Source, target: &Target) -> Result<Plan, Error> {
    let (directory, base) = split_entry(&target.path);
    let named = source.rebased.clone().unwrap_or_else(|| split_entry(&source.path).1);
    if target.exists && target.is_directory {
        return Ok(Plan { directory: target.path.clone(), rename: None });
    }
    if target.exists && source.is_directory {
        return Err(Error::invalid("cannot copy directory"));
    }
    if !target.exists && !source.is_directory && asserts_directory(&target.path) {
        return Err(Error::invalid("no such directory"));
    }
    Ok(Plan { directory, rename: Some((named, base)) })
}

/// A name in the archive with its first part replaced, as Docker does it.
pub fn renamed(name: &[u8], rename: &Rename) -> Vec<u8> {
    let Some((old, new)) = rename else { return name.to_vec() };
    let old = if old == "/" { &b""[..] } else { old.as_bytes() };
    let found = if old.is_empty() { Some(0) } else { name.windows(old.len()).position(|part| part == old) };
    match found {
        Some(at) => [&name[..at], new.as_bytes(), &name[at + old.len()..]].concat(),
        None => name.to_vec(),
    }
}

/// The path a link leads to, with the end that `path` has, and the name that it is to keep.
pub fn rebase_name(path: &str, resolved: &str) -> (String, Option<String>) {
    let mut resolved = resolved.to_owned();
    if specifies_itself(path) && !specifies_itself(&resolved) {
        resolved.push_str("/.");
    }
    if path.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let name = base(path);
    let rebased = (name != base(&resolved)).then_some(name);
    (resolved, rebased)
}

/// The directory and the name in it that a path stands for; the name is `.` where the path ends so.
pub fn split_entry(path: &str) -> (String, String) {
    let mut whole = clean(path);
    if specifies_itself(path) {
        whole.push_str("/.");
    }
    match whole.rsplit_once('/') {
        Some(("", "")) => ("/".into(), "/".into()),
        Some(("", name)) => ("/".into(), name.into()),
        Some((directory, name)) => (clean(directory), name.into()),
        None => (".".into(), whole),
    }
}

/// A path of this host, absolute, with its end as the user wrote it.
pub fn resolve_local(path: &str) -> Result<String, Error> {
    let current =
        std::env::current_dir().map_err(|error| Error::system("the current directory").with_source(error))?;
    let absolute =
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", current.display()) };
    let mut whole = clean(&absolute);
    if specifies_itself(path) && !specifies_itself(&whole) {
        whole.push_str("/.");
    } else if path.ends_with('/') && !whole.ends_with('/') {
        whole.push('/');
    }
    Ok(whole)
}

/// Looks at a source on this host.
pub fn local_source(path: &str, follow: bool) -> Result<Source, Error> {
    let canonical = |path: &str| {
        let found = fs::canonicalize(path).map_err(|error| failed("lstat", path, &error))?;
        Ok::<_, Error>(found.to_string_lossy().into_owned())
    };
    let (resolved, rebased) = if follow {
        rebase_name(path, &canonical(path)?)
    } else {
        let at = path.rfind('/').map_or(0, |slash| slash + 1);
        let directory = canonical(&path[..at])?;
        let resolved = format!("{}/{}", directory.trim_end_matches('/'), &path[at..]);
        let rebased = (path.ends_with('/') && base(path) != base(&resolved)).then(|| base(path));
        (resolved, rebased)
    };
    let found = fs::symlink_metadata(&resolved).map_err(|error| failed("lstat", &resolved, &error))?;
    Ok(Source { path: resolved, is_directory: found.is_dir(), rebased })
}

/// Looks at a target on this host, through links at its end.
pub fn local_target(path: &str) -> Result<Target, Error> {
    let mut path = path.to_owned();
    let mut links = 0;
    loop {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::invalid(format!("too many symlinks in {path:?}")));
                }
                let link = fs::read_link(&path).map_err(|error| failed("readlink", &path, &error))?;
                let link = link.to_string_lossy().into_owned();
                path = if link.starts_with('/') { link } else { join(&split_entry(&path).0, &link) };
            }
            Ok(found) => return Ok(Target { path, exists: true, is_directory: found.is_dir() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = split_entry(&path).0;
                let found = fs::metadata(&parent).map_err(|error| failed("stat", &parent, &error))?;
                if !found.is_dir() {
                    return Err(Error::invalid("not a directory"));
                }
                return Ok(Target { path, exists: false, is_directory: false });
            }
            Err(error) => return Err(failed("lstat", &path, &error)),
        }
    }
}

fn failed(what: &str, path: &str, error: &std::io::Error) -> Error {
    Error::invalid(format!("{what} {path}: {}", reason(error)))
}

/// Two paths joined, without what means nothing.
pub fn join(directory: &str, path: &str) -> String {
    clean(&format!("{directory}/{path}"))
}

fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || specifies_itself(path)
}

fn specifies_itself(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" if path.starts_with('/') => "/".into(),
        "" => ".".into(),
        _ => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// A path without `.`, `..` and double slashes, as Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// Whether a path is below a directory after all links.
pub fn is_inside(path: &Path, directory: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, is_directory: bool) -> Source {
        Source { path: path.into(), is_directory, rebased: None }
    }

    fn target(path: &str, kind: char) -> Target {
        Target { path: path.into(), exists: kind != '-', is_directory: kind == 'd' }
    }

    #[test]
    fn a_container_is_told_from_a_path() {
        assert_eq!(split("c:/a"), (Some("c"), "/a"));
        assert_eq!(split("c:a:b"), (Some("c"), "a:b"));
        for local in ["/a:b", "./a:b", "../a:b", "plain"] {
            assert_eq!(split(local), (None, local));
        }
    }

    #[test]
    fn names_arrive_as_docker_gives_them() {
        let check = |from: Source, to: Target, directory: &str, rename: Option<(&str, &str)>| {
            let rename = rename.map(|(old, new)| (old.to_owned(), new.to_owned()));
            assert_eq!(
                plan(&from, &to).unwrap(),
                Plan { directory: directory.into(), rename },
                "{from:?} {to:?}"
            );
        };
        check(source("/s/f", false), target("/d", 'd'), "/d", None);
        check(source("/s/f", false), target("/d/g", '-'), "/d", Some(("f", "g")));
        check(source("/s/f", false), target("/d/g", 'f'), "/d", Some(("f", "g")));
        check(source("/s/dir", true), target("/d/new", '-'), "/d", Some(("dir", "new")));
        check(source("/s/dir/.", true), target("/d/new", '-'), "/d", Some((".", "new")));
        check(source("/", true), target("/d/new", '-'), "/d", Some(("/", "new")));
        let words = |from, to| plan(&from, &to).unwrap_err().to_string();
        assert_eq!(words(source("/s", true), target("/f", 'f')), "cannot copy directory");
        assert_eq!(words(source("/s", false), target("/new/", '-')), "no such directory");
    }

    #[test]
    fn a_name_is_replaced_once() {
        let rename = |old: &str, new: &str| Some((old.to_owned(), new.to_owned()));
        assert_eq!(renamed(b"dir/dir", &rename("dir", "x")), b"x/dir");
        assert_eq!(renamed(b"./a.b", &rename(".", "x")), b"x/a.b");
        assert_eq!(renamed(b"/a", &rename("/", "x")), b"x/a");
    }

    #[test]
    fn paths_are_split_as_they_end() {
        let split = |path: &str| split_entry(path);
        for (path, directory, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/.", "/a", "."),
            ("/a", "/", "a"),
            ("a", ".", "a"),
            ("/", "/", "/"),
        ] {
            assert_eq!(split(path), (directory.into(), name.into()), "{path}");
        }
        assert_eq!(rebase_name("/l/", "/real"), ("/real/".into(), Some("l".into())));
        assert_eq!(rebase_name("/x", "/y/x"), ("/y/x".into(), None));
        assert_eq!(clean("../a/./..//b/"), "../b");
    }
}
