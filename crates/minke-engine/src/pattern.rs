//! Patterns of names as Go's `path.Match` reads them: `*` and `?` within one element of a path, `[a-z]`, `[^a]`, `\` before a
//! character that means itself. Pure.

/// A character class, or one character, of a pattern.
enum Piece {
    /// Any run of characters but `/`.
    Star,
    /// Any one character but `/`.
    Any,
    /// One of these, or none of these.
    Class { ranges: Vec<(char, char)>, negated: bool },
    /// This one.
    One(char),
    /// The end.
    End,
}

/// Whether a pattern can be read at all.
pub fn is_valid(pattern: &str) -> bool {
    let mut rest = pattern;
    loop {
        match next(&mut rest) {
            None => return false,
            Some(Piece::End) => return true,
            Some(_) => {}
        }
    }
}

/// Whether `text` as a whole is as `pattern` says; a pattern that can't be read matches nothing.
pub fn matches(text: &str, pattern: &str) -> bool {
    let mut rest = pattern;
    match next(&mut rest) {
        None => false,
        Some(Piece::End) => text.is_empty(),
        Some(Piece::Star) => {
            // Where it may end: anywhere before the next slash.
            let most = text.find('/').unwrap_or(text.len());
            let ends = text.char_indices().map(|(place, _)| place).chain([text.len()]);
            ends.take_while(|end| *end <= most).any(|end| matches(&text[end..], rest))
        }
        Some(piece) => {
            let mut left = text.chars();
            let Some(letter) = left.next() else { return false };
            let fits = match piece {
                Piece::Any => letter != '/',
                Piece::Class { ranges, negated } => {
                    ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != negated
                }
                Piece::One(wanted) => letter == wanted,
                Piece::Star | Piece::End => false,
            };
            fits && matches(left.as_str(), rest)
        }
    }
}

/// Takes the next piece off; `None` where it can't be read.
fn next(rest: &mut &str) -> Option<Piece> {
    let mut letters = rest.chars();
    let piece = match letters.next() {
        None => Piece::End,
        Some('*') => Piece::Star,
        Some('?') => Piece::Any,
        Some('\\') => Piece::One(letters.next()?),
        Some('[') => {
            let negated = letters.as_str().starts_with('^');
            if negated {
                letters.next();
            }
            let mut ranges = Vec::new();
            while ranges.is_empty() || !letters.as_str().starts_with(']') {
                let low = class_letter(&mut letters)?;
                let mut high = low;
                if letters.as_str().starts_with('-') {
                    letters.next();
                    high = class_letter(&mut letters)?;
                }
                ranges.push((low, high));
            }
            letters.next();
            Piece::Class { ranges, negated }
        }
        Some(letter) => Piece::One(letter),
    };
    *rest = letters.as_str();
    Some(piece)
}

fn class_letter(letters: &mut std::str::Chars<'_>) -> Option<char> {
    match letters.next()? {
        '-' | ']' => None,
        '\\' => letters.next(),
        letter => Some(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_s_do() {
        for (text, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "*", true),
            ("abc", "*c", true),
            ("a/b", "*", false),
            ("a/b", "a/*", true),
            ("abxbbxdbxebxczzx", "a*b?c*x", true),
            ("abcbcd", "a*bcd", true),
            ("ab", "a?", true),
            ("a/", "a?", false),
            ("v1", "v[0-9]", true),
            ("vx", "v[^0-9]", true),
            ("v1", "v[^0-9]", false),
            ("a*", "a\\*", true),
            ("ab", "a\\*", false),
            ("é", "?", true),
            ("", "*", true),
            ("", "", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_known() {
        for pattern in ["[", "[]", "[a", "[a-]", "a\\", "[-a]"] {
            assert!(!is_valid(pattern), "{pattern}");
            assert!(!matches("a", pattern), "{pattern}");
        }
        assert!(is_valid("[a-z]*?\\["));
    }
}
