//! The endpoints of containers.

use bytes::Bytes;
use minke_api::Operation::*;
use minke_api::container::{
    AttachQuery, ContainerCreateQuery, ContainerCreateRequest, ContainerCreateResponse,
    ContainerInspect as ContainerDetails, ContainerInspectQuery, ContainerListQuery, ContainerPruneResponse,
    ContainerRemoveQuery, ContainerRenameQuery, ContainerStartQuery, ContainerStats as Sample,
    ContainerStopQuery, ContainerSummary, ContainerTop as Processes, ContainerUpdateResponse,
    ContainerWaitResponse, HostConfig, KillQuery, LogsQuery, ResizeQuery, StatsQuery, TopQuery, WaitQuery,
};
use minke_api::run::{RunAnswer, RunMode};
use minke_api::volume::PruneQuery;
use minke_model::{Error, ErrorKind, Result};

use crate::call::{Chunks, JsonLines};
use crate::{Client, Hijacked};

/// An answer of 304 means that there was nothing to do.
fn or_nothing_to_do(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotModified => Ok(()),
        other => other,
    }
}

impl Client {
    /// Lists containers.
    ///
    /// # Errors
    /// What the engine refuses, and every failure of the connection.
    pub async fn container_list(&self, query: &ContainerListQuery) -> Result<Vec<ContainerSummary>> {
        self.call(ContainerList, "").query(query).value().await
    }

    /// Creates a container without starting it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the image is not there, [`ErrorKind::Conflict`] for a name in use.
    pub async fn container_create(
        &self,
        query: &ContainerCreateQuery,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        self.call(ContainerCreate, "").query(query).json(request)?.value().await
    }

    /// Creates a container and starts it; `attach` says how its streams are joined first, if they are. What the engine has
    /// not done of it ([`RunAnswer::started`]) is left to be asked for.
    ///
    /// # Errors
    /// As [`Client::container_create`]; that it could not be started is no error.
    pub async fn container_run(
        &self,
        query: &ContainerCreateQuery,
        request: &ContainerCreateRequest,
        attach: Option<&AttachQuery>,
    ) -> Result<(RunAnswer, Option<Hijacked>)> {
        let mode = if attach.is_some() { RunMode::Attach } else { RunMode::Detach };
        let call = self.call(ContainerCreate, "").query(query).json(request)?;
        match attach {
            Some(attach) => call.more_query(attach).run(mode).await,
            None => call.run(mode).await,
        }
    }

    /// Describes a container.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that name or id.
    pub async fn container_inspect(&self, container: &str) -> Result<ContainerDetails> {
        self.call(ContainerInspect, container).value().await
    }

    /// Describes a container in the engine's own JSON.
    ///
    /// # Errors
    /// As [`Client::container_inspect`].
    pub async fn container_inspect_raw(
        &self,
        container: &str,
        query: &ContainerInspectQuery,
    ) -> Result<Bytes> {
        self.call(ContainerInspect, container).query(query).bytes().await
    }

    /// Starts a container; one that runs is left alone.
    ///
    /// # Errors
    /// The engine's reason why its process could not be started.
    pub async fn container_start(&self, container: &str, query: &ContainerStartQuery) -> Result<()> {
        or_nothing_to_do(self.call(ContainerStart, container).query(query).done().await)
    }

    /// Stops a container; one that has ended is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and what the engine refuses.
    pub async fn container_stop(&self, container: &str, query: &ContainerStopQuery) -> Result<()> {
        or_nothing_to_do(self.call(ContainerStop, container).query(query).done().await)
    }

    /// Stops and starts a container.
    ///
    /// # Errors
    /// As [`Client::container_stop`] and [`Client::container_start`].
    pub async fn container_restart(&self, container: &str, query: &ContainerStopQuery) -> Result<()> {
        self.call(ContainerRestart, container).query(query).done().await
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where it does not run.
    pub async fn container_kill(&self, container: &str, query: &KillQuery) -> Result<()> {
        self.call(ContainerKill, container).query(query).done().await
    }

    /// Lets all processes of a container stand still.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where it does not run or is paused already.
    pub async fn container_pause(&self, container: &str) -> Result<()> {
        self.call(ContainerPause, container).done().await
    }

    /// Lets all processes of a paused container go on.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where it is not paused.
    pub async fn container_unpause(&self, container: &str) -> Result<()> {
        self.call(ContainerUnpause, container).done().await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where the name is in use.
    pub async fn container_rename(&self, container: &str, query: &ContainerRenameQuery) -> Result<()> {
        self.call(ContainerRename, container).query(query).done().await
    }

    /// Asks what a container uses: one sample, or one each second.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn container_stats(&self, container: &str, query: &StatsQuery) -> Result<JsonLines<Sample>> {
        Ok(JsonLines::new(self.call(ContainerStats, container).query(query).chunks().await?))
    }

    /// Lists a container's processes.
    ///
    /// # Errors
    /// The container does not run, or the options are not known.
    pub async fn container_top(&self, container: &str, query: &TopQuery) -> Result<Processes> {
        self.call(ContainerTop, container).query(query).value().await
    }

    /// Gives a container other limits: those that `change` names, and its restart policy.
    ///
    /// # Errors
    /// Limits that the engine or the kernel refuses.
    pub async fn container_update(
        &self,
        container: &str,
        change: &HostConfig,
    ) -> Result<ContainerUpdateResponse> {
        self.call(ContainerUpdate, container).json(change)?.value().await
    }

    /// Removes containers that don't run.
    ///
    /// # Errors
    /// A filter that the engine does not know.
    pub async fn container_prune(&self, query: &PruneQuery) -> Result<ContainerPruneResponse> {
        self.call(ContainerPrune, "").query(query).value().await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where it runs and `force` was not asked for.
    pub async fn container_remove(&self, container: &str, query: &ContainerRemoveQuery) -> Result<()> {
        self.call(ContainerDelete, container).query(query).done().await
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// The container does not run, or has no terminal.
    pub async fn container_resize(&self, container: &str, query: &ResizeQuery) -> Result<()> {
        self.call(ContainerResize, container).query(query).done().await
    }

    /// Opens a container's log: framed where it has no terminal.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and a log driver that cannot be read.
    pub async fn container_logs(&self, container: &str, query: &LogsQuery) -> Result<Chunks> {
        self.call(ContainerLogs, container).query(query).chunks().await
    }

    /// Attaches to a container's streams; `tty` says whether it has a terminal.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and what the engine refuses.
    pub async fn container_attach(
        &self,
        container: &str,
        query: &AttachQuery,
        tty: bool,
    ) -> Result<Hijacked> {
        self.call(ContainerAttach, container).query(query).hijack(tty).await
    }

    /// Begins to wait: returns once the engine has registered the wait.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn container_wait(&self, container: &str, query: &WaitQuery) -> Result<PendingExit> {
        Ok(PendingExit(JsonLines::new(self.call(ContainerWait, container).query(query).chunks().await?)))
    }
}

/// A wait that the engine knows of.
pub struct PendingExit(JsonLines<ContainerWaitResponse>);

impl PendingExit {
    /// Waits for the exit code.
    ///
    /// # Errors
    /// The engine went away, or could not wait.
    pub async fn exit_code(mut self) -> Result<i64> {
        let answer = self.0.next().await?.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the engine ended the wait without an exit code")
        })?;
        match answer.error {
            Some(error) if !error.message.is_empty() => Err(Error::system(error.message)),
            _ => Ok(answer.status_code),
        }
    }
}
