//! What a layer's directory cannot say of itself, kept in the file `meta` beside it: directories that
//! its tar did not mention, whiteouts, opaque directories. Each line is a letter, a path and a NUL.

use super::name::ancestors;
use minke_model::{Error, Result};
use std::collections::BTreeSet;

/// The facts about one unpacked layer; paths are relative to its root, which is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerMeta {
    /// Directories that stand only because something in them does: their owner and mode mean nothing.
    pub implicit: BTreeSet<Vec<u8>>,
    /// Names that are gone, and for which nothing stands in this layer.
    pub whiteouts: BTreeSet<Vec<u8>>,
    /// Directories whose contents below are gone.
    pub opaque: BTreeSet<Vec<u8>>,
    /// Directories of this layer that replace whatever is below, the directory itself included.
    pub replaced: BTreeSet<Vec<u8>>,
}

impl LayerMeta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let sets =
            [(b'i', &self.implicit), (b'w', &self.whiteouts), (b'o', &self.opaque), (b'r', &self.replaced)];
        let mut bytes = Vec::new();
        for (letter, set) in sets {
            for path in set {
                bytes.push(letter);
                bytes.extend(path);
                bytes.push(0);
            }
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let invalid = || Error::system("a layer's meta file cannot be read");
        let mut meta = Self::default();
        for line in bytes.split_inclusive(|byte| *byte == 0) {
            let (letter, path) = line.strip_suffix(&[0]).and_then(<[u8]>::split_first).ok_or_else(invalid)?;
            let set = match letter {
                b'i' => &mut meta.implicit,
                b'w' => &mut meta.whiteouts,
                b'o' => &mut meta.opaque,
                b'r' => &mut meta.replaced,
                _ => return Err(invalid()),
            };
            set.insert(path.to_vec());
        }
        Ok(meta)
    }

    /// Whether the contents of directory `path` in the layers below are hidden by an entry at `path` itself.
    pub(crate) fn hides_contents(&self, path: &[u8]) -> bool {
        self.opaque.contains(path) || self.replaced.contains(path)
    }

    /// Whether this layer's marks hide `path` of the layers below. What stands at `path` or above it in this
    /// layer as something other than a directory is not looked at here.
    pub(crate) fn hides(&self, path: &[u8]) -> bool {
        self.whiteouts.contains(path)
            || self.replaced.contains(path)
            || ancestors(path).any(|parent| self.hides_contents(parent) || self.whiteouts.contains(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<Vec<u8>> {
        paths.iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_file_is_read_back() {
        let meta = LayerMeta {
            implicit: set(&["", "a"]),
            whiteouts: set(&["x\ny"]),
            opaque: set(&["o"]),
            replaced: set(&["r"]),
        };
        assert_eq!(LayerMeta::decode(&meta.encode()).unwrap(), meta);
        assert!(LayerMeta::decode(b"ia").is_err());
        assert!(LayerMeta::decode(b"?a\0").is_err());
    }

    #[test]
    fn marks_hide_what_is_below_them() {
        let meta = LayerMeta {
            whiteouts: set(&["w"]),
            opaque: set(&["o"]),
            replaced: set(&["r"]),
            ..LayerMeta::default()
        };
        for hidden in ["w", "w/x", "o/x", "r", "r/x/y"] {
            assert!(meta.hides(hidden.as_bytes()), "{hidden}");
        }
        for seen in ["o", "", "x", "ww"] {
            assert!(!meta.hides(seen.as_bytes()), "{seen}");
        }
    }
}
