//! What a client wants of a running container, written down before it is done: if the engine dies in the middle, the next one knows.
//! A file below the exec root: it has to survive the engine, not the machine, whose end is the container's as well.

use std::path::Path;

use jiff::Timestamp;
use minke_model::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::lifecycle::{Lifecycle, State};
use super::notes;

const VERSION: u32 = 1;

/// A wish that was made of one run; later versions add keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    version: u32,
    /// The run that it is about; one of another run is void.
    generation: u64,
    /// The container is to end: its restart policy no longer acts.
    pub stop: bool,
    /// It is to be removed then.
    pub remove: bool,
    /// It is to be started again then.
    pub restart: bool,
    /// The signal that was about to be sent.
    pub signal: Option<i32>,
    /// When `SIGKILL` follows.
    pub kill_at: Option<Timestamp>,
}

impl Wish {
    /// What a state machine that has taken the step still wants.
    pub fn of(lifecycle: &Lifecycle, signal: Option<i32>, kill_at: Option<Timestamp>) -> Self {
        Self {
            version: VERSION,
            generation: lifecycle.generation,
            stop: lifecycle.stopped_by_client,
            remove: lifecycle.remove_after_exit || lifecycle.state == State::Removing,
            restart: lifecycle.start_after_exit,
            signal,
            kill_at,
        }
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).context("a wish can't be written")?;
        notes::write(path, &bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads what was wished of the run that `lifecycle` is in, by this or another version.
    pub fn read(path: &Path, lifecycle: &Lifecycle) -> Option<Self> {
        let wish: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (wish.generation == lifecycle.generation).then_some(wish)
    }

    /// Tells the state machine of it.
    pub fn tell(&self, lifecycle: &mut Lifecycle) {
        lifecycle.stopped_by_client |= self.stop;
        lifecycle.remove_after_exit |= self.remove;
        lifecycle.start_after_exit = self.restart && !self.remove;
    }
}

#[cfg(test)]
mod tests {
    use minke_model::restart_policy::RestartPolicy;

    use super::*;

    #[test]
    fn a_wish_is_of_one_run_and_is_found_by_the_next_engine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/wish");
        let mut lifecycle = Lifecycle::new(RestartPolicy::Always, false);
        lifecycle.generation = 3;
        assert_eq!(Wish::read(&path, &lifecycle), None);
        lifecycle.stopped_by_client = true;
        let wish = Wish::of(&lifecycle, Some(15), None);
        wish.write(&path).unwrap();
        lifecycle.stopped_by_client = false;
        assert_eq!(Wish::read(&path, &lifecycle), Some(wish.clone()));
        wish.tell(&mut lifecycle);
        assert!(lifecycle.stopped_by_client && !lifecycle.start_after_exit);
        lifecycle.generation = 4;
        assert_eq!(Wish::read(&path, &lifecycle), None);
    }

    #[test]
    fn what_is_to_be_removed_is_not_started_again() {
        let mut lifecycle = Lifecycle::new(RestartPolicy::No, false);
        lifecycle.remove_after_exit = true;
        lifecycle.start_after_exit = true;
        let wish = Wish::of(&lifecycle, None, None);
        let mut next = Lifecycle::new(RestartPolicy::No, false);
        wish.tell(&mut next);
        assert!(next.remove_after_exit && !next.start_after_exit);
    }
}
