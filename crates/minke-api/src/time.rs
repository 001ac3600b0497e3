//! Instants as the API writes them: RFC 3339 with up to nine decimals, trailing zeros left out, in UTC.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant; its default is the year 1, which Docker writes where nothing has happened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

/// Seconds from the year 1 to 1970, negated.
const ZERO_SECONDS: i64 = -62_135_596_800;

impl Time {
    /// The instant that stands for "never".
    pub fn zero() -> Self {
        Self(Timestamp::from_second(ZERO_SECONDS).expect("year 1 is within jiff's range"))
    }

    /// Whether this stands for "never".
    pub fn is_zero(&self) -> bool {
        self.0.as_second() == ZERO_SECONDS && self.0.subsec_nanosecond() == 0
    }

    /// The present.
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// The instant this many nanoseconds after 1970; out of range gives [`Time::zero`].
    pub fn from_nanos(nanos: i128) -> Self {
        Timestamp::from_nanosecond(nanos).map_or_else(|_| Self::zero(), Self)
    }

    /// Nanoseconds since 1970.
    pub fn as_nanos(&self) -> i128 {
        self.0.as_nanosecond()
    }

    /// Whole seconds since 1970.
    pub fn as_seconds(&self) -> i64 {
        self.0.as_second()
    }

    /// The instant itself.
    pub fn timestamp(&self) -> Timestamp {
        self.0
    }

    /// Reads RFC 3339; the empty string is [`Time::zero`].
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self::zero()) } else { text.parse().ok().map(Self) }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::zero()
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("parsing time \"{text}\" as RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zeros_are_left_out() {
        for text in [
            "2026-11-22T02:33:41.51929598Z",
            "2026-11-22T02:33:41Z",
            "0001-01-01T00:00:00Z",
            "2026-11-22T02:33:41.5Z",
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn never_is_the_year_one() {
        assert_eq!(Time::default().to_string(), "0001-01-01T00:00:00Z");
        assert!(Time::parse("").unwrap().is_zero());
    }
}
