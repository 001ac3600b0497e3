//! Ending a container for a client: signals, patience, and what is written down first so that the next engine knows of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use minke_model::{Error, Result};
use minke_spec::shim::Request;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::lifecycle::{Event, State};
use super::super::wish::Wish;
use super::{Owner, answer};
use crate::shim::connection::RequestError;

/// The signal that nobody can refuse.
pub const SIGKILL: i32 = 9;

/// The longest time that a stop is remembered for, in seconds; longer ones are as good as for ever.
const LONGEST_S: i64 = 100 * 365 * 24 * 3600;

impl Owner {
    /// Sends `signal`, and arms the kill that follows after `timeout_s` seconds.
    pub(super) async fn stop(
        &mut self,
        signal: i32,
        timeout_s: i64,
        restart: bool,
        reply: oneshot::Sender<Result<()>>,
    ) {
        let running = self.lifecycle.run().is_some();
        let event = if restart { Event::RestartRequested } else { Event::StopRequested };
        let effects = match self.decide(event, "stop") {
            Ok(effects) => effects,
            Err(error) => return answer(reply, Err(error)),
        };
        if running {
            let patience = SignedDuration::from_secs(timeout_s.clamp(0, LONGEST_S));
            let kill_at = (timeout_s >= 0).then(|| Timestamp::now().saturating_add(patience).ok()).flatten();
            self.note(Some(signal), kill_at);
            self.emit("kill", &[("signal", signal.to_string())]);
            let _ = self.signal(signal).await;
            if timeout_s == 0 {
                self.kill_now().await;
            } else if timeout_s > 0 {
                self.kill_after(Duration::from_secs(timeout_s.min(LONGEST_S).unsigned_abs()));
            }
            self.unpause_to_end().await;
            answer(reply, Ok(()));
        } else if restart {
            self.starters.push(reply);
        } else {
            // Whoever looks after the answer sees it stopped.
            self.answers.push((reply, Ok(())));
        }
        self.carry_out(effects).await;
    }

    /// A signal from a client. As in Docker, one that is the container's stop signal, or any if it has none of its own,
    /// counts as a wish to end it.
    pub(super) async fn kill(&mut self, signal: i32) -> Result<()> {
        let waits = matches!(self.lifecycle.state, State::Restarting(_));
        if self.lifecycle.run().is_none() && !waits {
            return Err(Error::conflict(format!("container {} is not running", self.record.id)));
        }
        let own = self.record.stop_signal();
        let ends = signal == SIGKILL || own.is_none() || own == Some(signal);
        if ends {
            let effects = self.decide(Event::StopRequested, "kill")?;
            // What is no certain end isn't sent twice.
            self.note((signal == SIGKILL).then_some(signal), None);
            self.carry_out(effects).await;
        }
        if waits {
            return Ok(());
        }
        match self.signal(signal).await {
            Ok(()) => {
                self.emit("kill", &[("signal", signal.to_string())]);
                if ends {
                    self.unpause_to_end().await;
                }
                Ok(())
            }
            Err(error) => Err(error.into_error("sending the signal")),
        }
    }

    /// Writes down what is about to be done to this run.
    pub(super) fn note(&self, signal: Option<i32>, kill_at: Option<Timestamp>) {
        if self.lifecycle.generation == 0 {
            return;
        }
        let wish = Wish::of(&self.lifecycle, signal, kill_at);
        if let Err(error) = wish.write(&self.shared.paths(&self.record.id).wish) {
            tracing::warn!(container = %self.record.id, %error, "a client's wish could not be written down");
        }
    }

    /// Does what the last engine was asked for and perhaps did not get to.
    pub(super) async fn fulfil(&mut self, wish: Wish) {
        if self.lifecycle.run().is_none() {
            return;
        }
        if let Some(signal) = wish.signal {
            let _ = self.signal(signal).await;
            self.unpause_to_end().await;
        }
        if let Some(kill_at) = wish.kill_at {
            let left = Duration::try_from(kill_at.duration_since(Timestamp::now()));
            self.kill_after(left.unwrap_or(Duration::ZERO));
        }
    }

    fn kill_after(&mut self, patience: Duration) {
        self.stop_deadline = Some(Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
    }

    pub(super) async fn kill_now(&mut self) {
        self.emit("kill", &[("signal", SIGKILL.to_string())]);
        // A shim that is gone is heard of next.
        let _ = self.signal(SIGKILL).await;
        self.unpause_to_end().await;
    }

    async fn signal(&self, signal: i32) -> Result<(), RequestError> {
        match &self.shim {
            Some(shim) => {
                shim.connection.request(&Request::Kill { signal, all: false }, &[]).await.map(|_| ())
            }
            None => Err(RequestError::Lost),
        }
    }
}
