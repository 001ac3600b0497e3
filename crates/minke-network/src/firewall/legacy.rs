//! The tables of the older iptables, which tells nobody of a change: where there are such, they are looked at from time to time.

use std::hash::{DefaultHasher, Hasher as _};

use minke_sys::xtables::Xtables;
use rustix::time::Timespec;

/// How often: what somebody flushes is back within a second.
pub(super) const EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// The tables that there are, and what stood in them.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    sockets: [Option<Xtables>; 2],
    watched: bool,
    seen: u64,
}

impl Legacy {
    /// Whether there were such tables when they were looked at last.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether what stands in the tables is other than it was when this was asked last, in the calling thread's network namespace.
    /// Where there are none, nothing but two files is looked at.
    pub(super) fn has_changed(&mut self) -> bool {
        let names = [names(false), names(true)];
        self.watched = names.iter().any(|names| !names.is_empty());
        if !self.watched {
            return false;
        }
        let mut hash = DefaultHasher::new();
        for (socket, (names, v6)) in self.sockets.iter_mut().zip(names.iter().zip([false, true])) {
            for name in names.lines() {
                if socket.is_none() {
                    *socket = Xtables::open(v6).ok();
                }
                let entries =
                    socket.as_ref().and_then(|socket| socket.entries(name).ok()).unwrap_or_default();
                hash.write(name.as_bytes());
                add(&mut hash, &entries, v6);
            }
        }
        let now = hash.finish();
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// The tables of a family that are there, a line each.
fn names(v6: bool) -> String {
    let file = if v6 { "ip6_tables_names" } else { "ip_tables_names" };
    std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
}

/// Where an entry has its own length, and where what matters ends and begins again: between stand counters.
struct Form {
    length: usize,
    counts: std::ops::Range<usize>,
}

/// `struct ipt_entry` and `struct ip6t_entry`.
const V4: Form = Form { length: 90, counts: 92..112 };
const V6: Form = Form { length: 142, counts: 144..168 };

fn add(hash: &mut DefaultHasher, entries: &[u8], v6: bool) {
    let form = if v6 { &V6 } else { &V4 };
    let mut rest = entries;
    while let Some(length) = rest.get(form.length..form.length + 2) {
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let Some(entry) = rest.get(..length).filter(|entry| entry.len() >= form.counts.end) else { break };
        hash.write(&entry[..form.counts.start]);
        hash.write(&entry[form.counts.end..]);
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(counters: u8, verdict: u8) -> Vec<u8> {
        let mut bytes = vec![0; 152];
        bytes[90..92].copy_from_slice(&152u16.to_ne_bytes());
        bytes[96..112].fill(counters);
        bytes[144] = verdict;
        bytes
    }

    #[test]
    fn what_is_counted_is_no_change_and_another_verdict_is() {
        let hash = |entries: &[u8]| {
            let mut hash = DefaultHasher::new();
            add(&mut hash, entries, false);
            hash.finish()
        };
        assert_eq!(hash(&entry(0, 1)), hash(&entry(7, 1)));
        assert_ne!(hash(&entry(0, 1)), hash(&entry(0, 2)));
        assert_ne!(hash(&entry(0, 1)), hash(&[entry(0, 1), entry(0, 1)].concat()));
        // What is cut off ends it.
        let cut = [entry(0, 1), vec![0xff; 100]].concat();
        assert_eq!(hash(&cut), hash(&entry(0, 1)));
    }
}
