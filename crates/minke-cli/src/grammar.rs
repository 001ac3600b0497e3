//! Docker's grammar over clap: booleans that take `=value`, values that may begin with a dash, the last of a repeated flag
//! wins, flags that end at the first argument. Owns how a command line becomes a verb's flags and arguments, and what is said
//! of a bad one; runs nothing.

use std::ffi::OsString;
use std::future::Future;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use minke_model::strconv;
pub use minke_model::strconv::parse_bool;

use crate::error::{Failure, Outcome, Usage};
use crate::help;
use crate::session::Session;

const ARGUMENTS: &str = "arguments";
const HELP: &str = "help";

/// One command: its flags (the type itself), its arguments and what it does.
pub trait Verb: clap::Args + Sized {
    /// One line for lists of commands.
    const SUMMARY: &'static str;
    /// The usage line after the command's name.
    const USAGE: &'static str;
    /// How many arguments it takes.
    const ARITY: Arity;
    /// Whether everything after the first argument belongs to a container's command.
    const STOPS_AT_FIRST: bool = false;
    /// Flags that Docker has and this version does not offer, with what to do instead (or nothing).
    const NOT_OFFERED: &'static [(&'static str, &'static str)] = &[];

    /// Does it.
    fn run(self, arguments: Vec<String>, session: &Session) -> impl Future<Output = Outcome>;
}

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// None at all.
    None,
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// Up to this many.
    AtMost(usize),
    /// From the first to the second.
    Between(usize, usize),
}

impl Arity {
    /// Says what is wrong with a number of arguments.
    pub fn complaint(self, count: usize) -> Option<String> {
        let arguments = |n: usize| if n == 1 { "1 argument".to_string() } else { format!("{n} arguments") };
        match self {
            Self::None if count > 0 => Some("accepts no arguments".into()),
            Self::Exactly(n) if count != n => Some(format!("requires {}", arguments(n))),
            Self::AtLeast(n) if count < n => Some(format!("requires at least {}", arguments(n))),
            Self::AtMost(n) if count > n => Some(format!("requires at most {}", arguments(n))),
            Self::Between(low, high) if count < low || count > high => {
                Some(format!("requires at least {low} and at most {}", arguments(high)))
            }
            _ => None,
        }
    }
}

/// What a command line asks of a verb.
#[derive(Debug)]
pub enum Parsed<V> {
    /// To show its help.
    Help(String),
    /// To do it.
    Run(V, Vec<String>),
}

/// Reads a verb's flags and arguments; `form` is the command as typed, `run` or `container run`.
pub fn parse<V: Verb>(program: &str, form: &str, words: &[OsString]) -> Result<Parsed<V>, Failure> {
    let mut command = build::<V>(form);
    let usage =
        |message: String, hint: Option<String>| Usage { form: form.into(), message, usage: V::USAGE, hint };
    let mut matches = match command.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => {
            let (message, hint) = explain(&command, &error, V::NOT_OFFERED);
            return Err(Failure::Flag(usage(message, hint)));
        }
    };
    if matches.get_flag(HELP) {
        return Ok(Parsed::Help(help::of_verb(program, form, V::SUMMARY, V::USAGE, &command)));
    }
    let arguments: Vec<String> = matches.remove_many(ARGUMENTS).map(Iterator::collect).unwrap_or_default();
    if let Some(complaint) = V::ARITY.complaint(arguments.len()) {
        return Err(Failure::Arguments(usage(complaint, None)));
    }
    let verb = V::from_arg_matches_mut(&mut matches)
        .map_err(|error| Failure::Flag(usage(error.to_string(), None)))?;
    Ok(Parsed::Run(verb, arguments))
}

/// The clap command of a verb, with Docker's rules applied to every flag.
pub fn build<V: Verb>(form: &str) -> Command {
    let command = Command::new(form.to_string())
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true);
    let command = V::augment_args(command).args_override_self(true).mut_args(docker_rules);
    let takes_h = command.get_arguments().any(|flag| flag.get_short() == Some('h'));
    let mut help = Arg::new(HELP).long("help").help("Show this text").action(ArgAction::SetTrue);
    if !takes_h {
        help = help.short('h');
    }
    let mut rest = Arg::new(ARGUMENTS).num_args(0..).action(ArgAction::Append).hide(true);
    if V::STOPS_AT_FIRST {
        rest = rest.trailing_var_arg(true);
    }
    command.arg(help).arg(rest)
}

fn docker_rules(flag: Arg) -> Arg {
    match flag.get_action() {
        ArgAction::SetTrue => flag
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(ValueParser::new(parse_bool)),
        _ if flag.is_require_equals_set() => flag,
        _ => flag.allow_hyphen_values(true),
    }
}

/// Reads a whole number in Go's words.
pub fn parse_int(text: &str) -> Result<i64, String> {
    strconv::parse_int("ParseInt", text)
}

/// What is wrong, in Docker's words, and what was perhaps meant.
fn explain(command: &Command, error: &clap::Error, not_offered: &[(&str, &str)]) -> (String, Option<String>) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(value)) => value.clone(),
        Some(ContextValue::Strings(values)) => values.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let flag = text(ContextKind::InvalidArg);
    let found = command.get_arguments().find(|known| {
        known.get_long().is_some_and(|long| flag.split([' ', '[', '=']).next() == Some(&format!("--{long}")))
            || known
                .get_short()
                .is_some_and(|short| flag.split([' ', '[', '=']).next() == Some(&format!("-{short}")))
    });
    let value = text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            if let Some((name, instead)) = not_offered.iter().find(|(name, _)| *name == flag) {
                let advice = (!instead.is_empty()).then(|| (*instead).to_string());
                return (format!("the flag {name} is not offered by this version of minke"), advice);
            }
            let similar = text(ContextKind::SuggestedArg);
            let hint = (!similar.is_empty()).then(|| format!("Did you mean {similar}?"));
            match flag.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
                Some(short) => (
                    format!("unknown shorthand flag: '{}' in {flag}", short.chars().next().unwrap_or('-')),
                    hint,
                ),
                None => (format!("unknown flag: {flag}"), hint),
            }
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
            if !value.is_empty() || std::error::Error::source(error).is_some() =>
        {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            (
                format!(
                    "invalid argument {value:?} for {:?} flag: {cause}",
                    found.map(both_names).unwrap_or(flag)
                ),
                None,
            )
        }
        ErrorKind::InvalidValue => match found.and_then(|known| known.get_long()) {
            Some(long) => (format!("flag needs an argument: --{long}"), None),
            None => (format!("flag needs an argument: {flag}"), None),
        },
        _ => (
            error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_string(),
            None,
        ),
    }
}

fn both_names(flag: &Arg) -> String {
    match (flag.get_short(), flag.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, long) => format!("--{}", long.unwrap_or_default()),
    }
}
