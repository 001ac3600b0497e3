//! The caller's own terminal (or whatever its streams are) as the process's: bytes both ways, window size and signals, until the
//! process has ended and all that it wrote is out.

use std::os::fd::BorrowedFd;

use minke_sys::descriptor::{self, standard};
use minke_sys::epoll::{self, Epoll, Event};
use minke_sys::{OwnedFd, process as kernel, signal};
use rustix::termios::{OptionalActions, Termios};

use super::{Failure, failed};

/// `SIGWINCH`.
const WINDOW: i32 = 28;

const FROM_CALLER: u64 = 0;
const FROM_PROCESS: u64 = 1;
const SIGNALS: u64 = 2;

/// The caller's terminal in raw mode; as it was when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn set() -> Self {
        let Ok(before) = rustix::termios::tcgetattr(standard(0)) else { return Self(None) };
        let mut raw = before.clone();
        raw.make_raw();
        let _ = rustix::termios::tcsetattr(standard(0), OptionalActions::Now, &raw);
        Self(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(standard(0), OptionalActions::Now, before);
        }
    }
}

/// Gives the process's terminal the caller's size, if it has one.
pub fn take_size(controller: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(standard(0)) {
        let _ = rustix::termios::tcsetwinsize(controller, size);
    }
}

/// Relays until the process `pid`, a child, has ended; returns its exit code. Every signal must be blocked.
pub fn relay(controller: &OwnedFd, pid: i32) -> Result<i32, Failure> {
    let words = "relaying the terminal";
    let _raw = Raw::set();
    take_size(controller);
    let epoll = Epoll::new().map_err(failed(words))?;
    let signals = signal::descriptor(signal::ALL).map_err(failed(words))?;
    epoll.add(controller, epoll::IN, FROM_PROCESS).map_err(failed(words))?;
    epoll.add(&signals, epoll::IN, SIGNALS).map_err(failed(words))?;
    // A regular file can't be waited for: it is always readable.
    let mut plain_input = epoll.add(standard(0), epoll::IN, FROM_CALLER).is_err();
    let mut ended = None;
    loop {
        if plain_input {
            plain_input = copy(standard(0), controller);
        }
        let mut events = [Event::default(); 4];
        let patience = if ended.is_some() || plain_input { Some(0) } else { None };
        let count = epoll.wait(&mut events, patience).map_err(failed(words))?;
        for event in &events[..count] {
            match event.token() {
                FROM_CALLER => {
                    if !copy(standard(0), controller) {
                        let _ = epoll.remove(standard(0));
                    }
                }
                FROM_PROCESS => {
                    if !copy(borrow(controller), standard(1)) {
                        let _ = epoll.remove(controller);
                        ended = ended.or_else(|| wait_for(pid));
                    }
                }
                _ => {
                    pass_on(&signals, controller, pid);
                    ended = ended.or_else(|| reap(pid));
                }
            }
        }
        // What is still in the terminal comes out before it is over.
        if let (Some(code), 0) = (ended, count) {
            return Ok(code);
        }
    }
}

fn borrow(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// Copies what is there; whether there may be more.
fn copy(from: BorrowedFd<'_>, to: impl std::os::fd::AsFd) -> bool {
    let mut bytes = [0; 8192];
    match descriptor::read(from, &mut bytes) {
        Ok(Some(0)) | Err(_) => false,
        Ok(Some(count)) => descriptor::write_all(to, &bytes[..count]).is_ok(),
        Ok(None) => true,
    }
}

fn pass_on(signals: &OwnedFd, controller: &OwnedFd, pid: i32) {
    let own = [signal::CHILD, signal::TTY_IN, signal::TTY_OUT];
    let mut record = [0u8; 128];
    while let Ok(Some(128)) = descriptor::read(signals, &mut record) {
        let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        if number == WINDOW {
            take_size(controller);
        } else if !own.contains(&number) {
            let _ = kernel::kill(pid, number);
        }
    }
}

fn reap(pid: i32) -> Option<i32> {
    while let Ok(Some(ended)) = kernel::reap(false) {
        if ended.pid == pid {
            return Some(ended.code);
        }
    }
    None
}

/// The terminal's last user is gone: so is the process, or it has let go of its streams and still runs.
fn wait_for(pid: i32) -> Option<i32> {
    loop {
        match kernel::reap(true) {
            Ok(Some(ended)) if ended.pid == pid => return Some(ended.code),
            Ok(_) => {}
            Err(_) => return Some(255),
        }
    }
}

/// Passes every signal on to the process `pid`, a child, until it ends; returns its exit code. Every signal must be blocked.
pub fn wait(pid: i32) -> i32 {
    const OWN: signal::Set =
        signal::only(signal::CHILD) | signal::only(signal::TTY_IN) | signal::only(signal::TTY_OUT);
    loop {
        if let Some(code) = reap(pid) {
            return code;
        }
        let arrived = signal::wait(signal::ALL);
        if arrived > 0 && OWN & signal::only(arrived) == 0 {
            let _ = kernel::kill(pid, arrived);
        }
    }
}
