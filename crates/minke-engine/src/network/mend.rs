//! A change of a running container's networks that an engine's death has cut short. It is noted before it begins; the next engine
//! makes the container as its record says, in whichever order the last one had come how far.
//!
//! ```text
//!   noted --> kernel, file of the run, names, rules --> record --> no note      (disconnect and connect alike)
//!     '---- killed: what the record doesn't ask for goes, what it asks for and isn't there is made again
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use minke_model::{Context as _, Result};
use minke_network::link::Namespace;

use super::allocate::{Who, choose_way_out};
use super::{Live, join};
use crate::container::owner::Found;
use crate::container::paths::ContainerPaths;
use crate::container::record::Record;
use crate::engine::Shared;

/// The note of a change that goes on; gone when this is dropped, which a killed engine doesn't do.
pub struct Changing(PathBuf);

impl Changing {
    /// Notes it.
    ///
    /// # Errors
    /// The exec root can't be written to.
    pub fn begin(paths: &ContainerPaths) -> Result<Self> {
        std::fs::write(&paths.reconnecting, "")
            .with_context(|| format!("writing {}", paths.reconnecting.display()))?;
        Ok(Self(paths.reconnecting.clone()))
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn was_changing(shared: &Shared, record: &Record) -> bool {
    shared.paths(&record.id).reconnecting.exists()
}

/// Leaves out the endpoints of a change that came to nothing, before they are taken over: their links belong to nobody then.
pub fn drop_unwanted(shared: &Shared, record: &Record, live: &mut Live) {
    if was_changing(shared, record) {
        let asked = record.networks();
        live.endpoints.retain(|name, _| asked.contains_key(name));
    }
}

/// Makes the networks of a container as its record has them, if a change was cut short. Blocks.
pub fn mend(shared: &Shared, found: &mut Found) {
    let (Some(live), Some(run)) = (&found.networks, found.lifecycle.run()) else { return };
    if run.pid == 0 || !was_changing(shared, &found.record) {
        return;
    }
    match settle(shared, &found.record, live, run.pid) {
        Ok(live) => {
            found.networks = Some(Arc::new(live));
            let _ = std::fs::remove_file(shared.paths(&found.record.id).reconnecting);
        }
        Err(error) => {
            tracing::error!(container = %found.record.id, %error, "its networks are not as they should be");
        }
    }
}

fn settle(shared: &Shared, record: &Record, live: &Live, pid: i32) -> Result<Live> {
    let namespace = Namespace::of_pid(u32::try_from(pid).unwrap_or_default())?;
    let path = shared.paths(&record.id).networks;
    let kept = Live::read(&path).unwrap_or_default();
    let asked = record.networks();
    let mut live = live.clone();
    for (_, endpoint) in kept.endpoints.iter().filter(|(name, _)| !asked.contains_key(*name)) {
        // Its end on the host has been swept; an interface without one is inside.
        if let Ok(network) = shared.networks.find(&endpoint.network)
            && let Some(plan) = shared.ground.plan(&network, endpoint)?
        {
            shared.ground.kernel()?.detach(&plan, Some(&namespace))?;
        }
    }
    for (name, settings) in asked.iter().filter(|(name, _)| !join::is_private(name)) {
        if !live.endpoints.contains_key(name) {
            let who = Who { container: &record.id, name: &record.name, before: None };
            live.endpoints.extend(shared.allocate(who, &[(name, settings)], &live.endpoints)?);
        }
    }
    choose_way_out(&mut live.endpoints, |name| asked.get(name).map_or(0, |one| one.gw_priority));
    for endpoint in live.endpoints.values() {
        shared.networks.update(endpoint);
        let network = shared.networks.find(&endpoint.network)?;
        let Some(plan) = shared.ground.plan(&network, endpoint)? else { continue };
        if !shared.ground.kernel()?.is_attached(&plan, &namespace)? {
            shared.ground.kernel()?.detach(&plan, Some(&namespace))?;
            shared.ground.attach(&network, endpoint, &namespace)?;
        }
        if endpoint.default4 || endpoint.default6 {
            shared.ground.kernel()?.reroute(&plan, &namespace)?;
        }
    }
    live.write(&path)?;
    crate::container::rewrite_network_files(shared, (record, &kept), (record, &live))?;
    Ok(live)
}
