//! What every command shares: the program's name as typed, the configuration, the engine (connected at the first use), and the
//! two output streams. Starts the engine where none runs and none was named.

use std::io::{self, Write};

use minke_client::{Client, Config, Endpoint, Introduction, config, is_absent};
use minke_model::{Error, ErrorKind};
use tokio::sync::OnceCell;

use crate::error::Failure;
use crate::exit;
use crate::globals::Globals;
use crate::start;

/// One call of the program.
pub struct Session {
    /// `minke`, or `docker` where it was called so.
    pub program: String,
    /// The command as typed, `run` or `container run`.
    pub form: String,
    /// The flags before the command.
    pub globals: Globals,
    /// The configuration file.
    pub config: Config,
    client: OnceCell<Client>,
}

/// Reads a variable of the environment; one that is not UTF-8 counts as missing.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Session {
    /// Reads the configuration.
    pub fn new(program: &str, form: &str, globals: Globals) -> Result<Self, Failure> {
        let directory = config::directory(globals.config.as_deref(), &env);
        let config = Config::load(&directory)?;
        Ok(Self { program: program.into(), form: form.into(), globals, config, client: OnceCell::new() })
    }

    /// Where the engine is, by flags, environment and context.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let request = self.globals.host_request(&env, &self.config.directory);
        let found = request.resolve(&env, &self.config);
        found.map_err(|error| match error.message() {
            words if words.starts_with("conflicting options") => Failure::Error(error),
            _ => Failure::Plain(format!("Failed to initialize: unable to resolve docker endpoint: {error}")),
        })
    }

    /// The engine; connects, starts it where that is due, and agrees on a version.
    pub async fn client(&self) -> Result<&Client, Failure> {
        let client = self.connected().await?;
        client.agree().await?;
        Ok(client)
    }

    /// As [`Session::client`], for a command whose first request does without a version.
    pub async fn connected(&self) -> Result<&Client, Failure> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let endpoint = self.endpoint()?;
        let version = match env("DOCKER_API_VERSION").filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse()?),
            None => None,
        };
        let user_agent = format!("Minke-Client/{} (linux)", env!("CARGO_PKG_VERSION"));
        let introduction = Introduction { user_agent, version };
        match Client::connect(endpoint.clone(), &self.config, introduction.clone()).await {
            Err(error) if endpoint.implicit && is_absent(&error) => {
                start::start_engine().map_err(Failure::Plain)?;
                Ok(Client::connect(endpoint, &self.config, introduction).await?)
            }
            Err(error) if endpoint.implicit && error.kind() == ErrorKind::Forbidden => Err(denied(&error)),
            other => Ok(other?),
        }
    }

    /// Writes to standard output; a reader that went away ends the program as SIGPIPE would.
    pub fn print(&self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Failure::Code(exit::of_signal(13)))
            }
            Err(error) => Err(Error::system("write standard output").with_source(error).into()),
        }
    }

    /// Writes a line to standard error; nobody minds if it is lost.
    pub fn complain(&self, line: impl std::fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Does something for each name: prints what `act` gives, says what failed, and fails in the end if anything did.
    pub async fn each<F>(&self, names: &[String], mut act: impl FnMut(String) -> F) -> crate::error::Outcome
    where
        F: Future<Output = Result<String, Error>>,
    {
        self.client().await?;
        let mut code = exit::SUCCESS;
        for name in names {
            match act(name.clone()).await {
                Ok(text) if text.is_empty() => {}
                Ok(text) => self.print(format!("{text}\n"))?,
                Err(error) => {
                    self.complain(error);
                    code = exit::FAILURE;
                }
            }
        }
        Ok(code)
    }

    /// The engine, once [`Session::client`] has succeeded.
    pub fn engine(&self) -> &Client {
        self.client.get().expect("every command connects before it asks")
    }
}

fn denied(error: &Error) -> Failure {
    Failure::Plain(format!(
        "{error}\nJoin the socket's group (`sudo usermod -aG minke $USER`, then log in again), or put `sudo` before the command."
    ))
}
