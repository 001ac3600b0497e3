//! The life of a container as a pure state machine: [`Lifecycle::step`] says, for every state and event, the next state
//! and what has to be done; the owner task does it. Docker's booleans are computed from [`State`] in one place.
//!
//! ```text
//!            Start              StartSucceeded
//!  Created --------> (Starting) --------------> Running ---- Exited ----> Exited
//!     ^                  | StartFailed            ^  |                      | Start
//!     |                  v                        |  | Exited, policy       v
//!     '------------- Created/Exited           Launch '------> Restarting -> (Starting)
//!                                                  BackoffElapsed
//!  Running <- Paused / Unpaused -> Paused; a paused container runs for all others
//!  any but Running: Remove -> Removing -> (gone)       Running: Remove{force} -> killed, then Removing
//! ```

use std::time::Duration;

use jiff::Timestamp;
use minke_model::restart_policy::RestartPolicy;
use serde::{Deserialize, Serialize};

use super::health::Health;

/// The first delay before a container is restarted by its policy.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest delay before a container is restarted by its policy.
pub const LAST_BACKOFF: Duration = Duration::from_secs(60);
/// A container that ran this long starts with [`FIRST_BACKOFF`] again.
pub const BACKOFF_RESET: Duration = Duration::from_secs(10);

/// One run of the container's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The number of this start, from 1.
    pub generation: u64,
    /// The pid of the container's init, as the host sees it.
    pub pid: i32,
    /// When it started.
    pub started_at: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// As a shell counts: 128 + n for signal n.
    pub code: i32,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or how it was lost.
    pub error: String,
}

/// What a container is doing. Nothing else says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Never started.
    Created,
    /// Being started; only in memory.
    Starting {
        /// What it was before, for a start that fails.
        before: Box<State>,
    },
    /// Its process runs.
    Running(Run),
    /// Ended; its policy starts it again after a delay.
    Restarting(Exit),
    /// Ended.
    Exited(Exit),
    /// Being removed.
    Removing,
    /// Could not be removed.
    Dead,
    /// Its process runs, and all that is in it stands still.
    Paused(Run),
}

/// What happens to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client asks for a start.
    Start,
    /// The shim reports the process.
    StartSucceeded(Run),
    /// The start failed.
    StartFailed(Exit),
    /// A client asks for the end, by stop or by a kill that counts as one: the policy no longer acts.
    StopRequested,
    /// A client asks for the end and a new start after it.
    RestartRequested,
    /// Its processes stand still.
    Paused,
    /// Its processes go on.
    Unpaused,
    /// The process ended.
    Exited(Exit),
    /// The delay before a restart is over.
    BackoffElapsed,
    /// A client asks for removal.
    Remove {
        /// Also while it runs.
        force: bool,
    },
    /// Removal failed.
    RemoveFailed,
    /// The engine starts again and finds the container not running.
    EngineStarted,
}

/// What the owner task has to do after a step, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the process.
    Launch,
    /// Kill the process at once.
    Kill,
    /// Wait, then give [`Event::BackoffElapsed`].
    ArmBackoff(Duration),
    /// Stop waiting.
    CancelBackoff,
    /// Release what the run of this generation held in the kernel.
    Teardown(u64),
    /// Write the record, durably.
    Persist,
    /// Remove everything.
    Remove,
}

/// The state and what the restart policy has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// What the container is doing.
    pub state: State,
    /// The policy.
    pub policy: RestartPolicy,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// How often the policy has restarted it since a client started it.
    pub restart_count: u32,
    /// A client asked for the end of this run.
    pub stopped_by_client: bool,
    /// The next delay.
    pub backoff: Duration,
    /// How many starts there have been.
    pub generation: u64,
    /// When the last run started, if there was one.
    pub started_at: Option<Timestamp>,
    /// Remove it as soon as it has ended.
    #[serde(default)]
    pub remove_after_exit: bool,
    /// Start it again as soon as it has ended, whatever its policy says.
    #[serde(default)]
    pub start_after_exit: bool,
    /// What its probes have said, once it has run with any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Why a step isn't possible in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing to do.
    NotModified,
    /// The container runs.
    Running,
    /// The container waits for its restart.
    Restarting,
    /// The container is being started or removed.
    Busy,
    /// The container doesn't run.
    NotRunning,
    /// The container is paused.
    Paused,
    /// The container isn't paused.
    NotPaused,
    /// The container is half removed.
    Dead,
}

impl Lifecycle {
    /// A new container.
    pub fn new(policy: RestartPolicy, auto_remove: bool) -> Self {
        Self {
            state: State::Created,
            policy,
            auto_remove,
            restart_count: 0,
            stopped_by_client: false,
            backoff: FIRST_BACKOFF,
            generation: 0,
            started_at: None,
            remove_after_exit: false,
            start_after_exit: false,
            health: None,
        }
    }

    /// The run that is going on.
    pub fn run(&self) -> Option<Run> {
        match self.state {
            State::Running(run) | State::Paused(run) => Some(run),
            _ => None,
        }
    }

    /// How the last run ended, where it has ended.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) | State::Restarting(exit) => Some(exit),
            State::Starting { before } => match &**before {
                State::Exited(exit) | State::Restarting(exit) => Some(exit),
                _ => None,
            },
            _ => None,
        }
    }

    /// The next state and what to do; `self` is unchanged. A refusal changes nothing.
    pub fn step(&self, event: Event) -> Result<(Lifecycle, Vec<Effect>), Refusal> {
        let mut next = self.clone();
        let effects = match event {
            Event::Start => next.on_start()?,
            Event::StartSucceeded(run) => {
                next.state = State::Running(run);
                next.started_at = Some(run.started_at);
                if let Some(health) = &mut next.health {
                    health.begin();
                }
                vec![Effect::Persist]
            }
            Event::StartFailed(exit) => next.on_start_failed(exit),
            Event::StopRequested => next.on_stop()?,
            Event::RestartRequested => next.on_restart()?,
            Event::Paused => next.on_paused()?,
            Event::Unpaused => next.on_unpaused()?,
            Event::Exited(exit) => next.on_exited(exit),
            Event::BackoffElapsed => next.on_backoff_elapsed(),
            Event::Remove { force } => next.on_remove(force)?,
            Event::RemoveFailed => {
                next.state = State::Dead;
                vec![Effect::Persist]
            }
            Event::EngineStarted => next.on_engine_started(),
        };
        Ok((next, effects))
    }

    fn on_start(&mut self) -> Result<Vec<Effect>, Refusal> {
        let mut effects = Vec::new();
        match &self.state {
            State::Created | State::Exited(_) => {}
            State::Restarting(_) => effects.push(Effect::CancelBackoff),
            State::Running(_) => return Err(Refusal::NotModified),
            State::Paused(_) => return Err(Refusal::Paused),
            State::Starting { .. } | State::Removing => return Err(Refusal::Busy),
            State::Dead => return Err(Refusal::Dead),
        }
        self.restart_count = 0;
        self.backoff = FIRST_BACKOFF;
        self.stopped_by_client = false;
        self.launch(&mut effects);
        Ok(effects)
    }

    fn launch(&mut self, effects: &mut Vec<Effect>) {
        let before = Box::new(std::mem::replace(&mut self.state, State::Dead));
        self.state = State::Starting { before };
        self.generation += 1;
        effects.push(Effect::Launch);
    }

    /// A start that fails leaves a container that was never run as Created; a restarted one keeps trying by its policy.
    fn on_start_failed(&mut self, exit: Exit) -> Vec<Effect> {
        let before = match std::mem::replace(&mut self.state, State::Dead) {
            State::Starting { before } => *before,
            other => other,
        };
        if matches!(before, State::Restarting(_)) {
            return self.on_exited(exit);
        }
        self.state = match before {
            State::Created => State::Created,
            _ => State::Exited(exit),
        };
        let mut effects = vec![Effect::Teardown(self.generation), Effect::Persist];
        if self.auto_remove {
            self.state = State::Removing;
            effects = vec![Effect::Teardown(self.generation), Effect::Remove];
        }
        effects
    }

    fn on_stop(&mut self) -> Result<Vec<Effect>, Refusal> {
        match &self.state {
            State::Running(_) | State::Paused(_) => {
                self.stopped_by_client = true;
                self.start_after_exit = false;
                Ok(vec![])
            }
            State::Restarting(exit) => {
                self.stopped_by_client = true;
                self.state = State::Exited(exit.clone());
                Ok(vec![Effect::CancelBackoff, Effect::Persist])
            }
            State::Starting { .. } | State::Removing => Err(Refusal::Busy),
            _ => Err(Refusal::NotModified),
        }
    }

    fn on_restart(&mut self) -> Result<Vec<Effect>, Refusal> {
        if self.run().is_some() {
            self.start_after_exit = true;
            return Ok(vec![]);
        }
        self.on_start()
    }

    fn on_paused(&mut self) -> Result<Vec<Effect>, Refusal> {
        match self.state {
            State::Running(run) => self.state = State::Paused(run),
            State::Paused(_) => return Err(Refusal::Paused),
            State::Restarting(_) => return Err(Refusal::Restarting),
            _ => return Err(Refusal::NotRunning),
        }
        self.probes_end();
        Ok(vec![])
    }

    fn on_unpaused(&mut self) -> Result<Vec<Effect>, Refusal> {
        let State::Paused(run) = self.state else { return Err(Refusal::NotPaused) };
        self.state = State::Running(run);
        Ok(vec![])
    }

    fn probes_end(&mut self) {
        if let Some(health) = &mut self.health {
            health.end();
        }
    }

    fn on_exited(&mut self, exit: Exit) -> Vec<Effect> {
        let mut effects = vec![Effect::Teardown(self.generation)];
        self.probes_end();
        if std::mem::take(&mut self.start_after_exit) && !self.remove_after_exit {
            self.state = State::Exited(exit);
            self.restart_count = 0;
            self.backoff = FIRST_BACKOFF;
            self.stopped_by_client = false;
            self.launch(&mut effects);
            return effects;
        }
        if self.auto_remove || self.remove_after_exit {
            self.state = State::Removing;
            effects.push(Effect::Remove);
            return effects;
        }
        let ran = self.started_at.map_or(Duration::ZERO, |started| {
            Duration::try_from(exit.finished_at.duration_since(started)).unwrap_or(Duration::ZERO)
        });
        if ran >= BACKOFF_RESET {
            self.backoff = FIRST_BACKOFF;
        }
        if self.policy_restarts(&exit) {
            self.restart_count += 1;
            effects.extend([Effect::Persist, Effect::ArmBackoff(self.backoff)]);
            self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
            self.state = State::Restarting(exit);
        } else {
            self.state = State::Exited(exit);
            effects.push(Effect::Persist);
        }
        effects
    }

    fn policy_restarts(&self, exit: &Exit) -> bool {
        if self.stopped_by_client {
            return false;
        }
        match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { maximum_retries } => {
                exit.code != 0 && (maximum_retries == 0 || self.restart_count < maximum_retries)
            }
        }
    }

    fn on_backoff_elapsed(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.state, State::Restarting(_)) {
            self.launch(&mut effects);
        }
        effects
    }

    fn on_remove(&mut self, force: bool) -> Result<Vec<Effect>, Refusal> {
        match &self.state {
            State::Running(_) | State::Paused(_) if force => {
                self.stopped_by_client = true;
                self.remove_after_exit = true;
                self.start_after_exit = false;
                Ok(vec![Effect::Kill])
            }
            State::Running(_) => Err(Refusal::Running),
            State::Paused(_) => Err(Refusal::Paused),
            State::Restarting(_) if !force => Err(Refusal::Restarting),
            State::Starting { .. } | State::Removing => Err(Refusal::Busy),
            State::Created | State::Exited(_) | State::Restarting(_) | State::Dead => {
                self.state = State::Removing;
                Ok(vec![Effect::CancelBackoff, Effect::Remove])
            }
        }
    }

    /// A container that isn't running when the engine starts: what its policy wants then.
    fn on_engine_started(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match &self.state {
            State::Removing => effects.push(Effect::Remove),
            State::Restarting(_) => self.launch(&mut effects),
            State::Exited(exit) => {
                let wanted = match self.policy {
                    RestartPolicy::No => false,
                    RestartPolicy::Always => true,
                    RestartPolicy::UnlessStopped => !self.stopped_by_client,
                    RestartPolicy::OnFailure { .. } => self.policy_restarts(exit),
                };
                if wanted {
                    self.stopped_by_client = false;
                    self.launch(&mut effects);
                }
            }
            State::Created | State::Starting { .. } | State::Running(_) | State::Paused(_) | State::Dead => {}
        }
        effects
    }
}

#[cfg(test)]
mod tests;
