//! How a command ends other than well: one type, turned into text and exit code here and nowhere else.

use minke_model::Error;

use crate::exit;

/// What a command gives back: its exit code, or why it failed.
pub type Outcome = Result<i32, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A flag or its value is wrong.
    Flag(Usage),
    /// The number of arguments is wrong.
    Arguments(Usage),
    /// No such command.
    UnknownCommand {
        /// The words that name no command.
        name: String,
        /// Commands that were perhaps meant.
        similar: Vec<String>,
        /// The noun it stood under, or nothing.
        noun: String,
    },
    /// The engine or the system said no.
    Error(Error),
    /// As [`Failure::Error`], of a command that runs something: with the program's name, a pointer to the help, and a
    /// code of 125 or more.
    Run {
        /// The command as typed, `run` or `container create`.
        form: String,
        /// The reason.
        error: Error,
        /// The exit code.
        code: i32,
        /// What the user can do.
        hint: Option<String>,
    },
    /// A line as it stands, code 1.
    Plain(String),
    /// All has been said.
    Code(i32),
}

/// What is wrong with a command line, and how it should look.
#[derive(Debug)]
pub struct Usage {
    /// The command as typed.
    pub form: String,
    /// What is wrong.
    pub message: String,
    /// The arguments' part of the usage line.
    pub usage: &'static str,
    /// What was perhaps meant.
    pub hint: Option<String>,
}

impl From<minke_registry::client::Error> for Failure {
    fn from(error: minke_registry::client::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> i32 {
        match self {
            Self::Flag(_) => exit::REFUSED,
            Self::Arguments(_) | Self::UnknownCommand { .. } | Self::Error(_) | Self::Plain(_) => {
                exit::FAILURE
            }
            Self::Run { code, .. } | Self::Code(code) => *code,
        }
    }

    /// The text for standard error, with its line ends; `program` is what was typed.
    pub fn render(&self, program: &str) -> String {
        match self {
            Self::Flag(usage) => format!("{}\n{}", usage.message, usage.render(program, "Run")),
            Self::Arguments(usage) => {
                let see = if usage.message.contains("at least") && !usage.message.contains("at most") {
                    "See"
                } else {
                    "Run"
                };
                let message = format!("'{program} {}' {}", usage.form, usage.message);
                format!("{program}: {message}\n{}", usage.render(program, see))
            }
            Self::UnknownCommand { name, similar, noun } => render_unknown(program, name, similar, noun),
            Self::Error(error) => format!("{error}\n"),
            Self::Run { form, error, hint, .. } => {
                let hint = hint.as_ref().map(|hint| format!("{hint}\n")).unwrap_or_default();
                format!("{program}: {error}\n{hint}\nRun '{program} {form} --help' for more information\n")
            }
            Self::Plain(line) => format!("{line}\n"),
            Self::Code(_) => String::new(),
        }
    }
}

impl Usage {
    fn render(&self, program: &str, see: &str) -> String {
        let command =
            if self.form.is_empty() { program.to_string() } else { format!("{program} {}", self.form) };
        let hint = self.hint.as_ref().map(|hint| format!("{hint}\n")).unwrap_or_default();
        format!("{hint}\nUsage:  {command} {}\n\n{see} '{command} --help' for more information\n", self.usage)
            .replace(" \n", "\n")
    }
}

fn render_unknown(program: &str, name: &str, similar: &[String], noun: &str) -> String {
    let command = if noun.is_empty() { name.to_string() } else { format!("{noun} {name}") };
    let mut text = format!("{program}: unknown command: {program} {command}\n");
    if !similar.is_empty() {
        text.push_str("\nDid you mean this?\n");
        for known in similar {
            text.push_str(&format!("  {program} {known}\n"));
        }
    }
    let help = if noun.is_empty() { program.to_string() } else { format!("{program} {noun}") };
    if !noun.is_empty() {
        text.push_str(&format!("\nUsage:  {help}\n"));
    }
    text.push_str(&format!("\nRun '{help} --help' for more information\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(message: &str) -> Usage {
        Usage {
            form: "run".into(),
            message: message.into(),
            usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
            hint: None,
        }
    }

    #[test]
    fn a_bad_flag_shows_the_usage_and_gives_125() {
        let failure = Failure::Flag(usage("unknown flag: --foo"));
        assert_eq!(
            failure.render("minke"),
            "unknown flag: --foo\n\nUsage:  minke run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'minke run --help' for more information\n"
        );
        assert_eq!(failure.code(), 125);
    }

    #[test]
    fn a_missing_argument_names_the_program_as_typed() {
        let failure = Failure::Arguments(usage("requires at least 1 argument"));
        assert_eq!(
            failure.render("docker"),
            "docker: 'docker run' requires at least 1 argument\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'docker run --help' for more information\n"
        );
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn a_failed_run_points_to_the_help() {
        let failure = Failure::Run {
            form: "run".into(),
            error: Error::not_found("Error response from daemon: No such image: nope:latest"),
            code: 125,
            hint: None,
        };
        assert_eq!(
            failure.render("minke"),
            "minke: Error response from daemon: No such image: nope:latest\n\nRun 'minke run --help' for more information\n"
        );
    }

    #[test]
    fn an_unknown_command_gets_a_suggestion() {
        let failure =
            Failure::UnknownCommand { name: "rn".into(), similar: vec!["run".into()], noun: String::new() };
        assert_eq!(
            failure.render("minke"),
            "minke: unknown command: minke rn\n\nDid you mean this?\n  minke run\n\nRun 'minke --help' for more information\n"
        );
    }
}
