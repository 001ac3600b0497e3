//! The endpoints of execs.

use minke_api::Operation::*;
use minke_api::container::ResizeQuery;
use minke_api::exec::{ExecCreateRequest, ExecInspect as ExecState, ExecStartRequest, IdResponse};
use minke_api::run::{RunAnswer, RunMode};
use minke_model::Result;

use crate::{Client, Hijacked};

impl Client {
    /// Prepares a further process in a container and gives its id.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`], or [`minke_model::ErrorKind::Conflict`] where the container does not run.
    pub async fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<String> {
        let answer: IdResponse = self.call(ContainerExec, container).json(request)?.value().await?;
        Ok(answer.id)
    }

    /// Prepares a further process and starts it, with its streams unless `mode` says otherwise. What the engine has not done
    /// of it ([`RunAnswer::started`]) is left to be asked for.
    ///
    /// # Errors
    /// As [`Client::exec_create`] and [`Client::exec_start`].
    pub async fn exec_run(
        &self,
        container: &str,
        request: &ExecCreateRequest,
        mode: RunMode,
    ) -> Result<(RunAnswer, Option<Hijacked>)> {
        self.call(ContainerExec, container).json(request)?.run(mode).await
    }

    /// Starts an exec and takes over its streams.
    ///
    /// # Errors
    /// The engine's reason why its process could not be started.
    pub async fn exec_start(&self, exec: &str, request: &ExecStartRequest) -> Result<Hijacked> {
        self.call(ExecStart, exec).json(request)?.hijack(request.tty).await
    }

    /// Starts an exec in the background.
    ///
    /// # Errors
    /// As [`Client::exec_start`].
    pub async fn exec_start_detached(&self, exec: &str, request: &ExecStartRequest) -> Result<()> {
        self.call(ExecStart, exec).json(request)?.done().await
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// The exec does not run, or has no terminal.
    pub async fn exec_resize(&self, exec: &str, query: &ResizeQuery) -> Result<()> {
        self.call(ExecResize, exec).query(query).done().await
    }

    /// Describes an exec.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn exec_inspect(&self, exec: &str) -> Result<ExecState> {
        self.call(ExecInspect, exec).value().await
    }
}
