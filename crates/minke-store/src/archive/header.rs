//! One tar header block, and the records of a PAX header (POSIX.1-2017 pax, GNU tar's extensions).
//! Pure: blocks in, values out.

use minke_model::{Error, Result};

pub(crate) const BLOCK: usize = 512;

/// What an old GNU sparse header holds.
pub(crate) struct GnuSparse {
    /// Offsets and lengths, the first four at most.
    pub segments: Vec<(i64, i64)>,
    /// Whether more follow in a block of their own.
    pub continues: bool,
    /// The size of the whole file.
    pub size: i64,
}

/// A header block whose checksum is right.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Checks the block's checksum, over unsigned or, as old programs did, signed bytes.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Self> {
        let invalid = || Error::invalid("archive/tar: invalid tar header");
        let expected = parse_number(&block[148..156]).ok_or_else(invalid)?;
        let mut unsigned: i64 = 0;
        let mut signed: i64 = 0;
        for (index, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        if expected != unsigned && expected != signed {
            return Err(invalid());
        }
        Ok(Self(block))
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    /// The name, with ustar's prefix where it has one.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = if self.is_ustar() { until_nul(&self.0[345..500]) } else { &[] };
        match prefix.is_empty() {
            true => name.to_vec(),
            false => [prefix, b"/", name].concat(),
        }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        until_nul(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<u32> {
        field("mode", &self.0[100..108]).map(|mode| (mode & 0o7777) as u32)
    }

    pub(crate) fn uid(&self) -> Result<i64> {
        field("uid", &self.0[108..116])
    }

    pub(crate) fn gid(&self) -> Result<i64> {
        field("gid", &self.0[116..124])
    }

    pub(crate) fn size(&self) -> Result<i64> {
        field("size", &self.0[124..136])
    }

    pub(crate) fn mtime(&self) -> Result<i64> {
        field("mtime", &self.0[136..148])
    }

    pub(crate) fn device(&self) -> Result<(i64, i64)> {
        Ok((field("devmajor", &self.0[329..337])?, field("devminor", &self.0[337..345])?))
    }

    /// The map at the end of an old GNU sparse header.
    pub(crate) fn gnu_sparse(&self) -> Result<GnuSparse> {
        let segments = sparse_segments(&self.0[386..482])?;
        Ok(GnuSparse { segments, continues: self.0[482] != 0, size: field("realsize", &self.0[483..495])? })
    }
}

/// The segments of a block that continues an old GNU sparse header, and whether more follow.
pub(crate) fn gnu_sparse_extension(block: &[u8; BLOCK]) -> Result<(Vec<(i64, i64)>, bool)> {
    Ok((sparse_segments(&block[..504])?, block[504] != 0))
}

fn sparse_segments(bytes: &[u8]) -> Result<Vec<(i64, i64)>> {
    let used = bytes.chunks_exact(24).take_while(|segment| segment[0] != 0);
    used.map(|segment| Ok((field("offset", &segment[..12])?, field("numbytes", &segment[12..])?))).collect()
}

fn field(name: &str, bytes: &[u8]) -> Result<i64> {
    parse_number(bytes).ok_or_else(|| Error::invalid(format!("archive/tar: invalid tar header: bad {name}")))
}

/// An octal number between blanks and NULs, or GNU's binary form with the first bit set.
fn parse_number(bytes: &[u8]) -> Option<i64> {
    if bytes[0] & 0x80 != 0 {
        let negative = bytes[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (index, byte) in bytes.iter().enumerate() {
            let byte = if index == 0 && !negative { byte & 0x7f } else { *byte };
            value = value.checked_shl(8)? | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let text = bytes.split(|byte| *byte == 0).find(|part| part.iter().any(|byte| *byte != b' '));
    let Some(text) = text else { return Some(0) };
    let text = std::str::from_utf8(text).ok()?.trim_matches(' ');
    i64::from_str_radix(text, 8).ok().filter(|value| *value >= 0)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(&[])
}

/// Splits a PAX header's data into its `key=value` records.
pub(crate) fn pax_records(mut data: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let invalid = || Error::invalid("archive/tar: invalid tar header: bad PAX record");
    let mut records = Vec::new();
    while !data.is_empty() && data[0] != 0 {
        let blank = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(invalid)?;
        let digits = std::str::from_utf8(&data[..blank]).map_err(|_| invalid())?;
        let length: usize = digits.parse().map_err(|_| invalid())?;
        if length <= blank + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(invalid());
        }
        let record = &data[blank + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(invalid)?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Ok(records)
}

/// A PAX time: seconds with an optional fraction. Gives seconds and nanoseconds.
pub(crate) fn parse_pax_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    match negative && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(parse_number(b"0000644\0"), Some(0o644));
        assert_eq!(parse_number(b"   644 \0"), Some(0o644));
        assert_eq!(parse_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(parse_number(b"        "), Some(0));
        assert_eq!(parse_number(b"00x0644\0"), None);
        assert_eq!(parse_number(b"-000644\0"), None);
        assert_eq!(parse_number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(parse_number(&[0xff; 12]), Some(-1));
        assert_eq!(
            parse_number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
    }

    #[test]
    fn pax_records_are_split_by_their_length_and_nothing_else() {
        let records = pax_records(b"12 path=a\nb\n6 k=v\n").unwrap();
        assert_eq!(records, [(&b"path"[..], &b"a\nb"[..]), (b"k", b"v")]);
        for bad in [&b"5 k=v\n"[..], b"99 k=v\n", b"x k=v\n", b"4 k\n", b"0 \n"] {
            assert!(pax_records(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn pax_times_have_fractions_and_may_lie_before_1970() {
        assert_eq!(parse_pax_time("12"), Some((12, 0)));
        assert_eq!(parse_pax_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_pax_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_pax_time("12.x"), None);
    }
}
