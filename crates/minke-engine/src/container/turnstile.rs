//! How many starts work in the kernel at once. Mounts and control groups are made under the kernel's own locks: two starts at a time do
//! 1.25 times the work of one, more only keep each other waiting. Who came first goes first.
//!
//! A start that hangs (a mount of a server that is away) gives its place up after a moment: it never keeps others from starting.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Semaphore;

/// The least and the most that go through at once.
const LEAST: usize = 2;
const MOST: usize = 4;
/// How long a place is held at most; a start takes a few milliseconds.
const HELD: Duration = Duration::from_millis(250);

/// The way to a start.
#[derive(Debug)]
pub struct Turnstile(Semaphore);

impl Turnstile {
    /// One for a host with this many processors.
    pub fn new(processors: u32) -> Self {
        Self(Semaphore::new((processors as usize).clamp(LEAST, MOST)))
    }

    /// Does `work` when it is its turn.
    pub async fn through<T>(&self, work: impl Future<Output = T>) -> T {
        let place = self.0.acquire().await;
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = work.as_mut() => return done,
            () = tokio::time::sleep(HELD) => drop(place),
        }
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_so_many_are_inside_at_once() {
        let turnstile = Turnstile::new(1);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let start = || {
            turnstile.through(async {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        };
        futures_util::future::join_all((0..20).map(|_| start())).await;
        assert_eq!(most.load(Ordering::SeqCst), LEAST);
    }

    #[tokio::test]
    async fn those_that_hang_keep_nobody_waiting() {
        let turnstile = Turnstile::new(1);
        let hung = futures_util::future::join_all(
            (0..LEAST * 2).map(|_| turnstile.through(std::future::pending::<()>())),
        );
        tokio::select! {
            _ = hung => {}
            number = async { turnstile.through(async { 7 }).await } => assert_eq!(number, 7),
        }
    }
}
