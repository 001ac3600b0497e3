//! When a container's health is probed. Nothing of this exists for a container without a probe, or while it doesn't run.

use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::super::health::{Health, Outcome, Settings, Status};
use super::super::lifecycle::{Run, State};
use super::super::probe::{self, Patient};
use super::Owner;

/// The probing of one run.
pub struct Checkup {
    settings: Arc<Settings>,
    run: Run,
    waiting: Waiting,
}

enum Waiting {
    /// For the time of the next probe.
    Due(Pin<Box<Sleep>>),
    /// For the outcome of this one.
    Outcome(oneshot::Receiver<Outcome>),
}

/// What happens in a probing.
pub enum Turn {
    /// It is time for a probe.
    Due,
    /// A probe has ended; without an outcome, it could not be run.
    Over(Option<Outcome>),
}

impl Checkup {
    fn new(settings: Arc<Settings>, run: Run, health: &Health) -> Self {
        let waiting = Self::wait(&settings, run, health.status);
        Self { settings, run, waiting }
    }

    fn wait(settings: &Settings, run: Run, status: Status) -> Waiting {
        let pause = settings.pause(status, run.started_at, Timestamp::now());
        Waiting::Due(Box::pin(tokio::time::sleep(pause)))
    }
}

/// Waits for what happens next; for ever without a probing.
pub async fn next(checkup: &mut Option<Box<Checkup>>) -> Turn {
    match checkup.as_mut().map(|checkup| &mut checkup.waiting) {
        None => std::future::pending().await,
        Some(Waiting::Due(timer)) => {
            timer.await;
            Turn::Due
        }
        Some(Waiting::Outcome(outcome)) => Turn::Over(outcome.await.ok()),
    }
}

impl Owner {
    /// Begins to probe what runs and has a probe, ends it for all others.
    pub(super) fn arrange_checkup(&mut self) {
        let Some(settings) = &self.probing else { return };
        match (self.lifecycle.state.clone(), &self.lifecycle.health) {
            (State::Running(run), Some(health)) => {
                if self.checkup.as_ref().is_none_or(|checkup| checkup.run != run) {
                    self.checkup = Some(Box::new(Checkup::new(settings.clone(), run, health)));
                }
            }
            // A probe that is under way ends with who waits for it.
            _ => self.checkup = None,
        }
    }

    /// Goes on with the probing.
    pub(super) async fn check_up(&mut self, turn: Turn) {
        match turn {
            Turn::Due => self.start_probe(),
            Turn::Over(outcome) => self.take_outcome(outcome).await,
        }
    }

    fn start_probe(&mut self) {
        let (Some(checkup), Some(shim)) = (&mut self.checkup, &self.shim) else { return };
        let patient = Patient {
            shared: self.shared.clone(),
            container_id: self.record.id.clone(),
            shim: shim.connection.clone(),
            user: self.record.config.user.clone(),
            working_dir: self.record.config.working_dir.clone(),
        };
        checkup.waiting = Waiting::Outcome(probe::start(patient, checkup.settings.clone()));
    }

    async fn take_outcome(&mut self, outcome: Option<Outcome>) {
        let (Some(checkup), Some(health)) = (&mut self.checkup, &mut self.lifecycle.health) else { return };
        let before = (health.status, health.failing_streak);
        if let Some(outcome) = outcome {
            health.learn(outcome, &checkup.settings, checkup.run.started_at);
        }
        let status = health.status;
        let after = (status, health.failing_streak);
        checkup.waiting = Checkup::wait(&checkup.settings, checkup.run, status);
        self.publish();
        if before.0 != status {
            self.emit(&format!("health_status: {}", status.word()), &[]);
        }
        // One that stays as ill as it is needs no writing, however long.
        if before.0 != status || (before != after && status != Status::Unhealthy) {
            self.keep().await;
        }
    }
}
