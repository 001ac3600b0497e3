//! The frames in which an engine mixes output streams on one connection.
//!
//! ```text
//! byte 0     1 2 3   4..8                 8..
//! kind       0 0 0   length, big-endian   payload
//! ```
//! Kinds 0 to 3 are Docker's (stdin, stdout, stderr, system error). An engine of ours that was asked by `Minke-Stream: 1`
//! adds 16 (exit; the code as a big-endian i32), 17 (detached; empty) and, by [`minke_api::run`], 18 (not started; the reason). A frame's payload is passed on in parts as it
//! comes: its length is never trusted with memory.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const HEADER_BYTES: usize = 8;
const BUFFER_BYTES: usize = 64 * 1024;
/// The longest message of kind 3 that is kept.
const MESSAGE_LIMIT_BYTES: usize = 64 * 1024;

/// How a connection's output is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A terminal's bytes as they are.
    Raw,
    /// Docker's frames.
    Multiplexed,
    /// Docker's frames and ours.
    WithExit,
}

/// A piece of a connection's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output, or of a terminal.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The engine failed while it was sending.
    Failed(String),
    /// The process has ended with this code.
    Exit(i32),
    /// The detach keys were typed.
    Detached,
    /// The process could not be started, for this reason.
    NotStarted(String),
}

/// Cuts a stream of bytes into [`Output`].
pub struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
    framing: Framing,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Payload { kind: u8, left: usize },
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads `already_read`, then `source`.
    pub fn new(source: R, already_read: Bytes, framing: Framing) -> Self {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        buffer.extend_from_slice(&already_read);
        Self { source, buffer, framing, state: State::Header }
    }

    /// How the stream is packed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Gives the next piece, or nothing at the stream's end.
    ///
    /// # Errors
    /// The connection failed, ended inside a frame, or sent a frame of an unknown kind.
    pub async fn next(&mut self) -> io::Result<Option<Output>> {
        loop {
            if self.framing == Framing::Raw {
                if !self.buffer.is_empty() {
                    return Ok(Some(Output::Stdout(self.buffer.split().freeze())));
                }
            } else if let Some(output) = self.parse()? {
                return Ok(Some(output));
            }
            self.buffer.reserve(BUFFER_BYTES);
            if self.source.read_buf(&mut self.buffer).await? > 0 {
                continue;
            }
            return match (self.state, self.buffer.is_empty()) {
                (State::Header, true) => Ok(None),
                _ => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the engine's stream ended inside a frame",
                )),
            };
        }
    }

    fn parse(&mut self) -> io::Result<Option<Output>> {
        loop {
            match self.state {
                State::Header => {
                    if self.buffer.len() < HEADER_BYTES {
                        return Ok(None);
                    }
                    let kind = self.buffer[0];
                    self.buffer.advance(4);
                    let left = self.buffer.get_u32() as usize;
                    self.state = State::Payload { kind, left };
                }
                State::Payload { kind: 0..=2, left: 0 } => self.state = State::Header,
                State::Payload { kind: kind @ 0..=2, left } => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let take = left.min(self.buffer.len());
                    let part = self.buffer.split_to(take).freeze();
                    self.state =
                        if take == left { State::Header } else { State::Payload { kind, left: left - take } };
                    return Ok(Some(if kind == 2 { Output::Stderr(part) } else { Output::Stdout(part) }));
                }
                State::Payload { kind, left } => {
                    if left > MESSAGE_LIMIT_BYTES {
                        return Err(invalid(kind));
                    }
                    if self.buffer.len() < left {
                        return Ok(None);
                    }
                    let payload = self.buffer.split_to(left).freeze();
                    self.state = State::Header;
                    return message(kind, &payload).map(Some);
                }
            }
        }
    }
}

fn message(kind: u8, payload: &[u8]) -> io::Result<Output> {
    match (kind, <[u8; 4]>::try_from(payload)) {
        (3, _) => Ok(Output::Failed(String::from_utf8_lossy(payload).into_owned())),
        (16, Ok(code)) => Ok(Output::Exit(i32::from_be_bytes(code))),
        (17, _) => Ok(Output::Detached),
        (18, _) => Ok(Output::NotStarted(String::from_utf8_lossy(payload).into_owned())),
        _ => Err(invalid(kind)),
    }
}

fn invalid(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("Unrecognized input header: {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8], head: usize, framing: Framing) -> io::Result<Vec<Output>> {
        let mut reader = FrameReader::new(&bytes[head..], Bytes::copy_from_slice(&bytes[..head]), framing);
        let mut all = Vec::new();
        while let Some(output) = reader.next().await? {
            all.push(output);
        }
        Ok(all)
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[tokio::test]
    async fn frames_are_told_apart_wherever_the_first_read_ended() {
        let bytes =
            [frame(1, b"out"), frame(2, b"err"), frame(1, b""), frame(16, &137i32.to_be_bytes())].concat();
        for head in 0..bytes.len() {
            let all = read_all(&bytes, head, Framing::WithExit).await.unwrap();
            let mut stdout = Vec::new();
            let mut stderr = Vec::new();
            let mut exit = None;
            for output in all {
                match output {
                    Output::Stdout(part) => stdout.extend(part),
                    Output::Stderr(part) => stderr.extend(part),
                    Output::Exit(code) => exit = Some(code),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((stdout.as_slice(), stderr.as_slice(), exit), (&b"out"[..], &b"err"[..], Some(137)));
        }
    }

    #[tokio::test]
    async fn a_terminals_bytes_pass_unchanged() {
        assert_eq!(
            read_all(b"\x01\x02x", 1, Framing::Raw).await.unwrap(),
            [Output::Stdout(Bytes::from_static(b"\x01")), Output::Stdout(Bytes::from_static(b"\x02x"))]
        );
    }

    #[tokio::test]
    async fn an_end_inside_a_frame_is_an_error() {
        let error = read_all(&frame(1, b"abc")[..10], 0, Framing::Multiplexed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_unknown_kind_or_an_endless_message_is_an_error() {
        assert!(read_all(&frame(9, b"x"), 0, Framing::Multiplexed).await.is_err());
        assert!(read_all(&[3, 0, 0, 0, 255, 255, 255, 255], 0, Framing::Multiplexed).await.is_err());
    }

    #[tokio::test]
    async fn detaching_and_the_engines_failure_are_told() {
        let bytes = [frame(3, b"broken"), frame(17, b"")].concat();
        assert_eq!(
            read_all(&bytes, 0, Framing::WithExit).await.unwrap(),
            [Output::Failed("broken".into()), Output::Detached]
        );
    }
}
