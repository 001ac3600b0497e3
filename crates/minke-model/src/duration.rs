//! Lengths of time as people read them ("2 minutes") and as flags take them (`1h30m`). No clock is read here.

use std::time::Duration;

use crate::{Error, Result};

/// Prints a length of time in its largest unit, as `ps` does: `About an hour`, `3 weeks`.
pub fn render_human(length: Duration) -> String {
    let seconds = length.as_secs();
    let minutes = seconds / 60;
    let hours = (length.as_secs_f64() / 3600.0 + 0.5) as u64;
    match (seconds, minutes, hours) {
        (0, _, _) => "Less than a second".into(),
        (1, _, _) => "1 second".into(),
        (s, _, _) if s < 60 => format!("{s} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, m, _) if m < 60 => format!("{m} minutes"),
        (_, _, 1) => "About an hour".into(),
        (_, _, h) if h < 48 => format!("{h} hours"),
        (_, _, h) if h < 24 * 7 * 2 => format!("{} days", h / 24),
        (_, _, h) if h < 24 * 30 * 2 => format!("{} weeks", h / 24 / 7),
        (_, _, h) if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
        (_, _, h) => format!("{} years", h / 24 / 365),
    }
}

/// Reads Go's duration notation: decimal numbers each with a unit of `ns us µs ms s m h`, or a plain `0`.
/// The result is in nanoseconds and may be negative.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`]: `time: invalid duration "x"`, `time: missing unit in duration "5"`,
/// `time: unknown unit "y" in duration "5y"`.
pub fn parse_nanos(text: &str) -> Result<i64> {
    let invalid = || Error::invalid(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    let mut exact: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit_ns = unit_nanos(&rest[..length], text)?;
        rest = &rest[length..];
        total += number * unit_ns as f64;
        if !total.is_finite() || total >= i64::MAX as f64 {
            return Err(invalid());
        }
        exact += (number * unit_ns as f64).round() as i64;
    }
    Ok(if negative { -exact } else { exact })
}

/// Prints a length of time in Go's notation: `1.5s`, `2m0s`, `100ms`.
pub fn render_go(length: Duration) -> String {
    let nanos = length.as_nanos();
    let decimal = |unit: u128| {
        let text = format!("{}.{:0width$}", nanos / unit, nanos % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(1_000_000)),
        _ => {
            let (hours, minutes) = (length.as_secs() / 3600, length.as_secs() / 60 % 60);
            let rest = render_seconds(length.as_secs() % 60, length.subsec_nanos());
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

fn render_seconds(seconds: u64, nanos: u32) -> String {
    match nanos {
        0 => format!("{seconds}s"),
        _ => format!("{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0')),
    }
}

fn unit_nanos(unit: &str, text: &str) -> Result<i64> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(Error::invalid(format!("time: missing unit in duration {text:?}"))),
        other => return Err(Error::invalid(format!("time: unknown unit {other:?} in duration {text:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_named_by_its_largest_unit() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(render_human(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn gos_duration_notation_is_written() {
        for (nanos, expected) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_000_000_000, "1s"),
            (1_050_000_000, "1.05s"),
            (120_000_000_000, "2m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(render_go(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn gos_duration_notation_is_read() {
        let cases = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("2ms3us", 2_003_000),
            ("+.5s", 500_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_nanos(text).unwrap(), nanos, "{text}");
        }
    }

    #[test]
    fn a_bad_duration_names_what_is_wrong() {
        let cases = [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5y", "time: unknown unit \"y\" in duration \"5y\""),
            ("s", "time: invalid duration \"s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ];
        for (text, message) in cases {
            assert_eq!(parse_nanos(text).unwrap_err().message(), message);
        }
    }
}
