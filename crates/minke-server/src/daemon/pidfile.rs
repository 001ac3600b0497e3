//! The file with the daemon's process id: there is one daemon per file.

use std::path::{Path, PathBuf};

use minke_model::{Context as _, Error, Result};

/// A written pid file, removed when dropped.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
}

impl Pidfile {
    /// Writes this process's id.
    ///
    /// # Errors
    /// The file names a running daemon.
    pub fn write(path: &Path) -> Result<Self> {
        let failed = || format!("failed to write the pid file {}", path.display());
        if let Some(pid) = holder(path) {
            return Err(Error::conflict(format!(
                "process with PID {pid} is still running: the pid file {} is its",
                path.display()
            )));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(failed)?;
        }
        let new = path.with_extension("pid.new");
        std::fs::write(&new, std::process::id().to_string()).with_context(failed)?;
        std::fs::rename(&new, path).with_context(failed)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that a pid file names, if it runs and is a program like this one.
fn holder(path: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    if pid == std::process::id() {
        return None;
    }
    let program = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let other = program(&pid.to_string())?;
    (Some(other) == program("self")).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_pid_file_is_taken_over_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minke.pid");
        std::fs::write(&path, "999999999").unwrap();
        let pidfile = Pidfile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(pidfile);
        assert!(!path.exists());
    }
}
