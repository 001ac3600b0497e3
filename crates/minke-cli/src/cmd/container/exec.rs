//! `exec`: runs a further process in a container.

use clap::Args;
use minke_api::exec::{ExecCreateRequest, ExecStartRequest};
use minke_api::run::{RunAnswer, RunMode};
use minke_model::env as variables;

use super::create::read_file;
use super::flags::parse_env;
use super::run::{code_of, detach_keys};
use crate::attached::{self, Ended, Manner, Signals, Target};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::{self, Session};
use crate::terminal;

/// Flags of `exec`.
#[derive(Args, Clone, Debug)]
pub struct Exec {
    /// Run in the background
    #[arg(long, short = 'd')]
    detach: bool,
    /// Keys that detach from the process, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "string", default_value = "")]
    detach_keys: String,
    /// Set a variable; a name alone takes the caller's value
    #[arg(long, short = 'e', value_name = "list", value_parser = parse_env)]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Pass standard input on
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Give the process all rights over the host
    #[arg(long)]
    privileged: bool,
    /// Give the process a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// User to run as: name or number[:group]
    #[arg(long, short = 'u', value_name = "string", default_value = "")]
    user: String,
    /// Directory to run in
    #[arg(long, short = 'w', value_name = "string", default_value = "")]
    workdir: String,
}

impl Verb for Exec {
    const SUMMARY: &'static str = "Run a command in a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const ARITY: Arity = Arity::AtLeast(2);
    const STOPS_AT_FIRST: bool = true;

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.tty && self.interactive && !self.detach && !terminal::input_is_terminal() {
            return Err(Failure::Plain("the input device is not a TTY".into()));
        }
        let keys = detach_keys(session, &self.detach_keys)?;
        let console_size = if self.tty { terminal::size() } else { None };
        let request = self.request(&arguments[1..], console_size, session)?;
        let client = session.connected().await?;
        let mode = if self.detach { RunMode::Detach } else { RunMode::Attach };
        let (RunAnswer { id: exec, started, .. }, stream) =
            client.exec_run(&arguments[0], &request, mode).await?;
        let start = ExecStartRequest { detach: self.detach, tty: self.tty, console_size };
        if self.detach {
            if !started {
                client.exec_start_detached(&exec, &start).await?;
            }
            return Ok(exit::SUCCESS);
        }
        let mut connection = match stream {
            Some(stream) => stream,
            None => client.exec_start(&exec, &start).await.map_err(|error| {
                session.complain(&error);
                match exit::of_start_failure(&error.to_string()) {
                    exit::REFUSED => Failure::Code(exit::FAILURE),
                    code => Failure::Code(code),
                }
            })?,
        };
        let manner = Manner {
            target: Target::Exec(exec.clone()),
            tty: self.tty,
            stdin: self.interactive,
            sig_proxy: false,
            redraw: false,
            detach_keys: keys,
        };
        let signals = Signals::catch(&manner)?;
        match attached::join(client, &mut connection, &manner, signals).await? {
            Ended::Closed => {
                let code = client.exec_inspect(&exec).await?.exit_code.unwrap_or(0);
                Ok(i32::try_from(code).unwrap_or(exit::FAILURE))
            }
            ended => Ok(code_of(ended)),
        }
    }
}

impl Exec {
    fn request(
        &self,
        command: &[String],
        console_size: Option<[u32; 2]>,
        session: &Session,
    ) -> Result<ExecCreateRequest, Failure> {
        let mut env = Vec::new();
        for path in &self.env_file {
            let content = read_file(path)?;
            env.extend(
                variables::parse_file(&content, session::env)
                    .map_err(|error| variables::file_error(path, &error))?,
            );
        }
        env.extend(self.env.iter().cloned());
        Ok(ExecCreateRequest {
            user: self.user.clone(),
            privileged: self.privileged,
            tty: self.tty,
            console_size,
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach_keys: if self.detach_keys.is_empty() {
                session.config.detach_keys.clone()
            } else {
                self.detach_keys.clone()
            },
            env: (!env.is_empty()).then_some(env),
            working_dir: self.workdir.clone(),
            cmd: Some(command.to_vec()),
        })
    }
}
