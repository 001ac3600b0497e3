//! `run`: makes a container, joins its streams, starts it, and ends with its exit code. The order is what matters: the streams
//! are joined before the start, so that no byte is lost, and where the engine does not report the exit on them, the wait is
//! registered before the start too. An engine of ours does all of it for one request.

use std::time::Duration;

use clap::Args;
use minke_api::container::{AttachQuery, ContainerCreateRequest, ContainerStartQuery, WaitQuery};
use minke_api::run::RunAnswer;
use minke_client::{Client, Hijacked, PendingExit};
use minke_model::{Error, ErrorKind};

use super::create::{check, create_query, make, plan, refused, warn};
use super::flags::{ContainerFlags, NOT_OFFERED};
use super::pulling;
use crate::attached::{self, Ended, Manner, Signals, Target};
use crate::detach::DetachKeys;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{self, Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    #[command(flatten)]
    flags: ContainerFlags,
    /// Run in the background and print the container's id
    #[arg(long, short = 'd')]
    detach: bool,
    /// Keys that detach from the container, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "string", default_value = "")]
    detach_keys: String,
    /// Pass signals on to the container
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = grammar::parse_bool, action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

impl Verb for Run {
    const SUMMARY: &'static str = "Make a container from an image and run it";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ARITY: Arity = Arity::AtLeast(1);
    const STOPS_AT_FIRST: bool = true;
    const NOT_OFFERED: &'static [(&'static str, &'static str)] = NOT_OFFERED;

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.detach && !self.flags.attach.is_empty() {
            return Err(Failure::Plain(
                "conflicting options: cannot specify both --attach and --detach".into(),
            ));
        }
        let request = plan(session, &self.flags, &arguments, self.detach)?;
        let stdin = request.config.attach_stdin;
        if !self.detach && self.flags.tty && stdin && !terminal::input_is_terminal() {
            return Err(Failure::Plain("the input device is not a TTY".into()));
        }
        let keys = detach_keys(session, &self.detach_keys)?;
        let query = AttachQuery {
            detach_keys: if self.detach_keys.is_empty() {
                session.config.detach_keys.clone()
            } else {
                self.detach_keys.clone()
            },
            stream: true,
            stdin,
            stdout: request.config.attach_stdout,
            stderr: request.config.attach_stderr,
            ..AttachQuery::default()
        };
        let manner = Manner {
            target: Target::Container(String::new()),
            tty: self.flags.tty,
            stdin,
            sig_proxy: self.sig_proxy,
            redraw: false,
            detach_keys: keys,
        };
        match (self.detach, self.flags.cidfile.is_empty()) {
            (true, at_once) => self.run_detached(session, &request, at_once).await,
            (false, true) => self.run_at_once(session, &request, &query, manner).await,
            // The file is there, or the failure to write it, before anything runs.
            (false, false) => {
                let id = make(session, &self.flags, &request).await?;
                run_attached(session, &id, &query, (manner, None), self.flags.rm).await
            }
        }
    }
}

impl Run {
    async fn run_detached(
        &self,
        session: &Session,
        request: &ContainerCreateRequest,
        at_once: bool,
    ) -> Outcome {
        let made = match at_once {
            false => RunAnswer { id: make(session, &self.flags, request).await?, ..RunAnswer::default() },
            true => {
                check(session, &self.flags)?;
                session.connected().await?;
                self.ask_with_image(session, request, None).await?.0
            }
        };
        warn(session, &made.warnings);
        match made {
            RunAnswer { started: true, ref start_error, .. } if !start_error.is_empty() => {
                return Err(start_failure(session, as_told(start_error)));
            }
            RunAnswer { started: false, ref id, .. } => {
                start(session, id).await.map_err(|error| start_failure(session, error))?;
            }
            _ => {}
        }
        session.print(format!("{}\n", made.id))?;
        Ok(exit::SUCCESS)
    }

    /// The whole run by one request, which becomes the stream.
    async fn run_at_once(
        &self,
        session: &Session,
        request: &ContainerCreateRequest,
        query: &AttachQuery,
        mut manner: Manner,
    ) -> Outcome {
        check(session, &self.flags)?;
        session.connected().await?;
        // Whom they are for isn't known yet, but none may be missed.
        let mut signals = Signals::catch(&manner)?;
        let asked = Box::pin(self.ask_with_image(session, request, Some(query)));
        let (made, stream) = match signals.kept_during(asked).await {
            Ok(asked) => asked?,
            Err(number) => return Ok(exit::of_signal(number)),
        };
        warn(session, &made.warnings);
        manner.target = Target::Container(made.id.clone());
        let Some(mut connection) = stream else {
            return run_attached(session, &made.id, query, (manner, Some(signals)), self.flags.rm).await;
        };
        let client = session.engine();
        match attached::join(client, &mut connection, &manner, signals).await? {
            Ended::NotStarted(reason) => Err(start_failure(session, as_told(&reason))),
            Ended::Exit(code) => {
                // The stream ends when the engine knows of the end; a removal takes as long as it takes.
                let patience = if self.flags.rm { Duration::MAX } else { SETTLE_PATIENCE };
                let _ = tokio::time::timeout(patience, connection.ended()).await;
                Ok(code)
            }
            Ended::Detached => {
                settle_start(client, &made.id).await;
                Ok(code_of(Ended::Detached))
            }
            Ended::Closed => Ok(code_of(ask_exit(client, None, &made.id).await?)),
            ended => Ok(code_of(ended)),
        }
    }

    /// Asks, and once more where the image had to be pulled.
    async fn ask_with_image(
        &self,
        session: &Session,
        request: &ContainerCreateRequest,
        attach: Option<&AttachQuery>,
    ) -> Result<(RunAnswer, Option<Hijacked>), Failure> {
        let image = &request.config.image;
        pulling::first(session, &self.flags, image).await?;
        match self.ask(session, request, attach).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                pulling::missing(session, &self.flags, image, error).await?;
                self.ask(session, request, attach).await.map_err(|error| refused(session, error))
            }
        }
    }

    async fn ask(
        &self,
        session: &Session,
        request: &ContainerCreateRequest,
        attach: Option<&AttachQuery>,
    ) -> Result<(RunAnswer, Option<Hijacked>), Error> {
        let client = session.engine();
        client.container_run(&create_query(&self.flags), request, attach).await
    }
}

/// A reason that came beside an answer, in the words of a refusal.
fn as_told(reason: &str) -> Error {
    Error::system(format!("Error response from daemon: {reason}"))
}

/// How long the engine may take to hear of an end.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The keys that detach: the flag's, else the configuration's, else the default.
pub fn detach_keys(session: &Session, flag: &str) -> Result<DetachKeys, Failure> {
    let text = if flag.is_empty() { &session.config.detach_keys } else { flag };
    Ok(DetachKeys::parse(text)?)
}

async fn start(session: &Session, id: &str) -> Result<(), Error> {
    session.engine().container_start(id, &ContainerStartQuery::default()).await
}

fn start_failure(session: &Session, error: Error) -> Failure {
    let code = exit::of_start_failure(&error.to_string());
    Failure::Run { form: session.form.clone(), error, code, hint: None }
}

/// Joins a new container's streams, starts it, and waits for its end.
async fn run_attached(
    session: &Session,
    id: &str,
    query: &AttachQuery,
    (mut manner, signals): (Manner, Option<Signals>),
    remove: bool,
) -> Outcome {
    let client = session.engine();
    manner.target = Target::Container(id.to_string());
    let condition = if remove { "removed" } else { "next-exit" };
    let connection =
        client.container_attach(id, query, manner.tty).await.map_err(|error| refused(session, error))?;
    let reported = connection.reports_exit();
    let signals = match signals {
        Some(signals) => signals,
        None => Signals::catch(&manner)?,
    };
    let pending = if reported {
        None
    } else {
        Some(wait(client, id, condition).await.map_err(|error| refused(session, error))?)
    };
    if let Err(error) = start(session, id).await {
        drop(connection);
        if let (true, Some(pending)) = (remove, pending) {
            let _ = pending.exit_code().await;
        }
        return Err(start_failure(session, error));
    }
    let removal = if reported && remove { wait(client, id, condition).await.ok() } else { None };
    let outcome = finish(client, connection, (manner, signals), pending, id).await?;
    match (&outcome, removal) {
        (Ended::Exit(_), Some(removal)) => {
            let _ = removal.exit_code().await;
        }
        (Ended::Exit(_), None) if reported && !remove => settle(client, id).await,
        _ => {}
    }
    Ok(code_of(outcome))
}

/// Waits until the engine knows of an end that the container's shim has told, so that the next command sees it. An engine
/// that is gone, or that has started the container again, isn't waited for.
pub async fn settle(client: &Client, id: &str) {
    let known = async {
        if let Ok(pending) = wait(client, id, "not-running").await {
            let _ = pending.exit_code().await;
        }
    };
    let _ = tokio::time::timeout(SETTLE_PATIENCE, known).await;
}

/// Waits until the engine knows of a start whose output has been seen already, so that the next command sees it too.
async fn settle_start(client: &Client, id: &str) {
    let known = async {
        while client.container_inspect(id).await.is_ok_and(|found| found.state.status == "created") {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let _ = tokio::time::timeout(SETTLE_PATIENCE, known).await;
}

async fn wait(client: &Client, id: &str, condition: &str) -> Result<PendingExit, Error> {
    client.container_wait(id, &WaitQuery { condition: condition.into() }).await
}

/// Joins the streams until the end, and finds the exit code where it did not come with them.
pub async fn finish(
    client: &Client,
    mut connection: Hijacked,
    (manner, signals): (Manner, Signals),
    pending: Option<PendingExit>,
    id: &str,
) -> Result<Ended, Failure> {
    match attached::join(client, &mut connection, &manner, signals).await? {
        Ended::Closed => ask_exit(client, pending, id).await,
        ended => Ok(ended),
    }
}

/// Asks for the exit code that did not come on the stream.
async fn ask_exit(client: &Client, pending: Option<PendingExit>, id: &str) -> Result<Ended, Failure> {
    let pending = match pending {
        Some(pending) => pending,
        None => wait(client, id, "not-running").await.map_err(|error| lost(&error))?,
    };
    let code = pending.exit_code().await.map_err(|error| lost(&error))?;
    Ok(Ended::Exit(i32::try_from(code).unwrap_or(exit::REFUSED)))
}

/// The engine went away before the exit code was known.
fn lost(error: &Error) -> Failure {
    let text = match error.kind() {
        ErrorKind::Unavailable => "the engine went away before the exit code was known".to_string(),
        _ => error.to_string(),
    };
    eprintln!("{text}");
    Failure::Code(exit::REFUSED)
}

/// The exit code of a joined container; who detaches has ended well.
pub fn code_of(ended: Ended) -> i32 {
    match ended {
        Ended::Exit(code) => code,
        Ended::Closed | Ended::Detached => exit::SUCCESS,
        Ended::Signal(number) => exit::of_signal(number),
        Ended::NotStarted(_) => exit::REFUSED,
    }
}
