//! Running one more process in a container: the plan is made here, the shim starts it.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use minke_model::{Context as _, Error, Result};
use minke_spec::shim::{AttachRequest, ErrorCode, ExecRequest, Reply, Request, ShimError, Stdio};

use super::service::framing;
use super::{attach, foreign, launch, settings, user};
use crate::exec::{Exec, KILLED};
use crate::shim::connection::{RequestError, ShimConnection};
use crate::{Engine, ExecSession};

/// What Docker writes before the reason why an exec could not be started.
const FAILED: &str = "OCI runtime exec failed: exec failed: unable to start container process: ";

/// Starts an exec with the client's socket as its streams.
pub async fn connect(session: ExecSession, socket: OwnedFd, prefix: Bytes) -> Result<()> {
    let ExecSession { engine, exec, exit_frames, tty } = session;
    let settings = &exec.settings;
    let request = AttachRequest {
        stdin: settings.attach_stdin,
        stdout: settings.attach_stdout,
        stderr: settings.attach_stderr,
        framing: framing(tty, exit_frames),
        prefix: prefix.into(),
        detach_keys: attach::detach_keys(&settings.detach_keys)?,
    };
    let framed = !tty || exit_frames;
    match start(&engine, &exec, Some((request, &socket))).await {
        Ok(()) => Ok(()),
        Err(failure) => {
            let text = format!("{}\r\n", failure.error);
            attach::tell(socket, framed, &text, exit_frames.then_some(failure.code))
                .context("telling the client")
        }
    }
}

/// Starts an exec whose output goes to a socket of the engine itself.
pub async fn attached(engine: &Engine, exec: &Exec, request: AttachRequest, socket: &OwnedFd) -> Result<()> {
    start(engine, exec, Some((request, socket))).await.map_err(|failure| failure.error)
}

/// Starts an exec whose streams are nobody's.
pub async fn detached(engine: &Engine, exec: Exec) -> Result<()> {
    start(engine, &exec, None).await.map_err(|failure| failure.error)
}

/// Why an exec could not be started, and the exit code that stands for it.
struct Failure {
    error: Error,
    code: i32,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, code: 126 }
    }
}

async fn start(
    engine: &Engine,
    exec: &Exec,
    client: Option<(AttachRequest, &OwnedFd)>,
) -> Result<(), Failure> {
    let result = try_start(engine, exec, client).await;
    match &result {
        Ok(pid) => engine.shared.execs.started(&exec.id, *pid),
        Err(failure) => {
            engine.shared.execs.exited(&exec.id, failure.code);
        }
    }
    result.map(|_| ())
}

async fn try_start(
    engine: &Engine,
    exec: &Exec,
    client: Option<(AttachRequest, &OwnedFd)>,
) -> Result<i32, Failure> {
    let container = engine.shared.containers.resolve(&exec.container_id)?;
    let view = container.view();
    let shim = view
        .shim
        .clone()
        .ok_or_else(|| Error::conflict(format!("container {} is not running", exec.container_id)))?;
    let process = plan(engine, exec, &view, &shim).await?;
    let (attach, socket) = client.map_or((None, None), |(attach, socket)| (Some(attach), Some(socket)));
    let settings = &exec.settings;
    let request = Request::Exec(Box::new(ExecRequest {
        exec_id: exec.id.clone(),
        process,
        stdio: Stdio {
            tty: settings.tty,
            open_stdin: settings.attach_stdin,
            stdin_once: true,
            console_size: settings.console_size,
        },
        attach,
    }));
    let action = format!("exec_start: {}", settings.line());
    engine.shared.tell(&view.record, &action, &[("execID", exec.id.clone())]);
    let descriptors: Vec<&OwnedFd> = socket.into_iter().collect();
    match shim.request(&request, &descriptors).await {
        Ok((Reply::ExecStarted { pid }, _)) => Ok(pid),
        Ok((reply, _)) => Err(Error::system(format!("the shim answered an exec with {reply:?}")).into()),
        Err(RequestError::Refused(error)) => Err(refused(&error, &exec.container_id)),
        // The container has ended under it, and its shim with it: the process was killed as every other one, and its client has seen
        // its stream end.
        Err(RequestError::Lost) => {
            let error = Error::conflict(format!("container {} is not running", exec.container_id));
            Err(Failure { error, code: KILLED })
        }
    }
}

fn refused(error: &ShimError, container_id: &str) -> Failure {
    let code = match error.code {
        ErrorCode::ProgramNotFound => 127,
        _ => 126,
    };
    let error = match error.code {
        ErrorCode::NotRunning => Error::conflict(format!("container {container_id} is not running")),
        ErrorCode::ProgramNotFound | ErrorCode::ProgramNotExecutable | ErrorCode::WorkingDirectory => {
            Error::invalid(format!("{FAILED}{}", error.message))
        }
        _ => Error::system(format!("{FAILED}{}", error.message)),
    };
    Failure { error, code }
}

/// Plans the process; the user is looked up in the container's own files, through its root as the shim holds it.
async fn plan(
    engine: &Engine,
    exec: &Exec,
    view: &super::handle::View,
    shim: &ShimConnection,
) -> Result<minke_spec::plan::ProcessPlan> {
    let (_, descriptors) = shim
        .request(&Request::OpenRoot, &[])
        .await
        .map_err(|error| error.into_error("opening the container's root"))?;
    let root = descriptors.into_iter().next().ok_or_else(|| Error::system("the shim gave no root"))?;
    let shared = &engine.shared;
    let paths = shared.paths(&view.record.id);
    let user = user::resolve(&exec.settings.user, view.record.group_add(), &root)?;
    // Of the container's own settings the process alone counts: its mounts and devices are there already.
    let start = launch::start_of(shared, &view.record, view.lifecycle.generation, &paths, user.clone())?;
    let settings = settings::without_mounts(&view.record, start)?;
    let wanted = settings::of_exec(&exec.settings, user);
    if foreign::of(shared, &view.record.host_config.runtime)?.is_some() {
        let bundle = (&paths, view.lifecycle.generation);
        foreign::write_exec(shared, bundle, &exec.id, (&wanted, &settings))?;
    }
    minke_spec::docker::plan_exec(&wanted, &settings, &shared.host.facts, &shared.filters)
}
