//! Words of a command line to a command with its flags, by the rules of the field's runtimes: one or two dashes, a value in the
//! same word or the next. Pure.

use std::path::PathBuf;

use super::flags::{Flag, GLOBAL, VERBS, Verb};

/// Flags before the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// What the program is called in its messages.
    pub name: String,
    /// Where the states of containers are kept.
    pub root: PathBuf,
    /// Where messages go.
    pub log: Option<PathBuf>,
    /// As JSON lines.
    pub log_json: bool,
    /// Tell each stage.
    pub debug: bool,
    /// `cgroupsPath` is written as systemd's runtimes have it.
    pub systemd_cgroup: bool,
    /// No control groups at all.
    pub no_cgroups: bool,
    /// Whether missing rights to control groups are forgiven, where that was said.
    pub rootless: Option<bool>,
}

/// The flags and words of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    flags: Vec<(&'static str, String)>,
    /// What isn't a flag.
    pub words: Vec<String>,
}

impl Given {
    /// The last value of a flag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }

    /// A path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The one container that is named.
    pub fn id(&self) -> Result<&str, String> {
        match self.words.as_slice() {
            [id] => check_id(id),
            [] => Err("a container id is needed".into()),
            _ => Err(format!("exactly one container id is needed, not {}", self.words.len())),
        }
    }

    /// The container that is named first, and the words behind it.
    pub fn id_and_rest(&self) -> Result<(&str, &[String]), String> {
        let (id, rest) = self.words.split_first().ok_or("a container id is needed")?;
        Ok((check_id(id)?, rest))
    }
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// One of the table.
    Verb(&'static Verb, Given),
    /// Print versions.
    Version,
    /// Print the usage, of one command if it is named.
    Help(Option<&'static Verb>),
    /// There is no such command.
    Unknown(String),
}

/// Reads the words of a command line; `name` is what the program is called in its messages.
pub fn parse(name: &str, root: PathBuf, arguments: &[String]) -> (Global, Result<Command, String>) {
    let mut global = Global {
        name: name.to_owned(),
        root,
        log: None,
        log_json: false,
        debug: false,
        systemd_cgroup: false,
        no_cgroups: false,
        rootless: None,
    };
    let mut rest = arguments;
    let given = match take(GLOBAL, &mut rest, true) {
        Ok(given) => given,
        Err(problem) => return (global, Err(problem)),
    };
    if let Some(root) = given.path("root") {
        global.root = root;
    }
    global.log = given.path("log");
    global.log_json = given.get("log-format") == Some("json");
    global.debug = given.has("debug");
    let manager = given.get("cgroup-manager");
    global.systemd_cgroup = given.has("systemd-cgroup") || manager == Some("systemd");
    global.no_cgroups = manager == Some("disabled");
    global.rootless = given.get("rootless").and_then(|word| word.parse().ok());
    let command = command_of(&given, rest);
    (global, command)
}

fn command_of(given: &Given, rest: &[String]) -> Result<Command, String> {
    if given.has("version") {
        return Ok(Command::Version);
    }
    let Some((name, mut rest)) = rest.split_first().filter(|_| !given.has("help")) else {
        return Ok(Command::Help(None));
    };
    let find = |name: &str| VERBS.iter().find(|verb| verb.name == name);
    if matches!(name.as_str(), "help" | "h") {
        return Ok(match rest.first() {
            None => Command::Help(None),
            Some(name) => {
                find(name).map_or_else(|| Command::Unknown(name.clone()), |verb| Command::Help(Some(verb)))
            }
        });
    }
    let Some(verb) = find(name) else { return Ok(Command::Unknown(name.clone())) };
    let mut given = take(verb.flags, &mut rest, verb.ends_at_word)?;
    if given.has("help") {
        return Ok(Command::Help(Some(verb)));
    }
    given.words.extend(rest.iter().cloned());
    Ok(Command::Verb(verb, given))
}

/// Takes flags, and words too unless the first one ends it.
fn take(flags: &'static [Flag], rest: &mut &[String], ends_at_word: bool) -> Result<Given, String> {
    let mut given = Given::default();
    while let Some((word, behind)) = rest.split_first() {
        if word == "--" {
            *rest = behind;
            break;
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            if ends_at_word {
                break;
            }
            given.words.push(word.clone());
            *rest = behind;
            continue;
        };
        *rest = behind;
        let name = name.strip_prefix('-').unwrap_or(name);
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some(flag) = flags.iter().find(|flag| flag.names.contains(&name)) else {
            if matches!(name, "h" | "help") {
                given.flags.push(("help", "true".into()));
                continue;
            }
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match (flag.value, inline) {
            (_, Some(value)) => value,
            (None, None) => "true".into(),
            (Some(_), None) => {
                let (value, behind) = rest.split_first().ok_or(format!("flag needs an argument: -{name}"))?;
                *rest = behind;
                value.clone()
            }
        };
        given.flags.push((flag.names[0], value));
    }
    Ok(given)
}

/// An id names a directory.
pub fn check_id(id: &str) -> Result<&str, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 1024 || !id.chars().all(fine) || id == "." || id == ".." {
        return Err(format!("invalid id format: {id:?}"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> (Global, Result<Command, String>) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse("minke oci", "/run/x".into(), &words)
    }

    fn given(text: &str) -> Given {
        match parse_text(text).1 {
            Ok(Command::Verb(_, given)) => given,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn flags_may_have_their_value_in_the_same_word_or_the_next() {
        let (global, _) = parse_text("--root=/r -log /l --debug --log-format json state x");
        assert_eq!((global.root, global.log), ("/r".into(), Some("/l".into())));
        assert!(global.log_json && global.debug && !global.systemd_cgroup);
        let given = given("create --bundle /b --pid-file=p x");
        assert_eq!(
            (given.get("bundle"), given.get("pid-file"), given.id()),
            (Some("/b"), Some("p"), Ok("x"))
        );
    }

    #[test]
    fn flags_may_stand_behind_the_id_but_where_another_program_s_words_follow() {
        assert_eq!(given("update x --memory-swap -1").get("memory-swap"), Some("-1"));
        assert_eq!(given("exec -t x ls -la").words, ["x", "ls", "-la"]);
        assert_eq!(given("exec -e A=1 --env B=2 x env").all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
    }

    #[test]
    fn an_id_may_not_leave_its_directory() {
        for id in ["../x", "..", "a/b", ""] {
            assert!(check_id(id).is_err(), "{id}");
        }
        assert!(given("start").id().is_err() && given("start a b").id().is_err());
    }

    #[test]
    fn what_is_unknown_is_an_error() {
        assert_eq!(
            parse_text("delete --nope x").1.expect_err("refused"),
            "flag provided but not defined: -nope"
        );
        assert!(parse_text("create --detach x").1.is_err());
        assert!(matches!(parse_text("foo -h").1, Ok(Command::Unknown(name)) if name == "foo"));
        assert!(matches!(parse_text("run -h").1, Ok(Command::Help(Some(verb))) if verb.name == "run"));
        assert!(matches!(parse_text("").1, Ok(Command::Help(None))));
        assert!(matches!(parse_text("--version").1, Ok(Command::Version)));
    }
}
