//! The operations of the Engine API on execs.

use std::time::Duration;

use minke_api::container::ResizeQuery;
use minke_api::exec::*;
use minke_api::run::RunAnswer;
use minke_model::{Error, Result};
use minke_spec::shim::{Reply, Request};

use super::exec as run;
use super::handle::{Container, View};
use super::lifecycle::State;
use super::service::resize;
use crate::engine::random_hex;
use crate::exec::{Exec, ExecSettings, ExecState};
use crate::shim::connection::ShimConnection;
use crate::{Engine, ExecSession};

/// How long the end of a container may take to be known here after its shim has gone.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// `POST /containers/{id}/exec`.
    pub fn exec_create(&self, reference: &str, request: ExecCreateRequest) -> Result<IdResponse> {
        let container = self.shared.containers.resolve(reference)?;
        let view = container.view();
        check_active(&view, reference)?;
        let command = request.cmd.unwrap_or_default();
        if command.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
            return Err(Error::invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                request.working_dir
            )));
        }
        super::attach::detach_keys(&request.detach_keys)
            .map_err(|_| Error::invalid(format!("Invalid escape keys ({}) provided", request.detach_keys)))?;
        let id = random_hex(32)?;
        let settings = ExecSettings {
            env: request.env.unwrap_or_default(),
            user: if request.user.is_empty() { view.record.config.user.clone() } else { request.user },
            working_dir: request.working_dir,
            privileged: request.privileged,
            tty: request.tty,
            attach_stdin: request.attach_stdin,
            attach_stdout: request.attach_stdout,
            attach_stderr: request.attach_stderr,
            detach_keys: request.detach_keys,
            console_size: size(request.console_size),
            command,
        };
        let action = format!("exec_create: {}", settings.line());
        let exec = Exec {
            id: id.clone(),
            container_id: view.record.id.clone(),
            settings,
            state: ExecState::Created,
        };
        self.shared.execs.insert(exec);
        self.shared.tell(&view.record, &action, &[("execID", id.clone())]);
        Ok(IdResponse { id })
    }

    /// `POST /exec/{id}/start` with streams; `exit_frames` as for attach.
    pub fn exec_start(&self, id: &str, request: &ExecStartRequest, exit_frames: bool) -> Result<ExecSession> {
        let exec = self.begin(id, request)?;
        // As in Docker, the start's own word decides on the frames, not whether the process has a terminal.
        let tty = request.tty && !exit_frames;
        Ok(ExecSession { tty, engine: self.clone(), exec, exit_frames })
    }

    /// Prepares an exec that is started when its client is joined to it, for one request of our own client.
    pub fn exec_run(&self, reference: &str, request: ExecCreateRequest) -> Result<(RunAnswer, ExecSession)> {
        let start = ExecStartRequest { tty: request.tty, ..ExecStartRequest::default() };
        let id = self.exec_create(reference, request)?.id;
        let session = self.exec_start(&id, &start, true)?;
        Ok((RunAnswer { id, ..RunAnswer::default() }, session))
    }

    /// Prepares an exec whose streams are nobody's and starts it.
    pub async fn exec_run_detached(&self, reference: &str, request: ExecCreateRequest) -> Result<RunAnswer> {
        let start = ExecStartRequest { tty: request.tty, ..ExecStartRequest::default() };
        let id = self.exec_create(reference, request)?.id;
        self.exec_start_detached(&id, &start).await?;
        Ok(RunAnswer { id, started: true, ..RunAnswer::default() })
    }

    /// `POST /exec/{id}/start` with `Detach`.
    pub async fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<()> {
        let exec = self.begin(id, request)?;
        run::detached(self, exec).await
    }

    fn begin(&self, id: &str, request: &ExecStartRequest) -> Result<Exec> {
        let exec = self.shared.execs.find(id)?;
        let container = self.shared.containers.resolve(&exec.container_id)?;
        check_active(&container.view(), &exec.container_id)?;
        let mut exec = self.shared.execs.begin(id)?;
        if let Some(size) = size(request.console_size) {
            exec.settings.console_size = Some(size);
        }
        Ok(exec)
    }

    /// `POST /exec/{id}/resize`.
    pub async fn exec_resize(&self, id: &str, query: &ResizeQuery) -> Result<()> {
        let exec = self.shared.execs.find(id)?;
        match exec.state {
            ExecState::Created => return Err(Error::invalid("exec process is not started")),
            ExecState::Exited { .. } => return Err(Error::not_found("no such exec")),
            ExecState::Starting | ExecState::Running { .. } => {}
        }
        let view = self.shared.containers.resolve(&exec.container_id)?.view();
        let Some(shim) = &view.shim else {
            return Err(Error::conflict(format!("container {} is not running", exec.container_id)));
        };
        let request = resize(Some(id.to_owned()), query);
        shim.request(&request, &[])
            .await
            .map(|_| ())
            .map_err(|error| error.into_error("resizing the terminal"))
    }

    /// `GET /exec/{id}/json`.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let mut exec = self.shared.execs.find(id)?;
        let container = self.shared.containers.resolve(&exec.container_id)?;
        if let (ExecState::Running { .. } | ExecState::Starting, Some(shim)) =
            (exec.state, &container.view().shim)
        {
            exec.state = match state_now(shim, &exec).await {
                Some(state) => state,
                None => self.ended_with(&container, &exec).await,
            };
        }
        let settings = &exec.settings;
        let (pid, code) = match exec.state {
            ExecState::Created | ExecState::Starting => (0, None),
            ExecState::Running { pid } => (pid, None),
            ExecState::Exited { pid, code } => (pid, Some(code)),
        };
        let mut command = settings.command.iter().cloned();
        Ok(ExecInspect {
            id: exec.id,
            running: matches!(exec.state, ExecState::Running { .. }),
            exit_code: code.map(i64::from),
            process_config: ExecProcessConfig {
                tty: settings.tty,
                entrypoint: command.next().unwrap_or_default(),
                arguments: command.collect(),
                privileged: Some(settings.privileged),
                user: settings.user.clone(),
            },
            open_stdin: settings.attach_stdin,
            open_stderr: settings.attach_stderr,
            open_stdout: settings.attach_stdout,
            // What never ran has no end, as Docker sees it.
            can_remove: code.is_some() && pid != 0,
            container_id: exec.container_id,
            detach_keys: Some(shown_keys(&settings.detach_keys)),
            pid: pid.into(),
        })
    }

    /// How an exec is whose container's shim is gone: the container's owner is about to say so.
    async fn ended_with(&self, container: &Container, exec: &Exec) -> ExecState {
        let ended = container.wait_for(|view| view.removed || view.shim.is_none());
        let _ = tokio::time::timeout(OWNER_PATIENCE, ended).await;
        self.shared.execs.find(&exec.id).map_or(exec.state, |exec| exec.state)
    }
}

/// The keys of a request as their bytes in base64; none where it names none.
fn shown_keys(keys: &str) -> String {
    match keys {
        "" => String::new(),
        keys => minke_model::base64::render(&super::attach::detach_keys(keys).unwrap_or_default()),
    }
}

/// How an exec is by its shim's word: a client that has seen its stream end asks at once how, perhaps before the event of
/// the end has been heard here. `None`: the shim is gone, and the container with it.
async fn state_now(shim: &ShimConnection, exec: &Exec) -> Option<ExecState> {
    let Ok((Reply::Status(status), _)) = shim.request(&Request::Status, &[]).await else { return None };
    let ended = status.execs.iter().find(|(id, _, code)| *id == exec.id && code.is_some());
    Some(match ended {
        Some((_, pid, Some(code))) => ExecState::Exited { pid: *pid, code: *code },
        _ => exec.state,
    })
}

/// Whether one more process can be run in a container, which was asked for as `reference`.
fn check_active(view: &View, reference: &str) -> Result<()> {
    let id = &view.record.id;
    match view.lifecycle.state {
        State::Running(_) => Ok(()),
        State::Paused(_) => Err(Error::conflict(format!(
            "Container {reference} is paused, unpause the container before exec"
        ))),
        State::Restarting(_) => {
            Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        _ => Err(Error::conflict(format!("container {id} is not running"))),
    }
}

fn size(size: Option<[u32; 2]>) -> Option<(u16, u16)> {
    let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    size.filter(|[rows, columns]| *rows > 0 && *columns > 0)
        .map(|[rows, columns]| (side(rows), side(columns)))
}
