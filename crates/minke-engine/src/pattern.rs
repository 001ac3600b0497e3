//! Patterns of names as Go's `path.Match` reads them: `*` and `?` within one element of a path, `[a-z]`, `[^a]`, `\` before a
//! character that means itself. Pure.

/// One piece of a pattern.
enum Piece {
    /// Any run of characters but `/`.
    Star,
    /// Any one character but `/`.
    Any,
    /// One of these, or none of these.
    Class { ranges: Vec<(char, char)>, negated: bool },
    /// This one.
    One(char),
}

impl Piece {
    /// Whether it may stand for this character.
    fn fits(&self, letter: char) -> bool {
        match self {
            Self::Star | Self::Any => letter != '/',
            Self::Class { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated
            }
            Self::One(wanted) => letter == *wanted,
        }
    }
}

/// Whether a pattern can be read at all.
pub fn is_valid(pattern: &str) -> bool {
    parse(pattern).is_some()
}

/// Whether `text` as a whole is as `pattern` says; a pattern that can't be read matches nothing. Patterns come from clients: the
/// steps are the product of both lengths at most.
pub fn matches(text: &str, pattern: &str) -> bool {
    let Some(pieces) = parse(pattern) else { return false };
    let letters: Vec<char> = text.chars().collect();
    // How many characters the pieces so far may stand for.
    let mut reached = vec![false; letters.len() + 1];
    reached[0] = true;
    for piece in &pieces {
        if !matches!(piece, Piece::Star) {
            reached.rotate_right(1);
            reached[0] = false;
        }
        for (place, letter) in letters.iter().enumerate() {
            reached[place + 1] = match piece {
                Piece::Star => reached[place + 1] || (reached[place] && piece.fits(*letter)),
                _ => reached[place + 1] && piece.fits(*letter),
            };
        }
    }
    reached[letters.len()]
}

/// Reads a pattern; `None` where it can't be read.
fn parse(pattern: &str) -> Option<Vec<Piece>> {
    let mut letters = pattern.chars();
    let mut pieces = Vec::new();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '*' => Piece::Star,
            '?' => Piece::Any,
            '\\' => Piece::One(letters.next()?),
            '[' => parse_class(&mut letters)?,
            letter => Piece::One(letter),
        });
    }
    Some(pieces)
}

/// Reads a class whose bracket has been read.
fn parse_class(letters: &mut std::str::Chars<'_>) -> Option<Piece> {
    let negated = letters.as_str().starts_with('^');
    if negated {
        letters.next();
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || !letters.as_str().starts_with(']') {
        let low = class_letter(letters)?;
        let mut high = low;
        if letters.as_str().starts_with('-') {
            letters.next();
            high = class_letter(letters)?;
        }
        ranges.push((low, high));
    }
    letters.next();
    Some(Piece::Class { ranges, negated })
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

    #[test]
    fn many_stars_cost_the_product_of_both_lengths_and_no_stack() {
        let text = "a".repeat(100);
        assert!(!matches(&text, &("*a".repeat(50) + "*b")));
        assert!(matches(&text, &"*".repeat(100_000)));
    }
}
