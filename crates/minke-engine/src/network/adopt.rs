//! What an engine finds of networks when it starts: the endpoints of containers that run are taken over as they are, what belongs
//! to nobody is removed, and nothing that is right is written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_network::Driver;

use super::allocate::Who;
use super::{Live, host_access, join, lock, mend};
use crate::container::owner::Found;
use crate::engine::{Shared, random_hex};

/// Takes over the networks of all containers. Blocks.
pub fn all(shared: &Shared, found: &mut [Found]) {
    for one in found.iter_mut() {
        one.networks = of(shared, one).map(Arc::new);
    }
    let networks = shared.networks.all();
    if networks.iter().all(|network| matches!(network.driver, Driver::Host | Driver::Null)) {
        return;
    }
    shared.ground.sweep(&networks);
    for network in &networks {
        let used = shared.networks.is_used(&network.id);
        // The engine's own bridge is made when it is first needed.
        if !used && super::show::has_no_names(&network.name) {
            continue;
        }
        if let Err(error) = shared.ground.make(network) {
            tracing::warn!(network = network.name, %error, "the network's link is not there and can't be made");
        }
    }
    for one in found.iter_mut() {
        mend::mend(shared, one);
    }
    networks.iter().for_each(|network| host_access::follow(shared, &network.id));
    if let Err(error) = shared.adopt_rules() {
        tracing::error!(%error, "the firewall's rules could not be made");
    }
}

/// What the run of a container has.
fn of(shared: &Shared, found: &Found) -> Option<Live> {
    let run = found.lifecycle.run()?;
    let record = &found.record;
    let kept = Live::read(&shared.paths(&record.id).networks);
    if let Some(mut live) = kept.filter(|live| live.generation == run.generation) {
        mend::drop_unwanted(shared, record, &mut live);
        shared.networks.adopt(&live, &record.name);
        for endpoint in live.endpoints.values().filter(|one| join::has_interface(one)) {
            if let Ok(network) = shared.networks.find(&endpoint.network) {
                shared.ground.expect(&network, endpoint);
            }
            lock(&shared.ground.ports).adopt(&live.holder, &endpoint.published);
        }
        return Some(live);
    }
    // The networks host and none leave no file.
    let primary = shared.networks.name_of_mode(&record.host_config.network_mode)?;
    let asked = record.networks();
    let private = asked.iter().filter(|(name, _)| matches!(name.as_str(), "host" | "none"));
    let private: Vec<_> = private.map(|(name, settings)| (name.as_str(), settings)).collect();
    let who = Who { container: &record.id, name: &record.name, before: None };
    Some(Live {
        generation: run.generation,
        sandbox: random_hex(32).ok()?,
        endpoints: shared.networks.allocate(who, &private, &BTreeMap::new()).ok()?,
        shared: primary == "host",
        holder: record.name.clone(),
    })
}
