//! How a stream that flows is read: in few large pieces. A writer of lines wakes its reader for each of them, and both change
//! places on a processor thousands of times a second; a reader that waits a moment finds the pipe well filled. Pure.
//!
//! Only a stream that has been read many times without a break is waited for, so that a single line is never late, and never one
//! whose client also writes to the process: its next word may depend on the answer.

/// A turn that begins this soon after the last one ended continues a streak.
const BREAK_NS: u64 = 500_000;
/// From so many turns in a row on the stream flows.
const STREAK: u32 = 8;
/// A turn that gave this much needs no waiting before the next one.
const ENOUGH_BYTES: usize = 64 * 1024;
/// With a client, pieces smaller than this are passed on at once.
const PIECE_BYTES: usize = 512;

/// How long a stream that flows is waited for: what a fast writer needs for a pipe of [`PIPE_BYTES`], in nanoseconds.
pub const PAUSE_NS: u64 = 150_000;
/// The size of the pipe of a stream that flows.
pub const PIPE_BYTES: usize = 256 * 1024;

/// How a stream flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Not at all: it is read at once.
    Calm,
    /// In small pieces: it is worth waiting a moment.
    WaitFor,
    /// In large pieces by itself.
    Full,
}

/// What is known of a stream.
#[derive(Debug, Default)]
pub struct Pace {
    ended_ns: u64,
    turns: u32,
    bytes: usize,
}

impl Pace {
    /// A turn begins; what is to be done before it.
    pub fn begin(&mut self, now_ns: u64, has_clients: bool) -> Flow {
        let goes_on = now_ns.saturating_sub(self.ended_ns) < BREAK_NS;
        self.turns = if goes_on { self.turns.saturating_add(1) } else { 0 };
        let small = self.bytes < ENOUGH_BYTES && !(has_clients && self.bytes < PIECE_BYTES);
        match self.turns {
            0..STREAK => Flow::Calm,
            _ if small => Flow::WaitFor,
            _ => Flow::Full,
        }
    }

    /// A turn has ended that has given so many bytes.
    pub fn end(&mut self, now_ns: u64, bytes: usize) {
        self.ended_ns = now_ns;
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the turn after `turns` that are `gap_ns` apart and give `bytes` each is waited for.
    fn waits(turns: u32, gap_ns: u64, bytes: usize, has_clients: bool) -> bool {
        let (mut pace, mut now) = (Pace::default(), 1_000_000_000);
        for _ in 0..turns {
            pace.begin(now, has_clients);
            pace.end(now, bytes);
            now += gap_ns;
        }
        pace.begin(now, has_clients) == Flow::WaitFor
    }

    #[test]
    fn only_a_stream_that_flows_in_small_pieces_is_waited_for() {
        assert!(waits(10, 20_000, 4096, false));
        assert!(waits(10, 20_000, 100, false));
        assert!(waits(10, 20_000, 4096, true));
        assert!(!waits(10, 20_000, 100, true), "a client's short answers are passed on at once");
        assert!(!waits(3, 20_000, 4096, false), "a few lines are no flow");
        assert!(!waits(100, 1_000_000, 4096, false), "with breaks between them neither");
        assert!(!waits(100, 20_000, 128 * 1024, false), "large pieces come by themselves");
    }
}
