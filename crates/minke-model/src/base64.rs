//! Base64 of RFC 4648, as headers and configuration files of Docker have it.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Renders bytes in the common alphabet, with padding.
pub fn render(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * index)) as usize & 63] as char;
            text.push(if index > group.len() { '=' } else { letter });
        }
    }
    text
}

/// Renders bytes in the alphabet for addresses, with padding.
pub fn render_url(bytes: &[u8]) -> String {
    render(bytes).replace('+', "-").replace('/', "_")
}

/// Reads either alphabet; `None` where a letter is of none. Padding may be missing.
pub fn parse_either(text: &str) -> Option<Vec<u8>> {
    parse(&text.replace('-', "+").replace('_', "/"))
}

/// Reads the common alphabet; `None` where a letter isn't of it. Padding may be missing.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|other| *other == letter)?;
        word = word << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(render(text.as_bytes()), encoded);
            assert_eq!(parse(encoded).unwrap(), text.as_bytes());
        }
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(parse_either(&render_url(&bytes)).unwrap(), bytes);
        assert_eq!(parse(&render(&bytes)).unwrap(), bytes);
        assert!(parse_either("a b").is_none());
        assert_eq!((parse("Z!"), parse("-_8=")), (None, None));
    }
}
