//! One line of Docker's json-file log, byte for byte as dockerd's own encoder writes it. Pure.

use alloc::vec::Vec;

/// Appends `text` as the inside of a JSON string: control characters, quotes, `<`, `>`, `&` and the two line separators escaped,
/// each invalid byte replaced.
pub fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while !text.is_empty() {
        let plain = plain_run(text);
        out.extend_from_slice(&text[..plain]);
        text = &text[plain..];
        let Some(&byte) = text.first() else { return };
        text = &text[if byte < 0x80 { escape_ascii(byte, out) } else { escape_wide(text, out) }..];
    }
}

/// The same for a text that is in two pieces.
pub fn escape_joined(first: &[u8], second: &[u8], out: &mut Vec<u8>) {
    if first.is_empty() {
        return escape(second, out);
    }
    // A character may be cut between the two.
    let joined = [first, second].concat();
    escape(&joined, out);
}

/// The number of bytes at the beginning that stand for themselves; stops short of a long character that does.
pub fn plain_run(text: &[u8]) -> usize {
    let done = minke_sys::scan::plain_json(text);
    let rest = &text[done..];
    done + rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn escape_ascii(byte: u8, out: &mut Vec<u8>) -> usize {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => out.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ]),
    }
    1
}

/// One character beyond ASCII, or one invalid byte; returns its length.
fn escape_wide(text: &[u8], out: &mut Vec<u8>) -> usize {
    let length = character_length(text);
    match text.get(..length) {
        Some([0xe2, 0x80, last @ (0xa8 | 0xa9)]) => {
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(last & 15)]);
        }
        Some(character) if length > 1 => out.extend_from_slice(character),
        _ => out.extend_from_slice(b"\\ufffd"),
    }
    length
}

/// The length of the UTF-8 character at the beginning, or 1 if there is none.
fn character_length(text: &[u8]) -> usize {
    let wanted = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 1,
    };
    match text.get(..wanted) {
        Some(character) if core::str::from_utf8(character).is_ok() => wanted,
        _ => 1,
    }
}

/// Appends a time as Go's RFC3339Nano in UTC: no zeros at the fraction's end, no fraction if it is zero.
pub fn render_time(ns_since_1970: u64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (ns_since_1970 / 1_000_000_000, (ns_since_1970 % 1_000_000_000) as u32);
    let (days, of_day) = (seconds / 86_400, (seconds % 86_400) as u32);
    let (year, month, day) = civil(days);
    digits(year, 4, out);
    for (mark, number) in
        [(b'-', month), (b'-', day), (b'T', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
    {
        out.push(mark);
        digits(number, 2, out);
    }
    if fraction > 0 {
        out.push(b'.');
        digits(fraction, 9, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

fn digits(number: u32, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b'0' + (number / 10u32.pow(place) % 10) as u8);
    }
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u32, u32, u32) {
    // Counted from 1 March of the year 0, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

/// What follows a line's text: everything from the closing quote on. `attributes` is a JSON object.
pub fn tail(stream: &str, attributes: Option<&str>, time_ns: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    out.push(b'"');
    if let Some(attributes) = attributes {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attributes.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    render_time(time_ns, &mut out);
    out.extend_from_slice(b"\"}\n");
    out
}

/// What stands before a line's text.
pub const HEAD: &[u8] = b"{\"log\":\"";

/// A line's own end in the text.
pub const NEWLINE: &[u8] = b"\\n";

/// The longest that a line of `length` bytes can become, without its tail.
pub const fn bound(length: usize) -> usize {
    HEAD.len() + 6 * length + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expected: &str) {
        let mut out = Vec::new();
        escape(text, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    fn check_time(ns: u64, expected: &str) {
        let mut out = Vec::new();
        render_time(ns, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn html_characters_and_controls_are_escaped_as_go_does() {
        check(b"a<b>&\"\\\t\r\n\x01\x7f", "a\\u003cb\\u003e\\u0026\\\"\\\\\\u0009\\r\\n\\u0001\x7f");
    }

    #[test]
    fn valid_utf8_passes_and_each_invalid_byte_is_replaced() {
        check("gr\u{fc}n \u{1f600} \u{2028}\u{2029}".as_bytes(), "gr\u{fc}n \u{1f600} \\u2028\\u2029");
        check(b"\xff\xc3(\xe2\x82", "\\ufffd\\ufffd(\\ufffd\\ufffd");
        check(b"\xed\xa0\x80\xc0\xaf", "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd");
    }

    #[test]
    fn special_bytes_are_found_at_every_place_of_a_word() {
        for special in 0..=255u8 {
            for place in 0..40 {
                let mut text = [b'~'; 40];
                text[place] = special;
                let expected = if is_plain(special) { 40 } else { place };
                assert_eq!(plain_run(&text), expected, "byte {special} at {place}");
            }
        }
    }

    #[test]
    fn times_are_rfc3339_without_trailing_zeros() {
        check_time(0, "1970-01-01T00:00:00Z");
        check_time(1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z");
        check_time(951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z");
        check_time(4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z");
    }
}
