//! The operations of the Engine API that end a container, or wait for its end.

use std::sync::Arc;

use minke_api::container::*;
use minke_model::signal::Signal;
use minke_model::{Error, Result};
use tokio::sync::oneshot;

use super::handle::{Command, Container, View};
use super::lifecycle::{Lifecycle, State};
use super::service::prefixed;
use crate::{Engine, WaitOutcome};

impl Engine {
    /// `POST /containers/{id}/stop`.
    pub async fn container_stop(&self, reference: &str, query: &ContainerStopQuery) -> Result<()> {
        let container = self.shared.containers.resolve(reference)?;
        self.end(&container, query, false).await
    }

    /// `POST /containers/{id}/restart`.
    pub async fn container_restart(&self, reference: &str, query: &ContainerStopQuery) -> Result<()> {
        let container = self.shared.containers.resolve(reference)?;
        self.end(&container, query, true).await
    }

    async fn end(&self, container: &Arc<Container>, query: &ContainerStopQuery, restart: bool) -> Result<()> {
        let record = container.view().record.clone();
        let signal = match query.signal.as_str() {
            "" => record.stop_signal().unwrap_or(Signal::TERM.number()),
            name => Signal::parse(name)?.number(),
        };
        let timeout_s = query.timeout.unwrap_or_else(|| record.stop_timeout_s());
        let (before, seen) = oneshot::channel();
        container.ask(|reply| Command::Stop { signal, timeout_s, restart, before, reply }).await?;
        let before = seen.await.unwrap_or_else(|_| container.view());
        let after = container.wait_for(|view| is_over(&before, view, restart)).await;
        self.shared.tell(&after.record, if restart { "restart" } else { "stop" }, &[]);
        // A program that ended at once is a restart that worked; one that could not be started is not.
        match after.last_exit.as_ref().filter(|exit| restart && !after.is_running() && !exit.error.is_empty())
        {
            Some(exit) => {
                Err(Error::system(format!("Cannot restart container {}: {}", record.id, exit.error)))
            }
            None => Ok(()),
        }
    }

    /// `POST /containers/{id}/kill`.
    pub async fn container_kill(&self, reference: &str, query: &KillQuery) -> Result<()> {
        let signal = match query.signal.as_str() {
            "" => Signal::KILL,
            name => Signal::parse(name)?,
        };
        let refused = |error| prefixed(&format!("cannot kill container: {reference}"), error);
        let container = self.shared.containers.resolve(reference).map_err(refused)?;
        let (before, seen) = oneshot::channel();
        let signals = |reply| Command::Kill { signal: signal.number(), before, reply };
        container.ask(signals).await.map_err(refused)?;
        if signal == Signal::KILL {
            let before = seen.await.unwrap_or_else(|_| container.view());
            let ended = |view: &View| view.exits > before.exits || !is_active(&view.lifecycle);
            container.wait_for(|view| view.removed || ended(view)).await;
        }
        Ok(())
    }

    /// `DELETE /containers/{id}`.
    pub async fn container_remove(&self, reference: &str, query: &ContainerRemoveQuery) -> Result<()> {
        if query.link {
            return self.remove_link(reference).await;
        }
        let container = self.shared.containers.resolve(reference)?;
        let (force, volumes) = (query.force, query.volumes);
        container.ask(|reply| Command::Remove { force, volumes, reply }).await?;
        let view = container.wait_for(|view| view.removed || view.lifecycle.state == State::Dead).await;
        if view.removed {
            return Ok(());
        }
        Err(Error::system(format!(
            "the container {} could not be removed: see the engine's log",
            view.record.id
        )))
    }

    /// `DELETE /containers/{id}?link=1`: the link `parent/alias`.
    async fn remove_link(&self, reference: &str) -> Result<()> {
        self.shared.containers.resolve(reference)?;
        let name = reference.trim_start_matches('/');
        let Some((parent, alias)) = name.split_once('/') else {
            return Err(Error::conflict("Conflict, cannot remove the default link name of the container"));
        };
        let parent = self.shared.containers.resolve(parent).map_err(|error| {
            Error::new(error.kind(), format!("Cannot get parent {parent} for link name {name}"))
        })?;
        let alias = alias.to_owned();
        parent.ask(|reply| Command::Unlink { alias, reply }).await
    }

    /// `POST /containers/{id}/wait`: what is wrong with the request is told at once, the outcome when it comes.
    pub fn container_wait(&self, reference: &str, query: &WaitQuery) -> Result<WaitOutcome> {
        let condition = match query.condition.as_str() {
            "" | "not-running" => Condition::NotRunning,
            "next-exit" => Condition::NextExit,
            "removed" => Condition::Removed,
            other => return Err(Error::invalid(format!("invalid condition: \"{other}\""))),
        };
        let container = self.shared.containers.resolve(reference)?;
        let exits = container.view().exits;
        Ok(Box::pin(async move {
            let view = container
                .wait_for(|view| match condition {
                    // A container that its policy starts again has stopped all the same.
                    Condition::NotRunning => {
                        view.removed || view.exits > exits || !is_active(&view.lifecycle)
                    }
                    Condition::NextExit => view.removed || view.exits > exits,
                    Condition::Removed => view.removed,
                })
                .await;
            let status_code = view.last_exit.as_ref().map_or(0, |exit| exit.code.into());
            ContainerWaitResponse { error: None, status_code }
        }))
    }
}

/// Whether what was asked for while the container was as in `before` has been done.
fn is_over(before: &View, now: &View, restart: bool) -> bool {
    let starting = matches!(now.lifecycle.state, State::Starting { .. });
    let done = match restart {
        true => now.lifecycle.generation > before.lifecycle.generation && !starting,
        false => now.exits > before.exits || !before.is_running(),
    };
    now.removed || done
}

/// What a wait waits for.
#[derive(Clone, Copy)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// Whether a wait for "not running" goes on.
fn is_active(lifecycle: &Lifecycle) -> bool {
    lifecycle.run().is_some() || matches!(lifecycle.state, State::Restarting(_) | State::Starting { .. })
}
