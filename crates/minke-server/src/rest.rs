//! Giving memory back once no client has come for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long no client may have come: longer than a thread without work lives on, so that its stack has gone as well.
const QUIET: Duration = Duration::from_secs(15);

/// Knows when the last client came.
#[derive(Clone, Debug, Default)]
pub struct Rest(Arc<Notify>);

impl Rest {
    /// A client has come.
    pub fn stir(&self) {
        self.0.notify_one();
    }

    /// Calls `give_back` once after every busy time, until `ending`. Between two rests it waits without waking up.
    pub async fn when_quiet(self, ending: CancellationToken, give_back: impl Fn()) {
        let busy_times = async {
            loop {
                while timeout(QUIET, self.0.notified()).await.is_ok() {}
                give_back();
                self.0.notified().await;
            }
        };
        let _ = ending.run_until_cancelled(busy_times).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{pause, sleep};

    use super::*;

    #[tokio::test]
    async fn every_busy_time_is_followed_by_one_rest() {
        pause();
        let rest = Rest::default();
        let ending = CancellationToken::new();
        let rests = Cell::new(0);
        let day = async {
            sleep(QUIET / 2).await;
            rest.stir();
            sleep(QUIET * 3 / 4).await;
            assert_eq!(rests.get(), 0, "a client came meanwhile");
            sleep(QUIET).await;
            assert_eq!(rests.get(), 1);
            sleep(QUIET * 5).await;
            assert_eq!(rests.get(), 1, "nobody came");
            rest.stir();
            sleep(QUIET * 2).await;
            assert_eq!(rests.get(), 2);
            ending.cancel();
        };
        tokio::join!(rest.clone().when_quiet(ending.clone(), || rests.set(rests.get() + 1)), day);
    }
}
