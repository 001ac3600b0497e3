//! One run of a container as netd has it: its namespace, its resolver, its ports, and the watch over its process. What is to be
//! served is told; this makes it so, keeps what is right, and says what couldn't be done.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use super::dns::{Names, Room, serve};
use super::namespace::Namespace;
use super::packets::watch;
use super::ports::{Carriage, Held};
use super::resolver::{self, Sockets};
use super::task::Task;
use super::{Process, Sandbox};
use crate::ports::Published;

/// What was handed over for one sandbox.
#[derive(Debug, Default)]
pub struct Handed {
    /// Its namespace.
    pub namespace: Option<OwnedFd>,
    /// The resolver's socket for datagrams.
    pub datagrams: Option<OwnedFd>,
    /// The resolver's socket for connections.
    pub connections: Option<OwnedFd>,
    /// Bound ports.
    pub ports: Vec<(Published, OwnedFd)>,
}

/// What all sandboxes use.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Everybody's names.
    pub names: Names,
    /// What ports share.
    pub carriage: Carriage,
    /// Where the end of a process is told: the sandbox's id and run.
    pub ended: mpsc::UnboundedSender<(String, u64)>,
}

/// A sandbox that is served.
#[derive(Debug)]
pub struct Running {
    id: String,
    wanted: Sandbox,
    namespace: Option<Rc<Namespace>>,
    resolver: Option<(Rc<Room>, Task)>,
    ports: Vec<Held>,
    watch: Option<Task>,
}

impl Running {
    /// One that serves nothing yet.
    pub fn new(id: &str, run: u64) -> Self {
        Self {
            id: id.to_string(),
            wanted: Sandbox { run, ..Sandbox::default() },
            namespace: None,
            resolver: None,
            ports: Vec::new(),
            watch: None,
        }
    }

    /// What is wanted of it.
    pub fn wanted(&self) -> &Sandbox {
        &self.wanted
    }

    /// Makes it serve what is wanted of the same run. `troubles` gets what couldn't be done.
    ///
    /// # Errors
    /// `NotFound`: its process has ended, there is nothing to serve.
    pub fn set(
        &mut self,
        wanted: Sandbox,
        mut handed: Handed,
        around: &Surroundings,
        troubles: &mut Vec<String>,
    ) -> io::Result<()> {
        if let (Some(process), None) = (wanted.process, &self.watch) {
            self.watch = Some(self.watch_over(process, around)?);
        }
        if let Some(namespace) = handed.namespace.take() {
            self.namespace = Some(Rc::new(Namespace::new(namespace)?));
        }
        if self.namespace.is_none()
            && wanted.resolver.is_some()
            && let Some(process) = wanted.process
        {
            self.namespace = Some(Rc::new(Namespace::of(process)?));
        }
        let sockets = match (handed.datagrams.take(), handed.connections.take()) {
            (Some(datagrams), Some(connections)) => Some(Sockets { datagrams, connections }),
            _ => None,
        };
        if let Err(error) = self.set_resolver(&wanted, sockets, around) {
            troubles.push(format!("container {}: no resolver at 127.0.0.11: {error}", self.id));
        }
        self.set_ports(&wanted, handed.ports, around, troubles);
        self.wanted = wanted;
        Ok(())
    }

    /// What is left of it when another netd takes over: connections that are carried.
    pub fn retired(mut self) -> Self {
        self.resolver = None;
        self.ports = self.ports.into_iter().filter_map(Held::retired).collect();
        self
    }

    /// Waits until there are none.
    pub async fn drained(self) {
        for held in self.ports {
            held.drained().await;
        }
    }

    fn set_resolver(
        &mut self,
        wanted: &Sandbox,
        sockets: Option<Sockets>,
        around: &Surroundings,
    ) -> io::Result<()> {
        let Some(resolver) = &wanted.resolver else {
            self.resolver = None;
            return Ok(());
        };
        if let Some((room, _)) = &self.resolver {
            room.set(resolver.clone());
            return Ok(());
        }
        let sockets = match (sockets, &self.namespace) {
            (Some(sockets), _) => sockets,
            (None, Some(namespace)) => namespace.enter(|| resolver::prepare(false))?,
            // It is told again when there is a process.
            (None, None) => return Ok(()),
        };
        let datagrams = UdpSocket::from_std(sockets.datagrams.into())?;
        let connections = TcpListener::from_std(sockets.connections.into())?;
        let room = Rc::new(Room::new(resolver.clone(), around.names.clone(), self.namespace.clone()));
        self.resolver = Some((room.clone(), Task::spawn(serve(room, datagrams, connections))));
        Ok(())
    }

    fn set_ports(
        &mut self,
        wanted: &Sandbox,
        given: Vec<(Published, OwnedFd)>,
        around: &Surroundings,
        troubles: &mut Vec<String>,
    ) {
        let is_wanted = |held: &Held| wanted.ports.iter().any(|port| port.published == *held.published());
        self.ports.retain(is_wanted);
        let mut given = given;
        for port in &wanted.ports {
            if let Some(held) = self.ports.iter_mut().find(|held| *held.published() == port.published) {
                held.set_target(port.target, &around.carriage);
                continue;
            }
            let at = given.iter().position(|(published, _)| *published == port.published);
            let socket = at.map(|at| given.swap_remove(at).1);
            match Held::new(port, socket, &around.carriage) {
                Ok(held) => self.ports.push(held),
                Err(error) => {
                    let Published { host, protocol, .. } = &port.published;
                    troubles.push(format!(
                        "container {}: port {host}/{protocol} of the host can't be had: {error}",
                        self.id
                    ));
                }
            }
        }
    }

    fn watch_over(&self, process: Process, around: &Surroundings) -> io::Result<Task> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pidfd = minke_sys::process::pidfd_open(process.pid).map_err(|_| gone())?;
        // Only now is it sure whose pid it is.
        let ticks = minke_sys::procfs::Procfs::host()?.start_time_ticks(process.pid);
        if ticks.ok() != Some(process.start_ticks) {
            return Err(gone());
        }
        let pidfd = watch(pidfd)?;
        let (ended, id, run) = (around.ended.clone(), self.id.clone(), self.wanted.run);
        Ok(Task::spawn(async move {
            let _ = pidfd.readable().await;
            let _ = ended.send((id, run));
        }))
    }
}

/// Sorts what was handed over by sandbox.
pub fn sort(given: Vec<(super::message::Tag, OwnedFd)>) -> BTreeMap<String, Handed> {
    use super::message::Tag;
    let mut all: BTreeMap<String, Handed> = BTreeMap::new();
    for (tag, fd) in given {
        match tag {
            Tag::Namespace(id) => all.entry(id).or_default().namespace = Some(fd),
            Tag::Datagrams(id) => all.entry(id).or_default().datagrams = Some(fd),
            Tag::Connections(id) => all.entry(id).or_default().connections = Some(fd),
            Tag::Port(id, published) => all.entry(id).or_default().ports.push((published, fd)),
        }
    }
    all
}
