//! Forwarding, as the bridges that there are need it: looked at when a bridge comes or goes and when the kernel tells that somebody
//! changed something. What is turned on, and what is kept apart because of that, `minke_network::link` decides.

use std::collections::BTreeSet;
use std::sync::{Mutex, Weak};

use minke_network::firewall::{Families, NetworkRules};
use minke_network::link::{Changes, Forwarding, ForwardingWish};

use super::{NetworkOptions, lock};
use crate::engine::Shared;

/// What an engine knows of forwarding.
#[derive(Default)]
pub struct Forwards {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was found last, and for what.
    known: Option<(ForwardingWish, Forwarding)>,
    /// Who hears of changes, until somebody listens.
    listener: Option<Weak<Shared>>,
    /// The engine ends: nothing is turned on any more.
    closed: bool,
}

impl Forwards {
    /// Says who hears of changes: from the first bridge on.
    pub fn tell(&self, shared: Weak<Shared>) {
        lock(&self.state).listener = Some(shared);
    }

    /// Forgets what was found.
    fn look_again(&self) {
        lock(&self.state).known = None;
    }

    /// Turns nothing on any more.
    pub fn close(&self) {
        lock(&self.state).closed = true;
    }

    /// Whether the engine ends.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

/// What the networks that there are want.
fn wish(options: &NetworkOptions, networks: &[NetworkRules]) -> ForwardingWish {
    if !options.ip_forward {
        return ForwardingWish::default();
    }
    let v6 = networks.iter().flat_map(|network| &network.subnets).any(|net| net.addr().is_ipv6());
    let either = |rules| rules || options.ip_forward_no_drop;
    ForwardingWish {
        bridges: networks.iter().map(|network| network.bridge.clone()).collect::<BTreeSet<_>>(),
        families: Families { v4: true, v6 },
        guarded: Families { v4: either(options.iptables), v6: either(options.ip6tables) },
    }
}

impl Shared {
    /// Looks how forwarding is to be turned on for these networks; what was found before is not looked at again.
    pub(super) fn survey_forwarding(&self, networks: &[NetworkRules]) -> Forwarding {
        let wish = wish(&self.networks.options, networks);
        let mut state = lock(&self.ground.forwards.state);
        if state.closed || wish.bridges.is_empty() {
            return Forwarding::default();
        }
        if let Some((_, found)) = state.known.as_ref().filter(|(known, _)| *known == wish) {
            return found.clone();
        }
        listen(&mut state);
        let found = self.ground.kernel().and_then(|kernel| kernel.survey_forwarding(&wish));
        let found = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "packets of containers may not be forwarded");
            Forwarding::default()
        });
        state.known = Some((wish, found.clone()));
        found
    }

    /// Turns it on as was found, once what is to be kept apart is.
    pub(super) fn turn_forwarding_on(&self, found: &Forwarding) {
        if found.turn_on.is_empty() && !found.turn_on6 {
            return;
        }
        let mut state = lock(&self.ground.forwards.state);
        if state.closed {
            return;
        }
        if let Some((_, known)) = &mut state.known {
            known.turn_on.clear();
            known.turn_on6 = false;
        }
        let done = self.ground.kernel().and_then(|kernel| kernel.turn_forwarding_on(found));
        if let Err(error) = done {
            tracing::warn!(%error, "packets of containers aren't forwarded: this can't be turned on");
        }
    }
}

/// Listens for what others change, as long as the engine lives.
fn listen(state: &mut State) {
    let Some(shared) = state.listener.take() else { return };
    let failed = "what others change of forwarding isn't noticed";
    let mut changes = match Changes::listen() {
        Ok(changes) => changes,
        Err(error) => return tracing::warn!(%error, "{failed}"),
    };
    let hear = move || {
        loop {
            let heard = changes.wait();
            let Some(shared) = shared.upgrade() else { return };
            if let Err(error) = heard {
                return tracing::warn!(%error, "{failed}");
            }
            shared.ground.forwards.look_again();
            if let Err(error) = shared.apply_rules() {
                tracing::warn!(%error, "the firewall's rules could not follow a change of the host's interfaces");
            }
        }
    };
    let thread = std::thread::Builder::new().name("forwarding".into()).stack_size(256 * 1024);
    if let Err(error) = thread.spawn(hear) {
        tracing::warn!(%error, "{failed}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_turned_on_is_what_networks_need_and_rules_guard() {
        let mut network = NetworkRules {
            bridge: "minke0".into(),
            subnets: vec!["10.0.0.0/24".parse().unwrap()],
            icc: true,
            internal: false,
            masquerade: true,
            source4: None,
            source6: None,
            mode4: minke_network::options::GatewayMode::Nat,
            mode6: minke_network::options::GatewayMode::Nat,
            trusted: Vec::new(),
            direct: false,
        };
        let mut options = NetworkOptions::default();
        let found = wish(&options, std::slice::from_ref(&network));
        assert_eq!(found.families, Families { v4: true, v6: false });
        assert!(found.bridges.contains("minke0"));
        network.subnets.push("fd00::/64".parse().unwrap());
        options.iptables = false;
        let found = wish(&options, std::slice::from_ref(&network));
        assert_eq!((found.families.v6, found.guarded.v4), (true, false));
        options.ip_forward_no_drop = true;
        assert!(wish(&options, std::slice::from_ref(&network)).guarded.v4);
        options.ip_forward = false;
        assert_eq!(wish(&options, &[network]), ForwardingWish::default());
    }
}
