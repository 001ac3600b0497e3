//! Names in a layer's archive: cleaned, bounded, and told apart from whiteouts (image-spec `layer.md`,
//! "Whiteouts"). Pure.

use super::limits::Limits;
use minke_model::{Error, Result};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// What aufs kept for itself; it means nothing in a layer.
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";

/// What a cleaned name stands for. Paths are relative to the layer's root, which is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// An ordinary entry.
    Entry(Vec<u8>),
    /// Whatever is called so in the layers below is gone.
    Whiteout(Vec<u8>),
    /// Whatever is in this directory in the layers below is gone.
    Opaque(Vec<u8>),
    /// Nothing to unpack.
    Skipped,
}

/// Cleans `path` lexically and says what it stands for; a name that leaves the root is an error.
pub(crate) fn parse_name(path: &[u8], limits: &Limits) -> Result<Name> {
    let path = clean(path, limits)?;
    if path
        .split(|byte| *byte == b'/')
        .next()
        .is_some_and(|first| first.starts_with(WHITEOUT_META_PREFIX) && first != OPAQUE_NAME)
    {
        return Ok(Name::Skipped);
    }
    let (parent, base) = split(&path);
    if base == OPAQUE_NAME {
        return Ok(Name::Opaque(parent.to_vec()));
    }
    if base.starts_with(WHITEOUT_META_PREFIX) {
        return Ok(Name::Skipped);
    }
    let Some(hidden) = base.strip_prefix(WHITEOUT_PREFIX) else { return Ok(Name::Entry(path)) };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Error::invalid(format!(
            "invalid whiteout {:?} in the archive",
            String::from_utf8_lossy(&path)
        )));
    }
    Ok(Name::Whiteout(join(parent, hidden)))
}

/// Cleans the target of a hard link, which is a name in the same archive.
pub(crate) fn parse_link(path: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    clean(path, limits)
}

pub(crate) fn clean(path: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(|| {
                    Error::invalid(format!(
                        "{:?} in the archive is outside of its root",
                        String::from_utf8_lossy(path)
                    ))
                })?;
            }
            part => parts.push(part),
        }
        if parts.len() > limits.path_depth {
            return Err(Error::invalid("archive has a path that is too deep"));
        }
    }
    Ok(parts.join(&b'/'))
}

/// Splits a cleaned path into its parent and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Joins a cleaned parent and a component.
pub(crate) fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() { base.to_vec() } else { [parent, b"/", base].concat() }
}

/// The parent directories of a cleaned path, the nearest first, the root last; none for the root itself.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = (!path.is_empty()).then_some(path);
    std::iter::from_fn(move || {
        let (parent, _) = split(rest?);
        rest = (!parent.is_empty()).then_some(parent);
        Some(parent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Name) {
        assert_eq!(parse_name(path.as_bytes(), &Limits::default()).unwrap(), expected, "{path}");
    }

    #[test]
    fn names_are_cleaned_and_stay_below_the_root() {
        check("/etc//passwd", Name::Entry(b"etc/passwd".to_vec()));
        check("./a/../b/", Name::Entry(b"b".to_vec()));
        check("./", Name::Entry(Vec::new()));
        for bad in ["../x", "a/../../x", "/..", ".."] {
            assert!(parse_name(bad.as_bytes(), &Limits::default()).is_err(), "{bad}");
        }
        assert!(parse_name("a/".repeat(300).as_bytes(), &Limits::default()).is_err());
    }

    #[test]
    fn whiteouts_are_told_from_entries() {
        check("a/.wh.b", Name::Whiteout(b"a/b".to_vec()));
        check(".wh.b", Name::Whiteout(b"b".to_vec()));
        check("a/.wh..wh..opq", Name::Opaque(b"a".to_vec()));
        check(".wh..wh..opq", Name::Opaque(Vec::new()));
        check(".wh..wh.plnk/1.2", Name::Skipped);
        check("a/.wh..wh.aufs", Name::Skipped);
        check("a/.whx", Name::Entry(b"a/.whx".to_vec()));
        for bad in [".wh.", ".wh..", "a/.wh..."] {
            assert!(parse_name(bad.as_bytes(), &Limits::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ancestors_end_at_the_root() {
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b"a/b"[..], b"a", b""]);
        assert_eq!(ancestors(b"a").collect::<Vec<_>>(), [b""]);
        assert_eq!(ancestors(b"").count(), 0);
    }
}
