//! The task that owns one container: it alone changes its state. It feeds what happens to the pure
//! [`Lifecycle`](super::lifecycle::Lifecycle) and carries out the effects, in order.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use minke_model::{Error, Result};
use minke_spec::shim::{Event as ShimProtocolEvent, Request};
use tokio::sync::{Mutex, RwLock, mpsc, oneshot, watch};
use tokio::time::Sleep;

use super::handle::{Command, Container, PendingAttach, View};
use super::launch::{self, Launched};
use super::lifecycle::{Effect, Event, Exit, Lifecycle, Run, State};
use super::record::Record;
use super::root::RootAccess;
use super::wish::Wish;
use super::{health, links, teardown};
use crate::engine::Shared;
use crate::network::Live;
use crate::shim::connection::{ShimConnection, ShimEvent};

/// How long a new start waits for the last run's shim, which may still serve slow clients.
const SHIM_PATIENCE: Duration = Duration::from_secs(5);

mod checkup;
mod connecting;
mod ending;
pub mod packing;
mod pausing;
mod updating;

use checkup::{Checkup, Turn};

/// A container's owner.
pub struct Owner {
    shared: Arc<Shared>,
    record: Arc<Record>,
    lifecycle: Lifecycle,
    shim: Option<Shim>,
    mailbox: mpsc::UnboundedReceiver<Command>,
    view: watch::Sender<Arc<View>>,
    running: watch::Sender<bool>,
    exits: u64,
    last_exit: Option<Exit>,
    stop_deadline: Option<Pin<Box<Sleep>>>,
    backoff: Option<Pin<Box<Sleep>>>,
    /// How its health is probed, if at all.
    probing: Option<Arc<health::Settings>>,
    /// The probing that goes on.
    checkup: Option<Box<Checkup>>,
    /// What its last run has, or had, of networks.
    networks: Option<Arc<Live>>,
    pending: Vec<PendingAttach>,
    /// Who waits for the start that is going on.
    starters: Vec<oneshot::Sender<Result<()>>>,
    /// What those who waited are told as soon as all effects are carried out.
    answers: Vec<(oneshot::Sender<Result<()>>, Result<()>)>,
    removed: bool,
    /// Its anonymous volumes go with it.
    remove_volumes: bool,
    /// Held by whoever has the container's root mounted or open; a start waits for them.
    root: Arc<RwLock<()>>,
    /// Held by the one round of packing its log that goes on.
    packing: Arc<Mutex<()>>,
}

/// The conversation with the container's shim.
struct Shim {
    connection: ShimConnection,
    events: mpsc::UnboundedReceiver<ShimEvent>,
    /// The container's init, by which the kernel tells how it ended when the shim can't.
    pidfd: Option<OwnedFd>,
    /// The version of the protocol that it speaks.
    protocol: u16,
    /// The run's end has been seen; the shim only serves slow clients.
    ended: bool,
}

impl Shim {
    fn new(found: FoundShim) -> Self {
        let FoundShim { connection, events, pidfd, protocol } = found;
        Self { connection, events, pidfd, protocol, ended: false }
    }
}

/// What a container is found with when its owner starts.
pub struct Found {
    /// Its record.
    pub record: Record,
    /// What it is doing.
    pub lifecycle: Lifecycle,
    /// A shim that still runs it.
    pub shim: Option<FoundShim>,
    /// What has happened to it that its owner must learn first.
    pub news: Vec<Event>,
    /// What a client had asked the last engine for.
    pub wish: Option<Wish>,
    /// What its run has of networks.
    pub networks: Option<Arc<Live>>,
}

/// A shim that was started by an earlier engine.
pub struct FoundShim {
    /// The conversation.
    pub connection: ShimConnection,
    /// What it says unasked.
    pub events: mpsc::UnboundedReceiver<ShimEvent>,
    /// The container's init.
    pub pidfd: Option<OwnedFd>,
    /// The version of the protocol that it speaks.
    pub protocol: u16,
}

/// Starts the owner of a container, and adds the container to those of the engine.
pub fn spawn(shared: Arc<Shared>, found: Found) {
    let (sender, mailbox) = mpsc::unbounded_channel();
    let record = Arc::new(found.record);
    let last_exit = found.lifecycle.exit().cloned();
    let view = View {
        record: record.clone(),
        lifecycle: found.lifecycle.clone(),
        shim: found.shim.as_ref().map(|shim| shim.connection.clone()),
        exits: 0,
        last_exit: last_exit.clone(),
        removed: false,
        networks: found.networks.clone(),
        rendering: Default::default(),
    };
    let (running, running_receiver) = watch::channel(view.is_running());
    let (view, view_receiver) = watch::channel(Arc::new(view));
    let container = Container::new(record.id.clone(), sender, view_receiver, running_receiver);
    let remove_volumes = record.host_config.auto_remove;
    let mut owner = Owner {
        shared: shared.clone(),
        record: record.clone(),
        lifecycle: found.lifecycle,
        shim: found.shim.map(Shim::new),
        mailbox,
        view,
        running,
        exits: 0,
        last_exit,
        stop_deadline: None,
        backoff: None,
        probing: health::Settings::of(&record.config).map(Arc::new),
        checkup: None,
        networks: found.networks,
        pending: Vec::new(),
        starters: Vec::new(),
        answers: Vec::new(),
        removed: false,
        remove_volumes,
        root: Arc::default(),
        packing: Arc::default(),
    };
    // Nobody sees it as it was before the news.
    let effects = found.news.into_iter().flat_map(|event| owner.learn(event)).collect();
    owner.publish();
    // Before its owner runs, which may remove it at once.
    shared.containers.insert(Arc::new(container));
    tokio::spawn(owner.run(effects, found.wish));
}

/// What an owner waits for.
enum Wake {
    Command(Option<Command>),
    Shim(ShimEvent),
    StopDeadline,
    Backoff,
    Checkup(Turn),
}

impl Owner {
    async fn run(mut self, effects: Vec<Effect>, wish: Option<Wish>) {
        self.carry_out(effects).await;
        if let Some(wish) = wish {
            self.fulfil(wish).await;
        }
        self.pack_log();
        while !self.removed {
            match self.wait().await {
                Wake::Command(Some(command)) => self.obey(command).await,
                Wake::Command(None) => return,
                Wake::Shim(event) => self.hear(event).await,
                Wake::StopDeadline => {
                    self.stop_deadline = None;
                    self.kill_now().await;
                }
                Wake::Backoff => {
                    self.backoff = None;
                    self.happen(Event::BackoffElapsed).await;
                }
                Wake::Checkup(turn) => self.check_up(turn).await,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let shim = async {
            match &mut self.shim {
                Some(shim) => shim.events.recv().await.unwrap_or(ShimEvent::Lost),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = shim => Wake::Shim(event),
            command = self.mailbox.recv() => Wake::Command(command),
            () = elapsed(&mut self.stop_deadline) => Wake::StopDeadline,
            () = elapsed(&mut self.backoff) => Wake::Backoff,
            turn = checkup::next(&mut self.checkup) => Wake::Checkup(turn),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Start(reply) => {
                if matches!(self.lifecycle.state, State::Starting { .. }) {
                    self.starters.push(reply);
                    return;
                }
                match self.decide(Event::Start, "start") {
                    Ok(effects) => {
                        self.starters.push(reply);
                        self.carry_out(effects).await;
                    }
                    Err(error) => answer(reply, Err(error)),
                }
            }
            Command::Stop { signal, timeout_s, restart, before, reply } => {
                let _ = before.send(self.view.borrow().clone());
                self.stop(signal, timeout_s, restart, reply).await;
            }
            Command::Kill { signal, before, reply } => {
                let _ = before.send(self.view.borrow().clone());
                let result = self.kill(signal).await;
                answer(reply, result);
            }
            Command::Pause(reply) => {
                let result = self.pause().await;
                answer(reply, result);
            }
            Command::Unpause(reply) => {
                let result = self.unpause().await;
                answer(reply, result);
            }
            Command::Remove { force, volumes, reply } => match self.decide(Event::Remove { force }, "remove")
            {
                Ok(effects) => {
                    self.remove_volumes |= volumes;
                    self.note(effects.contains(&Effect::Kill).then_some(ending::SIGKILL), None);
                    answer(reply, Ok(()));
                    self.carry_out(effects).await;
                }
                Err(error) => answer(reply, Err(error)),
            },
            Command::Rename { name, reply } => {
                let result = self.rename(name).await;
                answer(reply, result);
            }
            Command::Update { change, reply } => {
                let result = self.update(&change).await;
                answer(reply, result);
            }
            Command::Connect { network, settings, reply } => {
                let result = self.connect(&network, *settings).await;
                answer(reply, result);
            }
            Command::Disconnect { network, reply } => {
                let result = self.disconnect(&network).await;
                answer(reply, result);
            }
            Command::Unlink { alias, reply } => {
                let result = self.unlink(&alias).await;
                answer(reply, result);
            }
            Command::Attach(pending, reply) => {
                let result = self.attach(pending).await;
                answer(reply, result);
            }
            Command::Root(reply) => self.give_root(reply).await,
            Command::PlacePacked(packed, reply) => {
                let _ = reply.send(self.place_packed(&packed).await);
            }
        }
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        let old = self.record.name.clone();
        self.shared.containers.reserve_name(&name, &self.record.id)?;
        let mut record = Record::clone(&self.record);
        record.name.clone_from(&name);
        self.record = Arc::new(record);
        if let Err(error) = self.persist().await {
            let mut record = Record::clone(&self.record);
            record.name = old;
            self.record = Arc::new(record);
            self.shared.containers.release_name(&name, &self.record.id);
            return Err(error);
        }
        self.shared.containers.release_name(&old, &self.record.id);
        self.publish();
        if self.record.host_config.links.is_some() {
            self.shared.containers.unlink(&self.record.id);
            links::register(&self.shared, &self.record);
        }
        self.rename_in_networks();
        self.emit("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    async fn attach(&mut self, pending: PendingAttach) -> Result<()> {
        match (self.lifecycle.run(), &self.shim) {
            (Some(_), Some(shim)) if !shim.ended => {
                let request = Request::Attach(pending.request);
                match shim.connection.request(&request, &[&pending.socket]).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.into_error("attaching to the container")),
                }
            }
            _ => {
                self.pending.push(pending);
                Ok(())
            }
        }
    }

    /// A container that doesn't run is not waited for here: others may be using its root.
    async fn give_root(&self, reply: oneshot::Sender<Result<RootAccess>>) {
        let lock = self.root.clone();
        let shim = self.shim.as_ref().filter(|shim| !shim.ended);
        let Some(shim) = shim else {
            tokio::spawn(async move {
                let _ = reply.send(Ok(RootAccess::AtRest(lock.write_owned().await)));
            });
            return;
        };
        let opened = shim.connection.request(&Request::OpenRoot, &[]).await;
        let root = opened.ok().and_then(|(_, descriptors)| descriptors.into_iter().next());
        let _ = reply.send(Ok(match (root, lock.try_read_owned()) {
            (Some(root), Ok(hold)) => RootAccess::Running { root, shim: shim.connection.clone(), hold },
            _ => RootAccess::Ending,
        }));
    }

    async fn hear(&mut self, event: ShimEvent) {
        match event {
            ShimEvent::Event(ShimProtocolEvent::Exited(exited)) => {
                let exit = teardown::exit_of(&self.shared, &self.record, self.lifecycle.generation, exited);
                self.happen(Event::Exited(exit)).await;
                self.pack_log();
            }
            ShimEvent::Event(ShimProtocolEvent::LogRotated) => self.pack_log(),
            ShimEvent::Event(ShimProtocolEvent::ExecExited { exec_id, code }) => {
                if self.shared.execs.exited(&exec_id, code) {
                    let extra = [("execID", exec_id), ("exitCode", code.to_string())];
                    self.emit("exec_die", &extra);
                }
            }
            ShimEvent::Event(ShimProtocolEvent::Detached { exec_id: None }) => self.emit("detach", &[]),
            ShimEvent::Event(ShimProtocolEvent::Detached { exec_id: Some(id) }) => {
                self.emit("exec_detach", &[("execID", id)]);
            }
            ShimEvent::Lost => {
                let Some(shim) = self.shim.take() else { return };
                if !shim.ended && self.lifecycle.run().is_some() {
                    let generation = self.lifecycle.generation;
                    let pidfd = shim.pidfd.as_ref();
                    let exit = teardown::exit_of_lost(&self.shared, &self.record, generation, pidfd).await;
                    self.happen(Event::Exited(exit)).await;
                    self.pack_log();
                }
            }
        }
    }

    /// Takes a step that can't be refused.
    async fn happen(&mut self, event: Event) {
        let effects = self.learn(event);
        self.carry_out(effects).await;
    }

    /// Takes a step that can't be refused; what is to be done is for the caller to carry out.
    fn learn(&mut self, event: Event) -> Vec<Effect> {
        match &event {
            Event::StartSucceeded(_) if self.probing.is_some() => {
                self.lifecycle.health.get_or_insert_default();
            }
            Event::Exited(exit) => self.note_end(exit),
            Event::StartFailed(exit) => {
                self.exits += 1;
                self.last_exit = Some(exit.clone());
            }
            _ => {}
        }
        self.decide(event, "").unwrap_or_default()
    }

    fn note_end(&mut self, exit: &Exit) {
        if let Some(shim) = &mut self.shim {
            shim.ended = true;
        }
        self.stop_deadline = None;
        self.checkup = None;
        self.exits += 1;
        self.last_exit = Some(exit.clone());
        self.shared.execs.container_ended(&self.record.id);
        if exit.oom_killed {
            self.emit("oom", &[]);
        }
        self.emit_death(exit);
        if self.lifecycle.start_after_exit {
            // What was running has been stopped first, says Docker.
            self.emit("stop", &[]);
        }
    }

    fn decide(&mut self, event: Event, action: &str) -> Result<Vec<Effect>> {
        match self.lifecycle.step(event) {
            Ok((next, effects)) => {
                self.lifecycle = next;
                Ok(effects)
            }
            Err(refusal) => Err(refusal.into_error(&self.view.borrow(), action)),
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Launch => effects.extend(self.launch().await),
                Effect::Kill => self.kill_now().await,
                Effect::ArmBackoff(delay) => self.backoff = Some(Box::pin(tokio::time::sleep(delay))),
                Effect::CancelBackoff => self.backoff = None,
                Effect::Teardown(generation) => {
                    teardown::after_run(&self.shared, &self.record, generation);
                    super::mounts::finish(&self.shared, &self.record, generation);
                    self.leave_networks(generation).await;
                }
                Effect::Persist => self.keep().await,
                Effect::Remove => effects.extend(self.remove().await),
            }
        }
        self.publish();
        self.arrange_checkup();
        for (reply, result) in self.answers.drain(..) {
            answer(reply, result);
        }
    }

    /// Starts the process. Returns what follows from how that went.
    async fn launch(&mut self) -> Vec<Effect> {
        self.publish();
        self.last_run_is_over().await;
        let _root = self.root.clone().write_owned().await;
        let pending = std::mem::take(&mut self.pending);
        let generation = self.lifecycle.generation;
        let launch = launch::launch(&self.shared, &self.record, generation, pending);
        let launched = self.shared.starts.through(launch).await;
        let (event, result) = match launched {
            Ok(Launched { shim, started, networks }) => {
                self.shim = Some(Shim::new(shim));
                self.networks = networks;
                let started_at = crate::time::from_nanoseconds(started.started_at_ns);
                (Event::StartSucceeded(Run { generation, pid: started.pid, started_at }), Ok(()))
            }
            Err(failure) => (Event::StartFailed(failure.exit()), Err(failure.error)),
        };
        let effects = self.learn(event);
        if result.is_ok() {
            self.publish();
            if !self.shared.containers.links_to(&self.record.id).is_empty() {
                links::moved(&self.shared, &self.record);
            }
            self.tell_networks("connect");
            self.emit("start", &[]);
        }
        let told = |result: &Result<()>| match result {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::new(error.kind(), error.to_string())),
        };
        self.answers.extend(self.starters.drain(..).map(|starter| (starter, told(&result))));
        effects
    }

    /// Waits until the last run's shim is gone, whose mount holds the container's upper directory.
    async fn last_run_is_over(&mut self) {
        let Some(mut shim) = self.shim.take() else { return };
        let over = async { while !matches!(shim.events.recv().await, None | Some(ShimEvent::Lost)) {} };
        if tokio::time::timeout(SHIM_PATIENCE, over).await.is_err() {
            tracing::warn!(container = %self.record.id, "the last run's shim still serves clients");
        }
    }

    async fn remove(&mut self) -> Vec<Effect> {
        self.publish();
        self.last_run_is_over().await;
        match teardown::remove(&self.shared, &self.record, self.remove_volumes).await {
            Ok(()) => {
                self.removed = true;
                self.shared.containers.remove(&self.record.id);
                self.shared.execs.container_removed(&self.record.id);
                self.emit("destroy", &[]);
                Vec::new()
            }
            Err(error) => {
                tracing::error!(container = %self.record.id, %error, "the container could not be removed");
                self.decide(Event::RemoveFailed, "remove").unwrap_or_default()
            }
        }
    }

    /// Writes the record; what can't be kept is in the engine's log.
    async fn keep(&self) {
        if let Err(error) = self.persist().await {
            tracing::error!(container = %self.record.id, %error, "the container's state could not be kept");
        }
    }

    async fn persist(&self) -> Result<()> {
        self.shared.keep(&self.record, &self.lifecycle).await
    }

    fn publish(&self) {
        let view = View {
            record: self.record.clone(),
            lifecycle: self.lifecycle.clone(),
            shim: self.shim.as_ref().filter(|shim| !shim.ended).map(|shim| shim.connection.clone()),
            exits: self.exits,
            last_exit: self.last_exit.clone(),
            removed: self.removed,
            networks: self.networks.clone(),
            rendering: Default::default(),
        };
        let running = view.is_running();
        self.view.send_replace(Arc::new(view));
        self.running.send_if_modified(|before| std::mem::replace(before, running) != running);
    }

    fn emit(&self, action: &str, extra: &[(&str, String)]) {
        self.shared.tell(&self.record, action, extra);
    }

    fn emit_death(&self, exit: &Exit) {
        let ran =
            self.lifecycle.started_at.map_or(0, |started| exit.finished_at.duration_since(started).as_secs());
        self.emit("die", &[("exitCode", exit.code.to_string()), ("execDuration", ran.to_string())]);
    }
}

fn answer(reply: oneshot::Sender<Result<()>>, result: Result<()>) {
    // Whoever asked may have gone away; what was asked for is done all the same.
    let _ = reply.send(result);
}

async fn elapsed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}
