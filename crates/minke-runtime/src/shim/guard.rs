//! The shim's own place among the victims of memory shortage: behind everybody else's, where it may say so.

use minke_sys::procfs::Procfs;

/// -1000 would be never: a shim that leaks shall be found at last.
const SCORE: &str = "-999";
const FILE: &str = "self/oom_score_adj";

/// Takes the place. Returns the score that the caller had, which is its container's, or `None` where it still has it: lowering a score
/// needs `CAP_SYS_RESOURCE`.
pub fn take() -> Option<i32> {
    let procfs = Procfs::host().ok()?;
    let before = core::str::from_utf8(&procfs.read(FILE).ok()?).ok()?.trim().parse().ok()?;
    procfs.write(FILE, SCORE).ok()?;
    Some(before)
}
