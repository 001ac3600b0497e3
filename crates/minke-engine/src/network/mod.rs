//! The networks of an engine: which there are, which addresses are taken in each, and who is connected. Reads are served from
//! memory; networks are made and removed one at a time.
//!
//! | file | what it decides or does |
//! |---|---|
//! | `options` | what the daemon is told |
//! | `predefined` | `bridge`, `host` and `none` |
//! | `api`, `membership` | the operations of the API |
//! | `settle` | which networks a new container asks for: pure |
//! | `show` | what list, inspect and a container's inspect show: pure |
//! | `live` | what a run has, and its file |
//! | `allocate` | addresses of a run's endpoints |
//! | `join` | addresses, ports and links of a run, and their return |
//! | `adopt` | what an engine finds of networks when it starts |
//! | `mend` | a change that an engine's death has cut short |
//! | `host_access` | the host's way to the containers of a macvlan |
//! | `ground` | the kernel's links, and which addresses drain |
//! | `forwarding` | the forwarding of packets |
//! | `rules` | the firewall |
//! | `naming`, `texts` | what netd and /etc/hosts say |
//! | `netd` | the engine's hold on the process that answers names and serves ports |
//! | `publish` | from a container's settings to ports of the host |

pub mod adopt;
mod allocate;
mod api;
mod closed;
mod forwarding;
pub mod ground;
mod host_access;
pub mod join;
mod live;
pub mod membership;
pub mod mend;
pub mod naming;
pub mod netd;
mod options;
mod predefined;
pub mod publish;
mod rules;
pub mod settle;
pub mod show;
pub mod texts;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_network::ipam::{Addresses, Pools};
use minke_network::{Driver, Endpoint, Network};
use minke_store::{Store, Table};
use serde::{Deserialize, Serialize};

pub use ground::Ground;
pub use live::Live;
pub use options::{DefaultBridge, NetworkOptions};
pub use rules::Rules;

/// The version of a network's record.
const VERSION: u32 = 1;

/// How a network stands in the database.
#[derive(Serialize, Deserialize)]
struct Kept<N> {
    version: u32,
    network: N,
}

/// All networks of an engine.
pub struct Networks {
    store: Store,
    /// The settings.
    pub options: NetworkOptions,
    pools: Pools,
    /// Held while a network is made or removed.
    change: Mutex<()>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// By id.
    known: BTreeMap<String, Held>,
}

/// A network with what is taken of it.
#[derive(Debug)]
pub struct Held {
    /// What is kept of it.
    pub network: Arc<Network>,
    /// It is one of the engine's own.
    pub predefined: bool,
    /// The addresses of each of its subnets, with its gateway's.
    pub subnets: Vec<(Addresses, Option<IpAddr>)>,
    /// The endpoints of containers that run, by id.
    pub endpoints: BTreeMap<String, Member>,
}

/// An endpoint, and whose it is.
#[derive(Clone, Debug)]
pub struct Member {
    /// It.
    pub endpoint: Arc<Endpoint>,
    /// The container's name, when it was connected.
    pub container_name: String,
}

/// What of the host matters to networks when they are opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surface<'a> {
    /// The host's routes, without those of this engine.
    pub routes: &'a [ipnet::IpNet],
    /// What the default bridge is called.
    pub bridge: &'a str,
}

impl Held {
    fn new(network: Network, predefined: bool) -> Result<Self> {
        let with_gateway = has_gateway(&network);
        let taken = network.subnets.iter().filter(|_| !network.config_only);
        let subnets = taken.map(|subnet| subnet.addresses(with_gateway)).collect::<Result<_>>()?;
        Ok(Self { network: Arc::new(network), predefined, subnets, endpoints: BTreeMap::new() })
    }
}

/// Whether an address of each subnet is the gateway's: an internal macvlan has none.
fn has_gateway(network: &Network) -> bool {
    matches!(network.driver, Driver::Bridge | Driver::Macvlan | Driver::Ipvlan)
        && !(network.internal && network.driver != Driver::Bridge)
}

impl Networks {
    /// Reads what is kept. `engine` is the engine's id.
    pub fn open(store: &Store, options: NetworkOptions, engine: &str, ground: &Surface<'_>) -> Result<Self> {
        let pools = Pools::new(options.pools.clone(), engine);
        let mut known = BTreeMap::new();
        for (id, bytes) in store.list(Table::Networks)? {
            match parse(&bytes).and_then(|network| Held::new(network, false)) {
                Ok(held) => drop(known.insert(id, held)),
                Err(error) => {
                    tracing::error!(network = %id, %error, "a network can't be read and is left alone")
                }
            }
        }
        let others: Vec<Network> = known.values().map(|held| Network::clone(&held.network)).collect();
        for network in predefined::all(store, &options, &pools, &others, ground)? {
            known.insert(network.id.clone(), Held::new(network, true)?);
        }
        Ok(Self {
            store: store.clone(),
            options,
            pools,
            change: Mutex::default(),
            state: RwLock::new(State { known }),
        })
    }

    /// Whether containers that choose no network are on a bridge.
    pub fn has_default_bridge(&self) -> bool {
        self.options.bridge != DefaultBridge::None
    }

    /// The name of the network that a mode of a container means; none for one that shares another container's.
    pub fn name_of_mode<'a>(&self, mode: &'a str) -> Option<&'a str> {
        match mode {
            "" | "default" | "bridge" if self.has_default_bridge() => Some("bridge"),
            "" | "default" => Some("none"),
            other if other.starts_with("container:") => None,
            other => Some(other),
        }
    }

    /// Finds a network by its id, its name or the beginning of its id.
    ///
    /// # Errors
    /// Docker's words for one that isn't there, or for several.
    pub fn find(&self, reference: &str) -> Result<Arc<Network>> {
        self.with(reference, |held| held.network.clone())
    }

    /// Looks at a network.
    fn with<T>(&self, reference: &str, look: impl FnOnce(&Held) -> T) -> Result<T> {
        let state = self.read();
        state.find(reference).map(look)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Network>> {
        let mut all: Vec<_> = self.read().known.values().map(|held| held.network.clone()).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Whether a container that runs is connected to it.
    pub fn is_used(&self, id: &str) -> bool {
        self.read().known.get(id).is_some_and(|held| !held.endpoints.is_empty())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, reference: &str) -> Result<&Held> {
        let missing = || Error::not_found(format!("network {reference} not found"));
        if reference.is_empty() {
            return Err(missing());
        }
        if let Some(held) = self.known.get(reference) {
            return Ok(held);
        }
        if let Some(held) = self.known.values().find(|held| held.network.name == reference) {
            return Ok(held);
        }
        let mut beginning = self.known.iter().filter(|(id, _)| id.starts_with(reference));
        match (beginning.next(), beginning.count()) {
            (None, _) => Err(missing()),
            (Some((_, held)), 0) => Ok(held),
            (Some(_), more) => Err(Error::invalid(format!(
                "network {reference} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
        }
    }
}

/// Reads a network's record.
fn parse(bytes: &[u8]) -> Result<Network> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = "a network's record is damaged";
    let Versioned { version } = serde_json::from_slice(bytes).context(damaged)?;
    if version > VERSION {
        return Err(Error::system(format!(
            "a network's record has version {version}; this engine knows versions up to {VERSION}"
        )));
    }
    Ok(serde_json::from_slice::<Kept<Network>>(bytes).context(damaged)?.network)
}

fn render(network: &Network) -> Result<Vec<u8>> {
    serde_json::to_vec(&Kept { version: VERSION, network }).context("the network's record can't be written")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error that Docker says 403 to.
pub fn forbidden(words: String) -> Error {
    Error::new(ErrorKind::Forbidden, words)
}

#[cfg(test)]
mod tests {
    use minke_api::network::{Ipam, IpamConfig, NetworkCreateRequest};

    use super::*;

    /// What the first version that has networks writes: it must be readable for ever.
    const FIRST: &str = include_str!("network-v1.json");

    pub fn networks(options: NetworkOptions) -> (tempfile::TempDir, Networks) {
        let directory = tempfile::tempdir().unwrap();
        let places = minke_store::Options::new(directory.path().join("exec"));
        let store = Store::open(&directory.path().join("data"), places).unwrap();
        let networks = Networks::open(&store, options, "engine", &Surface::default()).unwrap();
        (directory, networks)
    }

    fn request(name: &str, subnet: &str) -> NetworkCreateRequest {
        let config = IpamConfig { subnet: subnet.into(), ..IpamConfig::default() };
        NetworkCreateRequest {
            name: name.into(),
            ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
            ..NetworkCreateRequest::default()
        }
    }

    #[test]
    fn the_first_version_of_a_record_is_still_read() {
        let network = parse(FIRST.as_bytes()).unwrap();
        assert_eq!((network.name.as_str(), network.subnets.len()), ("front", 1));
        assert_eq!(String::from_utf8(render(&network).unwrap()).unwrap(), FIRST.trim());
        let newer = FIRST.replacen("\"version\":1", "\"version\":2", 1);
        assert!(parse(newer.as_bytes()).unwrap_err().to_string().contains("knows versions up to 1"));
    }

    #[test]
    fn networks_survive_the_engine_and_the_engines_own_keep_their_ids() {
        let (_directory, networks) = networks(NetworkOptions::default());
        let made = networks.create(&request("front", "10.9.0.0/24"), &[]).unwrap();
        let ids = |networks: &Networks| -> Vec<(String, String)> {
            networks.all().iter().map(|one| (one.name.clone(), one.id.clone())).collect()
        };
        let before = ids(&networks);
        assert_eq!(
            before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["bridge", "front", "host", "none"]
        );
        let again = Networks::open(&networks.store, NetworkOptions::default(), "engine", &Surface::default())
            .unwrap();
        assert_eq!(ids(&again), before);
        assert_eq!(again.find("front").unwrap().id, made.id);
        assert_eq!(again.find(&made.id[..8]).unwrap().id, made.id);
        again.remove("front").unwrap();
        assert_eq!(again.find("front").unwrap_err().to_string(), "network front not found");
    }

    #[test]
    fn without_a_default_bridge_the_default_is_none() {
        let options = NetworkOptions { bridge: DefaultBridge::None, ..NetworkOptions::default() };
        let (_directory, networks) = networks(options);
        assert_eq!(networks.name_of_mode("default"), Some("none"));
        assert!(networks.find("bridge").is_err());
    }

    #[test]
    fn the_engines_own_are_not_removed() {
        let (_directory, networks) = networks(NetworkOptions::default());
        let error = networks.remove("bridge").unwrap_err();
        assert_eq!(error.to_string(), "bridge is a pre-defined network and cannot be removed");
        assert_eq!(error.kind(), ErrorKind::Forbidden);
    }
}
