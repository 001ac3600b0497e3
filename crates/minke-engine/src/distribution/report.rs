//! A layer's state in Docker's messages. A client gets every step once and in order, and how far it is at most ten times a
//! second: what happens between is left out, and nothing waits for a client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minke_api::stream::{ProgressDetail, ProgressMessage};
use minke_model::{Error, Result};
use tokio::sync::mpsc;

use super::transfer::{Failure, Phase, State, Transfer};

/// Between two messages about how far something is.
const PAUSE: Duration = Duration::from_millis(100);

/// The messages of one pull or push to its client.
#[derive(Clone)]
pub struct Reporter(pub mpsc::Sender<std::io::Result<Bytes>>);

impl Reporter {
    /// Sends a message; a client that went away hears nothing.
    pub async fn send(&self, message: ProgressMessage) {
        let _ = self.0.send(Ok(Bytes::from(message.render()))).await;
    }

    /// The state of a thing, without a measure.
    pub async fn state(&self, id: &str, status: &str) {
        self.send(ProgressMessage::of(id, status, ProgressDetail::NONE)).await;
    }

    /// A line.
    pub async fn line(&self, text: impl Into<String>) {
        self.send(ProgressMessage::status(text)).await;
    }

    /// Follows a transfer to its end.
    pub async fn follow(&self, id: &str, transfer: Arc<Transfer>) -> Result<(), Failure> {
        let mut watched = transfer.watch();
        let mut told: Option<Phase> = None;
        let mut measured = None;
        loop {
            let state = watched.borrow_and_update().clone();
            if let Some(failure) = state.failure {
                return Err(failure);
            }
            for step in steps(told, state.phase) {
                self.state(id, step).await;
            }
            told = Some(state.phase);
            if state.phase == Phase::Complete {
                return Ok(());
            }
            if let Some((status, detail)) = measure(&state)
                && measured.as_ref() != Some(&detail)
            {
                self.send(ProgressMessage::of(id, status, detail.clone())).await;
                measured = Some(detail);
                let phase = state.phase;
                // A step, or the end, is told at once.
                let stepped = watched.wait_for(|state| state.phase != phase || state.failure.is_some());
                if let Ok(Err(_)) = tokio::time::timeout(PAUSE, stepped).await {
                    return Err(Failure::new(&ended()));
                }
                continue;
            }
            if watched.changed().await.is_err() && watched.borrow().phase != Phase::Complete {
                let failure = watched.borrow().failure.clone();
                return Err(failure.unwrap_or_else(|| Failure::new(&ended())));
            }
        }
    }
}

fn ended() -> Error {
    Error::system("the transfer ended before its time; the engine's log says why")
}

/// What a client is told between two phases.
fn steps(told: Option<Phase>, now: Phase) -> Vec<&'static str> {
    let all = [
        (Phase::Waiting, "Waiting"),
        (Phase::Verifying, "Verifying Checksum"),
        (Phase::Downloaded, "Download complete"),
        (Phase::Complete, "Pull complete"),
    ];
    // Only who has to wait is told so: what has begun already does not.
    let waits = |phase: Phase| phase != Phase::Waiting || (told.is_none() && now == Phase::Waiting);
    let new = |phase: Phase| told.is_none_or(|told| phase > told) && phase <= now && waits(phase);
    all.into_iter().filter(|(phase, _)| new(*phase)).map(|(_, words)| words).collect()
}

fn measure(state: &State) -> Option<(&'static str, ProgressDetail)> {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let of = |current| ProgressDetail {
        current: number(current),
        total: number(state.total),
        units: String::new(),
    };
    match state.phase {
        Phase::Downloading => Some(("Downloading", of(state.downloaded))),
        Phase::Extracting => Some(("Extracting", of(state.extracted))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_left_out_or_told_twice() {
        assert_eq!(steps(None, Phase::Waiting), ["Waiting"]);
        assert_eq!(steps(Some(Phase::Waiting), Phase::Downloading), [""; 0]);
        assert_eq!(steps(None, Phase::Downloading), [""; 0]);
        assert_eq!(
            steps(Some(Phase::Downloading), Phase::Complete),
            ["Verifying Checksum", "Download complete", "Pull complete"]
        );
        assert_eq!(steps(Some(Phase::Downloaded), Phase::Extracting), [""; 0]);
        assert_eq!(steps(Some(Phase::Extracting), Phase::Complete), ["Pull complete"]);
    }
}
