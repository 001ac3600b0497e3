//! A line of a log in exactly the form in which a shim writes it, read without looking at each byte more than once. Whatever looks
//! otherwise is for the full parser (`entry.rs`). Pure.

const HEAD: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b"\",\"stream\":\"stdout\"";
const STDERR: &[u8] = b"\",\"stream\":\"stderr\"";
const TIME: &[u8] = b",\"time\":\"";
const END: &[u8] = b"\"}";
/// The longest time that is written: nine digits after the seconds.
const TIME_BYTES: usize = 30;

/// A line without extra facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The text, still escaped.
    pub text: &'a [u8],
    /// 1 for standard output, 2 for standard error.
    pub stream: u8,
    /// When, RFC 3339.
    pub time: &'a str,
}

/// Takes a line apart, without its newline.
pub fn take_apart(line: &[u8]) -> Option<Plain<'_>> {
    let line = line.strip_prefix(HEAD)?.strip_suffix(END)?;
    let digits = line.iter().rev().take(TIME_BYTES + 1).position(|byte| *byte == b'"')?;
    let (before, time) = line.split_at(line.len() - digits);
    let time = std::str::from_utf8(time).ok()?;
    let before = before.strip_suffix(TIME)?;
    match before.strip_suffix(STDOUT) {
        Some(text) => Some(Plain { text, stream: 1, time }),
        None => before.strip_suffix(STDERR).map(|text| Plain { text, stream: 2, time }),
    }
}

/// Appends what an escaped text stands for; false, and something of it appended, where it isn't the inside of a JSON string.
pub fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> bool {
    while let Some(place) = memchr::memchr2(b'"', b'\\', text) {
        out.extend_from_slice(&text[..place]);
        let (length, character) = match text[place..] {
            [b'\\', b'n', ..] => (2, '\n'),
            [b'\\', b'"', ..] => (2, '"'),
            [b'\\', b'\\', ..] => (2, '\\'),
            [b'\\', b'r', ..] => (2, '\r'),
            [b'\\', b't', ..] => (2, '\t'),
            [b'\\', b'u', a, b, c, d, ..] => match of_digits([a, b, c, d]) {
                Some(character) => (6, character),
                None => return false,
            },
            _ => return false,
        };
        match character.is_ascii() {
            true => out.push(character as u8),
            false => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        text = &text[place + length..];
    }
    out.extend_from_slice(text);
    true
}

/// The character with this number; `None` for half a character.
fn of_digits(digits: [u8; 4]) -> Option<char> {
    let number =
        digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?));
    number.and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_s_line_is_taken_apart_and_others_are_not() {
        let line = br#"{"log":"a\n","stream":"stderr","time":"2024-01-02T03:04:05.123456789Z"}"#;
        let expected = Plain { text: br"a\n", stream: 2, time: "2024-01-02T03:04:05.123456789Z" };
        assert_eq!(take_apart(line), Some(expected));
        for other in [
            &br#"{"log":"a","stream":"stdout","attrs":{"t":"x"},"time":"2024-01-02T03:04:05Z"}"#[..],
            br#"{"log":"a","stream":"other","time":"2024-01-02T03:04:05Z"}"#,
            br#"{"stream":"stdout","log":"a","time":"2024-01-02T03:04:05Z"}"#,
            br#"{"log":"a","stream":"stdout"}"#,
            b"",
            b"\"}",
            b"{\"log\":\"\"}",
        ] {
            assert_eq!(take_apart(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_text_is_unescaped_as_the_full_parser_does_it_or_not_at_all() {
        let texts: [&[u8]; 12] = [
            b"",
            br"plain\n",
            br#"\"\\\t\r\u0000\u001b\u003c\u003e\u0026\u2028\ufffd"#,
            "gr\u{fc}n \u{1f600}".as_bytes(),
            br"\ud83d\ude00",
            br"\b\f\/",
            br"end\",
            br"\x",
            br"\u12",
            br"\u12g4",
            br#"a"b"#,
            br"\\\n",
        ];
        for text in texts {
            let mut ours = Vec::new();
            let understood = unescape(text, &mut ours);
            let json = [b"\"", text, b"\""].concat();
            let theirs = serde_json::from_slice::<String>(&json);
            if understood {
                assert_eq!(ours, theirs.unwrap().as_bytes());
            } else {
                assert!(theirs.is_err() || text.contains(&b'd') || text.contains(&b'b'), "{text:?}");
            }
        }
    }

    /// What a real dockerd 20.10 has logged, and what its own client shows of it.
    #[test]
    fn the_lines_of_a_real_dockerd_are_understood() {
        let log = include_bytes!("../../../minke-runtime/src/shim/vectors/dockerd-20.10-json.log");
        let mut count = 0;
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line =
                String::from_utf8(line.to_vec()).unwrap().replace("\"T\"}", "\"2024-01-02T03:04:05Z\"}");
            let plain = take_apart(line.as_bytes()).expect("a line");
            let mut ours = Vec::new();
            assert!(unescape(plain.text, &mut ours), "{line}");
            let theirs: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(ours, theirs["log"].as_str().unwrap().as_bytes());
            count += 1;
        }
        assert!(count > 0);
    }
}
