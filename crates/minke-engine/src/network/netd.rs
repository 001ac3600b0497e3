//! The engine's hold on `minke netd`: starts it when there is something to serve, finds it again, tells it what is wanted, and
//! starts another when it has ended. What is wanted is decided elsewhere.
//!
//! ```text
//!   nothing wanted, none runs --change--> start it, or find it --> say hello --> tell everything --> tell each change
//!                    ^                        ^                                                          |
//!                    '------ shutdown         '------------------------ it has ended --------------------'
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use minke_model::{Context as _, Error, Result};
use minke_network::netd::message::{self, OLDEST, Reply, Request, Tag, VERSION};
use minke_network::netd::packets::Packets;
use minke_network::netd::{Change, Given, SOCKET, STATE, Snapshot};
use minke_sys::channel;
use minke_sys::spawn::{Image, Start};
use tokio::sync::{Notify, oneshot};

use crate::container::shims;
use crate::place::ShimHome;
use crate::shim::note::{self, Note};

/// How long it may take to greet.
const PATIENCE: Duration = Duration::from_secs(5);
/// The rests between attempts to start it, from the first to the longest.
const RESTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// How long one that isn't needed any more may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// The note of which process it is.
const NOTE: &str = "process";

/// Makes the control groups that it is born in; called when it is started.
pub type MakeHome = Box<dyn Fn() -> Result<ShimHome> + Send + Sync>;

/// The netd of one engine; cheap to clone.
#[derive(Clone)]
pub struct Netd {
    shared: Arc<Shared>,
}

/// Tells when netd serves a change. May be dropped: the change is made all the same.
#[derive(Debug)]
pub struct Applied(oneshot::Receiver<()>);

impl Applied {
    /// Waits until it does.
    ///
    /// # Errors
    /// The engine ends.
    pub async fn wait(self) -> Result<()> {
        self.0.await.map_err(|_| Error::system("the engine ends before its names and ports have changed"))
    }
}

struct Shared {
    /// The folder of netd, in the exec root.
    folder: PathBuf,
    /// The first word after the program's name, and what to start.
    program: PathBuf,
    home: MakeHome,
    wanted: Mutex<Wanted>,
    news: Notify,
}

#[derive(Default)]
struct Wanted {
    snapshot: Snapshot,
    /// Whether the engine has said what all of it is; until then a netd that runs serves what it knows.
    whole: bool,
    ending: bool,
    /// Of the last change.
    number: u64,
    /// What netd hasn't said to serve, in order.
    pending: VecDeque<Pending>,
    /// The task's.
    process: Option<OwnedFd>,
    running: bool,
}

/// Whether there has to be a netd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// There is nothing to say.
    None,
    /// If there is one it is told; none is started.
    News,
    /// There is something to serve.
    One,
}

impl Wanted {
    /// `kept`: an earlier netd has left something to serve.
    fn need(&self, kept: bool) -> Need {
        match (self.whole, self.snapshot.is_idle(), self.pending.is_empty()) {
            (true, false, _) => Need::One,
            (false, _, _) if kept => Need::One,
            (true, true, false) => Need::News,
            _ => Need::None,
        }
    }

    /// The changes up to this one are served.
    fn applied(&mut self, number: u64) {
        while self.pending.front().is_some_and(|pending| pending.number <= number) {
            let applied = self.pending.pop_front();
            let _ = applied.map(|pending| pending.applied.send(()));
        }
    }
}

/// Something, and what it is.
type Tagged = (Tag, OwnedFd);

struct Pending {
    number: u64,
    change: Change,
    given: Vec<Tagged>,
    sent: bool,
    applied: oneshot::Sender<()>,
}

impl Netd {
    /// The netd of the engine with this exec root; none is started yet.
    pub fn new(exec_root: &Path, home: MakeHome) -> Self {
        Self::of_program(exec_root, Path::new("/proc/self/exe"), home)
    }

    fn of_program(exec_root: &Path, program: &Path, home: MakeHome) -> Self {
        let shared = Shared {
            folder: exec_root.join("netd"),
            program: program.into(),
            home,
            wanted: Mutex::default(),
            news: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Has what an earlier netd kept served again, if it has ended with its engine. For the engine's start, before it has found out what
    /// there is. Must be called inside the runtime.
    pub fn wake(&self) {
        if self.shared.folder.join(STATE).exists() {
            self.begin(&mut self.shared.wanted());
        }
    }

    /// Says what all of it is, after the engine has found out: what a netd of an earlier engine serves beside it goes. Changes
    /// wait until this was called. Must be called inside the runtime.
    pub fn replace(&self, snapshot: Snapshot, given: Vec<Given>) -> Applied {
        let mut wanted = self.shared.wanted();
        let change = wanted.snapshot.changes_to(&snapshot);
        wanted.snapshot = snapshot;
        wanted.whole = true;
        self.put(wanted, change, given)
    }

    /// Changes what is served. Returns at once; what was given is netd's from then on. Must be called inside the runtime.
    pub fn change(&self, change: Change, given: Vec<Given>) -> Applied {
        let mut wanted = self.shared.wanted();
        wanted.snapshot.apply(change.clone());
        self.put(wanted, change, given)
    }

    /// What is wanted now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.wanted().snapshot.clone()
    }

    /// Lets go of it. It serves on while a container needs it, and ends where none does; that is waited for.
    pub async fn shutdown(&self) {
        let process = {
            let mut wanted = self.shared.wanted();
            wanted.ending = true;
            wanted.pending.clear();
            wanted.process.take().filter(|_| wanted.snapshot.is_idle())
        };
        self.shared.news.notify_one();
        if let Some(process) = process.and_then(|fd| crate::readiness::watch_reading(fd).ok()) {
            let _ = tokio::time::timeout(END_PATIENCE, process.readable()).await;
        }
    }

    fn put(&self, mut wanted: MutexGuard<'_, Wanted>, change: Change, given: Vec<Given>) -> Applied {
        let (applied, receiver) = oneshot::channel();
        wanted.number += 1;
        let number = wanted.number;
        let given = given.into_iter().flat_map(Given::into_tagged).collect();
        wanted.pending.push_back(Pending { number, change, given, sent: false, applied });
        self.begin(&mut wanted);
        drop(wanted);
        self.shared.news.notify_one();
        Applied(receiver)
    }

    fn begin(&self, wanted: &mut Wanted) {
        if !std::mem::replace(&mut wanted.running, true) {
            tokio::spawn(run(self.shared.clone()));
        }
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the engine's wishes until it ends.
async fn run(shared: Arc<Shared>) {
    let (mut rest, longest) = RESTS;
    loop {
        let need = {
            let wanted = shared.wanted();
            if wanted.ending {
                return;
            }
            wanted.need(shared.folder.join(STATE).exists())
        };
        if need == Need::None {
            shared.news.notified().await;
            continue;
        }
        match reach(&shared, need == Need::One).await {
            Ok(Some(packets)) => {
                let mut served = false;
                let end = converse(&shared, &packets, &mut served).await;
                if shared.wanted().ending {
                    return;
                }
                if let Err(error) = end {
                    tracing::warn!(%error, "netd is gone, another one takes over");
                }
                if served {
                    rest = RESTS.0;
                }
            }
            // Nothing to serve, and nobody who serves something.
            Ok(None) => {
                shared.wanted().applied(u64::MAX);
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "names and ports of containers aren't served: netd can't be started")
            }
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(longest);
    }
}

/// Finds one that runs, or starts one unless nothing is wanted of it.
async fn reach(shared: &Arc<Shared>, start_one: bool) -> Result<Option<Packets>> {
    let note = Note::read(&shared.folder.join(NOTE));
    if let Ok(socket) = channel::connect(&shared.folder.to_string_lossy(), SOCKET) {
        let packets = Packets::new(socket).context("connecting to netd")?;
        match greet(&packets).await {
            Ok(version) if version >= OLDEST => {
                shared.wanted().process = note.and_then(|note| note.process());
                return Ok(Some(packets));
            }
            Ok(version) => {
                tracing::info!(version, "netd is too old and gives way");
                let _ = packets.send(&message::encode(&Request::Retire), &[]).await;
                let _ = tokio::time::timeout(PATIENCE, packets.receive()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "netd doesn't answer and is ended");
                if let Some(process) = note.and_then(|note| note.process()) {
                    note::kill(&process).await;
                }
            }
        }
    }
    if !start_one {
        return Ok(None);
    }
    let starting = shared.clone();
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let _inside = runtime.enter();
        start(&starting)
    };
    let packets = tokio::task::spawn_blocking(work).await.context("starting netd")??;
    greet(&packets).await?;
    Ok(Some(packets))
}

/// Starts the process; it listens as soon as it greets.
fn start(shared: &Shared) -> Result<Packets> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = "starting netd";
    match std::fs::DirBuilder::new().mode(0o700).create(&shared.folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.with_context(|| format!("making {}", shared.folder.display()))?,
    }
    let home = (shared.home)()?;
    let tasks: Vec<_> = home.v1.iter().map(|fd| fd.as_fd()).collect();
    let (ours, control) = channel::pair().map_err(io::Error::from).context(failed)?;
    let program = Image::open(&shared.program).context(failed)?;
    let folder = shared.folder.to_string_lossy();
    let started = program
        .start(Start {
            control: control.as_fd(),
            arguments: &["minke", "netd", &folder],
            cgroup: home.v2.as_ref().map(|fd| fd.as_fd()),
            v1_tasks: &tasks,
            namespaces: 0,
            users: None,
        })
        .context(failed)?;
    Note::of(0, started.pid)?.write(&shared.folder.join(NOTE))?;
    shared.wanted().process = started.pidfd.try_clone().ok();
    shims::adopt(started);
    Packets::new(ours).context(failed)
}

/// Says hello and returns its version.
async fn greet(packets: &Packets) -> Result<u32> {
    let failed = "greeting netd";
    let hello = async {
        packets.send(&message::encode(&Request::Hello { version: VERSION }), &[]).await?;
        packets.receive().await
    };
    let answer = tokio::time::timeout(PATIENCE, hello).await.context(failed)?.context(failed)?;
    match answer.and_then(|received| message::decode(&received.body)) {
        Some(Reply::Hello { version }) => Ok(version),
        other => Err(Error::system(format!("netd answered hello with {other:?}"))),
    }
}

/// Tells everything, then each change, until it is gone or the engine ends.
///
/// `served` becomes true when netd has said that it serves something.
async fn converse(shared: &Shared, packets: &Packets, served: &mut bool) -> Result<()> {
    let failed = "talking to netd";
    // Until the engine has found out what there is, netd serves what it knows.
    while !shared.wanted().whole {
        tokio::select! {
            received = packets.receive() => match received.context(failed)? {
                Some(received) => *served |= heed(shared, message::decode(&received.body)),
                None => return Err(Error::system("it has ended")),
            },
            () = shared.news.notified() => {}
        }
        if shared.wanted().ending {
            return Ok(());
        }
    }
    let (whole, number, given) = {
        let mut wanted = shared.wanted();
        let mut given = Vec::new();
        for pending in &mut wanted.pending {
            pending.sent = true;
            given.extend(
                pending.given.iter().filter_map(|(tag, fd)| Some((tag.clone(), fd.try_clone().ok()?))),
            );
        }
        (Snapshot::default().changes_to(&wanted.snapshot), wanted.number, given)
    };
    send(packets, number, true, whole, &given).await.context(failed)?;
    drop(given);
    loop {
        tokio::select! {
            received = packets.receive() => match received.context(failed)? {
                Some(received) => *served |= heed(shared, message::decode(&received.body)),
                None => return Err(Error::system("it has ended")),
            },
            () = shared.news.notified() => {
                while let Some((number, change, given)) = next(shared) {
                    send(packets, number, false, change, &given).await.context(failed)?;
                }
                if shared.wanted().ending {
                    return Ok(());
                }
            }
        }
    }
}

/// The first change that hasn't been sent.
fn next(shared: &Shared) -> Option<(u64, Change, Vec<Tagged>)> {
    let mut wanted = shared.wanted();
    let pending = wanted.pending.iter_mut().find(|pending| !pending.sent)?;
    pending.sent = true;
    let given = pending.given.iter().filter_map(|(tag, fd)| Some((tag.clone(), fd.try_clone().ok()?)));
    Some((pending.number, pending.change.clone(), given.collect()))
}

async fn send(
    packets: &Packets,
    number: u64,
    whole: bool,
    change: Change,
    given: &[Tagged],
) -> io::Result<()> {
    let given_now = given.iter().map(|(tag, fd)| (tag, fd.as_fd())).collect();
    packets.send_with(given_now, |given| Request::Change { number, whole, change, given }).await
}

/// Takes note of what netd says; true: it serves a change.
fn heed(shared: &Shared, reply: Option<Reply>) -> bool {
    match reply {
        Some(Reply::Done { number }) => {
            shared.wanted().applied(number);
            true
        }
        Some(Reply::Trouble { text }) => {
            tracing::warn!("netd: {text}");
            false
        }
        Some(Reply::Hello { .. }) | None => false,
    }
}
