//! Small forms of text that lists share: shortened ids, ellipses, quoted commands, times.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use minke_model::duration;

const SHORT_ID_CHARS: usize = 12;

/// The twelve characters that people type, without the algorithm's name.
pub fn short_id(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(SHORT_ID_CHARS).collect()
}

/// Cuts a text to a number of characters, the last of them an ellipsis.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Quotes as Go does: escapes what cannot be printed.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Makes the first letter of each word large.
pub fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let shown = if start { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}

/// Prints unix seconds as Go prints a time: `2026-11-22 08:00:19 +0000 UTC`, in the caller's time zone.
pub fn local_time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map(|time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
        .unwrap_or_default()
}

/// Prints unix seconds by RFC 3339 in the caller's time zone.
pub fn local_rfc3339(seconds: i64) -> String {
    let Ok(time) = Timestamp::from_second(seconds) else { return String::new() };
    let text = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
}

/// Prints unix nanoseconds by RFC 3339 with nine decimals, in the caller's time zone.
pub fn local_rfc3339_nanos(nanos: i64) -> String {
    let Ok(time) = Timestamp::from_nanosecond(i128::from(nanos)) else { return String::new() };
    let text = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
}

/// How long ago unix seconds were: `2 minutes ago`.
pub fn ago(seconds: i64) -> String {
    let length = u64::try_from(Timestamp::now().as_second() - seconds).unwrap_or(0);
    format!("{} ago", duration::render_human(std::time::Duration::from_secs(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(ellipsis("sh -c 'echo \"<&>\" ; sleep", 20), "sh -c 'echo \"<&>\" ;…");
        assert_eq!(ellipsis("short", 20), "short");
    }

    #[test]
    fn commands_are_quoted_as_go_does() {
        assert_eq!(quote("a \"b\"\n\u{1b}é"), "\"a \\\"b\\\"\\n\\x1bé\"");
    }

    #[test]
    fn ids_are_shown_without_their_algorithm() {
        assert_eq!(short_id("sha256:96fa6c56c4808a7903"), "96fa6c56c480");
    }
}
