//! The processes of a container as /proc shows them: what `top` prints. Parsing is pure; [`read`] alone opens files.

use std::path::Path;

/// One process, or one thread of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// The process, as the host sees it.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// The terminal's device number.
    pub terminal: i32,
    /// The process group that the terminal's keys go to.
    pub foreground: i32,
    /// The kernel's flags.
    pub flags: u64,
    /// One letter.
    pub state: String,
    /// Processor time in ticks.
    pub ticks: u64,
    /// The kernel's priority.
    pub priority: i64,
    /// The wish about it.
    pub nice: i64,
    /// Threads of the process.
    pub threads: u64,
    /// When it started, in ticks since the boot.
    pub started: u64,
    /// Address space in bytes.
    pub virtual_bytes: u64,
    /// Memory in pages.
    pub resident_pages: u64,
    /// The processor that it ran on last.
    pub processor: i64,
    /// Real and effective user.
    pub users: [u32; 2],
    /// Real and effective group.
    pub groups: [u32; 2],
    /// The program's short name.
    pub name: String,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The function of the kernel that it waits in.
    pub waits_in: String,
}

/// Reads processes, or with `threads` each thread; those that end meanwhile are left out.
pub fn read(pids: &[i32], threads: bool) -> Vec<Process> {
    let mut found = Vec::new();
    for pid in pids {
        let directory = Path::new("/proc").join(pid.to_string());
        if !threads {
            found.extend(read_one(&directory, *pid, *pid));
            continue;
        }
        let Ok(entries) = std::fs::read_dir(directory.join("task")) else { continue };
        let mut tids: Vec<i32> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        tids.sort_unstable();
        found.extend(
            tids.iter().filter_map(|tid| read_one(&directory.join("task").join(tid.to_string()), *pid, *tid)),
        );
    }
    found
}

fn read_one(directory: &Path, pid: i32, tid: i32) -> Option<Process> {
    let text = |name: &str| {
        let bytes = std::fs::read(directory.join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut process = parse_stat(&text("stat")?)?;
    (process.pid, process.tid) = (pid, tid);
    parse_status(&text("status").unwrap_or_default(), &mut process);
    let arguments = text("cmdline").unwrap_or_default();
    process.arguments = arguments
        .trim_end_matches('\0')
        .split('\0')
        .filter(|_| !arguments.is_empty())
        .map(str::to_owned)
        .collect();
    process.waits_in = text("wchan").unwrap_or_default().trim().to_owned();
    Some(process)
}

/// Reads /proc/PID/stat; the name in it may hold anything, so the fields are counted from its end.
fn parse_stat(text: &str) -> Option<Process> {
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The page of the manual counts from 1, and the state is its third.
    let at = |place: usize| fields.get(place - 3).copied().unwrap_or_default();
    let whole = |place: usize| at(place).parse::<i64>().unwrap_or(0);
    let count = |place: usize| at(place).parse::<u64>().unwrap_or(0);
    let small = |place: usize| i32::try_from(whole(place)).unwrap_or(0);
    Some(Process {
        name: name.to_owned(),
        state: at(3).to_owned(),
        ppid: small(4),
        group: small(5),
        session: small(6),
        terminal: small(7),
        foreground: small(8),
        flags: count(9),
        ticks: count(14) + count(15),
        priority: whole(18),
        nice: whole(19),
        threads: count(20),
        started: count(22),
        virtual_bytes: count(23),
        resident_pages: count(24),
        processor: whole(39),
        ..Process::default()
    })
}

fn parse_status(text: &str, process: &mut Process) {
    let ids = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let mut ids = line.split_whitespace().filter_map(|id| id.parse().ok());
        [ids.next().unwrap_or(0), ids.next().unwrap_or(0)]
    };
    process.users = ids("Uid:");
    process.groups = ids("Gid:");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let text = "231 (a) b (c) R 211 231 230 34816 231 4194304 1 0 0 0 12 3 0 0 20 -5 2 0 900 4096000 50 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0";
        let process = parse_stat(text).unwrap();
        assert_eq!(process.name, "a) b (c");
        assert_eq!((process.ppid, process.group, process.session), (211, 231, 230));
        assert_eq!((process.ticks, process.nice, process.threads, process.started), (15, -5, 2, 900));
        assert_eq!((process.virtual_bytes, process.resident_pages, process.processor), (4_096_000, 50, 1));
    }

    #[test]
    fn users_are_the_real_and_the_effective() {
        let mut process = Process::default();
        parse_status("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t6\t6\t6\n", &mut process);
        assert_eq!((process.users, process.groups), ([1000, 0], [5, 6]));
    }
}
