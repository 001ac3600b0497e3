//! The command lines: our own and the docker client, run with a deadline.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::session::Session;
use crate::{deadline, peers};

/// Which command line talks to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `minke`.
    Minke,
    /// The docker client.
    Docker,
}

/// How a command ended and what it printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 128 + n for signal n.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Returns standard output as text, without white space at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_string()
    }
}

/// A command line with the engine's address.
#[derive(Debug)]
pub struct Cli {
    client: Client,
    socket: PathBuf,
    home: PathBuf,
    folder: Option<PathBuf>,
}

impl Cli {
    /// Makes one that talks to `socket` and keeps its configuration in `home`.
    pub fn new(client: Client, socket: &Path, home: &Path) -> Self {
        Self { client, socket: socket.to_path_buf(), home: home.to_path_buf(), folder: None }
    }

    /// Lets its lines run in a folder.
    pub fn in_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_path_buf()), ..self }
    }

    /// Returns the program and its arguments for a line in the syntax of a shell, without variables.
    ///
    /// `run` and `create` get `--network none` unless the line says otherwise: a network is not what is tested.
    pub fn command(&self, line: &str) -> Command {
        let mut words = shell_words::split(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let verb = usize::from(words.first().is_some_and(|word| word == "container"));
        if matches!(words.get(verb).map(String::as_str), Some("run" | "create"))
            && !words.iter().any(|word| word.starts_with("--net"))
        {
            words.splice(verb + 1..verb + 1, ["--network".to_string(), "none".to_string()]);
        }
        let program = match self.client {
            Client::Minke => peers::minke(),
            Client::Docker => peers::docker().to_path_buf(),
        };
        let mut command = Command::new(program);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()))
            .args(words)
            .env("HOME", &self.home);
        for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "MINKE_HOST", "MINKE_CONFIG"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a line to its end, with `input` as standard input.
    pub fn run(&self, line: &str, input: &[u8], limit_s: u64) -> Output {
        let mut command = self.command(line);
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut session = Session::start(command, line);
        if !input.is_empty() {
            session.write(input);
            session.close_input();
        }
        session.finish(deadline::seconds(limit_s))
    }
}
