//! A command that runs while the test goes on: its input, its output so far, its end.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::time::Timespec;

use crate::cli::Output;
use crate::deadline::within;
use crate::{deadline, process};

/// A running command with pipes for its three streams.
pub struct Session {
    line: String,
    child: Child,
    input: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    ended: bool,
}

impl Session {
    /// Starts `command`; `line` names it in messages. Standard input is as the caller has set it.
    pub fn start(mut command: Command, line: &str) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        let input = child.stdin.take();
        let stdout = Captured::from(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Captured::from(child.stderr.take().expect("stderr is a pipe"));
        Self { line: line.to_string(), child, input, stdout, stderr, ended: false }
    }

    /// Returns the pid of the command.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Writes to standard input; a command that has closed it is no error.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes).and_then(|()| input.flush());
        }
    }

    /// Ends standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits until standard output contains `text`, and returns all of it so far.
    pub fn expect(&self, text: &str) -> String {
        self.stdout.expect(text, &format!("{} prints {text:?}; stderr: {}", self.line, self.stderr.text()))
    }

    /// Waits until standard error contains `text`, and returns all of it so far.
    pub fn expect_error(&self, text: &str) -> String {
        self.stderr.expect(text, &format!("{} prints the error {text:?}", self.line))
    }

    /// Returns standard output so far.
    pub fn so_far(&self) -> String {
        self.stdout.text()
    }

    /// Sends a signal to the command.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Ends the input and waits for the end, at most 60 s.
    pub fn wait(mut self) -> Output {
        self.close_input();
        self.finish(deadline::seconds(60))
    }

    /// Waits for the end; kills the command and panics when `limit` has gone by.
    pub fn finish(mut self, limit: Duration) -> Output {
        let ended = wait_for_end(self.pid(), limit);
        if !ended {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("a child can be waited for");
        self.ended = true;
        let stderr = String::from_utf8_lossy(&self.stderr.join()).into_owned();
        let stdout = self.stdout.join();
        assert!(
            ended,
            "not ended within {limit:?}: {}\n{}\n{stderr}",
            self.line,
            String::from_utf8_lossy(&stdout)
        );
        let code = status.code().or_else(|| Some(128 + status.signal()?)).expect("ended by exit or signal");
        Output { code, stdout, stderr }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for a process to end; false when `limit` has gone by.
pub fn wait_for_end(pid: i32, limit: Duration) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// What a pipe has delivered so far.
#[derive(Default)]
struct Buffer {
    bytes: Mutex<Vec<u8>>,
    grew: Condvar,
}

/// A stream that a thread reads to its end.
pub(crate) struct Captured {
    buffer: Arc<Buffer>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    pub(crate) fn from(mut source: impl Read + Send + 'static) -> Self {
        let buffer = Arc::new(Buffer::default());
        let sink = buffer.clone();
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count) = source.read(&mut chunk) {
                if count == 0 {
                    break;
                }
                sink.bytes.lock().expect("no reader panics").extend_from_slice(&chunk[..count]);
                sink.grew.notify_all();
            }
        });
        Self { buffer, reader: Some(reader) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer.bytes.lock().expect("no reader panics")).into_owned()
    }

    pub(crate) fn expect(&self, text: &str, what: &str) -> String {
        self.expect_after(0, text, what).0
    }

    /// Waits for `text` at or after byte `from`; returns everything and the position after the text found.
    pub(crate) fn expect_after(&self, from: usize, text: &str, what: &str) -> (String, usize) {
        let end = Instant::now() + deadline::seconds(30);
        let mut bytes = self.buffer.bytes.lock().expect("no reader panics");
        loop {
            let found =
                bytes[from.min(bytes.len())..].windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(position) = found {
                return (String::from_utf8_lossy(&bytes).into_owned(), from + position + text.len());
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in time: {what}; so far: {:?}", String::from_utf8_lossy(&bytes));
            bytes = self.buffer.grew.wait_timeout(bytes, left).expect("no reader panics").0;
        }
    }

    pub(crate) fn join(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            within(20, "everybody has closed the command's output", || reader.is_finished().then_some(()));
        }
        std::mem::take(&mut self.buffer.bytes.lock().expect("no reader panics"))
    }
}
