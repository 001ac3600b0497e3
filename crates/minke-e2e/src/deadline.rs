//! Deadlines: a test waits for what it expects, never for time to pass.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Returns the factor by which every deadline is stretched (`MINKE_E2E_PATIENCE`, default 1).
pub fn patience() -> u32 {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        std::env::var("MINKE_E2E_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
    });
    *FACTOR
}

/// Returns `seconds` stretched by [`patience`].
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * patience()
}

/// Looks until `look` returns something, and panics with `what` when `limit_s` seconds have gone by.
pub fn within<T>(limit_s: u64, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + seconds(limit_s);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit_s} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
