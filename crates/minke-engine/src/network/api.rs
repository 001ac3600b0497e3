//! The operations of the Engine API on networks themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use minke_api::Filters;
use minke_api::network::{
    Network as Shown, NetworkCreateRequest, NetworkCreateResponse, NetworkInspectQuery, NetworkListQuery,
    NetworkPruneResponse,
};
use minke_api::volume::PruneQuery;
use minke_model::{Context as _, Error, Result};
use minke_network::{Network, Surroundings, plan_network};
use minke_store::{Keep, Table};
use regex_lite::Regex;

use super::{Held, Networks, forbidden, lock, render, show};
use crate::Engine;
use crate::engine::{Shared, random_hex};
use crate::prune::Wanted;

const LIST_FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

impl Engine {
    /// `GET /networks`, in the newest form.
    pub fn network_list(&self, query: &NetworkListQuery) -> Result<Vec<Shown>> {
        let chosen = Chosen::new(&query.filters)?;
        let state = self.shared.networks.read();
        let wanted = state.known.values().filter(|held| chosen.wants(held));
        let mut all: Vec<Shown> = wanted.map(|held| show::network(held, false)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// `GET /networks/{id}`, in the newest form.
    pub fn network_inspect(&self, reference: &str, query: &NetworkInspectQuery) -> Result<Shown> {
        if !matches!(query.scope.as_str(), "" | "local") {
            return Err(Error::not_found(format!("network {reference} not found")));
        }
        self.shared.networks.with(reference, |held| show::network(held, true))
    }

    /// `POST /networks/create`.
    pub async fn network_create(&self, request: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        let shared = self.shared.clone();
        let work = move || {
            let network = shared.make_network(&request)?;
            shared.tell_network(&network, "create", &[]);
            Ok(NetworkCreateResponse { id: network.id.clone(), warning: String::new() })
        };
        tokio::task::spawn_blocking(work).await.context("creating the network")?
    }

    /// `DELETE /networks/{id}`.
    pub async fn network_remove(&self, reference: &str) -> Result<()> {
        let (shared, reference) = (self.shared.clone(), reference.to_owned());
        let work = move || shared.remove_network(&reference);
        tokio::task::spawn_blocking(work).await.context("removing the network")?
    }

    /// `POST /networks/prune`.
    pub async fn network_prune(&self, query: &PruneQuery) -> Result<NetworkPruneResponse> {
        let filters = query.filters.clone();
        let shared = self.shared.clone();
        let work = move || {
            let wanted = Wanted::new(&filters, &PRUNE_FILTERS)?;
            let mut deleted = Vec::new();
            for network in shared.networks.unused() {
                let created = network.created.parse::<Timestamp>().unwrap_or_default();
                if !wanted.wants(created, &network.labels) {
                    continue;
                }
                match shared.remove_network(&network.id) {
                    Ok(()) => deleted.push(network.name.clone()),
                    // Used by now, or gone.
                    Err(error) => tracing::debug!(network = network.name, %error, "not pruned"),
                }
            }
            shared.tell_prune("network", 0);
            Ok(NetworkPruneResponse { networks_deleted: (!deleted.is_empty()).then_some(deleted) })
        };
        tokio::task::spawn_blocking(work).await.context("removing unused networks")?
    }
}

impl Shared {
    /// Makes a network, also in the kernel. Blocks.
    fn make_network(&self, request: &NetworkCreateRequest) -> Result<Arc<Network>> {
        let network = self.networks.create(request, &self.ground.routes())?;
        let made = self.ground.make(&network).and_then(|()| self.apply_rules());
        if let Err(error) = made {
            let _ = self.networks.remove(&network.id);
            let _ = self.ground.remove(&network);
            return Err(error);
        }
        Ok(network)
    }

    /// Removes a network and tells of it. Blocks.
    fn remove_network(&self, reference: &str) -> Result<()> {
        let network = self.networks.remove(reference)?;
        if let Err(error) = self.ground.remove(&network).and_then(|()| self.apply_rules()) {
            // It is gone for everybody; what is left of it is looked for when an engine starts.
            tracing::warn!(network = network.name, %error, "not everything of a removed network is gone");
        }
        self.tell_network(&network, "destroy", &[]);
        Ok(())
    }

    /// Tells the listeners what happened to a network.
    pub fn tell_network(&self, network: &Network, action: &str, extra: &[(&str, String)]) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.name().to_owned()),
        ]);
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.emit("network", action, &network.id, attributes);
    }
}

impl Networks {
    /// Decides what a request makes, and writes it down. `routes` are the host's. Blocks.
    ///
    /// # Errors
    /// Docker's words; nothing is changed by then.
    pub fn create(&self, request: &NetworkCreateRequest, routes: &[IpNet]) -> Result<Arc<Network>> {
        let _change = lock(&self.change);
        let created = crate::time::rfc3339_nano(Timestamp::now());
        let others: Vec<Network> = self.all().iter().map(|one| Network::clone(one)).collect();
        let around = Surroundings { networks: &others, routes, pools: &self.pools };
        let mut request = request.clone();
        self.fill_in(&mut request);
        let network = plan_network(random_hex(32)?, created, &request, &around)?;
        let held = Held::new(network.clone(), false)?;
        self.store.put(Table::Networks, &network.id, &render(&network)?, Keep::Durable)?;
        let network = held.network.clone();
        self.write().known.insert(network.id.clone(), held);
        Ok(network)
    }

    /// What `default-network-opts` says for a driver, where the request doesn't.
    fn fill_in(&self, request: &mut NetworkCreateRequest) {
        let driver = if request.driver.is_empty() { "bridge" } else { request.driver.as_str() };
        if request.config_from.as_ref().is_some_and(|from| !from.network.is_empty()) {
            return;
        }
        for (key, value) in self.options.default_network_opts.get(driver).into_iter().flatten() {
            let options = request.options.get_or_insert_default();
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    /// Removes a network that no running container is connected to. Blocks.
    ///
    /// # Errors
    /// Docker's words for one that is used, or that is the engine's own.
    pub fn remove(&self, reference: &str) -> Result<Arc<Network>> {
        let _change = lock(&self.change);
        let held = {
            let mut state = self.write();
            let held = state.find(reference)?;
            let network = held.network.clone();
            if held.predefined {
                let name = &network.name;
                return Err(forbidden(format!("{name} is a pre-defined network and cannot be removed")));
            }
            if let Some(member) = held.endpoints.values().next() {
                return Err(forbidden(format!(
                    "error while removing network: network {} has active endpoints (name:{:?} id:{:?})",
                    network.name,
                    member.container_name,
                    member.endpoint.id.get(..12).unwrap_or_default()
                )));
            }
            let from = |other: &&Held| other.network.config_from == network.name;
            if network.config_only
                && let Some(user) = state.known.values().find(from)
            {
                return Err(forbidden(format!(
                    "error while removing network: configuration network {:?} is in use by network {:?}",
                    network.name, user.network.name
                )));
            }
            // Gone for everybody from here on.
            state
                .known
                .remove(&network.id)
                .ok_or_else(|| Error::not_found(format!("network {reference} not found")))?
        };
        let network = held.network.clone();
        if let Err(error) = self.store.delete(Table::Networks, &network.id) {
            self.write().known.insert(network.id.clone(), held);
            return Err(error);
        }
        Ok(network)
    }

    /// The networks that a prune may remove.
    fn unused(&self) -> Vec<Arc<Network>> {
        let state = self.read();
        let unused = state.known.values().filter(|held| !held.predefined && held.endpoints.is_empty());
        let mut all: Vec<_> = unused.map(|held| held.network.clone()).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// The filters of a list, understood.
struct Chosen<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    ids: Vec<Regex>,
    dangling: Option<bool>,
    builtin: Option<bool>,
}

impl<'a> Chosen<'a> {
    fn new(filters: &'a Filters) -> Result<Self> {
        filters.check(&LIST_FILTERS)?;
        // One that is no expression matches nothing, as in Docker.
        let expressions = |key: &str| filters.values(key).filter_map(|text| Regex::new(text).ok()).collect();
        let mut builtin = None;
        for kind in filters.values("type") {
            builtin = match kind {
                "builtin" => Some(true),
                "custom" => Some(false),
                other => return Err(Error::invalid(format!("invalid filter: 'type'='{other}'"))),
            };
        }
        if filters.values("type").count() > 1 {
            builtin = None;
        }
        Ok(Self {
            filters,
            names: expressions("name"),
            ids: expressions("id"),
            dangling: filters.boolean("dangling")?,
            builtin,
        })
    }

    fn wants(&self, held: &Held) -> bool {
        let (filters, network) = (self.filters, &held.network);
        let matches = |key: &str, all: &[Regex], text: &str| {
            !filters.contains(key) || all.iter().any(|one| one.is_match(text))
        };
        filters.allows("driver", network.driver.name())
            && filters.allows("scope", "local")
            && matches("name", &self.names, &network.name)
            && matches("id", &self.ids, &network.id)
            && filters.allows_labels("label", &network.labels)
            && self.builtin.is_none_or(|builtin| builtin == held.predefined)
            && self
                .dangling
                .is_none_or(|dangling| dangling == (!held.predefined && held.endpoints.is_empty()))
    }
}
