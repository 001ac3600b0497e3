//! The commands: the noun picks the folder, the verb picks the file.

pub mod completion;
pub mod container;
pub mod context;
pub mod image;
pub mod manifest;
pub mod network;
pub mod prune;
pub mod registry;
pub mod system;
pub mod volume;

use minke_api::Filters;
use minke_model::Error;

/// Reads one `--filter`: `key=value`; an empty one asks for nothing.
pub fn parse_filter(text: &str) -> Result<(String, String), String> {
    if text.is_empty() {
        return Ok(Default::default());
    }
    let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok((key.trim().to_lowercase(), value.trim().to_string()))
}

/// Collects filters for the API.
pub fn filters(pairs: &[(String, String)]) -> Filters {
    let mut filters = Filters::default();
    for (key, value) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
        filters.add(key, value);
    }
    filters
}

/// Reads a point in time: RFC 3339 in several lengths, unix seconds with decimals, or a duration before now; gives unix
/// seconds with nine decimals, or nothing for an empty text. `flag` is named by the error, unless it is empty.
pub fn parse_time(flag: &str, text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.starts_with('.') {
        return Ok(text.to_string());
    }
    let nanos = match minke_model::duration::parse_nanos(text) {
        Ok(length) => jiff::Timestamp::now().as_nanosecond() - i128::from(length),
        Err(_) => parse_instant(text).ok_or_else(|| {
            let flag = if flag.is_empty() { String::new() } else { format!("invalid value for {flag:?}: ") };
            Error::invalid(format!("{flag}failed to parse value as time or duration: {text:?}"))
        })?,
    };
    Ok(format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000)))
}

fn parse_instant(text: &str) -> Option<i128> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_nanosecond());
    }
    let zone = jiff::tz::TimeZone::system();
    let padded = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_string(),
    };
    let civil: jiff::civil::DateTime = padded.parse().ok()?;
    Some(civil.to_zoned(zone).ok()?.timestamp().as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        assert_eq!(parse_time("since", "").unwrap(), "");
        assert_eq!(parse_time("since", "12.5").unwrap(), "12.5");
        assert_eq!(parse_time("since", "1970-01-02T00:00:00Z").unwrap(), "86400.000000000");
        assert_eq!(parse_time("since", "1970-01-02T00:00:00.5+00:00").unwrap(), "86400.500000000");
        assert!(parse_time("since", "10m").is_ok());
        assert!(parse_time("since", "soon").is_err());
    }

    #[test]
    fn a_filter_needs_a_name_and_a_value() {
        assert_eq!(parse_filter("Name=a=b").unwrap(), ("name".into(), "a=b".into()));
        assert_eq!(parse_filter("foo").unwrap_err(), "bad format of filter (expected name=value)");
    }
}
