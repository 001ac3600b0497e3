//! Content digests (`sha256:<hex>`), as image-spec `descriptor.md` "Digests" defines them.
//! Computes nothing: hashing belongs to whoever holds the bytes.

use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// The digest of some content: a registered algorithm and lower-case hex of the right length.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// The algorithms that image-spec registers, with the number of hex digits of each.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

impl Digest {
    /// Reads `algorithm:hex`; refuses unknown algorithms, upper-case digits and wrong lengths.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("invalid digest {text:?}: {why}"));
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| invalid("invalid checksum digest format"))?;
        let digits = ALGORITHMS.iter().find(|(name, _)| *name == algorithm).map(|(_, digits)| *digits);
        let digits = digits.ok_or_else(|| invalid("unsupported digest algorithm"))?;
        if hex.len() != digits {
            return Err(invalid("invalid checksum digest length"));
        }
        if !is_lower_hex(hex) {
            return Err(invalid("invalid checksum digest format"));
        }
        Ok(Self(text.into()))
    }

    /// Makes a sha256 digest from its 32 bytes.
    pub fn sha256(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        debug_assert_eq!(bytes.len(), 32);
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in bytes {
            text.push(DIGITS[usize::from(byte >> 4)] as char);
            text.push(DIGITS[usize::from(byte & 15)] as char);
        }
        Self(text.into())
    }

    /// Makes a sha256 digest from 64 lower-case hex digits.
    pub fn from_hex(hex: &str) -> Result<Self> {
        Self::parse(&format!("sha256:{hex}"))
    }

    /// The whole digest, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The digits without the algorithm.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve digits, as Docker prints IDs.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// Whether `text` is only `0-9a-f`.
pub fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_needs_a_known_algorithm_and_the_right_number_of_lower_case_digits() {
        let good = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(Digest::parse(&good).unwrap().as_str(), good);
        assert_eq!(Digest::parse(&good).unwrap().short(), "a1a1a1a1a1a1");
        for bad in [
            "",
            "sha256",
            "sha256:ab",
            "md5:00",
            &good.to_uppercase(),
            &format!("sha256:{}", "A1".repeat(32)),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_become_lower_case_hex() {
        assert_eq!(Digest::sha256(&[0xab; 32]).hex(), "ab".repeat(32));
    }
}
