//! Versions of the API and their negotiation.

use std::fmt;
use std::str::FromStr;

use minke_model::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version of the Engine API, ordered as numbers (1.9 is below 1.24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// The part before the dot.
    pub major: u16,
    /// The part after the dot.
    pub minor: u16,
}

impl ApiVersion {
    /// The newest version served, which an unversioned path gets.
    pub const MAX: Self = Self::new(1, 55);
    /// The oldest version served.
    pub const MIN: Self = Self::new(1, 24);

    /// Makes a version from its two numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Gives the version back if it is served, else Docker's refusal.
    pub fn check_served(self) -> Result<Self> {
        if self > Self::MAX {
            return Err(Error::invalid(format!(
                "client version {self} is too new. Maximum supported API version is {}",
                Self::MAX
            )));
        }
        if self < Self::MIN {
            return Err(Error::invalid(format!(
                "client version {self} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
                Self::MIN
            )));
        }
        Ok(self)
    }

    /// The version that a client of `self` speaks with a server of `server`: the lower one.
    pub fn negotiate(self, server: Self) -> Self {
        self.min(server)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self::new(number(major)?, number(minor)?)))
            .ok_or_else(|| Error::invalid(format!("invalid API version {text}")))
    }
}

impl Serialize for ApiVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<ApiVersion>().unwrap().check_served().unwrap_err().to_string()
    }

    #[test]
    fn versions_outside_the_range_are_refused_in_dockers_words() {
        assert_eq!(refusal("1.60"), "client version 1.60 is too new. Maximum supported API version is 1.55");
        assert_eq!(
            refusal("1.12"),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
    }

    #[test]
    fn minor_versions_are_numbers() {
        assert!(ApiVersion::new(1, 9) < ApiVersion::MIN);
        assert!("1.".parse::<ApiVersion>().is_err());
        assert!("1.+5".parse::<ApiVersion>().is_err());
    }
}
