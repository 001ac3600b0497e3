//! The file with the daemon's process id: there is one daemon per file, which it keeps locked for as long as it lives.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_model::{Context as _, Error, Result};

/// How long the file of a daemon that has just been killed is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A written pid file, removed when dropped.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    _lock: File,
}

impl Pidfile {
    /// Writes this process's id.
    ///
    /// # Errors
    /// A running daemon holds the file.
    pub fn write(path: &Path) -> Result<Self> {
        let failed = || format!("failed to write the pid file {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(failed)?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(failed)?;
        if !minke_sys::lock::hold(&file, PATIENCE).with_context(failed)? {
            let pid = std::fs::read_to_string(path).unwrap_or_default();
            return Err(Error::conflict(format!(
                "process with PID {} is still running: the pid file {} is its",
                pid.trim(),
                path.display()
            )));
        }
        file.set_len(0).with_context(failed)?;
        file.write_all(std::process::id().to_string().as_bytes()).with_context(failed)?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_pid_file_is_taken_over_a_held_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minke.pid");
        std::fs::write(&path, "999999999").unwrap();
        let pidfile = Pidfile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        let refusal = Pidfile::write(&path).unwrap_err();
        assert!(refusal.message().contains("is still running"), "{refusal}");
        drop(pidfile);
        assert!(!path.exists());
    }
}
