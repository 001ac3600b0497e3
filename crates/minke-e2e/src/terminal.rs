//! A command in a pseudo-terminal of its own, driven as a person would.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::session::{Captured, wait_for_end};
use crate::{deadline, process};

/// A command whose three streams are one terminal, its controlling one.
pub struct Terminal {
    line: String,
    child: Child,
    master: File,
    screen: Captured,
    seen: usize,
}

impl Terminal {
    /// Starts `command` in a terminal of 24 rows and 80 columns; `line` names it in messages.
    pub fn start(command: &Command, line: &str) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a new terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("the terminal can be opened");
        let name =
            ptsname(&master, Vec::new()).expect("the terminal has a name").into_string().expect("in ASCII");
        let open = || File::options().read(true).write(true).open(&name).expect("the terminal opens");
        let stream = || Stdio::from(open());
        // setsid gives the command the terminal as the controlling one, which takes a system call between fork and exec.
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        resize(&File::from(rustix::io::dup(&master).expect("a descriptor")), 24, 80);
        let child = inside.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("setsid starts");
        let master = File::from(master);
        let screen = Captured::from(master.try_clone().expect("a descriptor"));
        Self { line: line.to_string(), child, master, screen, seen: 0 }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Waits until `text` appears after what was expected before.
    pub fn expect(&mut self, text: &str) {
        let what = format!("{} shows {text:?}", self.line);
        self.seen = self.screen.expect_after(self.seen, text, &what).1;
    }

    /// Returns everything shown so far.
    pub fn screen(&self) -> String {
        self.screen.text()
    }

    /// Sets the size, as a window that is dragged does.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// Tells the command that its terminal is gone, as the kernel does when a window is closed.
    pub fn hang_up(&self) {
        process::signal(self.child.id() as i32, Signal::HUP);
    }

    /// Waits for the command's end, and returns its exit code.
    pub fn wait(mut self) -> i32 {
        let ended = wait_for_end(self.child.id() as i32, deadline::seconds(30));
        assert!(ended, "not ended in time: {}; shown: {:?}", self.line, self.screen());
        self.child.wait().ok().and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("the terminal has a size");
}
