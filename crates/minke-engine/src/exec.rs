//! The table of execs: what each is to run and how it went. Nothing of it outlives the container's run.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use minke_model::{Error, Result};

/// The exit code of what the end of its container has killed.
pub const KILLED: i32 = 137;
/// How many execs are remembered before those that have ended are forgotten.
const REMEMBERED: usize = 1024;

/// What an exec is to run, as its creator gave it.
#[derive(Clone, Debug, Default)]
pub struct ExecSettings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, added to the container's.
    pub env: Vec<String>,
    /// As for a container; the container's own where empty.
    pub user: String,
    /// The container's own where empty.
    pub working_dir: String,
    /// All capabilities and devices.
    pub privileged: bool,
    /// A terminal.
    pub tty: bool,
    /// Standard input is attached.
    pub attach_stdin: bool,
    /// Standard output is attached.
    pub attach_stdout: bool,
    /// Standard error is attached.
    pub attach_stderr: bool,
    /// The keys that detach; Docker's default where empty.
    pub detach_keys: String,
    /// The terminal's first size, rows and columns.
    pub console_size: Option<(u16, u16)>,
}

impl ExecSettings {
    /// The command as events tell it: Docker puts a space after the program also where nothing follows.
    pub fn line(&self) -> String {
        let (program, arguments) = self.command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        format!("{program} {}", arguments.join(" "))
    }
}

/// How an exec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecState {
    /// Not started.
    Created,
    /// Being started.
    Starting,
    /// Running.
    Running {
        /// The pid as the host sees it.
        pid: i32,
    },
    /// Ended.
    Exited {
        /// The pid it had, 0 if it never ran.
        pid: i32,
        /// The exit code as a shell counts.
        code: i32,
    },
}

/// An exec.
#[derive(Clone, Debug)]
pub struct Exec {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id.
    pub container_id: String,
    /// What it runs.
    pub settings: ExecSettings,
    /// How it is.
    pub state: ExecState,
}

/// All execs of an engine.
#[derive(Debug, Default)]
pub struct Execs {
    table: Mutex<HashMap<String, Exec>>,
}

impl Execs {
    /// Adds one that is not started. Where many have ended, some of those are forgotten.
    pub fn insert(&self, exec: Exec) {
        let mut table = self.lock();
        if table.len() >= REMEMBERED {
            table.retain(|_, exec| !matches!(exec.state, ExecState::Exited { .. }));
        }
        table.insert(exec.id.clone(), exec);
    }

    /// The exec with this id.
    pub fn find(&self, id: &str) -> Result<Exec> {
        self.lock().get(id).cloned().ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    /// Takes the right to start an exec; only one caller gets it.
    pub fn begin(&self, id: &str) -> Result<Exec> {
        let mut table = self.lock();
        let exec =
            table.get_mut(id).ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))?;
        match exec.state {
            ExecState::Created => {
                exec.state = ExecState::Starting;
                Ok(exec.clone())
            }
            ExecState::Exited { .. } => Err(Error::conflict(format!("exec command {id} has already run"))),
            _ => Err(Error::conflict(format!("exec command {id} is already running"))),
        }
    }

    /// Gives the right to start back.
    pub fn abandon(&self, id: &str) {
        if let Some(exec) = self.lock().get_mut(id) {
            exec.state = ExecState::Created;
        }
    }

    /// It runs. An end that was reported first stays.
    pub fn started(&self, id: &str, pid: i32) {
        if let Some(exec) = self.lock().get_mut(id) {
            exec.state = match exec.state {
                ExecState::Exited { code, .. } => ExecState::Exited { pid, code },
                _ => ExecState::Running { pid },
            };
        }
    }

    /// It has ended. Returns whether that is news.
    pub fn exited(&self, id: &str, code: i32) -> bool {
        match self.lock().get_mut(id) {
            Some(exec) => {
                let pid = match exec.state {
                    ExecState::Running { pid } => pid,
                    ExecState::Exited { .. } => return false,
                    _ => 0,
                };
                exec.state = ExecState::Exited { pid, code };
                true
            }
            None => false,
        }
    }

    /// Takes over what a shim says of the execs that it has run: id, pid and the exit code of those that have ended.
    pub fn recover(&self, container_id: &str, execs: &[(String, i32, Option<i32>)]) {
        let mut table = self.lock();
        for (id, pid, code) in execs {
            let state = match code {
                Some(code) => ExecState::Exited { pid: *pid, code: *code },
                None => ExecState::Running { pid: *pid },
            };
            let settings = ExecSettings::default();
            let (id, container_id) = (id.clone(), container_id.to_owned());
            table.insert(id.clone(), Exec { id, container_id, settings, state });
        }
    }

    /// The container's run has ended, and all its execs with it: those that still ran were killed.
    pub fn container_ended(&self, container_id: &str) {
        for exec in self.lock().values_mut().filter(|exec| exec.container_id == container_id) {
            if let ExecState::Running { pid } = exec.state {
                exec.state = ExecState::Exited { pid, code: KILLED };
            }
        }
    }

    /// The container is gone.
    pub fn container_removed(&self, container_id: &str) {
        self.lock().retain(|_, exec| exec.container_id != container_id);
    }

    /// The ids of a container's execs that have not ended.
    pub fn of_container(&self, container_id: &str) -> Vec<String> {
        let mut ids: Vec<String> = self
            .lock()
            .values()
            .filter(|exec| {
                exec.container_id == container_id && !matches!(exec.state, ExecState::Exited { .. })
            })
            .map(|exec| exec.id.clone())
            .collect();
        ids.sort();
        ids
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_is_started_once_and_its_end_is_told_once() {
        let execs = Execs::default();
        let new = Exec {
            id: "e".into(),
            container_id: "c".into(),
            settings: ExecSettings::default(),
            state: ExecState::Created,
        };
        execs.insert(new);
        assert!(execs.begin("e").is_ok());
        assert_eq!(execs.begin("e").unwrap_err().message(), "exec command e is already running");
        assert!(execs.exited("e", 3));
        assert!(!execs.exited("e", 3));
        execs.started("e", 7);
        assert_eq!(execs.find("e").unwrap().state, ExecState::Exited { pid: 7, code: 3 });
        assert_eq!(execs.begin("x").unwrap_err().message(), "No such exec instance: x");
    }
}
