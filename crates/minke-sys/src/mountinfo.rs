//! What is mounted in the caller's mount namespace, as /proc/self/mountinfo lists it.

use std::io;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub place: PathBuf,
    /// What happens in it is passed on to its peers.
    pub shared: bool,
    /// It takes what happens in the mounts that it is a copy of.
    pub slave: bool,
}

/// Reads the list, in the order in which the mounts were made.
pub fn read() -> io::Result<Vec<Entry>> {
    std::fs::read_to_string("/proc/self/mountinfo").map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let (left, _) = line.split_once(" - ")?;
        let mut words = left.split(' ').skip(4);
        let place = PathBuf::from(unescape(words.next()?));
        let tags: Vec<&str> = words.skip(1).collect();
        let tagged = |tag: &str| tags.iter().any(|word| word.starts_with(tag));
        Some(Entry { place, shared: tagged("shared:"), slave: tagged("master:") })
    };
    text.lines().filter_map(entry).collect()
}

/// The mount that a path, which has no links in it, is on: of those above it the deepest, of several there the last.
pub fn holder<'a>(entries: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    entries
        .iter()
        .filter(|entry| path.starts_with(&entry.place))
        .max_by_key(|entry| entry.place.components().count())
}

/// Undoes the list's octal escapes.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let octal = rest.get(..3).and_then(|digits| {
            digits.iter().try_fold(0u32, |value, digit| {
                (b'0'..=b'7').contains(digit).then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        match octal {
            Some(value) if *first == b'\\' => {
                out.push(value as u8);
                bytes = &rest[3..];
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_a_path_is_on_is_found() {
        let text = "20 1 0:1 / / rw,relatime - overlay overlay rw\n\
                    21 20 0:2 / /a rw shared:7 - tmpfs tmpfs rw\n\
                    22 21 0:3 / /a/b\\040c rw master:7 propagate_from:2 - tmpfs tmpfs rw\n\
                    23 21 0:3 / /a rw shared:8 master:7 - tmpfs tmpfs rw\n";
        let entries = parse(text);
        let at = |path: &str| holder(&entries, Path::new(path)).unwrap();
        assert_eq!((at("/x").shared, at("/x").slave), (false, false));
        assert_eq!((at("/a/y").shared, at("/a/y").slave), (true, true));
        assert_eq!(at("/a/b c/d").place, Path::new("/a/b c"));
        assert_eq!(at("/ab").place, Path::new("/"));
    }
}
