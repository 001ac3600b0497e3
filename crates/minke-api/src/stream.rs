//! What flows in long answers: the frames of attached streams and logs, and the messages of progress.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use serde::{Deserialize, Serialize};

use crate::omit::zero;

/// The content type of an unframed stream.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// The content type of a framed stream, said since version 1.42.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// The header by which our own client asks for [`Frame::Exit`] and [`Frame::Detached`], and by which it is granted.
pub const MINKE_STREAM_HEADER: &str = "minke-stream";
/// The length of a frame's header: kind, three zeros, payload length as big-endian `u32`.
pub const FRAME_HEADER_LEN: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// A failure of the engine itself.
    SystemError = 3,
    /// The exit code as big-endian `i32`; only where our own client asked for it.
    Exit = 16,
    /// The client has typed the detach keys; only where our own client asked for it.
    Detached = 17,
    /// What was made could not be started; the payload says why. Only by [`crate::run`].
    NotStarted = 18,
}

impl Frame {
    /// The kind behind a header's first byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::SystemError,
            16 => Self::Exit,
            17 => Self::Detached,
            18 => Self::NotStarted,
            _ => return None,
        })
    }

    /// The header of a frame of `len` payload bytes.
    pub fn header(self, len: u32) -> [u8; FRAME_HEADER_LEN] {
        let [a, b, c, d] = len.to_be_bytes();
        [self as u8, 0, 0, 0, a, b, c, d]
    }
}

/// One message of load, import, pull, push or build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressMessage {
    #[serde(skip_serializing_if = "zero")]
    pub stream: String,
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The bar as text.
    #[serde(skip_serializing_if = "zero")]
    pub progress: String,
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

impl ProgressMessage {
    /// A plain line of status.
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    /// The state of the thing `id`; with how far it is, where that is measured.
    pub fn of(id: &str, status: &str, detail: ProgressDetail) -> Self {
        // What a client without a terminal of its own would show.
        let progress = detail.render(200);
        Self { id: id.to_owned(), progress_detail: Some(detail), progress, ..Self::status(status) }
    }

    /// A piece of output text.
    pub fn stream(stream: impl Into<String>) -> Self {
        Self { stream: stream.into(), ..Self::default() }
    }

    /// A failure after the answer has begun.
    pub fn failure(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error_detail: Some(ErrorDetail { code: 0, message: message.clone() }),
            error: message,
            ..Self::default()
        }
    }

    /// The message as it goes over the wire, with its line ending.
    pub fn render(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("the message has string keys only");
        line.extend_from_slice(b"\r\n");
        line
    }
}

/// How far something has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "zero")]
    pub current: i64,
    #[serde(skip_serializing_if = "zero")]
    pub total: i64,
    #[serde(skip_serializing_if = "zero")]
    pub units: String,
}

impl ProgressDetail {
    /// Nothing measured: the state of a layer that has none.
    pub const NONE: Self = Self { current: 0, total: 0, units: String::new() };

    /// The bar as Docker draws it for a terminal of so many columns: `[==>   ]  1.2MB/3MB`, without the bar where it is narrow.
    pub fn render(&self, columns: u32) -> String {
        if self.current <= 0 && self.total <= 0 {
            return String::new();
        }
        let size = |bytes: i64| match self.units.as_str() {
            "" => minke_model::size::render_decimal(bytes as f64),
            units => format!("{bytes} {units}"),
        };
        let current = size(self.current);
        if self.total <= 0 {
            return format!("{current:>8}");
        }
        let half = (self.current.saturating_mul(100) / self.total / 2).clamp(0, 50) as usize;
        let bar = match columns > 110 {
            true => format!("[{}>{}] ", "=".repeat(half), " ".repeat(50 - half)),
            false => String::new(),
        };
        match self.current > self.total {
            true => format!("{bar}{current:>8}"),
            false => format!("{bar}{current:>8}/{}", size(self.total)),
        }
    }
}

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "zero")]
    pub code: i64,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_drawn_as_docker_draws_it() {
        let bar =
            |current, total, columns| ProgressDetail { current, total, units: String::new() }.render(columns);
        assert_eq!(bar(0, 0, 200), "");
        assert_eq!(bar(500, 1000, 80), "    500B/1kB");
        assert_eq!(bar(500, 1000, 200), format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25)));
        assert_eq!(bar(1000, 1000, 200), format!("[{}>]      1kB/1kB", "=".repeat(50)));
        assert_eq!(bar(1500, 0, 200), "   1.5kB");
        assert_eq!(bar(2000, 1000, 80), "     2kB");
    }

    #[test]
    fn a_state_without_a_measure_has_an_empty_detail() {
        let line = ProgressMessage::of("abc", "Pulling fs layer", ProgressDetail::NONE).render();
        assert_eq!(line, b"{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"abc\"}\r\n");
    }
}
