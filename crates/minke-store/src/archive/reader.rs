//! Tar entries from a stream: v7, ustar, PAX and GNU, sparse files in all four forms.
//! Must never allocate by what a header claims: everything is bounded by [`Limits`].

use super::header::{self, BLOCK, GnuSparse, Header};
use super::sparse::{self, SparseMap};
use crate::layer::limits::Limits;
use minke_model::{Context, Error, Result};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry; its data, if it is a file, is read from the [`TarReader`] that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it stands in the archive: not cleaned, maybe hostile.
    pub path: Vec<u8>,
    /// The target of a link, as it stands.
    pub link: Vec<u8>,
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// The bytes of data that follow.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data goes, if not one piece.
    pub sparse: Option<SparseMap>,
}

/// Reads a tar; as [`Read`], gives the data of the entry last returned.
pub(crate) struct TarReader<'l, R> {
    reader: R,
    limits: &'l Limits,
    entries: u64,
    /// Data of the current entry that has not been read.
    data: u64,
    /// Bytes after it up to the next block.
    padding: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The headers that precede the header they are about.
#[derive(Default)]
struct Extended {
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<'l, R: Read> TarReader<'l, R> {
    pub(crate) fn new(reader: R, limits: &'l Limits) -> Self {
        Self { reader, limits, entries: 0, data: 0, padding: 0, global: BTreeMap::new() }
    }

    /// The next entry, or `None` at the end of the archive. Skips what is left of the last one's data.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip_data()?;
            let Some(block) = self.read_block()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Error::invalid(format!("archive has more than {} entries", self.limits.entries)));
            }
            let header = Header::parse(&block)?;
            let size = u64::try_from(header.size()?)
                .map_err(|_| Error::invalid("archive/tar: invalid tar header: negative size"))?;
            match header.kind() {
                b'x' | b'X' => {
                    let data = self.read_meta(size)?;
                    merge_pax(&mut extended.pax, &data, self.limits)?;
                }
                b'g' => {
                    let data = self.read_meta(size)?;
                    let mut global = std::mem::take(&mut self.global);
                    merge_pax(&mut global, &data, self.limits)?;
                    self.global = global;
                }
                b'L' => extended.path = Some(self.read_name(size)?),
                b'K' => extended.link = Some(self.read_name(size)?),
                _ => return self.finish_entry(&header, extended, size).map(Some),
            }
        }
    }

    fn finish_entry(&mut self, header: &Header<'_>, extended: Extended, size: u64) -> Result<Entry> {
        let mut pax = self.global.clone();
        pax.extend(extended.pax);
        pax.retain(|_, value| !value.is_empty());
        let pax_path = pax.get(&b"GNU.sparse.name"[..]).or_else(|| pax.get(&b"path"[..])).cloned();
        let path = pax_path.or(extended.path).unwrap_or_else(|| header.path());
        let link = pax.get(&b"linkpath"[..]).cloned().or(extended.link).unwrap_or_else(|| header.link());
        let kind = entry_kind(header.kind(), &path)?;
        let size = match pax_number(&pax, "size")? {
            Some(size) => u64::try_from(size).map_err(|_| bad_pax("size"))?,
            None => size,
        };
        self.set_data(if kind == EntryKind::File { size } else { 0 });
        let sparse = self.read_sparse(header, &pax)?;
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = if is_device { header.device()? } else { (0, 0) };
        let narrow = |what: &str, value: i64| {
            u32::try_from(value)
                .map_err(|_| Error::invalid(format!("archive/tar: {what} {value} is out of range")))
        };
        let uid = pax_number(&pax, "uid")?.map_or_else(|| header.uid(), Ok)?;
        let gid = pax_number(&pax, "gid")?.map_or_else(|| header.gid(), Ok)?;
        let entry = Entry {
            link,
            kind,
            mode: header.mode()?,
            uid: narrow("uid", uid)?,
            gid: narrow("gid", gid)?,
            mtime: pax_mtime(&pax)?.map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok)?,
            size: self.data,
            device: (narrow("device", device.0)?, narrow("device", device.1)?),
            xattrs: self.xattrs(&path, &pax)?,
            sparse,
            path,
        };
        self.check(&entry)?;
        Ok(entry)
    }

    fn check(&self, entry: &Entry) -> Result<()> {
        let shown = String::from_utf8_lossy(&entry.path);
        for name in [&entry.path, &entry.link] {
            if name.len() > self.limits.path_len {
                return Err(Error::invalid("archive has a name that is too long"));
            }
            if name.contains(&0) {
                return Err(Error::invalid(format!("archive has a name with a NUL: {shown:?}")));
            }
        }
        let size = entry.sparse.as_ref().map_or(entry.size, |sparse| sparse.size);
        if size > self.limits.file_bytes {
            return Err(Error::invalid(format!(
                "{shown} in the archive is larger than {} bytes",
                self.limits.file_bytes
            )));
        }
        Ok(())
    }

    fn xattrs(&self, path: &[u8], pax: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let found = pax.iter().filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?, value)));
        let xattrs: Vec<_> = found.map(|(key, value)| (key.to_vec(), value.clone())).collect();
        let bytes: usize = xattrs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > self.limits.xattr_bytes {
            let shown = String::from_utf8_lossy(path);
            return Err(Error::invalid(format!("{shown} in the archive has too many extended attributes")));
        }
        Ok(xattrs)
    }

    /// The map of a sparse file, read from wherever its form keeps it.
    fn read_sparse(
        &mut self,
        header: &Header<'_>,
        pax: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Option<SparseMap>> {
        let max = self.limits.sparse_segments;
        if header.kind() == b'S' {
            let GnuSparse { segments: mut pairs, continues: mut more, size } = header.gnu_sparse()?;
            // The continuation blocks stand between the header and the data and are not counted in its size.
            while more {
                let block = self.read_block_or_fail()?;
                let (next, again) = header::gnu_sparse_extension(&block)?;
                pairs.extend(next);
                more = again;
                if pairs.len() > max {
                    return Err(Error::invalid("archive has a sparse file of too many pieces"));
                }
            }
            return SparseMap::checked(&pairs, size, self.data).map(Some);
        }
        let major = pax_number(pax, "GNU.sparse.major")?;
        let size = pax_number(pax, "GNU.sparse.realsize")?.or(pax_number(pax, "GNU.sparse.size")?);
        if major == Some(1) {
            let (pairs, read) = sparse::read_map(self, max)?;
            debug_assert!(read > 0);
            return SparseMap::checked(&pairs, size.ok_or_else(|| bad_pax("GNU.sparse"))?, self.data)
                .map(Some);
        }
        let map = pax.get(&b"GNU.sparse.map"[..]).and_then(|text| std::str::from_utf8(text).ok());
        match (map, size) {
            (Some(map), Some(size)) => {
                SparseMap::checked(&sparse::parse_pairs(map, max)?, size, self.data).map(Some)
            }
            (Some(_), None) => Err(bad_pax("GNU.sparse")),
            (None, _) => Ok(None),
        }
    }

    fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_data(&mut self) -> Result<()> {
        let left = self.data + self.padding;
        (self.data, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.reader).take(left), &mut io::sink())
            .context("cannot read the archive")?;
        if skipped < left { Err(truncated()) } else { Ok(()) }
    }

    /// The next block, or `None` at the end: no more bytes, or a block of zeros.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read the archive"),
            }
        }
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }

    fn read_block_or_fail(&mut self) -> Result<[u8; BLOCK]> {
        self.read_block()?.ok_or_else(truncated)
    }

    fn read_meta(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > self.limits.header_bytes {
            return Err(Error::invalid("archive has an extended header that is too long"));
        }
        self.set_data(size);
        let mut data = Vec::new();
        self.take(size).read_to_end(&mut data).context("cannot read the archive")?;
        Ok(data)
    }

    fn read_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.read_meta(size)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }
}

impl<R: Read> Read for TarReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
        }
        self.data -= read as u64;
        Ok(read)
    }
}

fn truncated() -> Error {
    Error::invalid("unexpected EOF")
}

fn bad_pax(key: &str) -> Error {
    Error::invalid(format!("archive/tar: invalid tar header: bad {key}"))
}

fn entry_kind(flag: u8, path: &[u8]) -> Result<EntryKind> {
    Ok(match flag {
        0 if path.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => return Err(Error::invalid(format!("unhandled tar header type {other}"))),
    })
}

/// Adds the records of a PAX header. An empty value is kept: it takes a global one back.
fn merge_pax(pax: &mut BTreeMap<Vec<u8>, Vec<u8>>, data: &[u8], limits: &Limits) -> Result<()> {
    let mut pairs: Vec<u8> = Vec::new();
    for (key, value) in header::pax_records(data)? {
        // Form 0.0 repeats a key for each piece; together they read as form 0.1's list.
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            pairs.extend(value);
            pairs.push(b',');
            continue;
        }
        pax.insert(key.to_vec(), value.to_vec());
    }
    if !pairs.is_empty() {
        pax.insert(b"GNU.sparse.map".to_vec(), pairs);
    }
    let bytes: usize = pax.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes as u64 > 2 * limits.header_bytes {
        return Err(Error::invalid("archive has an extended header that is too long"));
    }
    Ok(())
}

fn pax_number(pax: &BTreeMap<Vec<u8>, Vec<u8>>, key: &str) -> Result<Option<i64>> {
    let Some(value) = pax.get(key.as_bytes()) else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| bad_pax(key))
}

fn pax_mtime(pax: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Option<(i64, u32)>> {
    let Some(value) = pax.get(&b"mtime"[..]) else { return Ok(None) };
    let time = std::str::from_utf8(value).ok().and_then(header::parse_pax_time);
    time.map(Some).ok_or_else(|| bad_pax("mtime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8], limits: &Limits) -> Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = TarReader::new(bytes, limits);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut data = Vec::new();
            reader.read_to_end(&mut data).context("data")?;
            entries.push((entry, data));
        }
        Ok(entries)
    }

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(7);
        builder.append_data(&mut header, path, data).unwrap();
    }

    #[test]
    fn entries_come_with_their_data_and_long_names() {
        let long = "d/".repeat(120) + "file";
        let bytes = archive(|builder| {
            append(builder, "a", b"first");
            append(builder, &long, &[b'x'; 1000]);
            append(builder, "b", b"");
        });
        let found = entries(&bytes, &Limits::default()).unwrap();
        let names: Vec<_> = found.iter().map(|(entry, data)| (entry.path.as_slice(), data.len())).collect();
        assert_eq!(names, [(&b"a"[..], 5), (long.as_bytes(), 1000), (b"b", 0)]);
        assert_eq!((found[0].0.mode, found[0].0.mtime), (0o644, (7, 0)));
    }

    #[test]
    fn pax_records_override_the_header() {
        let bytes = archive(|builder| {
            let records = [("path", &b"p\xc3\xa4th"[..]), ("uid", b"3000000"), ("mtime", b"5.5")];
            builder.append_pax_extensions(records).unwrap();
            builder.append_pax_extensions([("SCHILY.xattr.user.k", &b"v\0w"[..])]).unwrap();
            append(builder, "x", b"data");
        });
        let (entry, data) = entries(&bytes, &Limits::default()).unwrap().remove(0);
        assert_eq!((entry.path.as_slice(), data.as_slice()), ("päth".as_bytes(), &b"data"[..]));
        assert_eq!((entry.uid, entry.mtime), (3_000_000, (5, 500_000_000)));
        assert_eq!(entry.xattrs, [(b"user.k".to_vec(), b"v\0w".to_vec())]);
    }

    #[test]
    fn a_pax_sparse_file_gives_its_map_and_only_its_data() {
        let mut map = b"2\n0\n3\n1048576\n2\n".to_vec();
        map.resize(512, 0);
        let bytes = archive(|builder| {
            let records = [
                ("GNU.sparse.major", &b"1"[..]),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"real"),
                ("GNU.sparse.realsize", b"2097152"),
            ];
            builder.append_pax_extensions(records).unwrap();
            append(builder, "GNUSparseFile.0/real", &[&map[..], b"abcde"].concat());
        });
        let (entry, data) = entries(&bytes, &Limits::default()).unwrap().remove(0);
        assert_eq!((entry.path.as_slice(), data.as_slice()), (&b"real"[..], &b"abcde"[..]));
        assert_eq!(
            entry.sparse.unwrap(),
            SparseMap { segments: vec![(0, 3), (1_048_576, 2)], size: 2_097_152 }
        );
    }

    #[test]
    fn a_torn_archive_and_a_wrong_checksum_are_errors() {
        let bytes = archive(|builder| append(builder, "a", &[1; 2000]));
        assert!(entries(&bytes[..1500], &Limits::default()).is_err());
        assert!(entries(&bytes[..300], &Limits::default()).is_err());
        let mut wrong = bytes.clone();
        wrong[0] ^= 1;
        assert!(entries(&wrong, &Limits::default()).is_err());
    }

    #[test]
    fn what_asks_for_too_much_is_refused() {
        let many = archive(|builder| (0..20).for_each(|number| append(builder, &number.to_string(), b"")));
        assert!(entries(&many, &Limits { entries: 10, ..Limits::default() }).is_err());
        let long = archive(|builder| append(builder, &"x".repeat(300), b""));
        assert!(entries(&long, &Limits { path_len: 200, ..Limits::default() }).is_err());
        assert!(entries(&long, &Limits { header_bytes: 200, ..Limits::default() }).is_err());
        let large = archive(|builder| append(builder, "x", &[0; 100]));
        assert!(entries(&large, &Limits { file_bytes: 99, ..Limits::default() }).is_err());
        let xattrs = archive(|builder| {
            builder.append_pax_extensions([("SCHILY.xattr.user.k", &[b'v'; 500][..])]).unwrap();
            append(builder, "x", b"");
        });
        assert!(entries(&xattrs, &Limits { xattr_bytes: 100, ..Limits::default() }).is_err());
    }

    #[test]
    fn any_bytes_are_an_archive_or_an_error() {
        let mut bytes = archive(|builder| append(builder, "some/path", b"data"));
        let mut state = 1_u32;
        for _ in 0..2000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = state as usize % bytes.len();
            bytes[index] ^= (state >> 24) as u8;
            let _ = entries(&bytes, &Limits::default());
        }
    }
}
