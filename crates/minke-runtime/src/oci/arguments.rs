//! The words and flags of `minke oci`, as runc and crun take them. Pure.

use std::path::PathBuf;

/// What is printed for a wrong command line.
pub const USAGE: &str = "\
Usage: minke oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND

Commands:
  run [-b BUNDLE] [-d] [--keep] [--pid-file FILE] [--console-socket SOCKET] ID
  create [-b BUNDLE] [--pid-file FILE] [--console-socket SOCKET] ID
  start ID
  state ID
  kill [-a] ID [SIGNAL]
  delete [-f] ID";

/// Flags before the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Where the states of containers are kept.
    pub root: PathBuf,
    /// Where failures are logged.
    pub log: Option<PathBuf>,
    /// As JSON lines.
    pub log_json: bool,
}

/// Flags of `create` and `run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// The container's id.
    pub id: String,
    /// The directory with config.json.
    pub bundle: PathBuf,
    /// Where the init's pid is written.
    pub pid_file: Option<PathBuf>,
    /// Where the terminal's controlling side is sent.
    pub console_socket: Option<PathBuf>,
    /// Don't wait for the container's end (`run`).
    pub detach: bool,
    /// Don't delete the container after its end (`run`).
    pub keep: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create, start, wait, delete.
    Run(Create),
    /// Set everything up.
    Create(Create),
    /// Execute the program of a created container.
    Start {
        /// The container.
        id: String,
    },
    /// Print the state.
    State {
        /// The container.
        id: String,
    },
    /// Send a signal.
    Kill {
        /// The container.
        id: String,
        /// A signal's name or number.
        signal: String,
        /// To all its processes.
        all: bool,
    },
    /// Remove what is left of it.
    Delete {
        /// The container.
        id: String,
        /// Kill it first.
        force: bool,
    },
    /// Print versions.
    Version,
    /// Print the usage.
    Help,
}

/// A whole command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Flags before the command.
    pub global: Global,
    /// The command.
    pub command: Command,
}

/// One command's words, flags taken out.
struct Words<'a> {
    rest: std::slice::Iter<'a, String>,
    inline: Option<&'a str>,
}

enum Word<'a> {
    Flag(&'a str),
    Plain(&'a str),
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<Option<Word<'a>>, String> {
        if let Some(value) = self.inline {
            return Err(format!("a flag takes no value: {value}"));
        }
        let Some(word) = self.rest.next() else { return Ok(None) };
        if !word.starts_with('-') || word == "-" {
            return Ok(Some(Word::Plain(word)));
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        self.inline = value;
        Ok(Some(Word::Flag(name)))
    }

    fn value(&mut self, flag: &str) -> Result<&'a str, String> {
        self.inline
            .take()
            .or_else(|| self.rest.next().map(String::as_str))
            .ok_or_else(|| format!("flag needs an argument: {flag}"))
    }
}

/// Reads the words after `minke oci`.
pub fn parse(arguments: &[String]) -> Result<Parsed, String> {
    let mut global = Global { root: PathBuf::from("/run/minke/oci"), log: None, log_json: false };
    let mut words = Words { rest: arguments.iter(), inline: None };
    loop {
        match words.next()? {
            None => return Ok(Parsed { global, command: Command::Help }),
            Some(Word::Plain(name)) => {
                let command = parse_command(name, words)?;
                return Ok(Parsed { global, command });
            }
            Some(Word::Flag(flag)) => match flag {
                "--root" => global.root = words.value(flag)?.into(),
                "--log" => global.log = Some(words.value(flag)?.into()),
                "--log-format" => global.log_json = words.value(flag)? == "json",
                "--log-level" => {
                    words.value(flag)?;
                }
                // Control groups are driven as files, whatever the host's service manager is told.
                "--debug" | "--systemd-cgroup" => words.inline = None,
                "--rootless" => {
                    words.value(flag)?;
                }
                "-v" | "--version" => return Ok(Parsed { global, command: Command::Version }),
                "-h" | "--help" => return Ok(Parsed { global, command: Command::Help }),
                other => return Err(format!("unknown flag: {other}")),
            },
        }
    }
}

fn parse_command(name: &str, words: Words<'_>) -> Result<Command, String> {
    match name {
        "run" => parse_create(words, true).map(Command::Run),
        "create" => parse_create(words, false).map(Command::Create),
        "start" => Ok(Command::Start { id: single(words)? }),
        "state" => Ok(Command::State { id: single(words)? }),
        "kill" => parse_kill(words),
        "delete" => parse_delete(words),
        "help" => Ok(Command::Help),
        other => Err(format!("unknown command: {other}")),
    }
}

fn parse_create(mut words: Words<'_>, run: bool) -> Result<Create, String> {
    let mut create = Create { bundle: PathBuf::from("."), ..Create::default() };
    let mut ids = Vec::new();
    while let Some(word) = words.next()? {
        match word {
            Word::Plain(id) => ids.push(id.to_owned()),
            Word::Flag(flag @ ("-b" | "--bundle")) => create.bundle = words.value(flag)?.into(),
            Word::Flag(flag @ "--pid-file") => create.pid_file = Some(words.value(flag)?.into()),
            Word::Flag(flag @ "--console-socket") => create.console_socket = Some(words.value(flag)?.into()),
            Word::Flag("-d" | "--detach") if run => create.detach = true,
            Word::Flag("--keep") if run => create.keep = true,
            // What others need to be told is how it always is here.
            Word::Flag("--no-new-keyring" | "--no-subreaper" | "--no-pivot") => {}
            Word::Flag(other) => return Err(format!("unknown flag: {other}")),
        }
    }
    create.id = one(ids)?;
    Ok(create)
}

fn single(mut words: Words<'_>) -> Result<String, String> {
    let mut ids = Vec::new();
    while let Some(word) = words.next()? {
        match word {
            Word::Plain(id) => ids.push(id.to_owned()),
            Word::Flag(other) => return Err(format!("unknown flag: {other}")),
        }
    }
    one(ids)
}

fn parse_kill(mut words: Words<'_>) -> Result<Command, String> {
    let (mut plain, mut all) = (Vec::new(), false);
    while let Some(word) = words.next()? {
        match word {
            Word::Plain(text) => plain.push(text.to_owned()),
            Word::Flag("-a" | "--all") => all = true,
            Word::Flag(other) => return Err(format!("unknown flag: {other}")),
        }
    }
    let signal = if plain.len() == 2 { plain.pop().unwrap_or_default() } else { "TERM".to_owned() };
    Ok(Command::Kill { id: one(plain)?, signal, all })
}

fn parse_delete(mut words: Words<'_>) -> Result<Command, String> {
    let (mut ids, mut force) = (Vec::new(), false);
    while let Some(word) = words.next()? {
        match word {
            Word::Plain(id) => ids.push(id.to_owned()),
            Word::Flag("-f" | "--force") => force = true,
            Word::Flag(other) => return Err(format!("unknown flag: {other}")),
        }
    }
    Ok(Command::Delete { id: one(ids)?, force })
}

/// An id names a directory.
fn one(mut ids: Vec<String>) -> Result<String, String> {
    let id = ids.pop().filter(|_| ids.is_empty()).ok_or("exactly one container id is needed")?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 1024 || !id.chars().all(fine) || id == "." || id == ".." {
        return Err(format!("invalid id format: {id:?}"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Command, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words).map(|parsed| parsed.command)
    }

    #[test]
    fn flags_may_have_their_value_in_the_same_word_or_the_next() {
        let expected =
            Create { id: "x".into(), bundle: "/b".into(), pid_file: Some("p".into()), ..Create::default() };
        assert_eq!(
            parse_text("--root=/r --log /l create --bundle /b --pid-file=p x"),
            Ok(Command::Create(expected))
        );
    }

    #[test]
    fn an_id_may_not_leave_its_directory() {
        for id in ["../x", "..", "a/b", ""] {
            assert!(parse(&["start".to_owned(), id.to_owned()]).is_err(), "{id}");
        }
    }

    #[test]
    fn the_signal_is_term_unless_said() {
        let kill = |signal: &str, all| Command::Kill { id: "x".into(), signal: signal.into(), all };
        assert_eq!(parse_text("kill x"), Ok(kill("TERM", false)));
        assert_eq!(parse_text("kill --all x 9"), Ok(kill("9", true)));
    }

    #[test]
    fn an_unknown_flag_is_an_error() {
        assert_eq!(parse_text("delete --nope x"), Err("unknown flag: --nope".into()));
        assert_eq!(parse_text("create --detach x"), Err("unknown flag: --detach".into()));
    }
}
