//! Words of an instruction: quoted, paired by `=`, with variables (Dockerfile reference, "Environment
//! replacement"). Pure.

use minke_model::{Error, Result};

/// A name and a value; both may hold quotes and variables until they are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub name: String,
    pub value: String,
}

/// `name=value …`, or the old form `name the rest`.
pub(super) fn split_pairs(keyword: &str, rest: &str) -> Result<Vec<Pair>> {
    let words = split_words(rest);
    let first = words.first().map_or("", String::as_str);
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{keyword} must have two arguments")))?;
        // The old form takes the rest of the line as it is, quotes included.
        return Ok(vec![Pair { name: name.to_owned(), value: value.trim_start().to_owned() }]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            Error::invalid(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))
        })?;
        match name.is_empty() {
            true => Err(Error::invalid(format!("{keyword} names can not be blank"))),
            false => Ok(Pair { name: name.to_owned(), value: value.to_owned() }),
        }
    };
    words.into_iter().map(pair).collect()
}

/// Splits at blanks outside quotes; quotes and backslashes stay in the words.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Removes quotes and replaces `$name`, `${name}`, `${name:-default}` and `${name:+other}` by `NAME=value` lines.
pub(super) fn expand(text: &str, env: &Option<Vec<String>>) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => out.extend(chars.next()),
            ('\\', Some('"')) => match chars.next() {
                Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                escaped => {
                    out.push('\\');
                    out.extend(escaped);
                }
            },
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('$', None | Some('"')) => match chars.peek() {
                Some('{') => {
                    chars.next();
                    let inner: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    out.push_str(&braced(&inner, env));
                }
                Some(next) if next.is_ascii_alphabetic() || *next == '_' => {
                    let mut name = String::new();
                    while let Some(next) = chars.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                    {
                        name.push(next);
                    }
                    out.push_str(lookup(&name, env).unwrap_or_default());
                }
                _ => out.push('$'),
            },
            _ => out.push(c),
        }
    }
    out
}

fn braced(inner: &str, env: &Option<Vec<String>>) -> String {
    if let Some((name, default)) = inner.split_once(":-") {
        let value = lookup(name, env).filter(|value| !value.is_empty());
        return value.map_or_else(|| expand(default, env), str::to_owned);
    }
    if let Some((name, other)) = inner.split_once(":+") {
        let set = lookup(name, env).is_some_and(|value| !value.is_empty());
        return if set { expand(other, env) } else { String::new() };
    }
    lookup(inner, env).unwrap_or_default().to_owned()
}

fn lookup<'e>(name: &str, env: &'e Option<Vec<String>>) -> Option<&'e str> {
    let lines = env.as_deref().unwrap_or_default();
    lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_end_with_the_word_and_variables_with_their_name() {
        let env = Some(vec!["A=1".to_owned(), "E=".to_owned()]);
        for (text, expected) in [
            ("$A", "1"),
            ("${A}x", "1x"),
            ("'$A'", "$A"),
            ("\"$A b\"", "1 b"),
            ("\\$A", "$A"),
            ("${E:-d}", "d"),
            ("${A:+o}", "o"),
            ("${N:+o}", ""),
            ("a$", "a$"),
            ("\"a\\nb\"", "a\\nb"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }
}
