//! What netd serves, as values: kept in the exec root, sent by the engine. Additive: fields get defaults, none changes its meaning.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::names::Neighbour;
use crate::ports::Published;

/// Everything that netd serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// By id.
    pub networks: BTreeMap<String, Network>,
    /// Who is called what, by the endpoint's id.
    pub named: BTreeMap<String, Named>,
    /// Containers with a resolver or with ports, by the container's id.
    pub sandboxes: BTreeMap<String, Sandbox>,
}

/// A network with names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its name: what stands behind a container's in `web.front`.
    pub name: String,
}

/// One container's names in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The network's id.
    pub network: String,
    /// The container's id: its names go when its process does. One that isn't in the snapshot stays.
    pub sandbox: String,
    /// What it is called.
    pub neighbour: Neighbour,
}

/// One run of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// The number of the start: another one has another namespace.
    pub run: u64,
    /// Its first process, as soon as there is one. Without it netd has the namespace only as it was given.
    pub process: Option<Process>,
    /// What it is answered at 127.0.0.11; none: nothing listens there.
    pub resolver: Option<Resolver>,
    /// The host's ports that are its own.
    pub ports: Vec<Port>,
}

/// A process that can't be mistaken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid, as the engine sees it.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (`minke_sys::procfs::Procfs::start_time_ticks`).
    pub start_ticks: u64,
}

/// How a container's questions are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolver {
    /// The ids of the user networks that it is in, the one first whose names win.
    pub networks: Vec<String>,
    /// Its own names for others (`--link`): from a name to that of a container.
    pub links: BTreeMap<String, String>,
    /// Who is asked what nobody here is called; the first three count.
    pub upstreams: Vec<Upstream>,
    /// Whether `ndots` is set by the container's options: a name without a dot is then never asked outside.
    pub ndots_set: bool,
    /// Whether others are asked at all: not for a container that is in internal networks only.
    pub may_forward: bool,
}

/// A resolver outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    #[serde(default = "domain")]
    pub port: u16,
    /// Asked from the host's namespace: it was in the host's file and is on its loopback. Others are asked from the container's.
    #[serde(default)]
    pub from_host: bool,
}

impl Upstream {
    /// A resolver at the usual port.
    pub fn new(address: IpAddr, from_host: bool) -> Self {
        Self { address, port: domain(), from_host }
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

fn domain() -> u16 {
    53
}

/// A port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// What is published.
    pub published: Published,
    /// Where user space carries to what the kernel hasn't taken; none: the port is only held, so that nobody else has it.
    #[serde(default)]
    pub target: Option<SocketAddr>,
}

/// What is new, other or gone (`None`), by the keys of [`Snapshot`]. A sandbox is told whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Networks.
    pub networks: BTreeMap<String, Option<Network>>,
    /// Names.
    pub named: BTreeMap<String, Option<Named>>,
    /// Sandboxes.
    pub sandboxes: BTreeMap<String, Option<Sandbox>>,
}

impl Snapshot {
    /// Whether there is nothing that needs a process: no container has a resolver or a port.
    pub fn is_idle(&self) -> bool {
        self.sandboxes.is_empty()
    }

    /// Makes what `change` says true.
    pub fn apply(&mut self, change: Change) {
        put_all(&mut self.networks, change.networks);
        put_all(&mut self.named, change.named);
        put_all(&mut self.sandboxes, change.sandboxes);
    }

    /// What has to change for it to become `wanted`.
    pub fn changes_to(&self, wanted: &Snapshot) -> Change {
        Change {
            networks: difference(&self.networks, &wanted.networks),
            named: difference(&self.named, &wanted.named),
            sandboxes: difference(&self.sandboxes, &wanted.sandboxes),
        }
    }
}

fn put_all<T>(all: &mut BTreeMap<String, T>, changes: BTreeMap<String, Option<T>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(all.insert(key, value)),
            None => drop(all.remove(&key)),
        }
    }
}

fn difference<T: Clone + PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> BTreeMap<String, Option<T>> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let other = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    gone.chain(other.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(runs: &[(&str, u64)]) -> Snapshot {
        let sandbox = |run| Sandbox { run, ..Sandbox::default() };
        Snapshot {
            networks: BTreeMap::from([("n".to_string(), Network { name: "front".into() })]),
            sandboxes: runs.iter().map(|(id, run)| ((*id).to_string(), sandbox(*run))).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_difference_that_is_applied_leaves_none() {
        let (mut old, new) = (snapshot(&[("a", 1), ("b", 1)]), snapshot(&[("b", 2), ("c", 1)]));
        let change = old.changes_to(&new);
        assert_eq!(change.sandboxes.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(change.networks.is_empty());
        old.apply(change);
        assert_eq!(old, new);
        assert_eq!(old.changes_to(&new), Change::default());
        assert!(Snapshot::default().is_idle() && !new.is_idle());
    }
}
