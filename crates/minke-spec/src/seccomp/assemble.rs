//! Ranges and conditions as classic BPF. linux/filter.h, linux/seccomp.h.
//!
//! A conditional jump reaches 255 instructions forward, so a program is written from its end: what a jump leads to is there
//! already, and a `return` that is too far away is simply written again.

use oci_spec::runtime::LinuxSeccompOperator;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// The offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The calls of one architecture.
pub(super) struct Block {
    /// The value in `seccomp_data.arch`.
    pub(super) audit: u32,
    /// In ascending order, the first from 0.
    pub(super) ranges: Vec<Range>,
}

/// The numbers from `first` to the next range.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) outcome: Outcome,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The kernel's word.
    Return(u32),
    /// The word of the first alternative whose conditions all hold.
    Check { alternatives: Vec<(Vec<Check>, u32)>, otherwise: u32 },
}

/// A condition on one argument: `argument & mask OPERATOR value`, without sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub(super) index: u32,
    pub(super) operator: LinuxSeccompOperator,
    pub(super) mask: u64,
    pub(super) value: u64,
    /// The upper half of the argument says nothing.
    pub(super) low_half_only: bool,
}

/// Writes the program; `unknown` is the word for calls of any other architecture.
pub(super) fn assemble(blocks: &[Block], unknown: u32) -> Vec<u64> {
    let mut program = Program::default();
    let mut next = program.finish(unknown);
    for block in blocks.iter().rev() {
        let search = program.search(&block.ranges);
        program.jump_to(search);
        let load = program.push(LOAD, 0, 0, NUMBER);
        next = program.test(JUMP_EQUAL, block.audit, load, next);
    }
    program.push(LOAD, 0, 0, ARCHITECTURE);
    program.reversed.reverse();
    program.reversed
}

/// A place in the program, counted from its end.
type Place = usize;

#[derive(Default)]
struct Program {
    reversed: Vec<u64>,
    /// Where each word is returned, the copy written last.
    returns: Vec<(u32, Place)>,
}

impl Program {
    fn push(&mut self, code: u16, when: u8, otherwise: u8, value: u32) -> Place {
        let bits =
            u64::from(code) | u64::from(when) << 16 | u64::from(otherwise) << 24 | u64::from(value) << 32;
        self.reversed.push(bits);
        self.reversed.len() - 1
    }

    /// The distance that a jump written next would have to a place.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place - 1
    }

    /// A place that returns this word, near enough for what is written next.
    fn finish(&mut self, word: u32) -> Place {
        // Two instructions may come in between: a trampoline for the other branch, and the load before a test.
        match self.returns.iter().find(|(known, _)| *known == word) {
            Some((_, place)) if self.distance(*place) < 250 => *place,
            _ => {
                self.returns.retain(|(known, _)| *known != word);
                let place = self.push(RETURN, 0, 0, word);
                self.returns.push((word, place));
                place
            }
        }
    }

    /// Makes sure that what is written next goes on at this place.
    fn jump_to(&mut self, place: Place) -> Place {
        match self.distance(place) {
            0 => place,
            distance => self.push(JUMP, 0, 0, distance as u32),
        }
    }

    /// A place that a jump from what is written next, or the instruction before it, can reach.
    fn near(&mut self, place: Place) -> Place {
        if self.distance(place) < 254 {
            return place;
        }
        match self.reversed[place] {
            bits if bits as u16 == RETURN => self.push(RETURN, 0, 0, (bits >> 32) as u32),
            _ => self.push(JUMP, 0, 0, self.distance(place) as u32),
        }
    }

    /// Writes a test of the accumulator with a branch for each answer.
    fn test(&mut self, code: u16, value: u32, when: Place, otherwise: Place) -> Place {
        let when = self.near(when);
        let otherwise = self.near(otherwise);
        let (when, otherwise) = (self.distance(when) as u8, self.distance(otherwise) as u8);
        self.push(code, when, otherwise, value)
    }

    /// Writes a binary search for the number in the accumulator.
    fn search(&mut self, ranges: &[Range]) -> Place {
        match ranges {
            [] => self.finish(0),
            [range] => match &range.outcome {
                Outcome::Return(word) => self.finish(*word),
                Outcome::Check { alternatives, otherwise } => self.checks(alternatives, *otherwise),
            },
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let above = self.search(high);
                let below = self.search(low);
                self.test(JUMP_GREATER_EQUAL, high[0].first, above, below)
            }
        }
    }

    fn checks(&mut self, alternatives: &[(Vec<Check>, u32)], otherwise: u32) -> Place {
        let mut failed = self.finish(otherwise);
        for (checks, word) in alternatives.iter().rev() {
            let mut passed = self.finish(*word);
            for check in checks.iter().rev() {
                passed = self.check(check, passed, failed);
            }
            failed = passed;
        }
        failed
    }

    /// Writes one condition: the upper half first, the lower where the upper is equal.
    fn check(&mut self, check: &Check, passed: Place, failed: Place) -> Place {
        let (code, passed, failed) = match check.operator {
            LinuxSeccompOperator::ScmpCmpEq | LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (JUMP_EQUAL, passed, failed)
            }
            LinuxSeccompOperator::ScmpCmpNe => (JUMP_EQUAL, failed, passed),
            LinuxSeccompOperator::ScmpCmpGt => (JUMP_GREATER, passed, failed),
            LinuxSeccompOperator::ScmpCmpLe => (JUMP_GREATER, failed, passed),
            LinuxSeccompOperator::ScmpCmpGe => (JUMP_GREATER_EQUAL, passed, failed),
            LinuxSeccompOperator::ScmpCmpLt => (JUMP_GREATER_EQUAL, failed, passed),
        };
        let (low, high) = (check.value as u32, (check.value >> 32) as u32);
        let offset = ARGUMENTS + 8 * check.index;
        let place = self.test(code, low, passed, failed);
        let place = self.mask(check.mask as u32, place);
        let place = self.load(offset, place);
        if check.low_half_only {
            return place;
        }
        // Equal upper halves: the lower decide. Else a comparison by size is decided, and equality fails.
        let unequal = if code == JUMP_EQUAL { failed } else { self.test(JUMP_GREATER, high, passed, failed) };
        let place = self.test(JUMP_EQUAL, high, place, unequal);
        let place = self.mask((check.mask >> 32) as u32, place);
        self.load(offset + 4, place)
    }

    fn mask(&mut self, mask: u32, next: Place) -> Place {
        if mask == u32::MAX {
            return next;
        }
        self.jump_to(next);
        self.push(AND, 0, 0, mask)
    }

    fn load(&mut self, offset: u32, next: Place) -> Place {
        self.jump_to(next);
        self.push(LOAD, 0, 0, offset)
    }
}
