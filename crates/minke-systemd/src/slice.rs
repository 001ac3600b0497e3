//! Names of slices, and where they are in the tree of control groups: systemd.slice(5).

use minke_model::{Error, Result};

/// What Docker says of a parent that is none.
pub const INVALID_PARENT: &str =
    "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";

/// Checks a `--cgroup-parent` as Docker does.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in its words.
pub fn check_parent(parent: &str) -> Result<()> {
    if parent.len() <= ".slice".len() || slice_path(parent).is_err() {
        return Err(Error::invalid(INVALID_PARENT));
    }
    Ok(())
}

/// The path of a slice: `a-b.slice` is `/a.slice/a-b.slice`, and `-.slice` the root, which is empty.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in runc's words.
pub fn slice_path(slice: &str) -> Result<String> {
    let invalid = || Error::invalid(format!("invalid slice name: {slice}"));
    let stem = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if stem == "-" {
        return Ok(String::new());
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    if slice.len() > 255 || !stem.bytes().all(allowed) || stem.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.map(|end| format!("/{}.slice", &stem[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_below_those_that_it_is_named_after() {
        for (slice, path) in [
            ("system.slice", "/system.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(slice_path(slice).unwrap(), path);
        }
    }

    #[test]
    fn what_is_no_slice_is_refused_in_words_that_users_know() {
        for slice in
            ["", "a", ".slice", "a.service", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "../x.slice"]
        {
            assert_eq!(slice_path(slice).unwrap_err().message(), format!("invalid slice name: {slice}"));
            assert_eq!(check_parent(slice).unwrap_err().message(), INVALID_PARENT);
        }
        check_parent("a-b.slice").unwrap();
    }
}
