//! Resource limits of a process as people write them: `nofile=1024:2048`. The words of errors are those of Docker's client.

use crate::{Error, Result};

/// The limits that have a name, in Docker's spelling.
pub const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A limit; -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// One of [`NAMES`].
    pub name: String,
    /// What holds at first.
    pub soft: i64,
    /// How far the process itself may raise it.
    pub hard: i64,
}

impl Ulimit {
    /// Reads `name=soft[:hard]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for a name that isn't known, what is no number, and a soft limit above the hard one.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, values) =
            text.split_once('=').ok_or_else(|| Error::invalid(format!("invalid ulimit argument: {text}")))?;
        if !NAMES.contains(&name) {
            return Err(Error::invalid(format!("invalid ulimit type: {name}")));
        }
        let (soft, hard) = match values.split_once(':') {
            Some((_, hard)) if hard.contains(':') => {
                return Err(Error::invalid(format!(
                    "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
                )));
            }
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        if hard != -1 && soft == -1 {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )));
        }
        if hard != -1 && soft > hard {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::invalid(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_both_limits() {
        let limit = |soft, hard| Ulimit { name: "nofile".into(), soft, hard };
        assert_eq!(Ulimit::parse("nofile=5").unwrap(), limit(5, 5));
        assert_eq!(Ulimit::parse("nofile=5:7").unwrap(), limit(5, 7));
        assert_eq!(Ulimit::parse("nofile=-1").unwrap(), limit(-1, -1));
        assert_eq!(Ulimit::parse("nofile=9:-1").unwrap(), limit(9, -1));
    }

    #[test]
    fn bad_limits_are_refused_in_dockers_words() {
        let cases = [
            ("nofile", "invalid ulimit argument: nofile"),
            ("foo=1", "invalid ulimit type: foo"),
            ("nofile=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
            ("nofile=10:5", "ulimit soft limit must be less than or equal to hard limit: 10 > 5"),
        ];
        for (text, words) in cases {
            assert_eq!(Ulimit::parse(text).unwrap_err().message(), words);
        }
    }
}
