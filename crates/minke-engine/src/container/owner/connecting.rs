//! A container's networks: changed in the kernel where it runs, then in its record; given back at the end of a run.

use std::sync::Arc;

use minke_api::network::EndpointSettings;
use minke_model::{Context as _, Error, Result};

use super::Owner;
use crate::container::lifecycle::State;
use crate::container::links;
use crate::container::record::Record;
use crate::network::{forbidden, join, membership, mend, naming, settle};

impl Owner {
    pub(super) async fn connect(&mut self, id: &str, mut settings: EndpointSettings) -> Result<()> {
        self.check_living("connect")?;
        let mut networks = self.record.networks().into_owned();
        let network = match self.shared.networks.find(id) {
            Err(_) if self.lifecycle.run().is_none() => {
                // Another network takes the place of none at all.
                networks.remove("none");
                networks.insert(id.to_owned(), settings);
                let record = Arc::new(Record { networks: Some(networks), ..Record::clone(&self.record) });
                return self.take_record(record).await;
            }
            result => result?,
        };
        if self.lifecycle.run().is_some() && networks.contains_key(&network.name) {
            return Err(forbidden(format!(
                "endpoint with name {} already exists in network {}",
                self.record.name, network.name
            )));
        }
        settle::check_connect(&self.record.host_config.network_mode, &networks, &network)?;
        settings.network_id.clone_from(&network.id);
        networks.insert(network.name.clone(), settings);
        let record = Arc::new(Record { networks: Some(networks), ..Record::clone(&self.record) });
        // Until the record says the same as the kernel.
        let _changing = self.changing()?;
        if let Some(run) = self.lifecycle.run() {
            let (shared, pid) = (self.shared.clone(), run.pid);
            let (of, live, name) = (record.clone(), self.networks.clone(), network.name.clone());
            let generation = run.generation;
            let work = move || membership::connect(&shared, &of, live.as_deref(), (generation, pid), &name);
            let live = tokio::task::spawn_blocking(work).await.context("connecting the container")??;
            self.networks = Some(Arc::new(live));
        }
        self.take_record(record).await?;
        self.tell_network(&network.name, "connect");
        Ok(())
    }

    pub(super) async fn disconnect(&mut self, name: &str) -> Result<()> {
        self.check_living("disconnect")?;
        let mut networks = self.record.networks().into_owned();
        if networks.remove(name).is_none() {
            let words = if self.lifecycle.run().is_some() { "network" } else { "the network" };
            return Err(forbidden(format!(
                "container {} is not connected to {words} {name}",
                self.record.id
            )));
        }
        let record = Arc::new(Record { networks: Some(networks), ..Record::clone(&self.record) });
        let _changing = self.changing()?;
        if let (Some(run), Some(live)) = (self.lifecycle.run(), self.networks.clone()) {
            let (shared, of, pid, gone) = (self.shared.clone(), record.clone(), run.pid, name.to_owned());
            let work = move || membership::disconnect(&shared, &of, &live, pid, &gone);
            let live = tokio::task::spawn_blocking(work).await.context("disconnecting the container")??;
            self.networks = Some(Arc::new(live));
        }
        self.take_record(record).await?;
        self.tell_network(name, "disconnect");
        Ok(())
    }

    fn changing(&self) -> Result<Option<mend::Changing>> {
        let paths = self.shared.paths(&self.record.id);
        self.lifecycle.run().map(|_| mend::Changing::begin(&paths)).transpose()
    }

    /// Takes the link that is called `alias` away: the record has it no more, nor /etc/hosts, nor the firewall.
    pub(super) async fn unlink(&mut self, alias: &str) -> Result<()> {
        let mut record = Record::clone(&self.record);
        let links = record.host_config.links.get_or_insert_default();
        let is_it = |link: &String| settle::split_link(link).is_ok_and(|(_, name)| name == alias);
        let Some(at) = links.iter().position(is_it) else {
            return Err(Error::not_found(format!("No such link: /{}/{alias}", self.record.name)));
        };
        let gone = links.remove(at);
        let before = self.record.clone();
        let record = Arc::new(record);
        self.take_record(record.clone()).await?;
        self.shared.containers.unlink(&record.id);
        links::register(&self.shared, &record);
        let (Some(live), Some(_)) = (self.networks.clone(), self.lifecycle.run()) else { return Ok(()) };
        let shared = self.shared.clone();
        let work = move || membership::unlink(&shared, (&before, &record), &live, &gone);
        let live = tokio::task::spawn_blocking(work).await.context("removing the link")??;
        self.networks = Some(Arc::new(live));
        self.publish();
        Ok(())
    }

    fn check_living(&self, action: &str) -> Result<()> {
        if matches!(self.lifecycle.state, State::Removing | State::Dead) {
            return Err(Error::conflict(format!(
                "container {} is marked for removal and cannot be {action}ed",
                self.record.id
            )));
        }
        Ok(())
    }

    async fn take_record(&mut self, record: Arc<Record>) -> Result<()> {
        let before = std::mem::replace(&mut self.record, record);
        if let Err(error) = self.persist().await {
            self.record = before;
            return Err(error);
        }
        self.publish();
        Ok(())
    }

    /// The run that had them is over.
    pub(super) async fn leave_networks(&mut self, generation: u64) {
        let Some(live) = self.networks.take_if(|live| live.generation == generation) else { return };
        live.endpoints.keys().for_each(|name| self.tell_network(name, "disconnect"));
        let (shared, record) = (self.shared.clone(), self.record.clone());
        if !live.endpoints.values().any(join::has_interface) {
            join::finish(&shared, &record, &live);
            return;
        }
        // Its next run may want the same ports.
        let work = move || join::finish(&shared, &record, &live);
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "what a run had of networks could not be given back");
        }
    }

    pub(super) fn rename_in_networks(&self) {
        let (Some(live), Some(run)) = (&self.networks, self.lifecycle.run()) else { return };
        self.shared.networks.rename(live, &self.record.name);
        naming::tell_netd(&self.shared, &self.record, live, Some(run.pid), Vec::new());
    }

    /// Tells of each network that the run is in.
    pub(super) fn tell_networks(&self, action: &str) {
        let live = self.networks.iter().flat_map(|live| live.endpoints.keys());
        live.for_each(|name| self.tell_network(name, action));
    }

    fn tell_network(&self, name: &str, action: &str) {
        if let Ok(network) = self.shared.networks.find(name) {
            self.shared.tell_network(&network, action, &[("container", self.record.id.clone())]);
        }
    }
}
