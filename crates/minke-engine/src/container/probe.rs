//! Running one probe of a container's health: an exec whose output is kept here, with a limit on its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use minke_api::stream::{FRAME_HEADER_LEN, Frame};
use minke_model::{Context as _, Error, Result, duration};
use minke_spec::shim::{AttachRequest, Framing, Request};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::exec;
use super::health::{Outcome, Settings};
use crate::Engine;
use crate::engine::{Shared, random_hex};
use crate::exec::{Exec, ExecSettings, ExecState};
use crate::shim::connection::ShimConnection;

/// How the id of a probe's exec begins, so that an engine which comes back knows one that nobody waits for any more.
const MARK: &str = "6865616c74680000";
/// How much of a probe's output is kept, bytes.
const OUTPUT_LIMIT: usize = 4096;
/// How long a killed probe's end is waited for.
const DEATH_PATIENCE: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// Whose health is probed.
pub struct Patient {
    /// The engine's state.
    pub shared: Arc<Shared>,
    /// The container.
    pub container_id: String,
    /// Its shim.
    pub shim: ShimConnection,
    /// The user that its own process runs as.
    pub user: String,
    /// That process's directory.
    pub working_dir: String,
}

/// Runs a probe in the background. One whose receiver is dropped is killed.
pub fn start(patient: Patient, settings: Arc<Settings>) -> oneshot::Receiver<Outcome> {
    let (mut sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Some(outcome) = run(&patient, &settings, sender.closed()).await {
            let _ = sender.send(outcome);
        }
    });
    receiver
}

/// Kills what is left of the probes of an engine that was killed.
pub async fn end_orphans(shim: &ShimConnection, execs: &[(String, i32, Option<i32>)]) {
    for (id, ..) in execs.iter().filter(|(id, _, code)| id.starts_with(MARK) && code.is_none()) {
        let _ = kill(shim, id).await;
    }
}

async fn kill(shim: &ShimConnection, exec_id: &str) -> Result<()> {
    let request = Request::ExecKill { exec_id: exec_id.to_owned(), signal: SIGKILL };
    shim.request(&request, &[]).await.map(|_| ()).map_err(|error| error.into_error("killing a probe"))
}

/// What a probe has written so far.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        let room = OUTPUT_LIMIT - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut { format!("{text}...") } else { text.into_owned() }
    }
}

/// Runs a probe; `None` if nobody wants its outcome any more.
async fn run(patient: &Patient, settings: &Settings, unwanted: impl Future<Output = ()>) -> Option<Outcome> {
    let start = Timestamp::now();
    let output = Mutex::new(Output::default());
    let text = || output.lock().unwrap_or_else(PoisonError::into_inner).text();
    let outcome = |exit_code, output| Outcome { start, end: Timestamp::now(), exit_code, output };
    let id = match random_hex(24) {
        Ok(random) => format!("{MARK}{random}"),
        Err(error) => return Some(outcome(-1, error.to_string())),
    };
    let work = execute(patient, settings, &id, &output);
    tokio::pin!(work);
    let late = tokio::select! {
        result = &mut work => {
            return Some(match result {
                Ok(code) => outcome(code, text()),
                Err(error) => outcome(-1, error.to_string()),
            });
        }
        () = tokio::time::sleep(settings.timeout) => true,
        () = unwanted => false,
    };
    let _ = kill(&patient.shim, &id).await;
    // Dying probes must not pile up.
    let _ = tokio::time::timeout(DEATH_PATIENCE, work).await;
    late.then(|| {
        let limit = duration::render_go(settings.timeout);
        let words = format!("Health check exceeded timeout ({limit})");
        match text() {
            text if text.is_empty() => outcome(-1, words),
            text => outcome(-1, format!("{words}: {text}")),
        }
    })
}

/// Starts the exec and reads its output to the end; returns its exit code.
async fn execute(patient: &Patient, settings: &Settings, id: &str, output: &Mutex<Output>) -> Result<i32> {
    let container = patient.shared.containers.resolve(&patient.container_id)?;
    let record = container.view().record.clone();
    let exec = Exec {
        id: id.to_owned(),
        container_id: patient.container_id.clone(),
        settings: ExecSettings {
            command: settings.command.clone(),
            user: patient.user.clone(),
            working_dir: patient.working_dir.clone(),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecSettings::default()
        },
        state: ExecState::Starting,
    };
    patient.shared.execs.insert(exec.clone());
    let action = format!("exec_create: {}", exec.settings.line());
    patient.shared.tell(&record, &action, &[("execID", id.to_owned())]);
    let (near, far) = UnixStream::pair().context("making a probe's socket")?;
    let far = far.into_std().context("making a probe's socket")?.into();
    let request = AttachRequest {
        stdout: true,
        stderr: true,
        framing: Framing::MultiplexedWithExit,
        ..AttachRequest::default()
    };
    let engine = Engine { shared: patient.shared.clone() };
    exec::attached(&engine, &exec, request, &far).await?;
    drop(far);
    read(near, output).await.context("reading a probe's output")?.ok_or_else(|| {
        Error::system(format!("healthcheck for container {} has no exit code", patient.container_id))
    })
}

/// Reads Docker's frames up to the one with the exit code.
async fn read(mut stream: UnixStream, output: &Mutex<Output>) -> std::io::Result<Option<i32>> {
    let mut header = [0; FRAME_HEADER_LEN];
    let mut payload = Vec::new();
    loop {
        match stream.read_exact(&mut header).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let [kind, _, _, _, a, b, c, d] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        payload.resize(length, 0);
        stream.read_exact(&mut payload).await?;
        match Frame::from_byte(kind) {
            Some(Frame::Stdout | Frame::Stderr) => {
                output.lock().unwrap_or_else(PoisonError::into_inner).push(&payload);
            }
            Some(Frame::Exit) => {
                return Ok(payload.try_into().ok().map(i32::from_be_bytes));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut() {
        let mut output = Output::default();
        output.push(b"short");
        assert_eq!(output.text(), "short");
        output.push(&vec![b'x'; 10_000]);
        output.push(b"more");
        let text = output.text();
        assert_eq!(text.len(), OUTPUT_LIMIT + 3);
        assert!(text.starts_with("shortx") && text.ends_with("x..."));
    }
}
