//! Connections on their way from HTTP to the engine, so that a start waits for those that attach to its container:
//! a client that has read `101` may start the container at once, and none of its output may be missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

/// The longest that a start waits; a hand-over takes microseconds unless it replays a log.
const PATIENCE: Duration = Duration::from_secs(1);

/// The hand-overs under way, by the reference that the client used.
#[derive(Debug, Default)]
pub struct Handoffs {
    under_way: Mutex<HashMap<String, usize>>,
    changed: Notify,
}

/// A hand-over under way, until it is dropped.
#[derive(Debug)]
pub struct Handoff {
    all: Arc<Handoffs>,
    reference: String,
}

impl Handoffs {
    /// Begins a hand-over; call before the answer goes out.
    pub fn begin(self: &Arc<Self>, reference: &str) -> Handoff {
        *self.lock().entry(reference.to_owned()).or_default() += 1;
        Handoff { all: self.clone(), reference: reference.to_owned() }
    }

    /// Waits until none is under way for this reference.
    pub async fn settled(&self, reference: &str) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if !self.lock().contains_key(reference) {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, wait).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        let mut under_way = self.all.lock();
        if let Some(count) = under_way.get_mut(&self.reference) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.reference);
                self.all.changed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_waits_for_all_hand_overs_of_its_container_only() {
        let all = Arc::new(Handoffs::default());
        let (first, second) = (all.begin("a"), all.begin("a"));
        all.settled("b").await;
        let waiting = tokio::spawn({
            let all = all.clone();
            async move { all.settled("a").await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        all.settled("a").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_does_not_wait_for_ever() {
        let all = Arc::new(Handoffs::default());
        let _stuck = all.begin("a");
        all.settled("a").await;
    }
}
