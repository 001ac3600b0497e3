//! The chains that ask the host's own firewall, ufw or firewalld, about published ports and about what is routed: as a part of the
//! table for packets, or as a table of their own beside chains of iptables, which have no place for such a question. Pure.

use super::frame::{V4, V6, accept, at, chain, go, jump, leave, line, refuse, same_network, unguarded};
use super::guard::Guard;
use super::sets::*;
use crate::nft::rule::{self, Part};
use crate::nft::{Chain, Copied, Expression, Family, Place, Set, Table};

/// Before a packet is redirected: it still has the port of the host.
const GUARD: i32 = -110;

/// A packet that nothing in the host's firewall lets in, unless a rule for what is routed does.
const CLOSED_MARK: u32 = 0x0200_0000;
/// A packet that a rule for what is routed lets straight to a container.
pub(super) const STRAIGHT_MARK: u32 = 0x0400_0000;

/// A packet that such a rule may still let straight to a container, once it is known where it leaves: for chains of iptables.
pub(super) const MAYBE_STRAIGHT_MARK: u32 = 0x0800_0000;
/// Before the chain of iptables that lets nothing straight to a container.
const BEFORE_DIRECT: i32 = -160;
/// Before the chains of iptables that let through.
const BEFORE_FORWARD: i32 = -1;

/// Where the host's own firewall is asked: who comes from outside to a published port.
fn guard_chains(guard: Option<&Guard>, firewalld: bool) -> Vec<Chain> {
    let mut rules = vec![
        line(&[&rule::goes_on(), &leave()]),
        line(&[&rule::comes_by("lo"), &leave()]),
        line(&[&rule::within(&[Part::In], BRIDGES.name), &leave()]),
        line(&[&rule::for_this_host(false), &leave()]),
    ];
    let asked = guard.map(|_| "guarded").into_iter().chain(firewalld.then_some(FIREWALLD));
    for chain in asked {
        for of in [&V4, &V6] {
            let at = [of.destination, Part::Transport, Part::Port];
            let port = [Part::Transport, Part::Port];
            rules.push(line(&[&(of.this)(), &rule::known(&at, of.published_at), &jump(chain)]));
            rules.push(line(&[&(of.this)(), &rule::known(&port, of.published), &jump(chain)]));
        }
    }
    let mut all = vec![at("guard", "filter", Place::Prerouting, GUARD, rules)];
    all.extend(guard.map(|guard| chain("guarded", super::guard::rules(guard, CLOSED_MARK))));
    all
}

/// Where its rules about what is routed are asked: who comes to a container, and what leaves one.
fn route_chains(guard: &Guard) -> Vec<Chain> {
    let mut routed = vec![line(&[&rule::goes_on(), &leave()]), line(&[&same_network(), &leave()])];
    routed.extend(super::guard::routes(guard, STRAIGHT_MARK));
    routed.push(line(&[&rule::marked(CLOSED_MARK), &refuse()]));
    vec![chain("routed", routed)]
}

/// The copy of firewalld's chain for what comes to this host, and how the copies of others begin.
pub const FIREWALLD: &str = "firewalld";

/// The table for packets; with a guard where the host's own firewall is asked: ufw by its rules, firewalld by its own chains.
pub fn packets(name: &str, guard: Option<&Guard>, firewalld: Option<&Copied>) -> Table {
    let mut table = unguarded(name, guard.is_some_and(|guard| !guard.routes.is_empty()));
    if guard.is_some() || firewalld.is_some() {
        table.chains.extend(guard_chains(guard, firewalld.is_some()));
    }
    table.copied = firewalld.cloned();
    let Some(guard) = guard else { return table };
    if !guard.routes.is_empty() {
        table.chains.extend(route_chains(guard));
        let mut straight = super::guard::straight(guard, &accept());
        straight.push(refuse());
        table.chains.push(chain("straight", straight));
    }
    if guard.limits() {
        table.sets.extend([COUNTED4, COUNTED6]);
    }
    table
}

/// The sets that are asked there.
const ASKED: [Set; 10] =
    [BRIDGES, ICC, OWN4, OWN6, SUBNETS4, SUBNETS6, PUBLISHED4, PUBLISHED6, PUBLISHED4_AT, PUBLISHED6_AT];

/// The table beside chains of iptables, which do everything else; none where there is nobody to ask.
pub fn beside(name: &str, guard: Option<&Guard>, firewalld: Option<&Copied>) -> Option<Table> {
    if guard.is_none() && firewalld.is_none() {
        return None;
    }
    let mut table = Table {
        family: Family::Inet,
        name: name.to_string(),
        sets: ASKED.to_vec(),
        copied: firewalld.cloned(),
        chains: guard_chains(guard, firewalld.is_some()),
    };
    if let Some(guard) = guard.filter(|guard| !guard.routes.is_empty()) {
        table.chains.extend(route_chains(guard));
        let maybe = [rule::mark(MAYBE_STRAIGHT_MARK), leave()].concat();
        table.chains.push(chain("straight", super::guard::straight(guard, &maybe)));
        table.chains.push(at("direct", "filter", Place::Prerouting, BEFORE_DIRECT, straight_ways()));
        table.chains.push(at("forward", "filter", Place::Forward, BEFORE_FORWARD, ways_that_are_routed()));
    }
    if guard.is_some_and(Guard::limits) {
        table.sets.extend([COUNTED4, COUNTED6]);
    }
    Some(table)
}

/// What comes straight to a container from outside its network, as the first packet of a connection.
fn straight_ways() -> Vec<Vec<Expression>> {
    let mut rules = vec![line(&[&rule::comes_by("lo"), &leave()]), line(&[&rule::goes_on(), &leave()])];
    for of in [&V4, &V6] {
        let this = (of.this)();
        rules.push(line(&[&this, &rule::within(&[Part::In, of.destination], of.own), &leave()]));
        let inside = rule::within(&[of.destination], of.subnets);
        rules.push(line(&[&this, &inside, &rule::for_this_host(false), &go("straight")]));
    }
    rules
}

/// What is asked about: who comes to a container, and what leaves one for another place than a bridge of ours.
pub(super) fn ways_that_are_routed() -> Vec<Vec<Expression>> {
    let to = rule::within(&[Part::Out], BRIDGES.name);
    let from = rule::within(&[Part::In], BRIDGES.name);
    vec![
        line(&[&to, &jump("routed")]),
        line(&[&from, &rule::outside(&[Part::Out], BRIDGES.name), &jump("routed")]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_chains_of_iptables_only_who_is_asked_has_a_table() {
        assert_eq!(beside("minke", None, None), None);
        let names = |guard: &Guard| {
            let table = beside("minke", Some(guard), None).unwrap();
            table.chains.iter().map(|chain| chain.name).collect::<Vec<_>>()
        };
        let mut guard = Guard::default();
        assert_eq!(names(&guard), ["guard", "guarded"]);
        guard.routes.push(super::super::guard::GuardRule::allowing_all());
        assert_eq!(names(&guard), ["guard", "guarded", "routed", "straight", "direct", "forward"]);
        // No chain is jumped to that isn't there.
        let known = names(&guard);
        let table = beside("minke", Some(&guard), None).unwrap();
        for expression in table.chains.iter().flat_map(|chain| &chain.rules).flatten() {
            if let Expression::Verdict(crate::nft::Verdict::Jump(to) | crate::nft::Verdict::Goto(to)) =
                expression
            {
                assert!(known.contains(to), "{to}");
            }
        }
    }
}
