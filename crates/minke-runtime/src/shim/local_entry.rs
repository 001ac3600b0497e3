//! One record of Docker's `local` log: a protobuf `LogEntry` between two big-endian lengths. Pure.

use alloc::string::String;
use alloc::vec::Vec;

/// Which part of a line that is longer than an entry this is.
pub struct Part<'a> {
    /// The line ends with it.
    pub last: bool,
    /// The same for all parts of the line.
    pub id: &'a str,
    /// Counted from 1.
    pub ordinal: u32,
}

/// Appends a record. The text is in two pieces, without its newline; `attributes` comes from [`attributes`].
pub fn append(
    source: &str,
    time_ns: u64,
    text: [&[u8]; 2],
    part: Option<&Part<'_>>,
    attributes: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    field(1, source.as_bytes(), out);
    number(2, time_ns, out);
    if text.iter().any(|piece| !piece.is_empty()) {
        out.push(3 << 3 | 2);
        varint((text[0].len() + text[1].len()) as u64, out);
        out.extend_from_slice(text[0]);
        out.extend_from_slice(text[1]);
    }
    if let Some(part) = part {
        number(4, 1, out);
        let mut message = Vec::new();
        number(1, u64::from(part.last), &mut message);
        field(2, part.id.as_bytes(), &mut message);
        number(3, u64::from(part.ordinal), &mut message);
        field(5, &message, out);
    }
    out.extend_from_slice(attributes);
    let length = ((out.len() - start - 4) as u32).to_be_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

/// The facts that stand in each record, as it has them.
pub fn attributes(facts: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in facts {
        let mut message = Vec::new();
        field(1, key.as_bytes(), &mut message);
        field(2, value.as_bytes(), &mut message);
        field(6, &message, &mut out);
    }
    out
}

/// How many bytes of `bytes`, which begin with a record, are whole records.
pub fn whole(bytes: &[u8]) -> usize {
    let mut done = 0;
    while let Some(length) = bytes.get(done..done + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if bytes.len() < done + length + 8 {
            break;
        }
        done += length + 8;
    }
    done
}

/// What is empty isn't written, as protobuf has it.
fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        out.push(tag << 3 | 2);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn number(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(tag << 3);
        varint(value, out);
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_docker_s() {
        let facts = attributes(&[("k".into(), "v".into())]);
        let mut out = Vec::new();
        append("stdout", 300, [b"h", b"i"], None, &facts, &mut out);
        let expected = b"\0\0\0\x17\x0a\x06stdout\x10\xac\x02\x1a\x02hi\x32\x06\x0a\x01k\x12\x01v\0\0\0\x17";
        assert_eq!(out, expected);
        let mut out = Vec::new();
        append("stderr", 1, [b"", b""], Some(&Part { last: true, id: "ab", ordinal: 2 }), b"", &mut out);
        let expected =
            b"\0\0\0\x16\x0a\x06stderr\x10\x01\x20\x01\x2a\x08\x08\x01\x12\x02ab\x18\x02\0\0\0\x16";
        assert_eq!(out, expected);
        assert_eq!((whole(expected), whole(&expected[..20]), whole(b"")), (expected.len(), 0, 0));
    }
}
