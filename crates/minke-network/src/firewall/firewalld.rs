//! firewalld: its own chains decide who reaches a published port. They are copied to where a packet still has the port of the host,
//! so that zones, services, rich rules and policies need no reader of ours, and a change at run time counts as one on disk.

use minke_model::Result;
use minke_model::error::Context;

use super::frame::FIREWALLD;
use crate::nft::{Copied, Family, Nft};

const TABLE: &str = "firewalld";
/// The chain that all comes through that is for this host.
const INPUT: &str = "filter_INPUT";
/// There while it begins anew: it lets nothing new in itself until its own table is whole.
const IN_BETWEEN: &str = "firewalld_policy_drop";

/// What firewalld says now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Firewalld {
    /// Whether it runs.
    pub runs: bool,
    /// Its chains, where they are asked.
    pub chains: Option<Copied>,
}

/// Reads it; `before` is what it said before, which counts on while it begins anew. Its chains are read if they are `asked`.
pub(super) fn read(nft: &Nft, asked: bool, before: &Firewalld) -> Result<Firewalld> {
    let words = "failed to read firewalld's table";
    let is_there = |name| nft.comment(Family::Inet, name).map(|found| found.is_some());
    if is_there(IN_BETWEEN).context(words)? {
        return Ok(before.clone());
    }
    if !is_there(TABLE).context(words)? {
        return Ok(Firewalld::default());
    }
    let chains = if asked { nft.copy(Family::Inet, (TABLE, INPUT), FIREWALLD).context(words)? } else { None };
    Ok(Firewalld { runs: true, chains })
}
