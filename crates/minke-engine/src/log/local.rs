//! Reading Docker's `local` log: records of a protobuf `LogEntry` between two big-endian lengths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

/// A longer record can't be one.
const RECORD_LIMIT: usize = 1024 * 1024;

/// A record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The text without its newline.
    pub line: &'a [u8],
    /// 1 for standard output, 2 for standard error.
    pub stream: u8,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// A newline belongs behind it: it isn't a part of a line that goes on.
    pub ends_line: bool,
    /// Extra facts, asked for by log options.
    pub attributes: BTreeMap<String, String>,
}

/// What the beginning of some bytes is.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A record's message, and how long the record is.
    Whole(&'a [u8], usize),
    /// The beginning of one.
    Begun,
    /// Nothing that can be one.
    Broken,
}

/// Takes the first record's message out of its lengths.
pub fn first(bytes: &[u8]) -> Framed<'_> {
    let Some(length) = length_at(bytes, 0) else { return Framed::Begun };
    if length > RECORD_LIMIT {
        return Framed::Broken;
    }
    match length_at(bytes, length + 4) {
        None => Framed::Begun,
        Some(again) if again == length => Framed::Whole(&bytes[4..length + 4], length + 8),
        Some(_) => Framed::Broken,
    }
}

fn length_at(bytes: &[u8], place: usize) -> Option<usize> {
    let bytes = bytes.get(place..place + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
}

/// Reads a message; `None` if it isn't one.
pub fn parse(message: &[u8]) -> Option<Record<'_>> {
    let mut record = Record { stream: 1, ends_line: true, ..Record::default() };
    let mut partial = false;
    let mut last = false;
    each_field(message, |tag, number, bytes| {
        match tag {
            1 => record.stream = if bytes == b"stderr" { 2 } else { 1 },
            2 => record.time_ns = number as i64,
            3 => record.line = bytes,
            4 => partial = number != 0,
            5 => each_field(bytes, |tag, number, _| {
                last |= tag == 1 && number != 0;
                Some(())
            })?,
            6 => {
                let (mut key, mut value) = (String::new(), String::new());
                each_field(bytes, |tag, _, bytes| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    match tag {
                        1 => key = text,
                        2 => value = text,
                        _ => {}
                    }
                    Some(())
                })?;
                record.attributes.insert(key, value);
            }
            _ => {}
        }
        Some(())
    })?;
    record.ends_line = !partial || last;
    Some(record)
}

/// Hands out a message's fields: their tag, and their number or bytes.
fn each_field<'a>(
    mut message: &'a [u8],
    mut take: impl FnMut(u64, u64, &'a [u8]) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => take(key >> 3, varint(&mut message)?, b"")?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                take(key >> 3, 0, bytes)?;
            }
            kind @ (1 | 5) => message = message.get(if kind == 1 { 8 } else { 4 }..)?,
            _ => return None,
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The offset behind the record that precedes the last `wanted` lines of the first `end` bytes, or `None` when they have fewer; then
/// `wanted` is what is still missing.
pub fn start_in(file: &File, mut end: u64, wanted: &mut u64) -> io::Result<Option<u64>> {
    while let Some((start, record)) = record_before(file, end, |record| record.ends_line)? {
        if record {
            if *wanted == 0 {
                return Ok(Some(end));
            }
            *wanted -= 1;
        }
        end = start;
    }
    Ok(None)
}

/// When the record was written that ends at `end`.
pub fn last_time(file: &File, end: u64) -> io::Result<Option<Timestamp>> {
    let time = record_before(file, end, |record| record.time_ns)?;
    Ok(time.and_then(|(_, nanoseconds)| Timestamp::from_nanosecond(nanoseconds.into()).ok()))
}

/// Where the record begins that ends at `end`, and a fact of it.
fn record_before<T>(
    file: &File,
    end: u64,
    fact: impl FnOnce(&Record<'_>) -> T,
) -> io::Result<Option<(u64, T)>> {
    let mut length = [0; 4];
    let Some(place) = end.checked_sub(4) else { return Ok(None) };
    file.read_exact_at(&mut length, place)?;
    let length = u32::from_be_bytes(length) as usize;
    let Some(start) = end.checked_sub(length as u64 + 8) else { return Ok(None) };
    if length > RECORD_LIMIT {
        return Ok(None);
    }
    let mut record = vec![0; length + 8];
    file.read_exact_at(&mut record, start)?;
    Ok(match first(&record) {
        Framed::Whole(message, _) => parse(message).map(|record| (start, fact(&record))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::files::LogFile;
    use super::super::tail;
    use super::*;

    const PLAIN: &[u8] =
        b"\0\0\0\x17\x0a\x06stdout\x10\xac\x02\x1a\x02hi\x32\x06\x0a\x01k\x12\x01v\0\0\0\x17";
    const BEGUN: &[u8] = b"\0\0\0\x10\x0a\x06stderr\x10\x01\x1a\x02ab\x20\x01\0\0\0\x10";

    #[test]
    fn records_are_read() {
        let Framed::Whole(message, length) = first(PLAIN) else { panic!("a record") };
        let attributes = [("k".to_owned(), "v".to_owned())].into();
        let expected = Record { line: b"hi", stream: 1, time_ns: 300, ends_line: true, attributes };
        assert_eq!((parse(message), length), (Some(expected), PLAIN.len()));
        let Framed::Whole(message, _) = first(BEGUN) else { panic!("a record") };
        let record = parse(message).unwrap();
        assert_eq!((record.stream, record.ends_line, record.line), (2, false, &b"ab"[..]));
        assert_eq!(first(&PLAIN[..PLAIN.len() - 1]), Framed::Begun);
        assert_eq!(first(b"\xff\0\0\0"), Framed::Broken);
        assert_eq!(first(b"\0\0\0\0\0\0\0\x01"), Framed::Broken);
        assert_eq!(parse(b"\x1a\x05ab"), None);
    }

    #[test]
    fn the_last_lines_are_found_over_files_and_parts() {
        let file = |records: &[&[u8]]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&records.concat()).unwrap();
            LogFile::plain(file)
        };
        let files = [file(&[PLAIN, PLAIN]), file(&[BEGUN, PLAIN, PLAIN])];
        let (plain, begun) = (PLAIN.len() as u64, BEGUN.len() as u64);
        for (lines, expected) in [
            (0, (1, begun + 2 * plain)),
            (1, (1, begun + plain)),
            (2, (0, 2 * plain)),
            (3, (0, plain)),
            (4, (0, 0)),
            (9, (0, 0)),
        ] {
            let found = tail::start_of(&files, true, lines, begun + 2 * plain).unwrap();
            assert_eq!(found, expected, "tail {lines}");
        }
    }
}
