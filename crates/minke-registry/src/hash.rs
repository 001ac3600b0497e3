//! Digests of what passes by, in the algorithms that image-spec registers.

use minke_model::Digest;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A digest in the making.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// Makes one of the algorithm of `digest`.
    pub(crate) fn of(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self::Sha512(Sha512::new()),
            "sha384" => Self::Sha384(Sha384::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    /// Makes one of sha256.
    pub(crate) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// The sha256 digest of some bytes.
    pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
        Digest::sha256(&Sha256::digest(bytes))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all so far.
    pub(crate) fn digest(&self) -> Digest {
        let (name, bytes) = match self {
            Self::Sha256(hasher) => return Digest::sha256(&hasher.clone().finalize()),
            Self::Sha384(hasher) => ("sha384", hasher.clone().finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.clone().finalize().to_vec()),
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest::parse(&format!("{name}:{hex}")).expect("a hash has the right length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_gives_its_own_digest() {
        for name in ["sha256", "sha384", "sha512"] {
            let digits = match name {
                "sha256" => 64,
                "sha384" => 96,
                _ => 128,
            };
            let wanted = Digest::parse(&format!("{name}:{}", "0".repeat(digits))).unwrap();
            assert_eq!(Hasher::of(&wanted).digest().algorithm(), name);
        }
        assert_eq!(Hasher::digest_of(b"").short(), "e3b0c44298fc");
    }
}
