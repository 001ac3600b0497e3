//! The records that outlive the shim: `state` while the container runs, `exit` once it has ended. One line of JSON each, with a
//! version; written beside and renamed, so that a reader sees all or nothing. They are in the current directory.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_sys::descriptor;
use rustix::fs::{Mode, OFlags};

use super::json_line;

/// The version of both records; a reader accepts newer ones, since fields are only added.
pub const VERSION: u32 = 1;

/// Who is running.
pub struct State<'a> {
    /// The container's id.
    pub container_id: &'a str,
    /// The number of its start.
    pub generation: u64,
    /// The shim's pid.
    pub shim_pid: i32,
    /// The init's pid as the host sees it.
    pub pid: i32,
    /// When the init was started in clock ticks since boot: with the pid it can't be mistaken for another process.
    pub pid_start_ticks: u64,
    /// When the container was started, nanoseconds since 1970.
    pub started_at_ns: u64,
}

impl State<'_> {
    /// Its text.
    pub fn render(&self) -> String {
        format!(
            "{{\"version\":{VERSION},\"container_id\":{},\"generation\":{},\"shim_pid\":{},\"pid\":{},\"pid_start_ticks\":{},\"started_at_ns\":{}}}\n",
            quoted(self.container_id),
            self.generation,
            self.shim_pid,
            self.pid,
            self.pid_start_ticks,
            self.started_at_ns
        )
    }
}

/// How it ended.
pub struct Exit<'a> {
    /// The container's id.
    pub container_id: &'a str,
    /// The number of its start.
    pub generation: u64,
    /// The exit code as a shell counts.
    pub code: i32,
    /// When, nanoseconds since 1970.
    pub finished_at_ns: u64,
    /// Why it could not be started, if its program never ran.
    pub error: Option<&'a str>,
}

impl Exit<'_> {
    /// Its text.
    pub fn render(&self) -> String {
        format!(
            "{{\"version\":{VERSION},\"container_id\":{},\"generation\":{},\"code\":{},\"finished_at_ns\":{},\"error\":{}}}\n",
            quoted(self.container_id),
            self.generation,
            self.code,
            self.finished_at_ns,
            self.error.map_or_else(|| String::from("null"), quoted)
        )
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    json_line::escape(text.as_bytes(), &mut out);
    out.push(b'"');
    String::from_utf8(out).unwrap_or_default()
}

/// Writes a record under its name.
pub fn write(name: &str, text: &str) -> minke_sys::Result<()> {
    let temporary = format!("{name}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(temporary.as_str(), flags, Mode::from_raw_mode(0o600))?;
    descriptor::write_all(&file, text.as_bytes()).map_err(|(_, errno)| errno)?;
    rustix::fs::rename(temporary.as_str(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_one_line_of_json_with_a_version() {
        let exit = Exit {
            container_id: "ab",
            generation: 2,
            code: 127,
            finished_at_ns: 5,
            error: Some("exec: \"x\": no"),
        };
        assert_eq!(
            exit.render(),
            "{\"version\":1,\"container_id\":\"ab\",\"generation\":2,\"code\":127,\"finished_at_ns\":5,\"error\":\"exec: \\\"x\\\": no\"}\n"
        );
        let state = State {
            container_id: "ab",
            generation: 1,
            shim_pid: 7,
            pid: 8,
            pid_start_ticks: 9,
            started_at_ns: 10,
        };
        assert_eq!(
            state.render(),
            "{\"version\":1,\"container_id\":\"ab\",\"generation\":1,\"shim_pid\":7,\"pid\":8,\"pid_start_ticks\":9,\"started_at_ns\":10}\n"
        );
    }
}
