//! Query strings: one reader with Docker's readings of booleans and numbers, one writer for the client.

use std::fmt::Write as _;

use minke_model::{Error, Result};

use crate::Filters;

/// Parameters beyond this many are refused.
pub const MAX_PARAMETERS: usize = 1000;

/// The parameters of a request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A type that can be read from a query string.
pub trait FromQuery: Sized {
    /// Reads the parameters; an error is a `400`.
    fn from_query(query: &Query) -> Result<Self>;
}

/// A type that can be written to a query string.
pub trait ToQuery {
    /// Writes the parameters that differ from their defaults.
    fn to_query(&self, out: &mut QueryWriter);

    /// The whole query string, without the question mark; empty if all is default.
    fn query_string(&self) -> String {
        let mut out = QueryWriter::default();
        self.to_query(&mut out);
        out.finish()
    }
}

impl Query {
    /// Reads a query string (without the question mark).
    pub fn parse(text: &str) -> Result<Self> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(Error::invalid("too many query parameters"));
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((unescape(key, true)?, unescape(value, true)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, empty if missing.
    pub fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    /// All values of a parameter, in order.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.pairs.iter().filter(|(known, _)| known == key).map(|(_, value)| value.clone()).collect()
    }

    /// A boolean: false for a missing or empty value, `0`, `no`, `false` and `none` in any case; else true.
    pub fn flag(&self, key: &str) -> bool {
        let value = self.get(key).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Query::flag`], with a default for a missing parameter.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.get(key).is_some() { self.flag(key) } else { default }
    }

    /// A number; missing, empty and malformed are `None`.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.parse().ok()
    }

    /// A number; a malformed one is refused in the words of Go's parser.
    pub fn strict_number(&self, key: &str) -> Result<Option<i64>> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Error::invalid(number_message(text))),
        }
    }

    /// The parameter `filters`.
    pub fn filters(&self) -> Result<Filters> {
        Filters::parse(self.get("filters").unwrap_or_default())
    }
}

/// What Go's parser says of a number that is none.
pub fn number_message(text: &str) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let reason = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    format!("strconv.Atoi: parsing {text:?}: {reason}")
}

/// Undoes percent-encoding; `plus_is_space` in queries, not in paths. Bytes that are not UTF-8 are replaced.
pub fn unescape(text: &str, plus_is_space: bool) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' if plus_is_space => bytes.push(b' '),
            b'%' => {
                let byte = tail
                    .get(..2)
                    .and_then(|hex| std::str::from_utf8(hex).ok())
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let Some(byte) = byte else {
                    return Err(Error::invalid(format!(
                        "invalid URL escape \"%{}\"",
                        String::from_utf8_lossy(&tail[..tail.len().min(2)])
                    )));
                };
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => bytes.push(first),
        }
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Percent-encodes all but letters, digits and `-_.~`, and slashes where `keep_slash`.
pub fn escape(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b'/' if keep_slash => out.push('/'),
            _ => write!(out, "%{byte:02X}").expect("a string takes all"),
        }
    }
    out
}

/// Writes parameters, leaving out those that are empty.
#[derive(Clone, Debug, Default)]
pub struct QueryWriter {
    text: String,
}

impl QueryWriter {
    /// Writes a parameter as it is, empty or not.
    pub fn pair(&mut self, key: &str, value: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(&escape(key, false));
        self.text.push('=');
        self.text.push_str(&escape(value, false));
        self
    }

    /// Writes a string unless it is empty.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        if value.is_empty() { self } else { self.pair(key, value) }
    }

    /// Writes a true boolean.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        if value { self.pair(key, "1") } else { self }
    }

    /// Writes a number unless it is missing.
    pub fn number(&mut self, key: &str, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.pair(key, &value.to_string()),
            None => self,
        }
    }

    /// Writes a parameter once per value.
    pub fn list(&mut self, key: &str, values: &[String]) -> &mut Self {
        for value in values {
            self.pair(key, value);
        }
        self
    }

    /// Writes the parameter `filters` unless there are none.
    pub fn filters(&mut self, filters: &Filters) -> &mut Self {
        if filters.is_empty() { self } else { self.pair("filters", &filters.render()) }
    }

    /// The query string.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=true&c=True&d=t&e=0&f=False&g=no&h=none&i=&j&k=yes").unwrap();
        let truths: String = "abcdefghijkl".chars().filter(|key| query.flag(&key.to_string())).collect();
        assert_eq!(truths, "abcdk");
    }

    #[test]
    fn escapes_go_both_ways() {
        let mut out = QueryWriter::default();
        out.text("name", "a b/c&d=é%").flag("x", true).number("t", Some(-1)).text("none", "");
        let text = out.finish();
        assert_eq!(text, "name=a%20b%2Fc%26d%3D%C3%A9%25&x=1&t=-1");
        let query = Query::parse(&text).unwrap();
        assert_eq!(query.text("name"), "a b/c&d=é%");
        assert_eq!(query.number("t"), Some(-1));
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert!(Query::parse("a=%zz").is_err());
        assert!(Query::parse("a=%4").is_err());
    }
}
