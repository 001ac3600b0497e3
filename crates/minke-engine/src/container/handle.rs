//! What the rest of the engine holds of a container: a mailbox to its owner task and the latest published view.
//! Reading a view never waits for an operation.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_api::container::HostConfig;
use minke_api::network::EndpointSettings;
use minke_model::{Error, ErrorKind, Result};
use minke_spec::shim::AttachRequest;
use tokio::sync::{mpsc, oneshot, watch};

use super::lifecycle::{Lifecycle, Refusal, State};
use super::owner::packing::Placed;
use super::record::Record;
use super::rendering::Rendering;
use super::root::RootAccess;
use crate::log::pack::Packed;
use crate::network::Live;
use crate::shim::connection::ShimConnection;

/// A container as everybody sees it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// What is kept of it.
    pub record: Arc<Record>,
    /// What it is doing.
    pub lifecycle: Lifecycle,
    /// Its shim, while it runs.
    pub shim: Option<ShimConnection>,
    /// How often a run has ended.
    pub exits: u64,
    /// How its last run ended, also when it has been restarted since or is being removed.
    pub last_exit: Option<super::lifecycle::Exit>,
    /// It is gone.
    pub removed: bool,
    /// What its last run has, or had, of networks.
    pub networks: Option<Arc<Live>>,
    /// What it looks like in the list, once somebody has asked.
    pub rendering: Rendering,
}

impl View {
    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.lifecycle.run().is_some()
    }

    /// What it has of networks while it runs.
    pub fn live(&self) -> Option<&Live> {
        self.networks.as_deref().filter(|_| self.is_running())
    }
}

/// A handle.
#[derive(Debug)]
pub struct Container {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    mailbox: mpsc::UnboundedSender<Command>,
    view: watch::Receiver<Arc<View>>,
    running: watch::Receiver<bool>,
}

/// A client that waits to be attached when the container starts.
#[derive(Debug)]
pub struct PendingAttach {
    /// How.
    pub request: AttachRequest,
    /// The client's socket.
    pub socket: OwnedFd,
}

/// What an owner task is asked to do. Each is answered as soon as the decision is made; what takes time shows in the view.
#[derive(Debug)]
pub enum Command {
    /// Start it, and answer when it runs.
    Start(oneshot::Sender<Result<()>>),
    /// Send `signal`, and `SIGKILL` after `timeout_s` seconds (negative: never).
    Stop {
        /// The first signal.
        signal: i32,
        /// The patience, in seconds.
        timeout_s: i64,
        /// Start it again afterwards.
        restart: bool,
        /// How the container was when its turn came: whoever asks may have looked before a start that came between.
        before: oneshot::Sender<Arc<View>>,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Send a signal.
    Kill {
        /// The signal.
        signal: i32,
        /// How the container was when its turn came.
        before: oneshot::Sender<Arc<View>>,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Remove it.
    Remove {
        /// Kill it first if need be.
        force: bool,
        /// Its anonymous volumes go with it.
        volumes: bool,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Give it another name.
    Rename {
        /// The name, without a slash.
        name: String,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Let its processes stand still.
    Pause(oneshot::Sender<Result<()>>),
    /// Let them go on.
    Unpause(oneshot::Sender<Result<()>>),
    /// Give it other limits, or another restart policy.
    Update {
        /// What changes; checked.
        change: Box<HostConfig>,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Connect it to a network.
    Connect {
        /// The network's id.
        network: String,
        /// How.
        settings: Box<EndpointSettings>,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Take it off a network.
    Disconnect {
        /// The network's name.
        network: String,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Take one of its links away.
    Unlink {
        /// What it calls the other container.
        alias: String,
        /// The answer.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Attach a client, now or at the next start.
    Attach(PendingAttach, oneshot::Sender<Result<()>>),
    /// Put a packed file of its log in its place.
    PlacePacked(Arc<Packed>, oneshot::Sender<Result<Placed>>),
    /// Give the right to use its root.
    Root(oneshot::Sender<Result<RootAccess>>),
}

impl Container {
    /// Makes a handle and what its owner needs.
    pub fn new(
        id: String,
        mailbox: mpsc::UnboundedSender<Command>,
        view: watch::Receiver<Arc<View>>,
        running: watch::Receiver<bool>,
    ) -> Self {
        Self { id, mailbox, view, running }
    }

    /// The latest view.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// A receiver of all later views.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Whether the process runs, to be watched.
    pub fn running(&self) -> watch::Receiver<bool> {
        self.running.clone()
    }

    /// Asks the owner task and waits for its answer.
    pub async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command) -> Result<()> {
        self.ask_for(command).await
    }

    /// Asks the owner task for something.
    pub async fn ask_for<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.mailbox.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Waits until `condition` holds for the view; returns the view then. A removed container's last view is final.
    pub async fn wait_for(&self, mut condition: impl FnMut(&View) -> bool) -> Arc<View> {
        let mut views = self.watch();
        match views.wait_for(|view| condition(view)).await {
            Ok(view) => view.clone(),
            Err(_) => self.view(),
        }
    }
}

impl Refusal {
    /// The refusal in Docker's words.
    pub fn into_error(self, view: &View, action: &str) -> Error {
        let id = &view.record.id;
        let name = &view.record.name;
        match self {
            Refusal::NotModified => Error::new(ErrorKind::NotModified, ""),
            Refusal::Running => Error::conflict(format!(
                "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
            )),
            Refusal::Restarting if action == "pause" => {
                Error::conflict(format!("Container {id} is restarting, wait until the container is running"))
            }
            Refusal::Paused if action == "pause" => {
                Error::conflict(format!("Container {id} is already paused"))
            }
            Refusal::Paused if action == "remove" => Error::conflict(format!(
                "cannot remove container \"/{name}\": container is paused and must be unpaused first"
            )),
            Refusal::Paused => Error::conflict("cannot start a paused container, try unpause instead"),
            Refusal::NotPaused => Error::conflict(format!("Container {id} is not paused")),
            Refusal::Restarting => Error::conflict(format!(
                "cannot remove container \"/{name}\": container is restarting: stop the container before removing or force remove"
            )),
            Refusal::Dead => Error::conflict("container is marked for removal and cannot be started"),
            Refusal::NotRunning => Error::conflict(format!("container {id} is not running")),
            Refusal::Busy => match view.lifecycle.state {
                State::Removing if action == "remove" => {
                    Error::conflict(format!("removal of container {id} is already in progress"))
                }
                State::Removing => Error::conflict("container is marked for removal and cannot be started"),
                _ => Error::conflict(format!("container {id} is being started")),
            },
        }
    }
}
