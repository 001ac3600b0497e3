//! The host's way to the containers of a macvlan that lets it (`-o minke.host-access=true`): the routes follow who is connected.

use std::net::IpAddr;

use minke_network::Driver;
use minke_network::link::{LinkPlan, plan_link};

use crate::engine::Shared;

/// Makes the host's routes those to the containers that are connected to a network now. Blocks.
pub fn follow(shared: &Shared, network: &str) {
    let Ok(found) = shared.networks.find(network) else { return };
    if found.driver != Driver::Macvlan {
        return;
    }
    let Ok(LinkPlan::Parent(plan)) = plan_link(&found, None) else { return };
    let Some(end) = plan.host else { return };
    let addresses = |held: &super::Held| -> Vec<IpAddr> {
        held.endpoints.values().flat_map(|member| member.endpoint.addresses()).collect()
    };
    let set = shared
        .networks
        .with(network, addresses)
        .and_then(|all| shared.ground.kernel()?.set_host_routes(&end.name, &all));
    if let Err(error) = set {
        tracing::warn!(network = found.name, %error, "the host has not the ways to all containers");
    }
}
