//! A task of this thread that ends when nobody holds it any more.

use tokio::task::{JoinHandle, spawn_local};

/// Holds a task.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Begins one.
    pub fn spawn(work: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(work))
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
