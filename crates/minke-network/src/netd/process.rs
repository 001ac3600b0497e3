//! The process: one thread that serves what it was told, listens for its engine, and ends when nobody needs it.
//!
//! ```text
//!   started --> locked --> serves what was kept --> greets --> serves what it is told
//!                                                                  |  engine gone and nothing to serve: ends
//!                                                                  '  told to retire: carries what is left, ends
//! ```

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use minke_sys::channel;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use super::message::{self, Reply, Request, Tag, VERSION};
use super::packets::{Packets, watch};
use super::world::World;
use super::{Change, LOCK, SOCKET, STATE, Snapshot, sandbox};

/// The descriptor that the engine is at the other end of.
const CONTROL: i32 = 3;
/// How long the netd before may take to let go.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How long after a change the state is written: many in a row are written once.
const REST: Duration = Duration::from_millis(100);
/// How long an engine that is killed while it starts a container may be away before what it had prepared is given up.
const UNFINISHED: Duration = Duration::from_secs(30);
/// How many troubles are remembered for an engine that isn't there.
const TROUBLES: usize = 32;

/// Runs netd in the folder that the arguments name; returns its exit code. The calling process must have no other thread.
pub fn main(arguments: &[OsString]) -> i32 {
    let [folder] = arguments else { return 2 };
    match run(Path::new(folder)) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn run(folder: &Path) -> io::Result<()> {
    let control = minke_sys::descriptor::inherited(CONTROL);
    minke_sys::process::set_name(c"minke-netd");
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    std::env::set_current_dir(folder)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = rustix::fs::open(LOCK, flags, Mode::from_raw_mode(0o600))?;
    if !minke_sys::lock::hold(&lock, LOCK_PATIENCE)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let listener = channel::listen_here(SOCKET)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    LocalSet::new().block_on(&runtime, serve(control, listener, lock, descriptors))
}

/// A conversation with the engine.
struct Engine {
    packets: Packets,
    /// Descriptors that came before the request that they are of.
    early: Vec<OwnedFd>,
}

struct Netd {
    world: World,
    engine: Option<Engine>,
    troubles: VecDeque<String>,
    /// When the state has to be written.
    save_at: Option<Instant>,
    /// When what has no process is given up: the engine that was about to start one is gone.
    forget_at: Option<Instant>,
}

async fn serve(
    control: Option<OwnedFd>,
    listener: OwnedFd,
    lock: OwnedFd,
    descriptors: u64,
) -> io::Result<()> {
    let (world, mut endings) = World::new(descriptors);
    let engine = control.map(Engine::new).transpose()?;
    let mut netd = Netd { world, engine, troubles: VecDeque::new(), save_at: None, forget_at: None };
    netd.take_up();
    let listener = watch(listener)?;
    while netd.engine.is_some() || !netd.world.is_idle() {
        match netd.next(&listener, &mut endings).await {
            News::Connected(engine) => (netd.engine, netd.forget_at) = (Some(engine), None),
            News::Asked(request, given) => {
                if netd.heed(request, given).await {
                    // Who connects from now on means the next one.
                    drop(listener);
                    return retire(netd, lock).await;
                }
            }
            News::Left => netd.left(),
            News::Forgotten => {
                netd.forget_at = None;
                netd.world.forget_unfinished();
                netd.changed();
            }
            News::Ended(id, run) => {
                netd.world.end(&id, run);
                netd.changed();
            }
            News::Rested => netd.save(),
        }
    }
    // Nothing to take up any more; the lock's file stays, somebody may wait for it.
    let _ = std::fs::remove_file(STATE);
    let _ = std::fs::remove_file(SOCKET);
    Ok(())
}

/// Lets another one serve; what is carried goes on to its end.
async fn retire(netd: Netd, lock: OwnedFd) -> io::Result<()> {
    let Netd { mut world, engine, .. } = netd;
    let left = world.retire();
    // Tasks that were told to let go do so.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(lock);
    drop(engine);
    for running in left {
        running.drained().await;
    }
    Ok(())
}

/// What can happen.
enum News {
    Connected(Engine),
    Asked(Request, Vec<OwnedFd>),
    Left,
    Ended(String, u64),
    Rested,
    Forgotten,
}

impl Engine {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { packets: Packets::new(socket)?, early: Vec::new() })
    }

    /// The next request with its descriptors; `None` at the end.
    async fn next(&mut self) -> Option<(Request, Vec<OwnedFd>)> {
        loop {
            let received = self.packets.receive().await.ok()??;
            self.early.extend(received.descriptors);
            match message::decode(&received.body) {
                Some(Request::More) => {}
                // What a newer engine says beside what it must.
                None => self.early.clear(),
                Some(request) => return Some((request, std::mem::take(&mut self.early))),
            }
        }
    }
}

impl Netd {
    async fn next(
        &mut self,
        listener: &AsyncFd<OwnedFd>,
        endings: &mut mpsc::UnboundedReceiver<(String, u64)>,
    ) -> News {
        let (save_at, forget_at) = (self.save_at, self.forget_at);
        let engine = &mut self.engine;
        let asked = async {
            match engine {
                Some(engine) => engine.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An engine that comes is the one that is; what the last one still says is old.
            biased;
            engine = accept(listener) => News::Connected(engine),
            Some((id, run)) = endings.recv() => News::Ended(id, run),
            asked = asked => match asked {
                Some((request, given)) => News::Asked(request, given),
                None => News::Left,
            },
            () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => News::Rested,
            () = sleep_until(forget_at.unwrap_or_else(Instant::now)), if forget_at.is_some() => News::Forgotten,
        }
    }

    /// Does what the engine says; true: it is to retire.
    async fn heed(&mut self, request: Request, given: Vec<OwnedFd>) -> bool {
        match request {
            Request::Hello { .. } => {
                self.say(&Reply::Hello { version: VERSION }).await;
                for text in std::mem::take(&mut self.troubles) {
                    self.say(&Reply::Trouble { text }).await;
                }
            }
            Request::Change { number, whole, change, given: tags } => {
                self.change(change, whole, tags.into_iter().zip(given).collect());
                for text in std::mem::take(&mut self.troubles) {
                    self.say(&Reply::Trouble { text }).await;
                }
                self.say(&Reply::Done { number }).await;
            }
            Request::Retire => return true,
            Request::More => {}
        }
        false
    }

    fn change(&mut self, change: Change, whole: bool, given: Vec<(Tag, OwnedFd)>) {
        self.troubles.extend(self.world.change(change, whole, sandbox::sort(given)));
        while self.troubles.len() > TROUBLES {
            self.troubles.pop_front();
        }
        self.changed();
    }

    async fn say(&mut self, reply: &Reply) {
        // An engine that doesn't read is as good as gone.
        const PATIENCE: Duration = Duration::from_secs(5);
        let Some(engine) = &self.engine else { return };
        let bytes = message::encode(reply);
        let said = tokio::time::timeout(PATIENCE, engine.packets.send(&bytes, &[])).await;
        if !matches!(said, Ok(Ok(()))) {
            self.left();
        }
    }

    fn left(&mut self) {
        self.engine = None;
        self.forget_at = self.world.has_unfinished().then(|| Instant::now() + UNFINISHED);
    }

    fn changed(&mut self) {
        self.save_at.get_or_insert_with(|| Instant::now() + REST);
    }

    /// Serves what the netd before has kept, as far as it still runs.
    fn take_up(&mut self) {
        let kept =
            std::fs::read(STATE).ok().and_then(|bytes| serde_json::from_slice::<Snapshot>(&bytes).ok());
        if let Some(kept) = kept {
            let mut change = Snapshot::default().changes_to(&kept);
            // What had no process yet can't be found again: the engine tells of it.
            change.sandboxes.retain(|_, sandbox| sandbox.as_ref().is_some_and(|it| it.process.is_some()));
            self.change(change, true, Vec::new());
        }
    }

    /// Keeps the state for the netd after this one. Half a file is never read.
    fn save(&mut self) {
        self.save_at = None;
        let bytes = message::encode(&self.world.snapshot());
        let written = std::fs::write("state.new", bytes).and_then(|()| std::fs::rename("state.new", STATE));
        if let Err(error) = written {
            self.troubles.push_back(format!("the state can't be kept: {error}"));
        }
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> Engine {
    loop {
        let Ok(mut ready) = listener.readable().await else { continue };
        match channel::accept(listener.get_ref().as_fd()) {
            Ok(None) => ready.clear_ready(),
            Ok(Some(socket)) => {
                if let Ok(engine) = Engine::new(socket) {
                    return engine;
                }
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}
