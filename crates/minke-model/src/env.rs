//! Environment variables as flags and files give them. Owns the rules of `--env` and of the line-delimited files behind
//! `--env-file` and `--label-file`; reads neither files nor the process's own environment, which the caller passes in.

use crate::{Error, Result};

/// The longest file that is read, in bytes.
pub const FILE_LIMIT_BYTES: usize = 16 << 20;

const LINE_LIMIT_BYTES: usize = 64 * 1024;

/// Reads one `--env` value: `NAME=value` as it stands, `NAME` alone with the value that `lookup` knows, or left out of
/// the result's value where it knows none (which unsets the variable of the image).
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] `invalid environment variable: =x` where the name is missing.
pub fn parse_variable(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(Error::invalid(format!("invalid environment variable: {text}")));
    }
    Ok(match (value, lookup(name)) {
        (None, Some(found)) => format!("{name}={found}"),
        _ => text.to_string(),
    })
}

/// Reads the lines of an environment or label file: `NAME=value` as it stands (no quotes are processed), `NAME` alone
/// with what `lookup` knows and otherwise skipped; empty lines and those that start with `#` are skipped too.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in Docker's words, without the file's name: see [`file_error`].
pub fn parse_file(content: &[u8], lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    if content.len() > FILE_LIMIT_BYTES {
        return Err(Error::invalid(format!("file is larger than {} MiB", FILE_LIMIT_BYTES >> 20)));
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut found = Vec::new();
    for (index, raw) in content.split(|byte| *byte == b'\n').enumerate() {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if raw.len() > LINE_LIMIT_BYTES {
            return Err(Error::invalid("bufio.Scanner: token too long"));
        }
        let line = std::str::from_utf8(raw).map_err(|_| {
            let bytes: Vec<String> = raw.iter().map(u8::to_string).collect();
            Error::invalid(format!("invalid utf8 bytes at line {}: [{}]", index + 1, bytes.join(" ")))
        })?;
        found.extend(parse_line(line.trim_start(), &lookup)?);
    }
    Ok(found)
}

fn parse_line(line: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, has_value) = match line.split_once('=') {
        Some((name, _)) => (name, true),
        None => (line, false),
    };
    if name.is_empty() {
        return Err(Error::invalid(format!("no variable name on line '{line}'")));
    }
    if name.contains(char::is_whitespace) {
        return Err(Error::invalid(format!("variable '{name}' contains whitespaces")));
    }
    if has_value {
        return Ok(Some(line.to_string()));
    }
    Ok(lookup(name).map(|value| format!("{name}={value}")))
}

/// Names the file in an error of [`parse_file`]: `invalid env file (x): …`.
pub fn file_error(path: &str, error: &Error) -> Error {
    Error::invalid(format!("invalid env file ({path}): {error}"))
}

/// Splits `name=value` into a label; a name alone has an empty value.
pub fn split_label(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_string())
    }

    #[test]
    fn a_name_alone_takes_the_callers_value() {
        assert_eq!(parse_variable("HOME", lookup).unwrap(), "HOME=/root");
        assert_eq!(parse_variable("NONE", lookup).unwrap(), "NONE");
        assert_eq!(parse_variable("A=b=c", lookup).unwrap(), "A=b=c");
        assert_eq!(parse_variable("HOME=", lookup).unwrap(), "HOME=");
        assert_eq!(parse_variable("=x", lookup).unwrap_err().message(), "invalid environment variable: =x");
    }

    #[test]
    fn a_file_gives_its_lines_without_comments_and_unknown_names() {
        let file = b"\xef\xbb\xbfA=1\n  B=2 \r\n# no\n\nHOME\nNONE\n\tE=\"x y\"";
        assert_eq!(parse_file(file, lookup).unwrap(), ["A=1", "B=2 ", "HOME=/root", "E=\"x y\""]);
    }

    #[test]
    fn a_bad_line_is_refused_in_dockers_words() {
        let cases: [(&[u8], &str); 4] = [
            (b"=x", "no variable name on line '=x'"),
            (b"B = 1", "variable 'B ' contains whitespaces"),
            (b"C D", "variable 'C D' contains whitespaces"),
            (b"A\xff", "invalid utf8 bytes at line 1: [65 255]"),
        ];
        for (file, message) in cases {
            assert_eq!(parse_file(file, lookup).unwrap_err().message(), message);
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        assert!(parse_file(&vec![b'a'; LINE_LIMIT_BYTES + 1], lookup).is_err());
    }
}
