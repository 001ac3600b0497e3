//! The operations of the Engine API on containers and execs.

use minke_api::container::*;
use minke_api::exec::*;
use minke_model::Result;

use crate::{Attachment, Engine, ExecSession, LogStream, WaitOutcome};

impl Engine {
    /// `POST /containers/create`.
    pub async fn container_create(&self, query: &ContainerCreateQuery, request: ContainerCreateRequest) -> Result<ContainerCreateResponse> {
        let _ = (self, query, request);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /containers/json`.
    pub fn container_list(&self, query: &ContainerListQuery) -> Result<Vec<ContainerSummary>> {
        let _ = (self, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /containers/{id}/json`.
    pub fn container_inspect(&self, reference: &str, query: &ContainerInspectQuery) -> Result<ContainerInspect> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/start`.
    pub async fn container_start(&self, reference: &str, query: &ContainerStartQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/stop`.
    pub async fn container_stop(&self, reference: &str, query: &ContainerStopQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/restart`.
    pub async fn container_restart(&self, reference: &str, query: &ContainerStopQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/kill`.
    pub async fn container_kill(&self, reference: &str, query: &KillQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/rename`.
    pub async fn container_rename(&self, reference: &str, query: &ContainerRenameQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `DELETE /containers/{id}`.
    pub async fn container_remove(&self, reference: &str, query: &ContainerRemoveQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/resize`.
    pub async fn container_resize(&self, reference: &str, query: &ResizeQuery) -> Result<()> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/wait`: what is wrong with the request is told at once, the outcome when it comes.
    pub fn container_wait(&self, reference: &str, query: &WaitQuery) -> Result<WaitOutcome> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /containers/{id}/logs`.
    pub fn container_logs(&self, reference: &str, query: &LogsQuery) -> Result<LogStream> {
        let _ = (self, reference, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/attach`; `exit_frames`: the client asked for `Minke-Stream: 1`.
    pub fn container_attach(&self, reference: &str, query: &AttachQuery, exit_frames: bool) -> Result<Attachment> {
        let _ = (self, reference, query, exit_frames);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /containers/{id}/exec`.
    pub fn exec_create(&self, reference: &str, request: ExecCreateRequest) -> Result<IdResponse> {
        let _ = (self, reference, request);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /exec/{id}/start` with streams; `exit_frames` as for attach.
    pub fn exec_start(&self, id: &str, request: &ExecStartRequest, exit_frames: bool) -> Result<ExecSession> {
        let _ = (self, id, request, exit_frames);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /exec/{id}/start` with `Detach`.
    pub async fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<()> {
        let _ = (self, id, request);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `POST /exec/{id}/resize`.
    pub async fn exec_resize(&self, id: &str, query: &ResizeQuery) -> Result<()> {
        let _ = (self, id, query);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }

    /// `GET /exec/{id}/json`.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let _ = (self, id);
        Err(minke_model::Error::new(minke_model::ErrorKind::NotImplemented, ""))
    }
}
