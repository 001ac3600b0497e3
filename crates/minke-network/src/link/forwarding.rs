//! Forwarding, turned on without side effects.
//!
//! The kernel decides about an IPv4 packet by the setting of the interface that it comes in by; `ip_forward` only writes all of
//! those at once. So `ip_forward` stays as it is, and forwarding is turned on for each interface by itself, where it is off: for
//! bridges of containers, and for those by which answers and clients come. IPv6 knows no such setting, only the one for all.
//!
//! Each setting is turned on by the value 2, which means to the kernel what 1 means: so whoever comes later, an engine after
//! `kill -9` for one, sees in the setting itself that an engine turned it on and that it was off before. Who wants forwarding for
//! something else (podman, libvirt, an administrator) writes 1, which the kernel tells ([`super::Changes`]): from then on it was
//! somebody else who turned it on, and nothing is kept apart any more.

use std::collections::BTreeSet;
use std::io;

use minke_model::Result;
use minke_model::error::Context;

use super::Kernel;
use super::found::FoundLink;
use super::message::ENGINES;
use super::settings::Settings;
use crate::firewall::Families;

/// On, turned on by an engine.
const OURS: &str = "2";
const OFF: &str = "0";
const ALL4: &str = "ipv4/ip_forward";
const ALL6: &str = "ipv6/conf/all/forwarding";

/// What the host's ends of containers' interfaces begin with, of every engine.
const HOST_ENDS: &str = "mkv";

/// What is wanted of forwarding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardingWish {
    /// The bridges whose containers' packets are to be forwarded.
    pub bridges: BTreeSet<String>,
    /// For which families.
    pub families: Families,
    /// For which of them rules keep apart what was not forwarded before: only there more than bridges is touched.
    pub guarded: Families,
}

/// What is to be done about forwarding, and what is to be kept apart then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The interfaces on which it is to be turned on, IPv4.
    pub turn_on: Vec<String>,
    /// The setting for all, IPv6.
    pub turn_on6: bool,
    /// What comes in by these interfaces, IPv4, is forwarded only because an engine turned it on: to containers, and nowhere else.
    pub apart: BTreeSet<String>,
    /// The same of all interfaces, IPv6.
    pub apart6: bool,
}

/// An interface, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    name: String,
    /// It is a bridge of an engine.
    of_engine: bool,
    setting: String,
}

/// Decides about IPv4.
fn plan4(all: &str, ways: &[Way], wish: &ForwardingWish, plan: &mut Forwarding) {
    if !wish.families.v4 {
        return;
    }
    for way in ways {
        let is_bridge = wish.bridges.contains(&way.name);
        // Where somebody says that this host forwards, single interfaces may still be off, and stay so.
        let wanted = is_bridge || (all == OFF && wish.guarded.v4 && !way.of_engine);
        if wanted && way.setting == OFF {
            plan.turn_on.push(way.name.clone());
        }
        if all == OFF && !is_bridge && !way.of_engine && wanted && matches!(way.setting.as_str(), OFF | OURS)
        {
            plan.apart.insert(way.name.clone());
        }
    }
}

/// Decides about IPv6.
fn plan6(all: Option<&str>, wish: &ForwardingWish, plan: &mut Forwarding) {
    let Some(all) = all else { return };
    // One setting for all: without rules that keep the rest apart it isn't touched.
    if wish.families.v6 && wish.guarded.v6 {
        plan.turn_on6 = all == OFF;
        plan.apart6 = matches!(all, OFF | OURS);
    }
}

impl Kernel {
    /// Looks how forwarding is set, and decides what is to be done; changes nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn survey_forwarding(&self, wish: &ForwardingWish) -> Result<Forwarding> {
        let mut plan = Forwarding::default();
        if wish.families.v4 {
            let all = self.settings.read(ALL4).context("failed to read whether packets are forwarded")?;
            plan4(&all, &self.ways()?, wish, &mut plan);
        }
        plan6(self.settings.read(ALL6).ok().as_deref(), wish, &mut plan);
        Ok(plan)
    }

    /// Turns it on as planned.
    ///
    /// # Errors
    /// Where a setting can't be written.
    pub fn turn_forwarding_on(&self, plan: &Forwarding) -> Result<()> {
        for name in &plan.turn_on {
            match self.settings.write(&setting4(name), OURS) {
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other.with_context(|| {
                        format!("failed to turn on the forwarding of packets from {name}")
                    })?;
                }
            }
        }
        if plan.turn_on6 {
            self.set_all6(OURS).context("failed to turn on the forwarding of IPv6 packets")?;
        }
        Ok(())
    }

    /// Turns off what an engine turned on, unless there are bridges of another one.
    ///
    /// # Errors
    /// Where a setting can't be read or written.
    pub fn put_forwarding_back(&self) -> Result<()> {
        let own = self.found()?.made;
        if self.links()?.iter().any(|link| link.group == ENGINES && !own.contains_key(&link.name)) {
            return Ok(());
        }
        let ours = |way: &Way| way.setting == OURS;
        for way in self.ways()?.iter().filter(|way| ours(way)) {
            let _ = self.settings.write(&setting4(&way.name), OFF);
        }
        if self.settings.read(ALL6).is_ok_and(|value| value == OURS) {
            self.set_all6(OFF).context("failed to turn off the forwarding of IPv6 packets")?;
        }
        Ok(())
    }

    /// The interfaces by which packets come: no ports of bridges and the like, whose packets come by what they are ports of.
    fn ways(&self) -> Result<Vec<Way>> {
        let links = self.links()?.into_iter().filter(is_way);
        Ok(links.filter_map(|link| way(link, &self.settings)).collect())
    }

    /// Writes the setting for all interfaces, and leaves every single one's as it was: the kernel writes them along, an
    /// interface that forwards takes no router advertisements, and what was learned by one is forgotten.
    fn set_all6(&self, value: &str) -> io::Result<()> {
        let settings = &self.settings;
        let links = self.links().map_err(io::Error::other)?;
        let names = links.iter().map(|link| link.name.as_str()).chain(["default"]);
        let mut put_back = Vec::new();
        for name in names {
            let path = |setting: &str| format!("ipv6/conf/{name}/{setting}");
            if let Ok(before) = settings.read(&path("forwarding")) {
                put_back.push((path("forwarding"), before));
            }
            if settings.read(&path("accept_ra")).is_ok_and(|value| value == "1") {
                // By 2 it goes on taking them while it forwards.
                settings.write(&path("accept_ra"), "2")?;
                put_back.push((path("accept_ra"), "1".to_string()));
            }
        }
        let written = settings.write(ALL6, value);
        // First all that is said of forwarding: turning it on for one interface has all forget what they have learned.
        put_back.sort_by_key(|(path, _)| path.ends_with("accept_ra"));
        for (path, before) in put_back {
            if settings.read(&path).is_ok_and(|now| now != before) {
                let _ = settings.write(&path, &before);
            }
        }
        written
    }
}

/// Whether packets come by it: not by ports of bridges, nor by containers' interfaces that are to become such.
pub(super) fn is_way(link: &FoundLink) -> bool {
    link.bridge.is_none() && !link.is_loopback && !link.name.starts_with(HOST_ENDS)
}

fn way(link: FoundLink, settings: &Settings) -> Option<Way> {
    // One that went meanwhile, or that the kernel has no IPv4 for.
    let setting = settings.read(&setting4(&link.name)).ok()?;
    Some(Way { of_engine: link.group == ENGINES, name: link.name, setting })
}

fn setting4(name: &str) -> String {
    format!("ipv4/conf/{name}/forwarding")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Families = Families { v4: true, v6: true };

    fn planned(all: &str, ways: &[(&str, &str)], guarded: Families) -> (Vec<String>, Vec<String>) {
        let ways: Vec<Way> = ways
            .iter()
            .map(|(name, setting)| Way {
                name: (*name).into(),
                of_engine: *name == "mk-other",
                setting: (*setting).into(),
            })
            .collect();
        let wish = ForwardingWish { bridges: ["minke0".into()].into(), families: BOTH, guarded };
        let mut plan = Forwarding::default();
        plan4(all, &ways, &wish, &mut plan);
        (plan.turn_on, plan.apart.into_iter().collect())
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_string()).collect()
    }

    #[test]
    fn where_nothing_is_forwarded_each_way_is_turned_on_and_kept_apart() {
        let ways = [("minke0", "0"), ("eth0", "0"), ("wg0", "1"), ("mk-other", "0")];
        assert_eq!(planned("0", &ways, BOTH), (names(&["minke0", "eth0"]), names(&["eth0"])));
        // What the last engine turned on is known by itself.
        let ways = [("minke0", "2"), ("eth0", "2"), ("wg0", "1"), ("mk-other", "2")];
        assert_eq!(planned("0", &ways, BOTH), (vec![], names(&["eth0"])));
    }

    #[test]
    fn where_somebody_forwards_already_nothing_but_bridges_is_touched() {
        let ways = [("minke0", "0"), ("eth0", "1"), ("eth1", "0"), ("eth2", "2")];
        assert_eq!(planned("1", &ways, BOTH), (names(&["minke0"]), vec![]));
    }

    #[test]
    fn without_rules_only_bridges_are_touched() {
        let ways = [("minke0", "0"), ("eth0", "0")];
        assert_eq!(planned("0", &ways, Families::default()), (names(&["minke0"]), vec![]));
    }

    #[test]
    fn the_setting_for_all_of_ipv6_says_who_turned_it_on() {
        for (all, guarded, expected) in [
            (Some("0"), BOTH, (true, true)),
            (Some("2"), BOTH, (false, true)),
            (Some("1"), BOTH, (false, false)),
            (Some("0"), Families::default(), (false, false)),
            (None, BOTH, (false, false)),
        ] {
            let wish = ForwardingWish { families: BOTH, guarded, ..ForwardingWish::default() };
            let mut plan = Forwarding::default();
            plan6(all, &wish, &mut plan);
            assert_eq!((plan.turn_on6, plan.apart6), expected, "{all:?}");
        }
    }
}
