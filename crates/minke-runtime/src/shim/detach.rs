//! Recognizes the keys by which a client detaches from a terminal.

use alloc::vec::Vec;

/// Watches a client's bytes for its detach keys; the keys may come in any number of reads.
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What is to be done after some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// All bytes that aren't held back were passed on.
    Nothing,
    /// The keys were seen: what follows them isn't the container's.
    Keys,
}

impl DetachKeys {
    /// Watches for `keys`, which must not be empty.
    pub fn new(keys: Vec<u8>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { keys, matched: 0 })
    }

    /// Appends to `out` what of `bytes` (and of what was held back) is for the container.
    pub fn filter(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Seen {
        for &byte in bytes {
            // What was held back may still begin with a shorter part of the keys.
            while self.matched > 0 && self.keys[self.matched] != byte {
                let held = self.matched;
                self.matched = self.shorter_match();
                out.extend_from_slice(&self.keys[..held - self.matched]);
            }
            if self.keys[self.matched] != byte {
                out.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return Seen::Keys;
            }
        }
        Seen::Nothing
    }

    /// The longest proper part of the matched keys with which the keys begin too.
    fn shorter_match(&self) -> usize {
        (0..self.matched)
            .rev()
            .find(|&length| self.keys[..self.matched].ends_with(&self.keys[..length]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[u8], reads: &[&[u8]], passed: &[u8], seen: Seen) {
        let mut matcher = DetachKeys::new(keys.to_vec()).unwrap();
        let mut out = Vec::new();
        let mut last = Seen::Nothing;
        for read in reads {
            last = matcher.filter(read, &mut out);
        }
        assert_eq!((out.as_slice(), last), (passed, seen));
    }

    #[test]
    fn keys_are_swallowed_and_what_comes_before_them_is_passed_on() {
        check(b"\x10\x11", &[b"ls\x10\x11more"], b"ls", Seen::Keys);
    }

    #[test]
    fn keys_may_come_in_two_reads() {
        check(b"\x10\x11", &[b"a\x10", b"\x11"], b"a", Seen::Keys);
    }

    #[test]
    fn half_the_keys_followed_by_something_else_are_passed_on() {
        check(b"\x10\x11", &[b"\x10", b"x\x10"], b"\x10x", Seen::Nothing);
    }

    #[test]
    fn a_key_that_repeats_is_still_the_beginning() {
        check(b"\x10\x11", &[b"\x10\x10\x11"], b"\x10", Seen::Keys);
        check(b"aab", &[b"aaab"], b"a", Seen::Keys);
        check(b"abac", &[b"ababac"], b"ab", Seen::Keys);
    }
}
