//! Keeps the firewall as it is wanted: when somebody else changes what is in the kernel (`nft flush ruleset`), it is made so again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use minke_model::Result;
use minke_model::error::Context;
use minke_sys::AsFd;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Firewall;
use super::legacy::{EVERY, Legacy};
use crate::nft::Changed;

/// A thread that repairs a firewall until this is dropped.
#[derive(Debug)]
pub struct Keeper {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to listen, in the calling thread's network namespace. `repaired` is called after each repair, or with what it
    /// failed of.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(
        firewall: Arc<Mutex<Firewall>>,
        repaired: impl Fn(Result<()>) + Send + 'static,
    ) -> Result<Self> {
        let changed = Changed::listen().context("failed to listen for changes of the packet filter")?;
        let (own, folders) = {
            let firewall = firewall.lock().unwrap_or_else(PoisonError::into_inner);
            (firewall.port(), firewall.watched())
        };
        let files = watch(&folders)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("failed to make an eventfd")?;
        let stopped = stop.try_clone().context("failed to copy an eventfd")?;
        let thread = std::thread::Builder::new()
            .name("firewall".into())
            .stack_size(256 * 1024)
            .spawn(move || keep((&changed, own), (&stopped, &files), &firewall, &repaired))
            .context("failed to start a thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(
    (changed, own): (&Changed, u32),
    (stop, files): (&OwnedFd, &OwnedFd),
    firewall: &Mutex<Firewall>,
    repaired: &dyn Fn(Result<()>),
) {
    let mut legacy = Legacy::default();
    legacy.has_changed();
    loop {
        let heard = changed.as_fd();
        let mut fds =
            [&heard as &dyn AsFd, stop, files].map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        // Nobody wakes up where there are no such tables.
        let wait = legacy.is_watched().then_some(&EVERY);
        match poll(&mut fds, wait) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        let mut matters = false;
        if !fds[2].revents().is_empty() {
            // What is written one after the other is read as one.
            matters |= rustix::io::read(files, &mut [0; 4096]).is_ok();
        }
        if !fds[0].revents().is_empty() {
            match changed.hear(own) {
                Ok(others) => matters |= others,
                Err(_) => return,
            }
        }
        // What is written while it is repaired is seen the next time.
        matters |= legacy.has_changed();
        if !matters {
            continue;
        }
        let result = firewall.lock().unwrap_or_else(PoisonError::into_inner).repair();
        match result {
            Ok(false) => {}
            Ok(true) => repaired(Ok(())),
            Err(error) => repaired(Err(error)),
        }
    }
}

/// Hears of changed files in these folders; one that isn't there is left out.
fn watch(folders: &[PathBuf]) -> Result<OwnedFd> {
    let files =
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("failed to watch files")?;
    for folder in folders {
        let _ = inotify::add_watch(&files, folder, WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO);
    }
    Ok(files)
}
