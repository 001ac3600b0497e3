//! Having a log's older files packed: a round makes packed files beside the log, one after the other, and the owner has each put in
//! its place by whoever may change the log's names: the shim while the container runs, else the owner itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minke_model::{Context as _, Error, Result};
use minke_spec::shim::{ErrorCode, Request, ShimError};
use minke_sys::Errno;
use minke_sys::rotation::Names;
use tokio::sync::Semaphore;

use super::super::handle::{Command, Container};
use super::super::log_settings;
use super::{Owner, Shim};
use crate::log::pack::{self, Outcome, Packed};
use crate::shim::connection::{RequestError, ShimConnection};

/// The first shim that tells of rotations, see [`minke_spec::shim::PROTOCOL`].
pub const SINCE_PROTOCOL: u16 = 3;

/// How long somebody who reads a file is waited for, in milliseconds: a good many times as long as reading takes.
const PATIENCE_MS: [u64; 8] = [5, 10, 20, 50, 100, 500, 2000, 5000];

/// Packing takes one processor, however many containers log.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// What became of putting a packed file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is there.
    Yes,
    /// Somebody reads the file that it is to replace.
    Busy,
    /// That file isn't there any more, or nobody may replace it.
    No,
}

/// All that a round needs.
struct Round {
    container: Arc<Container>,
    shim: Option<ShimConnection>,
    path: PathBuf,
    data_root: PathBuf,
    local: bool,
}

impl Owner {
    /// Begins a round, if the log is to be packed; it ends when there is nothing left to pack.
    pub(super) fn pack_log(&self) {
        if !log_settings::packs(&self.record.host_config.log_config) {
            return;
        }
        // A shim of an older engine knows nothing of packed files: its log stays as it is until the next start.
        let running = self.lifecycle.run().is_some();
        let shim = self.shim.as_ref().filter(|shim| running && !shim.ended);
        if running && shim.is_none_or(|shim| shim.protocol < SINCE_PROTOCOL) {
            return;
        }
        let Ok(container) = self.shared.containers.resolve(&self.record.id) else { return };
        let driver = &self.record.host_config.log_config.driver;
        let round = Round {
            container,
            shim: shim.map(|shim| shim.connection.clone()),
            path: self.shared.paths(&self.record.id).log_of(driver).to_owned(),
            data_root: self.shared.options.data_root.clone(),
            local: driver == "local",
        };
        let (id, one_round) = (self.record.id.clone(), self.packing.clone());
        tokio::spawn(async move {
            let _one_round = one_round.lock().await;
            if let Err(error) = round.run().await {
                tracing::warn!(container = %id, %error, "the log's older files stay as they are");
            }
        });
    }

    /// Puts a packed file in its place.
    pub(super) async fn place_packed(&self, packed: &Packed) -> Result<Placed> {
        let path = packed.path.to_string_lossy().into_owned();
        if self.lifecycle.run().is_some() {
            let of = packed.of.try_clone().context("packing the log")?.into();
            let Some(Shim { connection, ended: false, .. }) = &self.shim else { return Ok(Placed::No) };
            return match connection.request(&Request::ReplaceLog { packed: path }, &[&of]).await {
                Ok(_) => Ok(Placed::Yes),
                Err(error) => placed(&error).ok_or_else(|| error.into_error("packing the log")),
            };
        }
        let log = &self.record.host_config.log_config;
        let log_path = self.shared.paths(&self.record.id).log_of(&log.driver).to_string_lossy().into_owned();
        let names = Names { path: &log_path, files: log_settings::files(log)?, packs: true };
        match names.replace(&packed.of, &path) {
            Ok(()) => Ok(Placed::Yes),
            Err(Errno::AGAIN) => Ok(Placed::Busy),
            Err(Errno::NOENT) => Ok(Placed::No),
            Err(errno) => Err(std::io::Error::from(errno)).context("packing the log"),
        }
    }
}

/// What a shim's refusal means, if it isn't a failure.
fn placed(error: &RequestError) -> Option<Placed> {
    match error {
        RequestError::Refused(ShimError { errno, .. }) if *errno == Errno::AGAIN.raw_os_error() => {
            Some(Placed::Busy)
        }
        RequestError::Refused(ShimError { errno, .. }) if *errno == Errno::NOENT.raw_os_error() => {
            Some(Placed::No)
        }
        RequestError::Refused(ShimError { code: ErrorCode::NotRunning, .. }) | RequestError::Lost => {
            Some(Placed::No)
        }
        RequestError::Refused(_) => None,
    }
}

impl Round {
    async fn run(self) -> Result<()> {
        // From now on the next rotation is told, and makes the next round.
        if let Some(shim) = &self.shim
            && shim.request(&Request::WatchLog, &[]).await.is_err()
        {
            return Ok(());
        }
        // What can't be replaced now: open, so that nobody else gets its number.
        let mut left: Vec<Arc<Packed>> = Vec::new();
        loop {
            let known = left.iter().map(|packed| packed.identity()).collect::<std::io::Result<Vec<_>>>();
            let known = known.context("packing the log")?;
            let (path, data_root, local) = (self.path.clone(), self.data_root.clone(), self.local);
            match in_background(move || pack::newest(&path, &data_root, local, &known)).await? {
                Outcome::Nothing => return Ok(()),
                Outcome::GivenUp => {}
                Outcome::Packed(packed) => {
                    let packed = Arc::new(packed);
                    if self.place(&packed).await? != Placed::Yes {
                        left.push(packed);
                    }
                }
            }
        }
    }

    /// Has a packed file put in its place, when those who read the one that is there have gone on.
    async fn place(&self, packed: &Arc<Packed>) -> Result<Placed> {
        for pause_ms in PATIENCE_MS {
            let packed = packed.clone();
            match self.container.ask_for(|reply| Command::PlacePacked(packed, reply)).await? {
                Placed::Busy => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
                placed => return Ok(placed),
            }
        }
        Ok(Placed::Busy)
    }
}

/// Runs what takes long on a thread of its own that comes after everybody else.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let turn = ONE_AT_A_TIME.acquire().await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("packing".into());
    thread
        .spawn(move || {
            let _ = rustix::process::nice(10);
            let _ = sender.send(work());
        })
        .context("packing the log")?;
    let result = receiver.await.map_err(|_| Error::system("packing the log was given up"))?;
    drop(turn);
    result.context("packing the log")
}
