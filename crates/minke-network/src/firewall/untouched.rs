//! A family that the engine was told to leave alone (`iptables: false`, `ip6tables: false`): its packets pass a table as if that
//! weren't there, also between bridges that have both. Pure.

use super::wanted::Families;
use crate::nft::rule;
use crate::nft::{Family, Table, Verdict};

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;

/// The table, with nothing to say about packets of families other than `ruled`.
pub fn leaving_alone(mut table: Table, ruled: Families) -> Table {
    let is_bridge = table.family == Family::Bridge;
    let v4 = if is_bridge { rule::ether_type(ETHER_IPV4) } else { rule::ipv4() };
    let v6 = if is_bridge { rule::ether_type(ETHER_IPV6) } else { rule::ipv6() };
    for (_, this) in [(ruled.v4, v4), (ruled.v6, v6)].into_iter().filter(|(is_ruled, _)| !is_ruled) {
        for chain in table.chains.iter_mut().filter(|chain| chain.hook.is_some()) {
            chain.rules.insert(0, [this.clone(), rule::then(Verdict::Accept)].concat());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;

    #[test]
    fn what_hears_of_packets_lets_those_of_a_family_pass_that_is_left_alone() {
        let made = || [frame::packets("t", None, None), frame::frames("t")];
        for (plain, table) in made().into_iter().zip(made()) {
            let table = leaving_alone(table, Families { v4: false, v6: true });
            for (before, chain) in plain.chains.iter().zip(&table.chains) {
                let more = usize::from(chain.hook.is_some());
                assert_eq!(chain.rules[more..], before.rules, "{}", chain.name);
            }
        }
        let [packets, _] = made();
        assert_eq!(leaving_alone(packets.clone(), Families { v4: true, v6: true }), packets);
    }
}
