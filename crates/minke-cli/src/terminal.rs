//! The caller's terminal: its size, and raw mode, which ends however the command ends.

use std::io::{IsTerminal as _, stderr, stdin, stdout};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Keeps the terminal in raw mode until it is dropped, also by a panic.
pub struct RawMode(Termios);

impl RawMode {
    /// Switches standard input to raw mode; nothing where it is no terminal.
    pub fn enter() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Keeps the terminal from showing what is typed until it is dropped.
pub struct Silence(Termios);

impl Silence {
    /// Nothing where standard input is no terminal.
    pub fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// The width of the terminal behind standard output; nothing where it is none.
pub fn columns_of_output() -> Option<u32> {
    stdout().is_terminal().then(|| tcgetwinsize(stdout()).map_or(200, |size| u32::from(size.ws_col)))
}

/// The width of the terminal behind standard error; nothing where it is none.
pub fn columns_of_error() -> Option<u32> {
    stderr().is_terminal().then(|| tcgetwinsize(stderr()).map_or(200, |size| u32::from(size.ws_col)))
}

/// Whether standard input is a terminal.
pub fn input_is_terminal() -> bool {
    stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub fn output_is_terminal() -> bool {
    stdout().is_terminal()
}

/// Rows and columns of the terminal behind standard output, else standard input.
pub fn size() -> Option<[u32; 2]> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some([u32::from(size.ws_row), u32::from(size.ws_col)])
}
