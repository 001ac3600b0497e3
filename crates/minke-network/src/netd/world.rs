//! Everything that netd serves: the wanted state made real, and the state as it is kept.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use tokio::sync::{mpsc, watch};

use super::dns::Names;
use super::ports::{Carriage, Limits};
use super::sandbox::{Handed, Running, Surroundings};
use super::{Change, Named, Network, Snapshot};
use crate::names;

/// All of it.
#[derive(Debug)]
pub struct World {
    networks: BTreeMap<String, Network>,
    named: BTreeMap<String, Named>,
    sandboxes: BTreeMap<String, Running>,
    around: Surroundings,
    retire: watch::Sender<bool>,
}

impl World {
    /// An empty one, and what tells it of processes that have ended.
    pub fn new(descriptors: u64) -> (Self, mpsc::UnboundedReceiver<(String, u64)>) {
        let (ended, endings) = mpsc::unbounded_channel();
        let (retire, retired) = watch::channel(false);
        let carriage = Carriage { limits: Rc::new(Limits::for_descriptors(descriptors)), retired };
        let around = Surroundings { names: Names::default(), carriage, ended };
        let world = Self {
            networks: BTreeMap::new(),
            named: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            around,
            retire,
        };
        (world, endings)
    }

    /// Whether nothing needs it.
    pub fn is_idle(&self) -> bool {
        self.sandboxes.is_empty()
    }

    /// Whether something is served for which no process has been named.
    pub fn has_unfinished(&self) -> bool {
        self.sandboxes.values().any(|running| running.wanted().process.is_none())
    }

    /// Gives that up.
    pub fn forget_unfinished(&mut self) {
        self.sandboxes.retain(|_, running| running.wanted().process.is_some());
    }

    /// What it serves, as it is kept.
    pub fn snapshot(&self) -> Snapshot {
        let sandboxes = self.sandboxes.iter().map(|(id, running)| (id.clone(), running.wanted().clone()));
        Snapshot {
            networks: self.networks.clone(),
            named: self.named.clone(),
            sandboxes: sandboxes.collect(),
        }
    }

    /// Serves another state; returns what couldn't be done. With `whole`, what isn't in it goes.
    pub fn change(
        &mut self,
        mut change: Change,
        whole: bool,
        mut handed: BTreeMap<String, Handed>,
    ) -> Vec<String> {
        if whole {
            gone(&self.networks, &mut change.networks);
            gone(&self.named, &mut change.named);
            gone(&self.sandboxes, &mut change.sandboxes);
        }
        for (id, network) in change.networks {
            self.set_network(id, network);
        }
        for (endpoint, named) in change.named {
            self.set_named(endpoint, named);
        }
        let mut troubles = Vec::new();
        // Ports that one gives up may be another's in the same change.
        let (off, on): (Vec<_>, Vec<_>) =
            change.sandboxes.into_iter().partition(|(_, sandbox)| sandbox.is_none());
        for (id, _) in off {
            self.sandboxes.remove(&id);
        }
        for (id, sandbox) in on {
            let Some(sandbox) = sandbox else { continue };
            let run = sandbox.run;
            if self.sandboxes.get(&id).is_some_and(|running| running.wanted().run != run) {
                self.sandboxes.remove(&id);
            }
            let handed = handed.remove(&id).unwrap_or_default();
            let running = self.sandboxes.entry(id.clone()).or_insert_with(|| Running::new(&id, run));
            match running.set(sandbox, handed, &self.around, &mut troubles) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.end(&id, run),
                Err(error) => troubles.push(format!("container {id} isn't served: {error}")),
            }
        }
        troubles
    }

    /// A process has ended: what was its sandbox's is given up.
    pub fn end(&mut self, id: &str, run: u64) {
        if self.sandboxes.get(id).is_none_or(|running| running.wanted().run != run) {
            return;
        }
        self.sandboxes.remove(id);
        let gone = self.named.iter().filter(|(_, named)| named.sandbox == id);
        for endpoint in gone.map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>() {
            self.set_named(endpoint, None);
        }
    }

    /// Gives everything up but the connections that are carried.
    pub fn retire(&mut self) -> Vec<Running> {
        let _ = self.retire.send(true);
        std::mem::take(&mut self.sandboxes).into_values().map(Running::retired).collect()
    }

    fn set_network(&mut self, id: String, network: Option<Network>) {
        let mut all = self.around.names.borrow_mut();
        let Some(network) = network else {
            all.remove(&id);
            self.networks.remove(&id);
            return;
        };
        if self.networks.get(&id) == Some(&network) {
            return;
        }
        let mut names = names::Names::new(network.name.clone());
        for (endpoint, named) in self.named.iter().filter(|(_, named)| named.network == id) {
            names.insert(endpoint, named.neighbour.clone());
        }
        all.insert(id.clone(), names);
        self.networks.insert(id, network);
    }

    fn set_named(&mut self, endpoint: String, named: Option<Named>) {
        if named.is_some() && self.named.get(&endpoint) == named.as_ref() {
            return;
        }
        let mut all = self.around.names.borrow_mut();
        if let Some(old) = self.named.remove(&endpoint)
            && let Some(names) = all.get_mut(&old.network)
        {
            names.remove(&endpoint);
        }
        let Some(named) = named else { return };
        if let Some(names) = all.get_mut(&named.network) {
            names.insert(&endpoint, named.neighbour.clone());
        }
        self.named.insert(endpoint, named);
    }
}

/// Adds what is there and isn't wanted as gone.
fn gone<T, U>(there: &BTreeMap<String, T>, wanted: &mut BTreeMap<String, Option<U>>) {
    for key in there.keys() {
        wanted.entry(key.clone()).or_insert(None);
    }
}
