//! `attach`: joins the streams of a running container.

use clap::Args;
use minke_api::container::{AttachQuery, WaitQuery};

use super::run::{code_of, detach_keys, finish, settle};
use crate::attached::{Ended, Manner, Signals, Target};
use crate::error::{Failure, Outcome};
use crate::grammar::{self, Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// Flags of `attach`.
#[derive(Args, Clone, Debug)]
pub struct Attach {
    /// Keys that detach from the container, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "string", default_value = "")]
    detach_keys: String,
    /// Leave standard input alone
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = grammar::parse_bool, action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

impl Verb for Attach {
    const SUMMARY: &'static str = "Join the streams of a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let keys = detach_keys(session, &self.detach_keys)?;
        let client = session.client().await?;
        let container = client.container_inspect(&arguments[0]).await?;
        let complaint = match container.state.status.as_str() {
            "paused" => Some("You cannot attach to a paused container, unpause it first"),
            "restarting" => Some("You cannot attach to a restarting container, wait until it is running"),
            _ if !container.state.running => Some("You cannot attach to a stopped container, start it first"),
            _ => None,
        };
        if let Some(complaint) = complaint {
            return Err(Failure::Plain(complaint.into()));
        }
        let stdin = !self.no_stdin && container.config.open_stdin;
        if container.config.tty && stdin && !terminal::input_is_terminal() {
            return Err(Failure::Plain("the input device is not a TTY".into()));
        }
        let query = AttachQuery {
            detach_keys: if self.detach_keys.is_empty() {
                session.config.detach_keys.clone()
            } else {
                self.detach_keys
            },
            stream: true,
            stdin,
            stdout: true,
            stderr: true,
            ..AttachQuery::default()
        };
        let id = container.id.clone();
        let connection = client.container_attach(&id, &query, container.config.tty).await?;
        let pending = match connection.reports_exit() {
            true => None,
            false => Some(client.container_wait(&id, &WaitQuery::default()).await?),
        };
        let manner = Manner {
            target: Target::Container(id.clone()),
            tty: container.config.tty,
            stdin,
            sig_proxy: self.sig_proxy && !container.config.tty,
            redraw: true,
            detach_keys: keys,
        };
        let signals = Signals::catch(&manner)?;
        match finish(client, connection, (manner, signals), pending, &id).await? {
            Ended::Detached => Err(Failure::Plain("read escape sequence".into())),
            Ended::Exit(code) => {
                settle(client, &id).await;
                Ok(code)
            }
            ended => Ok(code_of(ended)),
        }
    }
}
