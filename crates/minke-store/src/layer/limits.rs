//! What an archive may demand of the one who reads it.

/// Upper bounds on everything that is read from an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one archive.
    pub entries: u64,
    /// Uncompressed bytes in one archive.
    pub bytes: u64,
    /// The apparent size of one file, holes included.
    pub file_bytes: u64,
    /// The length of one path or link target.
    pub path_len: usize,
    /// The number of components in one path.
    pub path_depth: usize,
    /// The bytes of one entry's extended header (names, times, extended attributes).
    pub header_bytes: u64,
    /// The bytes of one entry's extended attributes, names and values.
    pub xattr_bytes: usize,
    /// The bytes of one JSON document.
    pub document_bytes: u64,
    /// The segments of one sparse file.
    pub sparse_segments: usize,
    /// Layers in one image.
    pub layers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            bytes: 1 << 40,
            file_bytes: 16 << 40,
            path_len: 4096,
            path_depth: 256,
            header_bytes: 1 << 20,
            xattr_bytes: 256 << 10,
            document_bytes: 8 << 20,
            sparse_segments: 1 << 20,
            layers: 512,
        }
    }
}
