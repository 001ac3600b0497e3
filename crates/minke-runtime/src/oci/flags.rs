//! The commands of `minke oci` and their flags, as runc has them: one row each.

/// A flag: its names (the first is the one it goes by), whether a value follows, and what it is for.
#[derive(Debug)]
pub struct Flag {
    /// All names, without dashes.
    pub names: &'static [&'static str],
    /// What the value is called; `None` for a switch.
    pub value: Option<&'static str>,
    /// One line for the help.
    pub about: &'static str,
}

/// A command.
#[derive(Debug)]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// What follows the flags.
    pub words: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// The first word that is no flag ends the flags: what follows is another program's.
    pub ends_at_word: bool,
}

const fn switch(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, value: None, about }
}

const fn value(names: &'static [&'static str], value: &'static str, about: &'static str) -> Flag {
    Flag { names, value: Some(value), about }
}

const fn verb(name: &'static str, words: &'static str, about: &'static str, flags: &'static [Flag]) -> Verb {
    Verb { name, words, about, flags, ends_at_word: false }
}

/// The flags before the command.
pub const GLOBAL: &[Flag] = &[
    value(&["root"], "DIR", "where the states of containers are kept"),
    value(&["log"], "FILE", "where messages go instead of standard error"),
    value(&["log-format"], "FORMAT", "text or json"),
    value(&["log-level"], "LEVEL", "accepted and ignored"),
    switch(&["debug"], "tell each stage"),
    switch(&["systemd-cgroup"], "read cgroupsPath as slice:prefix:name, and let systemd make that unit"),
    value(&["cgroup-manager"], "NAME", "cgroupfs, systemd (as --systemd-cgroup) or disabled"),
    value(&["criu"], "PATH", "accepted and ignored"),
    value(
        &["rootless"],
        "WORD",
        "true, false or auto: whether missing rights to control groups are forgiven",
    ),
    switch(&["help", "h"], "print this"),
    switch(&["version", "v"], "print versions"),
];

const BUNDLE: Flag = value(&["bundle", "b"], "DIR", "the bundle's directory (default: the current one)");
const CONFIG: Flag =
    value(&["config", "f"], "FILE", "the configuration, from the bundle (default: config.json)");
const PID_FILE: Flag = value(&["pid-file"], "FILE", "where the process's pid is written");
const CONSOLE: Flag =
    value(&["console-socket"], "SOCKET", "a unix socket that gets the terminal's controlling side");
const PRESERVE: Flag = value(&["preserve-fds"], "N", "pass N more descriptors on, beside the standard ones");
const NO_PIVOT: Flag = switch(&["no-pivot"], "accepted and ignored: what can't be pivoted is covered");
const NO_KEYRING: Flag = switch(&["no-new-keyring"], "accepted and ignored: no keyring is made");
const NO_SUBREAPER: Flag = switch(&["no-subreaper"], "accepted and ignored");

const CREATE: &[Flag] = &[BUNDLE, CONFIG, CONSOLE, PID_FILE, NO_PIVOT, NO_KEYRING, NO_SUBREAPER, PRESERVE];

const RUN: &[Flag] = &[
    BUNDLE,
    CONFIG,
    CONSOLE,
    switch(&["detach", "d"], "don't wait for the container's end"),
    switch(&["keep"], "don't delete the container after its end"),
    PID_FILE,
    NO_SUBREAPER,
    NO_PIVOT,
    NO_KEYRING,
    PRESERVE,
];

const EXEC: &[Flag] = &[
    CONSOLE,
    value(&["cwd"], "DIR", "the working directory inside"),
    value(&["env", "e"], "NAME=VALUE", "a variable; repeatable"),
    switch(&["tty", "t"], "give it a terminal"),
    value(&["user", "u"], "UID[:GID]", "who it runs as"),
    value(&["additional-gids", "g"], "GID", "a further group; repeatable"),
    value(&["process", "p"], "FILE", "the process as in a configuration"),
    switch(&["detach", "d"], "don't wait for its end"),
    PID_FILE,
    value(&["process-label"], "LABEL", "the SELinux label"),
    value(&["apparmor"], "PROFILE", "the AppArmor profile"),
    switch(&["no-new-privs"], "let it gain no privileges"),
    value(&["cap", "c"], "CAPABILITY", "a further capability; repeatable"),
    NO_SUBREAPER,
    PRESERVE,
    value(&["cgroup"], "[CONTROLLER,...:]PATH", "a group below the container's; repeatable"),
    switch(&["ignore-paused"], "wait where the container is paused"),
];

const UPDATE: &[Flag] = &[
    value(&["resources", "r"], "FILE", "the limits as in a configuration; - for standard input"),
    value(&["blkio-weight"], "N", "share of disk time"),
    value(&["cpu-period"], "US", "period of the processor quota"),
    value(&["cpu-quota"], "US", "processor time per period; -1 for no limit"),
    value(&["cpu-burst"], "US", "processor time that may be saved up"),
    value(&["cpu-share"], "N", "share of the processors"),
    value(&["cpu-rt-period"], "US", "real-time period"),
    value(&["cpu-rt-runtime"], "US", "real-time per period"),
    value(&["cpuset-cpus"], "LIST", "the processors"),
    value(&["cpuset-mems"], "LIST", "the memory nodes"),
    value(&["cpu-idle"], "N", "1: only what nobody else wants"),
    value(&["kernel-memory"], "BYTES", "accepted and ignored: the kernel has no such limit any more"),
    value(&["kernel-memory-tcp"], "BYTES", "memory of TCP's buffers"),
    value(&["memory"], "BYTES", "memory; -1 for no limit"),
    value(&["memory-reservation"], "BYTES", "memory that is left when it is short"),
    value(&["memory-swap"], "BYTES", "memory and swap together; -1 for no limit"),
    value(&["pids-limit"], "N", "processes; -1 for no limit"),
    value(&["l3-cache-schema"], "TEXT", "accepted and ignored"),
    value(&["mem-bw-schema"], "TEXT", "accepted and ignored"),
];

const CHECKPOINT: &[Flag] = &[value(&["image-path"], "DIR", ""), value(&["work-path"], "DIR", "")];

/// All commands.
pub const VERBS: &[Verb] = &[
    verb("checkpoint", "ID", "not supported: refused", CHECKPOINT),
    verb("create", "ID", "set a container up; its program waits for start", CREATE),
    verb(
        "delete",
        "ID...",
        "remove what is left of a container",
        &[switch(&["force", "f"], "kill it first")],
    ),
    verb(
        "events",
        "ID",
        "tell use of resources and shortage of memory as JSON lines",
        &[value(&["interval"], "TIME", "how often (default: 5s)"), switch(&["stats"], "once, and end")],
    ),
    Verb {
        name: "exec",
        words: "ID [COMMAND [ARG...]]",
        about: "run one more process in a container",
        flags: EXEC,
        ends_at_word: true,
    },
    verb("features", "", "print what this runtime can do, as JSON", &[]),
    verb(
        "kill",
        "ID [SIGNAL]",
        "send a signal (default: SIGTERM)",
        &[switch(&["all", "a"], "to every process of the container")],
    ),
    verb(
        "list",
        "",
        "list containers",
        &[value(&["format", "f"], "FORMAT", "table or json"), switch(&["quiet", "q"], "ids only")],
    ),
    verb("pause", "ID", "freeze every process of a container", &[]),
    Verb {
        name: "ps",
        words: "ID [PS-OPTION...]",
        about: "list a container's processes",
        flags: &[value(&["format", "f"], "FORMAT", "table or json")],
        ends_at_word: true,
    },
    verb("restore", "ID", "not supported: refused", CHECKPOINT),
    verb("resume", "ID", "let a frozen container go on", &[]),
    verb("run", "ID", "create, start, wait, delete", RUN),
    verb(
        "spec",
        "",
        "write a configuration to begin with",
        &[BUNDLE, switch(&["rootless"], "for a user without privileges")],
    ),
    verb("start", "ID", "execute a created container's program", &[]),
    verb("state", "ID", "print a container's state as JSON", &[]),
    verb("update", "ID", "change a container's limits", UPDATE),
];
