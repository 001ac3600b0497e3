//! A container made, joined and started for one request of our own client (`minke_api::run`). Nothing here that the single
//! requests don't do: it only goes through them in the order in which no output is lost.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use minke_api::container::{AttachQuery, ContainerCreateQuery, ContainerCreateRequest};
use minke_api::run::RunAnswer;
use minke_api::stream::Frame;
use minke_model::{Context as _, Result};

use super::handle::{Command, Container, View};
use crate::{Attachment, Engine};

/// A container that is made and will be started when its client is joined to it.
pub struct RunSession {
    /// What the client is told at once.
    pub answer: RunAnswer,
    attachment: Attachment,
    container: Arc<Container>,
}

impl Engine {
    /// Makes a container that [`RunSession::connect`] starts.
    ///
    /// # Errors
    /// As those of create and attach.
    pub async fn container_run(
        &self,
        query: &ContainerCreateQuery,
        attach: &AttachQuery,
        request: ContainerCreateRequest,
    ) -> Result<RunSession> {
        let created = self.container_create(query, request).await?;
        let container = self.shared.containers.resolve(&created.id)?;
        let attachment = self.container_attach(&created.id, attach, true)?;
        let answer = RunAnswer { id: created.id, warnings: created.warnings, ..RunAnswer::default() };
        Ok(RunSession { answer, attachment, container })
    }

    /// Makes a container and starts it; that it could not be started is part of the answer, since it is there now.
    ///
    /// # Errors
    /// As those of create.
    pub async fn container_run_detached(
        &self,
        query: &ContainerCreateQuery,
        request: ContainerCreateRequest,
    ) -> Result<RunAnswer> {
        let created = self.container_create(query, request).await?;
        let started = self.container_start(&created.id, &Default::default()).await;
        let start_error = started.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(RunAnswer { id: created.id, warnings: created.warnings, started: true, start_error })
    }
}

impl RunSession {
    /// Joins the client, starts the container, and holds the connection until everybody can see its end: the run is over, or
    /// with `--rm` the container is gone. The frames, the exit code among them, come from the shim.
    pub async fn connect(self, socket: OwnedFd, prefix: Bytes) -> Result<()> {
        let Self { attachment, container, .. } = self;
        let held = socket.as_fd().try_clone_to_owned().context("holding the client's connection")?;
        attachment.connect(socket, prefix).await?;
        if let Err(error) = container.ask(Command::Start).await {
            return tell(&held, Frame::NotStarted, error.to_string().as_bytes())
                .context("telling the client");
        }
        let removes = container.view().record.host_config.auto_remove;
        let last = container.wait_for(|view| view.removed || (!removes && view.exits > 0)).await;
        tell_what_the_shim_could_not(&held, &last);
        Ok(())
    }
}

/// The exit code of a run whose shim was killed before it could send it.
fn tell_what_the_shim_could_not(client: &OwnedFd, last: &View) {
    if let Some(exit) = last.last_exit.as_ref().filter(|exit| !exit.error.is_empty()) {
        let _ = tell(client, Frame::Exit, &exit.code.to_be_bytes());
    }
}

/// Writes one frame. It is not waited for a client that reads nothing: what it gets next is the end.
fn tell(client: &OwnedFd, frame: Frame, payload: &[u8]) -> std::io::Result<()> {
    let mut stream = UnixStream::from(client.try_clone()?);
    stream.set_nonblocking(true)?;
    let mut bytes = frame.header(u32::try_from(payload.len()).unwrap_or(u32::MAX)).to_vec();
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)
}
