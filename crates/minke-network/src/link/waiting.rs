//! Refusals that pass by themselves: a namespace whose last process has ended goes a little later, with what is in it.

use std::time::{Duration, Instant};

use minke_sys::netlink::Refusal;

/// How long a refusal that passes by itself is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does something again while it is refused so, for a short time.
pub(super) fn again_while(
    passes: impl Fn(&Refusal) -> bool,
    work: impl Fn() -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let end = Instant::now() + PATIENCE;
    loop {
        match work() {
            Err(refusal) if passes(&refusal) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
