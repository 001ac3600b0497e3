//! Points in time as the shim and the API write them.

use jiff::Timestamp;
use minke_model::{Error, Result};

/// The moment so many nanoseconds after 1970 began.
pub fn from_nanoseconds(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::MAX)
}

/// Go's RFC3339Nano in UTC: as many digits of a second as are needed.
pub fn rfc3339_nano(time: Timestamp) -> String {
    time.to_string()
}

/// Reads a time of a query: seconds since 1970 with decimals, or RFC 3339; nothing and 0 mean no time.
///
/// # Errors
/// Go's words for what is neither.
pub fn parse_query_time(text: &str) -> Result<Option<Timestamp>> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if let (Ok(seconds), true) = (seconds.parse::<i64>(), decimals.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let nanoseconds: i32 = format!("{decimals:0<9}")[..9].parse().unwrap_or(0);
        return Ok(Timestamp::new(seconds, nanoseconds).ok().filter(|time| *time != Timestamp::UNIX_EPOCH));
    }
    let bad = || Error::invalid(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
    text.parse().map(Some).map_err(|_| bad())
}

/// Reads the time of a filter: as [`parse_query_time`], a length of time before now, or a date with or without a time of day, which
/// is the host's.
///
/// # Errors
/// Docker's words for what is none of these.
pub fn parse_moment(text: &str) -> Result<Timestamp> {
    if let Ok(Some(time)) = parse_query_time(text) {
        return Ok(time);
    }
    let bad = || Error::invalid(format!("failed to parse value as time or duration: {text:?}"));
    if let Ok(length) = minke_model::duration::parse_nanos(text) {
        let time = Timestamp::now().as_nanosecond() - i128::from(length);
        return Timestamp::from_nanosecond(time).map_err(|_| bad());
    }
    let padded = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let civil: jiff::civil::DateTime = padded.parse().map_err(|_| bad())?;
    civil.to_zoned(jiff::tz::TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_queries_are_read() {
        for (text, expected) in [
            ("", None),
            ("0", None),
            ("1", Some("1970-01-01T00:00:01Z")),
            ("1.5", Some("1970-01-01T00:00:01.5Z")),
            ("1.000000002", Some("1970-01-01T00:00:01.000000002Z")),
            ("1970-01-01T00:00:03Z", Some("1970-01-01T00:00:03Z")),
        ] {
            let time = parse_query_time(text).unwrap().map(rfc3339_nano);
            assert_eq!(time.as_deref(), expected, "{text}");
        }
        assert!(parse_query_time("soon").is_err());
    }

    #[test]
    fn moments_of_filters_are_read() {
        let now = Timestamp::now();
        let hour_ago = parse_moment("1h").unwrap();
        assert!((3500..3700).contains(&now.duration_since(hour_ago).as_secs()));
        assert_eq!(parse_moment("1.5").unwrap().to_string(), "1970-01-01T00:00:01.5Z");
        assert!(parse_moment("2026-01-02").unwrap() < parse_moment("2026-01-02T15:04").unwrap());
        assert!(parse_moment("soon").is_err());
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000_000, "1970-01-01T00:00:01.5Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(rfc3339_nano(from_nanoseconds(nanoseconds)), expected);
        }
    }
}
