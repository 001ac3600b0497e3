//! Sizes as people write and read them: `512m` in, `1.23GB` out.
//! Owns the two scales Docker mixes (powers of 1000 to print, of 1024 to parse). Must never round a parsed value up.
//! The words of its errors are those a Docker user sees after a flag's name.

use crate::{Error, Result};

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Prints a number of bytes in powers of 1000 with four significant digits: `1.234MB`.
pub fn render_decimal(bytes: f64) -> String {
    render(bytes, 1000.0, &DECIMAL, 4)
}

/// As [`render_decimal`] with three significant digits, as image lists show it: `1.23MB`.
pub fn render_decimal_short(bytes: f64) -> String {
    render(bytes, 1000.0, &DECIMAL, 3)
}

/// Prints a number of bytes in powers of 1024 with four significant digits: `1.95GiB`.
pub fn render_binary(bytes: f64) -> String {
    render(bytes, 1024.0, &BINARY, 4)
}

fn render(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Prints like C's `%.{digits}g`: significant digits, no trailing zeros, an exponent where the integer part is longer.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{:.*e}", digits - 1, value);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_string()
}

fn trim_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// Reads a size in powers of 1024: a number, then nothing or one of `b k m g t p`, alone or followed by `b` or `ib`,
/// in any case. Fractions of a byte are cut off.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in Docker's words: `invalid size: 'x'`, `invalid suffix: 'xb'`.
pub fn parse_binary(text: &str) -> Result<i64> {
    let invalid_size = || Error::invalid(format!("invalid size: '{text}'"));
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid_size)?;
    let number = if text.as_bytes()[last] == b' ' { &text[..last] } else { &text[..=last] };
    let suffix = text[last + 1..].to_lowercase();
    let value: f64 = parse_float(number)?;
    if value < 0.0 {
        return Err(invalid_size());
    }
    let shift = suffix_shift(&suffix)
        .ok_or_else(|| Error::invalid(format!("invalid suffix: '{}'", &text[last + 1..])))?;
    let bytes = value * (1u64 << shift) as f64;
    if !bytes.is_finite() || bytes >= i64::MAX as f64 {
        return Err(invalid_size());
    }
    Ok(bytes as i64)
}

/// As [`parse_binary`], where `-1` stands for "without limit".
pub fn parse_binary_or_unlimited(text: &str) -> Result<i64> {
    if text == "-1" { Ok(-1) } else { parse_binary(text) }
}

fn parse_float(number: &str) -> Result<f64> {
    let plain = !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let value = if plain { number.parse().ok() } else { None };
    value.ok_or_else(|| Error::invalid(format!("strconv.ParseFloat: parsing {number:?}: invalid syntax")))
}

fn suffix_shift(suffix: &str) -> Option<u32> {
    let unit = match suffix {
        "" | "b" => return Some(0),
        s => s.strip_suffix("ib").or_else(|| s.strip_suffix('b')).unwrap_or(s),
    };
    match unit {
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_sizes_have_four_significant_digits() {
        let cases = [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (1234.0, "1.234kB"),
            (1_238_567.0, "1.239MB"),
            (1e12, "1TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(render_decimal(bytes), text);
        }
    }

    #[test]
    fn image_sizes_have_three_significant_digits() {
        assert_eq!(render_decimal_short(1_992_111.0), "1.99MB");
        assert_eq!(render_decimal_short(123_456_789.0), "123MB");
        assert_eq!(render_decimal_short(999_600.0), "1e+03kB");
    }

    #[test]
    fn binary_sizes_use_powers_of_1024() {
        assert_eq!(render_binary(2_097_152_000.0), "1.953GiB");
        assert_eq!(render_binary(512.0), "512B");
    }

    #[test]
    fn a_size_is_read_in_powers_of_1024_with_any_suffix() {
        let cases = [
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32768),
            ("32Kb", 32768),
            ("32kib", 32768),
            ("1.5g", 1_610_612_736),
            ("0.3 k", 307),
            ("2P", 1 << 51),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_binary(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_bad_size_is_refused_in_dockers_words() {
        let cases = [
            ("x", "invalid size: 'x'"),
            ("", "invalid size: ''"),
            ("-1", "invalid size: '-1'"),
            ("5x", "invalid suffix: 'x'"),
            ("5kbb", "invalid suffix: 'kbb'"),
            ("5kibb", "invalid suffix: 'kibb'"),
            ("1.5.5g", "strconv.ParseFloat: parsing \"1.5.5\": invalid syntax"),
            ("1e30g", "invalid size: '1e30g'"),
        ];
        for (text, message) in cases {
            assert_eq!(parse_binary(text).unwrap_err().message(), message);
        }
    }

    #[test]
    fn minus_one_is_unlimited_where_that_is_allowed() {
        assert_eq!(parse_binary_or_unlimited("-1").unwrap(), -1);
        assert!(parse_binary_or_unlimited("-2").is_err());
    }
}
