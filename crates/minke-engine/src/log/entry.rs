//! One line of a json-file log and how it is shown. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::LogOptions;
use super::local;
use super::plain::{self, Plain};

/// How many bytes of consecutive entries of one stream go into one frame.
const FRAME_LIMIT: usize = 32 * 1024;

/// A line of the file.
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    /// The text, with its newline unless it is a part of a longer line.
    #[serde(borrow)]
    pub log: Cow<'a, str>,
    /// `stdout` or `stderr`.
    #[serde(borrow)]
    pub stream: Cow<'a, str>,
    /// Extra facts, asked for by log options.
    #[serde(default)]
    pub attrs: Option<BTreeMap<String, String>>,
    /// When, RFC 3339.
    pub time: &'a str,
}

/// Whether an entry is shown.
enum Wanted {
    Yes,
    Not,
    /// It isn't, and none after it.
    NothingMore,
}

/// Collects shown entries in frames.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Where the open frame's header starts, and its stream.
    open: Option<(usize, u8)>,
    multiplexed: bool,
}

impl Output {
    /// An empty output; `multiplexed` with Docker's 8-byte headers.
    pub fn new(multiplexed: bool) -> Self {
        Self { bytes: Vec::new(), open: None, multiplexed }
    }

    /// Adds what `options` show of one line of the file; a line that isn't an entry is skipped.
    /// Returns false when the entry lies behind `until`.
    pub fn push(&mut self, line: &[u8], options: &LogOptions) -> bool {
        let (length, open) = (self.bytes.len(), self.open);
        if let Some(Plain { text, stream, time }) = plain::take_apart(line) {
            match self.begin(stream, time, None, options) {
                Wanted::Not => return true,
                Wanted::NothingMore => return false,
                Wanted::Yes if plain::unescape(text, &mut self.bytes) => return true,
                Wanted::Yes => {
                    self.bytes.truncate(length);
                    self.open = open;
                }
            }
        }
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(line) else { return true };
        let stream = if entry.stream == "stderr" { 2 } else { 1 };
        match self.begin(stream, entry.time, entry.attrs.as_ref(), options) {
            Wanted::Yes => self.bytes.extend_from_slice(entry.log.as_bytes()),
            Wanted::Not => {}
            Wanted::NothingMore => return false,
        }
        true
    }

    /// As [`push`](Self::push), of one message of the `local` format.
    pub fn push_local(&mut self, message: &[u8], options: &LogOptions) -> bool {
        let Some(record) = local::parse(message) else { return true };
        let Ok(time) = Timestamp::from_nanosecond(record.time_ns.into()) else { return true };
        match self.begin(record.stream, &time.to_string(), Some(&record.attributes), options) {
            Wanted::Yes => {
                self.bytes.extend_from_slice(record.line);
                if record.ends_line {
                    self.bytes.push(b'\n');
                }
            }
            Wanted::Not => {}
            Wanted::NothingMore => return false,
        }
        true
    }

    /// Writes what stands before an entry's text, if it is wanted.
    fn begin(
        &mut self,
        stream: u8,
        time: &str,
        attrs: Option<&BTreeMap<String, String>>,
        options: &LogOptions,
    ) -> Wanted {
        if !(if stream == 1 { options.stdout } else { options.stderr }) {
            return Wanted::Not;
        }
        if options.since.is_some() || options.until.is_some() {
            let Ok(time) = time.parse::<Timestamp>() else { return Wanted::Not };
            if options.until.is_some_and(|until| time > until) {
                return Wanted::NothingMore;
            }
            if options.since.is_some_and(|since| time < since) {
                return Wanted::Not;
            }
        }
        self.frame(stream, if options.frame_per_line { 0 } else { FRAME_LIMIT });
        if options.timestamps {
            self.bytes.extend_from_slice(fixed_nanoseconds(time).as_bytes());
            self.bytes.push(b' ');
        }
        if options.details {
            let pairs: Vec<String> = attrs
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
                .collect();
            self.bytes.extend_from_slice(pairs.join(",").as_bytes());
            self.bytes.push(b' ');
        }
        Wanted::Yes
    }

    /// Opens a frame of `stream` unless one is open that has less than `limit` bytes.
    fn frame(&mut self, stream: u8, limit: usize) {
        if !self.multiplexed {
            return;
        }
        if let Some((start, open)) = self.open {
            if open == stream && self.bytes.len() - start < limit {
                return;
            }
            self.close();
        }
        self.open = Some((self.bytes.len(), stream));
        self.bytes.extend_from_slice(&[stream, 0, 0, 0, 0, 0, 0, 0]);
    }

    fn close(&mut self) {
        if let Some((start, _)) = self.open.take() {
            let length = (self.bytes.len() - start - 8) as u32;
            self.bytes[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// How many bytes are collected.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is collected.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what is collected, with its last frame closed.
    pub fn take(&mut self) -> Vec<u8> {
        self.close();
        std::mem::take(&mut self.bytes)
    }
}

/// As it stands in a query.
fn escaped(text: &str) -> String {
    minke_api::query::escape(text, false).replace("%20", "+")
}

/// Go's `2006-01-02T15:04:05.000000000Z`: nine digits, where the file has as many as are needed.
fn fixed_nanoseconds(time: &str) -> String {
    let Some(body) = time.strip_suffix('Z') else { return time.to_owned() };
    match body.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<9}Z"),
        None => format!("{body}.000000000Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str], options: &LogOptions, multiplexed: bool) -> Vec<u8> {
        let mut output = Output::new(multiplexed);
        for line in lines {
            output.push(line.as_bytes(), options);
        }
        output.take()
    }

    const A: &str = r#"{"log":"a\n","stream":"stdout","time":"2024-01-02T03:04:05.1Z"}"#;
    const B: &str =
        r#"{"log":"b\n","stream":"stderr","attrs":{"tag":"x","to":"a b/c"},"time":"2024-01-02T03:04:06Z"}"#;

    fn both() -> LogOptions {
        LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
    }

    #[test]
    fn entries_of_one_stream_share_a_frame() {
        assert_eq!(shown(&[A, A, B], &both(), true), b"\x01\0\0\0\0\0\0\x04a\na\n\x02\0\0\0\0\0\0\x02b\n");
        assert_eq!(shown(&[A, B], &both(), false), b"a\nb\n");
        let each = LogOptions { frame_per_line: true, ..both() };
        assert_eq!(shown(&[A, A], &each, true), b"\x01\0\0\0\0\0\0\x02a\n\x01\0\0\0\0\0\0\x02a\n");
    }

    #[test]
    fn timestamps_have_nine_digits_and_details_follow() {
        let options = LogOptions { timestamps: true, details: true, ..both() };
        let expected =
            "2024-01-02T03:04:05.100000000Z  a\n2024-01-02T03:04:06.000000000Z tag=x,to=a+b%2Fc b\n";
        assert_eq!(String::from_utf8(shown(&[A, B], &options, false)).unwrap(), expected);
    }

    #[test]
    fn streams_and_times_are_chosen() {
        let only = LogOptions { stdout: false, ..both() };
        assert_eq!(shown(&[A, B], &only, false), b"b\n");
        let since = LogOptions { since: Some("2024-01-02T03:04:06Z".parse().unwrap()), ..both() };
        assert_eq!(shown(&[A, B], &since, false), b"b\n");
        let until = LogOptions { until: Some("2024-01-02T03:04:05.5Z".parse().unwrap()), ..both() };
        assert_eq!(shown(&[A, B], &until, false), b"a\n");
    }
}
