//! Signals by name and number, as flags and the API name them. Owns the table of names; sends nothing.

use std::fmt;

use crate::{Error, Result};

/// The first and last real-time signals that the C library leaves to programs.
const REALTIME: std::ops::RangeInclusive<u8> = 34..=64;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

const NAMES: [(&str, u8); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// The signal that cannot be caught.
    pub const KILL: Signal = Signal(9);
    /// The polite request to end.
    pub const TERM: Signal = Signal(15);
    /// The terminal's interrupt key.
    pub const INT: Signal = Signal(2);

    /// Makes a signal of a number of 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=*REALTIME.end()).contains(n)).map(Self)
    }

    /// Reads a number, or a name with or without `SIG` in any case, also `RTMIN+3` and `RTMAX-2`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidParameter`] `invalid signal: x`.
    pub fn parse(text: &str) -> Result<Self> {
        let found = match text.parse::<i32>() {
            Ok(number) => Self::from_number(number),
            Err(_) => Self::from_name(text),
        };
        found.ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))
    }

    fn from_name(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Self(*number));
        }
        let number = if let Some(above) = name.strip_prefix("RTMIN") {
            REALTIME.start() + realtime_offset(above, '+', 15)?
        } else {
            REALTIME.end() - realtime_offset(name.strip_prefix("RTMAX")?, '-', 14)?
        };
        Some(Self(number))
    }

    /// The number that the kernel knows it by.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// The name without `SIG`: `TERM`, `RTMIN+3`.
    pub fn name(self) -> String {
        if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == self.0) {
            return (*name).to_string();
        }
        match self.0 {
            n if n == *REALTIME.start() => "RTMIN".into(),
            n if n == *REALTIME.end() => "RTMAX".into(),
            n if (35..=49).contains(&n) => format!("RTMIN+{}", n - REALTIME.start()),
            n if (50..64).contains(&n) => format!("RTMAX-{}", REALTIME.end() - n),
            n => n.to_string(),
        }
    }
}

fn realtime_offset(text: &str, sign: char, most: u8) -> Option<u8> {
    if text.is_empty() {
        return Some(0);
    }
    text.strip_prefix(sign)?.parse().ok().filter(|offset| (1..=most).contains(offset))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            32 | 33 => write!(f, "{}", self.0),
            _ => write!(f, "SIG{}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same_signal() {
        let cases = [
            ("9", 9),
            ("KILL", 9),
            ("sigkill", 9),
            ("SIGTERM", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-2", 62),
            ("RTMAX", 64),
            ("CLD", 17),
            ("poll", 29),
        ];
        for (text, number) in cases {
            assert_eq!(Signal::parse(text).unwrap().number(), number, "{text}");
        }
    }

    #[test]
    fn an_unknown_signal_is_refused_in_dockers_words() {
        for text in ["", "0", "-1", "65", "FOO", "SIG", "RTMIN+16", "RTMAX-15", "RTMIN+", "SIGSIGTERM"] {
            assert_eq!(Signal::parse(text).unwrap_err().message(), format!("invalid signal: {text}"));
        }
    }

    #[test]
    fn every_signal_prints_a_name_that_reads_back() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.name()).unwrap(), signal);
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
    }
}
