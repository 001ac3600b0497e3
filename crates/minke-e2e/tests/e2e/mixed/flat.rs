//! What the engine and a shim hold when nobody asks anything of them: it may not grow with what they were asked.

use std::time::{Duration, Instant};

use minke_e2e::{Rig, process};

/// What an engine may have taken more after a long time than after a short one: memory of its own, in KiB. The pages of its program come
/// and go, and are counted in parts while other engines run it.
const ENGINE_KIB: u64 = 2048;

/// The same of a container's shim.
const SHIM_KIB: u64 = 64;

/// How many descriptors of an engine are opened at the first need and kept, or are just being opened for a spare network namespace.
const SOME: usize = 4;

/// The container that lives from the beginning to the end.
pub const OLD: &str = "old";

/// What one idle process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    anonymous_kib: u64,
    /// Without those of spare network namespaces.
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn by(pid: i32) -> Self {
        let descriptors = open_files(pid);
        // The network namespaces that an engine has ready are now more and now fewer: each is held by itself, a netlink socket and,
        // where the kernel has them, its settings of IPv6.
        let of = |prefix: &str| descriptors.iter().filter(|path| path.starts_with(prefix)).count();
        let spare = 2 * of("net:[") + of("/proc/sys/net/ipv6");
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        Self { anonymous_kib: process::anonymous_kib(pid), descriptors: descriptors.len() - spare, threads }
    }

    fn has_grown_over(self, before: Self, most_kib: u64) -> bool {
        self.anonymous_kib > before.anonymous_kib + most_kib
    }
}

/// The engine and the old container's shim, both idle.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    engine: Held,
    shim: Held,
}

impl Idle {
    fn now(rig: &Rig) -> Self {
        Self { engine: Held::by(rig.engine_pid()), shim: Held::by(shim(rig)) }
    }

    /// Looks at an engine that has just been started.
    pub fn at_first(rig: &Rig) -> Self {
        rig.ok("run --rm busybox true");
        Self::now(rig)
    }

    /// Looks again, once hardly more descriptors and no more threads are there than at first: a thread that waits for work ends after
    /// ten seconds.
    pub fn again(self, rig: &Rig) -> Self {
        let end = Instant::now() + Duration::from_secs(60);
        let no_more = |now: Held, first: Held, some: usize| {
            now.descriptors <= first.descriptors + some && now.threads <= first.threads
        };
        loop {
            let now = Self::now(rig);
            if no_more(now.engine, self.engine, SOME) && no_more(now.shim, self.shim, 0) {
                return now;
            }
            assert!(
                Instant::now() < end,
                "at first {self:?}, still {now:?}\n{}",
                open_files(rig.engine_pid()).join("\n")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Panics where `later` holds more than it may after `self` and `first`: of the two the larger counts, since a host takes pages
    /// back from who is idle.
    pub fn has_not_grown(self, first: Self, later: Self) {
        let grown = |of: fn(Self) -> Held, most_kib: u64| {
            of(later).has_grown_over(of(self), most_kib) && of(later).has_grown_over(of(first), most_kib)
        };
        let grown = grown(|idle| idle.engine, ENGINE_KIB) || grown(|idle| idle.shim, SHIM_KIB);
        assert!(!grown, "{first:?}, {self:?}, then {later:?}");
    }
}

/// What a process has open.
fn open_files(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

/// The pid of the old container's shim.
pub fn shim(rig: &Rig) -> i32 {
    let pid = rig.inspect(OLD)["State"]["Pid"].as_i64().expect("a pid") as i32;
    process::parent(pid).expect("the parent of a container's first process")
}
