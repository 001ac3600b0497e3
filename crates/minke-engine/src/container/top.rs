//! `GET /containers/{id}/top`: the usual options of `ps` without `ps`. Which columns they mean is decided here, and what stands in
//! them; the processes come from [`processes`](super::processes).

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minke_api::container::{ContainerTop, TopQuery};
use minke_model::{Context as _, Error, Result};

use super::lifecycle::State;
use super::processes::{self, Process};
use crate::Engine;

/// Ticks of the kernel's clock each second.
const TICKS: u64 = 100;
const DAY_S: i64 = 86_400;

impl Engine {
    /// `GET /containers/{id}/top`.
    pub async fn container_top(&self, reference: &str, query: &TopQuery) -> Result<ContainerTop> {
        let view = self.shared.containers.resolve(reference)?.view();
        let id = &view.record.id;
        let Some(run) = view.lifecycle.run() else {
            return Err(Error::conflict(match view.lifecycle.state {
                State::Restarting(_) => {
                    format!("Container {id} is restarting, wait until the container is running")
                }
                _ => format!("container {id} is not running"),
            }));
        };
        let plan = plan(if query.ps_args.is_empty() { "-ef" } else { &query.ps_args })?;
        let group = self.shared.group(&view.record, run.generation);
        let memory_bytes = self.shared.host.found.memory_bytes;
        let work = move || {
            let pids: Vec<i32> = group.pids().into_iter().collect();
            let found = processes::read(&pids, plan.threads);
            let around = Around::read(memory_bytes);
            let row =
                |process: &Process| plan.columns.iter().map(|column| column.show(process, &around)).collect();
            let titles = plan.columns.iter().map(|column| column.title.clone()).collect();
            ContainerTop { titles, processes: found.iter().map(row).collect() }
        };
        tokio::task::spawn_blocking(work).await.context("reading the container's processes")
    }
}

/// What the columns need beyond the process.
struct Around {
    now: Timestamp,
    up_ticks: u64,
    memory_bytes: u64,
    page_bytes: u64,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    zone: TimeZone,
}

impl Around {
    fn read(memory_bytes: u64) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let up: f64 = text("/proc/uptime").split(' ').next().and_then(|up| up.parse().ok()).unwrap_or(0.0);
        Self {
            now: Timestamp::now(),
            up_ticks: (up * TICKS as f64) as u64,
            memory_bytes,
            page_bytes: rustix::param::page_size() as u64,
            users: names(&text("/etc/passwd")),
            groups: names(&text("/etc/group")),
            zone: TimeZone::system(),
        }
    }

    /// How long a process has lived, in seconds.
    fn age_s(&self, process: &Process) -> u64 {
        self.up_ticks.saturating_sub(process.started) / TICKS
    }

    fn start(&self, process: &Process) -> jiff::Zoned {
        let age = i64::try_from(self.age_s(process)).unwrap_or(0);
        let start = Timestamp::from_second(self.now.as_second() - age).unwrap_or(self.now);
        start.to_zoned(self.zone.clone())
    }

    fn percent_of_processor(&self, process: &Process) -> f64 {
        let lived = self.up_ticks.saturating_sub(process.started).max(1);
        process.ticks as f64 * 100.0 / lived as f64
    }
}

/// The names by number of /etc/passwd or /etc/group; the first of a number counts.
fn names(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (Some(name), Some(id)) = (name, id) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// A name in eight columns, as `ps` cuts it; a number where there is none.
fn name_of(names: &BTreeMap<u32, String>, id: u32) -> String {
    match names.get(&id) {
        Some(name) if name.len() > 8 => format!("{}+", name.chars().take(7).collect::<String>()),
        Some(name) => name.clone(),
        None => id.to_string(),
    }
}

/// What `ps` would print.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    columns: Vec<Column>,
    threads: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    title: String,
    /// One of [`COLUMNS`]' own names.
    what: &'static str,
}

/// Names of columns, the heading, and what stands in them; those in capitals have no name of their own.
const COLUMNS: &[(&[&str], &str, &str)] = &[
    (&["pid"], "PID", "pid"),
    (&["tgid"], "TGID", "pid"),
    (&["ppid"], "PPID", "ppid"),
    (&["lwp", "tid", "spid"], "LWP", "tid"),
    (&["pgid"], "PGID", "group"),
    (&["pgrp"], "PGRP", "group"),
    (&["sid"], "SID", "session"),
    (&["sess", "session"], "SESS", "session"),
    (&["uid"], "UID", "uid"),
    (&["euid"], "EUID", "uid"),
    (&["ruid"], "RUID", "ruid"),
    (&["user", "uname"], "USER", "user"),
    (&["euser"], "EUSER", "user"),
    (&["ruser"], "RUSER", "ruser"),
    (&["gid"], "GID", "gid"),
    (&["egid"], "EGID", "gid"),
    (&["rgid"], "RGID", "rgid"),
    (&["group"], "GROUP", "gname"),
    (&["egroup"], "EGROUP", "gname"),
    (&["rgroup"], "RGROUP", "rgname"),
    (&["comm", "ucmd", "ucomm"], "COMMAND", "name"),
    (&["cmd"], "CMD", "arguments"),
    (&["args", "command"], "COMMAND", "arguments"),
    (&["s", "state"], "S", "state"),
    (&["stat"], "STAT", "states"),
    (&["tty", "tt"], "TT", "tty"),
    (&["tname"], "TTY", "tty"),
    (&["time", "cputime"], "TIME", "time"),
    (&["bsdtime"], "TIME", "short-time"),
    (&["etime"], "ELAPSED", "age"),
    (&["etimes"], "ELAPSED", "age-s"),
    (&["stime"], "STIME", "start"),
    (&["start_time"], "START", "start"),
    (&["start"], "STARTED", "start-s"),
    (&["lstart"], "STARTED", "start-long"),
    (&["%cpu", "pcpu"], "%CPU", "cpu"),
    (&["c"], "C", "cpu-whole"),
    (&["%mem", "pmem"], "%MEM", "mem"),
    (&["vsz", "vsize"], "VSZ", "vsz"),
    (&["rss", "rssize", "rsz"], "RSS", "rss"),
    (&["sz"], "SZ", "sz"),
    (&["ni", "nice"], "NI", "nice"),
    (&["pri"], "PRI", "pri"),
    (&["opri"], "PRI", "pri-long"),
    (&["nlwp"], "NLWP", "threads"),
    (&["thcount"], "THCNT", "threads"),
    (&["psr"], "PSR", "processor"),
    (&["wchan"], "WCHAN", "wchan"),
    (&["f", "flag", "flags"], "F", "flags"),
    (&["addr"], "ADDR", "nothing"),
];

fn column(name: &str) -> Option<Column> {
    let (_, title, what) = COLUMNS.iter().find(|(names, ..)| names.contains(&name))?;
    Some(Column { title: (*title).to_owned(), what })
}

/// Columns by names, with another heading after `=`.
fn columns(text: &str) -> Vec<Column> {
    let one = |word: &str| match word.split_once('=') {
        Some((name, title)) => column(name).map(|column| Column { title: title.to_owned(), ..column }),
        None => column(word),
    };
    text.split(' ').filter_map(one).collect()
}

/// What the letters of the options have said so far.
#[derive(Default)]
struct Options {
    full: bool,
    extra_full: bool,
    long: bool,
    threads: bool,
    berkeley: bool,
    user: bool,
    own: Vec<Column>,
}

/// Reads the options of `ps`.
///
/// # Errors
/// Options or columns that aren't known, and a choice of columns without the process id.
fn plan(text: &str) -> Result<Plan> {
    let unknown = |what: &str| {
        Error::invalid(format!(
            "ps: error: unsupported option {what:?}: minke lists processes itself and knows -e -A -a -d -f -F -l -L -w -o and a x u l w o"
        ))
    };
    let mut options = Options::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let letters = word.strip_prefix('-').unwrap_or(word);
        // As ps has it, -aux is aux.
        let berkeley = !word.starts_with('-') || letters.contains(['u', 'x']);
        options.berkeley |= berkeley;
        for (place, letter) in letters.char_indices() {
            match letter {
                'o' => {
                    let rest = &letters[place + 1..];
                    let list = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
                    options.own.extend(chosen(list)?);
                    break;
                }
                'e' | 'A' | 'd' if !berkeley => {}
                'a' | 'w' => {}
                'x' if berkeley => {}
                'u' if berkeley => options.user = true,
                'l' => options.long = true,
                'f' if !berkeley => options.full = true,
                'F' if !berkeley => (options.full, options.extra_full) = (true, true),
                'L' if !berkeley => options.threads = true,
                _ => return Err(unknown(word)),
            }
        }
        if letters.is_empty() {
            return Err(unknown(word));
        }
    }
    let columns = if options.own.is_empty() { columns(&usual(&options)) } else { options.own };
    if !columns.iter().any(|column| column.title == "PID") {
        return Err(Error::system("Couldn't find PID field in ps output"));
    }
    Ok(Plan { columns, threads: options.threads })
}

/// A list of `-o`: names with commas between, the last perhaps with a heading that takes the rest.
fn chosen(list: &str) -> Result<Vec<Column>> {
    let (names, title) = match list.split_once('=') {
        Some((names, title)) => (names, Some(title)),
        None => (list, None),
    };
    let mut columns = Vec::new();
    for name in names.split(',') {
        let known = column(name);
        columns.push(known.ok_or_else(|| {
            Error::invalid(format!("ps: error: unknown user-defined format specifier \"{name}\""))
        })?);
    }
    if let (Some(title), Some(last)) = (title, columns.last_mut()) {
        title.clone_into(&mut last.title);
    }
    Ok(columns)
}

fn usual(options: &Options) -> String {
    let (lwp, nlwp) = if options.threads { (" lwp", " nlwp") } else { ("", "") };
    match options {
        Options { berkeley: true, user: true, .. } => {
            "user pid %cpu %mem vsz rss tname stat start_time bsdtime args".into()
        }
        Options { berkeley: true, long: true, .. } => {
            "f uid pid ppid opri ni vsz rss wchan stat tname bsdtime args".into()
        }
        Options { berkeley: true, .. } => "pid tname stat bsdtime args".into(),
        Options { extra_full: true, .. } => {
            format!("user=UID pid ppid{lwp} c{nlwp} sz rss psr stime tname time cmd")
        }
        Options { full: true, long: true, .. } => {
            format!("f s user=UID pid ppid{lwp} c{nlwp} opri ni addr sz wchan stime tname time cmd")
        }
        Options { full: true, .. } => format!("user=UID pid ppid{lwp} c{nlwp} stime tname time cmd"),
        Options { long: true, .. } => {
            format!("f s uid pid ppid{lwp} c{nlwp} opri ni addr sz wchan tname time comm=CMD")
        }
        _ => format!("pid{lwp} tname time comm=CMD"),
    }
}

impl Column {
    fn show(&self, process: &Process, around: &Around) -> String {
        match self.what {
            "pid" => process.pid.to_string(),
            "tid" => process.tid.to_string(),
            "ppid" => process.ppid.to_string(),
            "group" => process.group.to_string(),
            "session" => process.session.to_string(),
            "uid" => process.users[1].to_string(),
            "ruid" => process.users[0].to_string(),
            "user" => name_of(&around.users, process.users[1]),
            "ruser" => name_of(&around.users, process.users[0]),
            "gid" => process.groups[1].to_string(),
            "rgid" => process.groups[0].to_string(),
            "gname" => name_of(&around.groups, process.groups[1]),
            "rgname" => name_of(&around.groups, process.groups[0]),
            "name" => process.name.clone(),
            "arguments" if process.arguments.is_empty() => format!("[{}]", process.name),
            "arguments" => process.arguments.join(" "),
            "state" => process.state.clone(),
            "states" => states(process),
            "tty" => terminal(process.terminal),
            "nice" => process.nice.to_string(),
            "pri" => (39 - process.priority).to_string(),
            "pri-long" => (60 + process.priority).to_string(),
            "threads" => process.threads.to_string(),
            "processor" => process.processor.to_string(),
            "wchan" if !matches!(process.waits_in.as_str(), "" | "0") => process.waits_in.clone(),
            "flags" => (process.flags >> 6 & 7).to_string(),
            "mem" => {
                let bytes = process.resident_pages * around.page_bytes;
                let tenths = u128::from(bytes) * 1000 / u128::from(around.memory_bytes.max(1));
                format!("{}.{}", tenths / 10, tenths % 10)
            }
            "vsz" => (process.virtual_bytes / 1024).to_string(),
            "rss" => (process.resident_pages * around.page_bytes / 1024).to_string(),
            "sz" => (process.virtual_bytes / around.page_bytes).to_string(),
            "cpu" => format!("{:.1}", around.percent_of_processor(process)),
            "cpu-whole" => (around.percent_of_processor(process) as u64).min(99).to_string(),
            what => self.show_time(what, process, around),
        }
    }

    fn show_time(&self, what: &str, process: &Process, around: &Around) -> String {
        let used = process.ticks / TICKS;
        let format = |form: &str| around.start(process).strftime(form).to_string();
        match what {
            "time" => {
                let (hours, rest) = (used / 3600, used % 3600);
                let days = if hours >= 24 { format!("{}-", hours / 24) } else { String::new() };
                format!("{days}{:02}:{:02}:{:02}", hours % 24, rest / 60, rest % 60)
            }
            "short-time" => format!("{}:{:02}", used / 60, used % 60),
            "age" => {
                let age = around.age_s(process);
                let (days, hours, rest) = (age / 86_400, age / 3600 % 24, age % 3600);
                let long = if days > 0 { format!("{days}-{hours:02}:") } else { format!("{hours:02}:") };
                let long = if age < 3600 { String::new() } else { long };
                format!("{long}{:02}:{:02}", rest / 60, rest % 60)
            }
            "age-s" => around.age_s(process).to_string(),
            "start" => {
                let start = around.start(process);
                let now = around.now.to_zoned(around.zone.clone());
                if start.year() != now.year() {
                    format("%Y")
                } else if around.age_s(process) as i64 >= DAY_S {
                    format("%b%d")
                } else {
                    format("%H:%M")
                }
            }
            "start-s" if around.age_s(process) as i64 >= DAY_S => format("%b %d"),
            "start-s" => format("%H:%M:%S"),
            "start-long" => format("%a %b %e %H:%M:%S %Y"),
            _ => "-".into(),
        }
    }
}

fn states(process: &Process) -> String {
    let marks = [
        (process.nice < 0, '<'),
        (process.nice > 0, 'N'),
        (process.session == process.pid, 's'),
        (process.threads > 1, 'l'),
        (process.foreground == process.group && process.terminal != 0, '+'),
    ];
    let marks = marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark);
    process.state.chars().chain(marks).collect()
}

fn terminal(number: i32) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".into(),
        4 if minor >= 64 => format!("ttyS{}", minor - 64),
        4 => format!("tty{minor}"),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> String {
        match plan(text) {
            Ok(plan) => plan.columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn the_usual_options_give_the_columns_of_ps() {
        for (text, expected) in [
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e -f", "UID PID PPID C STIME TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-o pid,comm", "PID COMMAND"),
            ("-eo pid,user,args,etime,stat", "PID USER COMMAND ELAPSED STAT"),
            ("-o pid -o comm=NAME", "PID NAME"),
            ("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
            ("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD"),
            ("-e", "PID TTY TIME CMD"),
            ("ax", "PID TTY STAT TIME COMMAND"),
        ] {
            assert_eq!(titles(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert_eq!(titles("-o comm"), "Couldn't find PID field in ps output");
        assert!(titles("-zz").starts_with("ps: error: unsupported option \"-zz\""));
        assert_eq!(titles("-o pid,foo"), "ps: error: unknown user-defined format specifier \"foo\"");
    }

    #[test]
    fn a_process_is_shown_as_ps_shows_it() {
        let around = Around {
            now: "2026-11-28T15:34:00Z".parse().unwrap(),
            up_ticks: 100_000,
            memory_bytes: 1 << 30,
            page_bytes: 4096,
            users: names("root:x:0:0::/:/bin/sh\nlonger-than-eight:x:7:7::/:\n"),
            groups: BTreeMap::new(),
            zone: TimeZone::UTC,
        };
        let process = Process {
            pid: 231,
            ppid: 211,
            session: 231,
            state: "R".into(),
            ticks: 323,
            priority: 20,
            started: 99_600,
            virtual_bytes: 2268 * 1024,
            resident_pages: 395,
            name: "sh".into(),
            arguments: ["sh", "-c", "true"].map(String::from).into(),
            terminal: 34_816,
            foreground: 232,
            users: [7, 0],
            ..Process::default()
        };
        let shown = |text: &str| {
            let plan = plan(text).unwrap();
            let cells: Vec<String> =
                plan.columns.iter().map(|column| column.show(&process, &around)).collect();
            cells.join(" ")
        };
        assert_eq!(shown("-ef"), "root 231 211 80 15:33 pts/0 00:00:03 sh -c true");
        assert_eq!(shown("aux"), "root 231 80.8 0.1 2268 1580 pts/0 Rs 15:33 0:03 sh -c true");
        assert_eq!(shown("-o pid,ruser,etime,pri"), "231 longer-+ 00:04 19");
    }
}
