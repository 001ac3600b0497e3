//! The restart policy of a container: parsed from a flag, checked, printed. Whether to restart is the engine's to decide.

use std::fmt;

use crate::{Error, Result};

/// When a container that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After every end, and at the engine's start unless a person stopped it and the engine has not restarted since.
    Always,
    /// As [`Self::Always`], but a container that a person stopped stays so.
    UnlessStopped,
    /// After an end with a code other than 0, at most `maximum_retries` times in a row (0: without limit).
    OnFailure {
        /// The most restarts in a row, 0 for any number.
        maximum_retries: u32,
    },
}

impl RestartPolicy {
    /// Reads a flag's value: `always`, `on-failure:3`; nothing means [`RestartPolicy::No`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] in the words of Docker's client for the form and of its engine for the meaning.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, count) = split_flag(text)?;
        Self::from_parts(name, count)
    }

    /// Checks the two fields of the API's `RestartPolicy` object.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] for an unknown name, or a count that the policy does not take.
    pub fn from_parts(name: &str, maximum_retry_count: i64) -> Result<Self> {
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => {
                let maximum_retries = u32::try_from(maximum_retry_count).map_err(|_| {
                    Error::invalid("invalid restart policy: maximum retry count cannot be negative")
                })?;
                return Ok(Self::OnFailure { maximum_retries });
            }
            other => {
                return Err(Error::invalid(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                )));
            }
        };
        if maximum_retry_count != 0 {
            let negative = if maximum_retry_count < 0 { " and cannot be negative" } else { "" };
            return Err(Error::invalid(format!(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
            )));
        }
        Ok(policy)
    }

    /// The policy's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }

    /// The API's `MaximumRetryCount`.
    pub fn maximum_retry_count(self) -> i64 {
        match self {
            Self::OnFailure { maximum_retries } => i64::from(maximum_retries),
            _ => 0,
        }
    }
}

/// Splits a flag's value into name and count without judging the name, as a client must that leaves the verdict to its engine.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] `invalid restart policy format: …`.
pub fn split_flag(text: &str) -> Result<(&str, i64)> {
    let Some((name, count)) = text.split_once(':') else { return Ok((text, 0)) };
    if name.is_empty() {
        return Err(Error::invalid("invalid restart policy format: no policy provided before colon"));
    }
    let count = count.parse().map_err(|_| {
        Error::invalid("invalid restart policy format: maximum retry count must be an integer")
    })?;
    Ok((name, count))
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure { maximum_retries } if *maximum_retries > 0 => {
                write!(f, "on-failure:{maximum_retries}")
            }
            policy => f.write_str(policy.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_and_printed() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(RestartPolicy::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RestartPolicy::parse("").unwrap(), RestartPolicy::No);
    }

    #[test]
    fn a_bad_policy_is_refused_in_dockers_words() {
        let cases = [
            (":3", "invalid restart policy format: no policy provided before colon"),
            ("on-failure:x", "invalid restart policy format: maximum retry count must be an integer"),
            ("a:b:c", "invalid restart policy format: maximum retry count must be an integer"),
            ("always:3", "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
            (
                "always:-3",
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
            ),
            ("on-failure:-1", "invalid restart policy: maximum retry count cannot be negative"),
            (
                "foo",
                "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(RestartPolicy::parse(text).unwrap_err().message(), message);
        }
    }
}
