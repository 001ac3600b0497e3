//! Which compression a stream has, by its first bytes, and the stream without it.
//! Never by a file's name or media type, and never by another program.

use minke_model::{Context, Result};
use std::io::{self, Read};

/// The largest window that a zstd stream may ask for: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What an xz stream may allocate.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
const MAGIC_LEN: usize = 6;

/// A compression that archives come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Tells the compression by the first six bytes, fewer where the stream ends before.
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// Reads the first bytes of `reader`; gives the compression they show and the whole stream.
pub(crate) fn sniff<'a>(
    mut reader: impl Read + Send + 'a,
) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut head = Vec::with_capacity(MAGIC_LEN);
    (&mut reader).take(MAGIC_LEN as u64).read_to_end(&mut head).context("cannot read the archive")?;
    let compression = Compression::detect(&head);
    Ok((compression, Box::new(io::Cursor::new(head).chain(reader))))
}

/// Undoes `compression`.
pub(crate) fn decompress<'a>(
    compression: Compression,
    reader: Box<dyn Read + Send + 'a>,
) -> Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => reader,
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader).context("cannot read zstd")?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).context("cannot read zstd")?;
            Box::new(decoder)
        }
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED);
            Box::new(liblzma::read::XzDecoder::new_stream(reader, stream.context("cannot read xz")?))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(expected: Compression, bytes: Vec<u8>) {
        let (found, reader) = sniff(&bytes[..]).unwrap();
        assert_eq!(found, expected);
        let mut text = String::new();
        decompress(found, reader).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "some text");
    }

    #[test]
    fn every_compression_is_told_by_its_first_bytes_and_undone() {
        let text = b"some text";
        check(Compression::None, text.to_vec());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        check(Compression::Gzip, gzip.finish().unwrap());
        check(Compression::Zstd, zstd::encode_all(&text[..], 1).unwrap());
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text).unwrap();
        check(Compression::Xz, xz.finish().unwrap());
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(text).unwrap();
        check(Compression::Bzip2, bzip2.finish().unwrap());
    }

    #[test]
    fn a_stream_shorter_than_any_magic_is_plain() {
        let (found, mut reader) = sniff(&b"ab"[..]).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!((found, bytes.as_slice()), (Compression::None, &b"ab"[..]));
    }
}
