//! `start`: starts containers that have ended or were never started, one of them with its streams joined.

use clap::Args;
use minke_api::container::{AttachQuery, ContainerStartQuery, WaitQuery};

use super::run::{code_of, detach_keys, finish, settle};
use crate::attached::{Ended, Manner, Signals, Target};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::terminal;

/// Flags of `start`.
#[derive(Args, Clone, Debug)]
pub struct Start {
    /// Join the output and pass signals on
    #[arg(long, short = 'a')]
    attach: bool,
    /// Keys that detach from the container, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "string", default_value = "")]
    detach_keys: String,
    /// Join the input
    #[arg(long, short = 'i')]
    interactive: bool,
}

impl Verb for Start {
    const SUMMARY: &'static str = "Start containers that do not run";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);
    const NOT_OFFERED: &'static [(&'static str, &'static str)] =
        &[("--checkpoint", ""), ("--checkpoint-dir", "")];

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.attach || self.interactive {
            return match &arguments[..] {
                [container] => self.start_attached(container, session).await,
                _ => Err(Failure::Plain("you cannot start and attach multiple containers at once".into())),
            };
        }
        let client = session.client().await?;
        let mut failed = Vec::new();
        for name in &arguments {
            match client.container_start(name, &ContainerStartQuery::default()).await {
                Ok(()) => session.print(format!("{name}\n"))?,
                Err(error) => {
                    session.complain(error);
                    failed.push(name.as_str());
                }
            }
        }
        if failed.is_empty() {
            return Ok(exit::SUCCESS);
        }
        Err(Failure::Plain(format!("Error: failed to start containers: {}", failed.join(", "))))
    }
}

impl Start {
    async fn start_attached(self, name: &str, session: &Session) -> Outcome {
        let keys = detach_keys(session, &self.detach_keys)?;
        let client = session.client().await?;
        let container = client.container_inspect(name).await?;
        let stdin = self.interactive && container.config.open_stdin;
        let tty = container.config.tty;
        if tty && stdin && !terminal::input_is_terminal() {
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
        let connection = client.container_attach(&id, &query, tty).await?;
        let condition = if container.host_config.auto_remove { "removed" } else { "next-exit" };
        let pending = match connection.reports_exit() {
            true => None,
            false => Some(client.container_wait(&id, &WaitQuery { condition: condition.into() }).await?),
        };
        let manner = Manner {
            target: Target::Container(id.clone()),
            tty,
            stdin,
            sig_proxy: !tty,
            redraw: false,
            detach_keys: keys,
        };
        let signals = Signals::catch(&manner)?;
        client.container_start(&id, &ContainerStartQuery::default()).await?;
        let reported = pending.is_none();
        let outcome = finish(client, connection, (manner, signals), pending, &id).await?;
        if reported && matches!(outcome, Ended::Exit(_)) {
            settle(client, &id).await;
        }
        Ok(code_of(outcome))
    }
}
