//! The keys that detach a terminal from a container, seen in what is typed. The keys themselves are held back until it is clear
//! that they are not the whole sequence.

use minke_model::{Error, Result};

/// What applies where nothing else is said.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Looks for the sequence in typed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

/// What typed bytes amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Send these.
    Input(Vec<u8>),
    /// Send these, then detach.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`, `a,b`, `ctrl-@`; an empty text is the default.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::InvalidParameter`] `Unknown character: 'foo'`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { DEFAULT } else { text };
        let sequence = text.split(',').map(key).collect::<Result<_>>()?;
        Ok(Self { sequence, matched: 0 })
    }

    /// Passes typed bytes on, but for the sequence.
    pub fn scan(&mut self, bytes: &[u8]) -> Typed {
        let mut input = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte != self.sequence[self.matched] {
                input.extend_from_slice(&self.sequence[..self.matched]);
                self.matched = 0;
                if byte != self.sequence[0] {
                    input.push(byte);
                    continue;
                }
            }
            self.matched += 1;
            if self.matched == self.sequence.len() {
                self.matched = 0;
                return Typed::Detach(input);
            }
        }
        Typed::Input(input)
    }
}

fn key(text: &str) -> Result<u8> {
    let unknown = || Error::invalid(format!("Unknown character: '{text}'"));
    match (text.as_bytes(), text.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([single], _) => Ok(*single),
        (_, Some([letter @ b'a'..=b'z'])) => Ok(letter - b'a' + 1),
        (_, Some([b'@'])) => Ok(0),
        (_, Some([sign @ b'['..=b'_'])) => Ok(sign - b'[' + 27),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_held_back_and_detaches() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.scan(b"ab\x10"), Typed::Input(b"ab".to_vec()));
        assert_eq!(keys.scan(b"\x11more"), Typed::Detach(vec![]));
    }

    #[test]
    fn a_broken_sequence_is_sent_after_all() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.scan(b"\x10x\x10\x10"), Typed::Input(b"\x10x\x10".to_vec()));
        assert_eq!(keys.scan(b"\x11"), Typed::Detach(vec![]));
    }

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        assert_eq!(DetachKeys::parse("a,ctrl-@,ctrl-[,ctrl-_").unwrap().sequence, [b'a', 0, 27, 31]);
        assert_eq!(DetachKeys::parse("foo").unwrap_err().message(), "Unknown character: 'foo'");
    }
}
