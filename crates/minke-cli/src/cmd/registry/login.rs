//! `login`: has credentials tried at a registry, and keeps them for pull and push.

use std::io::{BufRead as _, Read as _, Write as _};

use clap::Args;
use minke_api::registry::AuthConfig;
use minke_client::credentials;

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// The longest password that is read from standard input.
const PASSWORD_LIMIT_BYTES: u64 = 1 << 20;

/// Flags of `login`.
#[derive(Args, Clone, Debug)]
pub struct Login {
    /// Password or access token; others on this host can see it
    #[arg(long, short = 'p', value_name = "string", default_value = "", hide_default_value = true)]
    password: String,
    /// Read the password or access token from standard input
    #[arg(long)]
    password_stdin: bool,
    /// User
    #[arg(long, short = 'u', value_name = "string", default_value = "", hide_default_value = true)]
    username: String,
}

impl Verb for Login {
    const SUMMARY: &'static str = "Keep credentials for a registry";
    const USAGE: &'static str = "[OPTIONS] [SERVER]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        self.check()?;
        let server = credentials::server_named(arguments.first().map_or("", String::as_str));
        if !self.password.is_empty() {
            session.complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let unnamed = self.username.is_empty() && self.password.is_empty();
        if unnamed && let Some(code) = try_known(session, &server).await? {
            return Ok(code);
        }
        let (username, password) = self.ask(session, &server)?;
        let asked = AuthConfig { username, password, serveraddress: server.clone(), ..AuthConfig::default() };
        let answer = session.client().await?.system_auth(&asked).await?;
        let mut kept = asked;
        if !answer.identity_token.is_empty() {
            kept.password = String::new();
            kept.identitytoken = answer.identity_token;
        }
        let stored = credentials::store(&session.config, &server, &kept)
            .map_err(|error| Failure::Plain(format!("Error saving credentials: {error}")))?;
        if let Some(path) = stored {
            session.complain(format_args!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning: credsStore in that file.\n",
                path.display()
            ));
        }
        session.print(format!("{}\n", answer.status))?;
        Ok(exit::SUCCESS)
    }
}

impl Login {
    fn check(&self) -> Result<(), Failure> {
        if self.password_stdin && !self.password.is_empty() {
            let words = "conflicting options: cannot specify both --password and --password-stdin";
            return Err(Failure::Plain(words.into()));
        }
        if self.password_stdin && self.username.is_empty() {
            return Err(Failure::Plain("the --password-stdin option requires --username to be set".into()));
        }
        Ok(())
    }

    /// User and password: what flags say, else what is typed.
    fn ask(&self, session: &Session, server: &str) -> Result<(String, String), Failure> {
        if self.password_stdin {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(PASSWORD_LIMIT_BYTES).read_to_string(&mut text);
            read.map_err(|error| Failure::Plain(format!("cannot read the password: {error}")))?;
            let password = text.strip_suffix('\n').unwrap_or(&text);
            let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
            return finished(self.username.clone(), password);
        }
        let complete = !self.username.is_empty() && !self.password.is_empty();
        if !complete && !terminal::input_is_terminal() {
            let words = "Error: Cannot perform an interactive login from a non TTY device";
            return Err(Failure::Plain(words.into()));
        }
        let mut username = self.username.clone();
        if username.is_empty() {
            let known = credentials::get(&session.config, server)?.username;
            let prompt = if known.is_empty() { "Username: ".into() } else { format!("Username ({known}): ") };
            username = type_in(session, &prompt)?;
            if username.is_empty() {
                username = known;
            }
        }
        if username.is_empty() {
            return Err(Failure::Plain("Error: Non-null Username Required".into()));
        }
        let mut password = self.password.clone();
        if password.is_empty() {
            let _silent = terminal::Silence::enter();
            password = type_in(session, "Password: ")?;
            session.print("\n")?;
        }
        finished(username, password)
    }
}

fn finished(username: String, password: String) -> Result<(String, String), Failure> {
    match password.is_empty() {
        true => Err(Failure::Plain("Error: Password Required".into())),
        false => Ok((username.trim().to_owned(), password)),
    }
}

fn type_in(session: &Session, prompt: &str) -> Result<String, Failure> {
    session.print(prompt)?;
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::Plain(format!("cannot read standard input: {error}")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Tries the credentials that are there; nothing where there are none, or they no longer hold.
async fn try_known(session: &Session, server: &str) -> Result<Option<i32>, Failure> {
    let known = credentials::get(&session.config, server)?;
    if known.is_anonymous() {
        return Ok(None);
    }
    let who = if known.username.is_empty() { "token" } else { &known.username };
    session.complain(format_args!(
        "Authenticating with existing credentials... [Username: {who}]\n\nTo log in as somebody else, run '{0} logout' and then '{0} login'.\n",
        session.program
    ));
    match session.client().await?.system_auth(&known).await {
        Ok(answer) => {
            session.print(format!("{}\n", answer.status))?;
            Ok(Some(exit::SUCCESS))
        }
        Err(error) => {
            session.complain(format_args!("Login did not succeed, error: {error}"));
            Ok(None)
        }
    }
}
