//! A tar of plain files and directories, as `save` writes: ustar headers, all times 0.

use super::header::BLOCK;
use std::io::{self, Read, Write};

/// Writes a tar to `writer`.
pub(crate) struct TarWriter<W> {
    writer: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer }
    }

    /// Adds a directory; `path` has at most 99 bytes and no final slash.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.writer.write_all(&header(&format!("{path}/"), b'5', 0o755, 0))
    }

    /// Adds a file of `size` bytes, which `data` must give; `path` has at most 100 bytes.
    pub(crate) fn file(&mut self, path: &str, size: u64, data: &mut dyn Read) -> io::Result<()> {
        self.writer.write_all(&header(path, b'0', 0o644, size))?;
        let copied = io::copy(&mut data.take(size), &mut self.writer)?;
        if copied != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{path} has {copied} of {size} bytes"),
            ));
        }
        let padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.writer.write_all(&[0; BLOCK][..padding])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.writer.write_all(&[0; 2 * BLOCK])?;
        self.writer.flush()
    }
}

fn header(path: &str, kind: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        // GNU's binary form, for what eleven octal digits cannot hold.
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::reader::TarReader;
    use crate::layer::limits::Limits;

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        writer.directory("blobs").unwrap();
        writer.file("blobs/a", 3, &mut &b"abc"[..]).unwrap();
        assert!(writer.file("short", 3, &mut &b"ab"[..]).is_err());
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        writer.directory("blobs").unwrap();
        writer.file("blobs/a", 3, &mut &b"abc"[..]).unwrap();
        writer.finish().unwrap();
        let limits = Limits::default();
        let mut reader = TarReader::new(&bytes[..], &limits);
        assert_eq!(reader.next_entry().unwrap().unwrap().path, b"blobs/");
        assert_eq!(reader.next_entry().unwrap().unwrap().size, 3);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_size_that_octal_cannot_hold_is_written_in_binary() {
        let block = header("big", b'0', 0o644, 1 << 40);
        let parsed = crate::archive::header::Header::parse(&block).unwrap();
        assert_eq!(parsed.size().unwrap(), 1 << 40);
    }
}
