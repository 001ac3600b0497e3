//! Points in time as the shim and the API write them.

use jiff::Timestamp;

/// The moment so many nanoseconds after 1970 began.
pub fn from_nanoseconds(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::MAX)
}

/// Go's RFC3339Nano in UTC: as many digits of a second as are needed.
pub fn rfc3339_nano(time: Timestamp) -> String {
    time.to_string()
}

/// As [`rfc3339_nano`]; for no time, Go's zero time.
pub fn or_zero(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339_nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (nanoseconds, expected) in
            [(0, "1970-01-01T00:00:00Z"), (1_500_000_000, "1970-01-01T00:00:01.5Z"), (1, "1970-01-01T00:00:00.000000001Z")]
        {
            assert_eq!(rfc3339_nano(from_nanoseconds(nanoseconds)), expected);
        }
        assert_eq!(or_zero(None), "0001-01-01T00:00:00Z");
    }
}
