//! Names: what the resolver of a container's user networks answers. Pure: questions and answers as values, whatever message
//! they come in.
//!
//! A container sees the names of the networks it is in: other containers' names, short ids and aliases there, and the links
//! that it alone has. What none of them knows goes to the resolvers outside.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ipam::Family;

/// How long an answer may be kept, in seconds.
pub const TTL_S: u32 = 600;

/// A container's place in one network, as its neighbours know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The container's name: what an address is resolved to.
    pub name: String,
    /// Every name it is found by here: its own, its short id, its aliases.
    pub names: Vec<String>,
    /// Its address of each family that the network has.
    pub addresses: Vec<IpAddr>,
}

/// The names of one network.
#[derive(Clone, Debug, Default)]
pub struct Names {
    network: String,
    /// By endpoint; what answers in which order follows from its key.
    neighbours: BTreeMap<String, Neighbour>,
    /// From a name in lower case to endpoints.
    index: BTreeMap<String, Vec<String>>,
}

impl Names {
    /// Makes the names of a network without endpoints.
    pub fn new(network: impl Into<String>) -> Self {
        Self { network: network.into(), ..Self::default() }
    }

    /// Puts an endpoint in, or in the place of what stood under its id.
    pub fn insert(&mut self, endpoint: &str, neighbour: Neighbour) {
        self.remove(endpoint);
        for name in &neighbour.names {
            let endpoints = self.index.entry(fold(name)).or_default();
            if !endpoints.iter().any(|other| other == endpoint) {
                endpoints.push(endpoint.to_string());
            }
        }
        self.neighbours.insert(endpoint.to_string(), neighbour);
    }

    /// Takes an endpoint out.
    pub fn remove(&mut self, endpoint: &str) {
        let Some(neighbour) = self.neighbours.remove(endpoint) else { return };
        for name in neighbour.names.iter().map(|name| fold(name)) {
            let Some(endpoints) = self.index.get_mut(&name) else { continue };
            endpoints.retain(|other| other != endpoint);
            if endpoints.is_empty() {
                self.index.remove(&name);
            }
        }
    }

    /// The addresses of everything called `name`, of both families; none: nobody is.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let endpoints = self.index.get(name)?;
        let found = endpoints.iter().filter_map(|endpoint| self.neighbours.get(endpoint));
        Some(found.flat_map(|neighbour| neighbour.addresses.iter().copied()).collect())
    }

    /// The name of who has `address`.
    fn name_of(&self, address: IpAddr) -> Option<&str> {
        let mut all = self.neighbours.values();
        all.find(|neighbour| neighbour.addresses.contains(&address)).map(|neighbour| neighbour.name.as_str())
    }
}

/// A question that this engine may have the answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// The addresses of a name.
    Address(&'a str, Family),
    /// The name of an address.
    Pointer(IpAddr),
    /// Something else about a name, as MX or TXT.
    Other(&'a str),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, in this order; none: the name is there but has nothing of that kind (NOERROR).
    Addresses(Vec<IpAddr>),
    /// This name, with the network behind it.
    Name(String),
    /// Nobody here is called so, and nobody else may be asked (SERVFAIL, as Docker's).
    Unknown,
    /// Others know: the resolvers outside.
    Forward,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The names of the networks it is in, the one first that the others' answers stand behind.
    pub networks: &'a [&'a Names],
    /// Its own names for others (`--link`): from a name to that of a container.
    pub links: &'a BTreeMap<String, String>,
    /// Whether it set `ndots` itself: then a name without a dot never leaves, its resolver tries it with a search domain.
    pub ndots_set: bool,
    /// Whether outside resolvers may be asked: not for one that is in internal networks only.
    pub may_forward: bool,
}

/// Decides the answer to a question. `turn` changes from question to question, so that several containers behind one alias
/// each come first in turn.
pub fn answer(asker: &Asker<'_>, question: &Question<'_>, turn: usize) -> Answer {
    match question {
        Question::Address(name, family) => address(asker, name, *family, turn),
        Question::Pointer(of) => {
            let found = asker
                .networks
                .iter()
                .find_map(|names| names.name_of(*of).map(|name| format!("{name}.{}", names.network)));
            found.map_or_else(|| outside(asker), Answer::Name)
        }
        // A name of ours has addresses and nothing else.
        Question::Other(name) if find(asker, name).is_some() => Answer::Addresses(Vec::new()),
        Question::Other(_) => outside(asker),
    }
}

fn address(asker: &Asker<'_>, name: &str, family: Family, turn: usize) -> Answer {
    let Some(found) = find(asker, name) else {
        let single = !name.trim_end_matches('.').contains('.');
        return if asker.ndots_set && single { Answer::Addresses(Vec::new()) } else { outside(asker) };
    };
    let mut found: Vec<IpAddr> = found.into_iter().filter(|address| Family::of(*address) == family).collect();
    if !found.is_empty() {
        let by = turn % found.len();
        found.rotate_left(by);
    }
    Answer::Addresses(found)
}

fn outside(asker: &Asker<'_>) -> Answer {
    if asker.may_forward { Answer::Forward } else { Answer::Unknown }
}

/// The addresses behind a name: a link first, then the networks in order; `name.network` means that network alone.
fn find(asker: &Asker<'_>, name: &str) -> Option<Vec<IpAddr>> {
    let name = fold(name.strip_suffix('.').unwrap_or(name));
    let name = asker.links.get(&name).map_or(name, |target| fold(target));
    let whole = asker.networks.iter().find_map(|names| names.addresses(&name));
    whole.or_else(|| {
        asker.networks.iter().find_map(|names| {
            let own = name.strip_suffix(&fold(&names.network))?.strip_suffix('.')?;
            names.addresses(own)
        })
    })
}

/// Names are the same in any case (RFC 4343).
fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn neighbour(name: &str, names: &[&str], addresses: &[&str]) -> Neighbour {
        Neighbour {
            name: name.into(),
            names: names.iter().map(|name| (*name).to_string()).collect(),
            addresses: addresses.iter().map(|address| ip(address)).collect(),
        }
    }

    fn net() -> Names {
        let mut names = Names::new("front");
        names.insert("e1", neighbour("web", &["web", "0123456789ab", "www"], &["10.0.0.2", "fd00::2"]));
        names.insert("e2", neighbour("Web2", &["Web2", "www"], &["10.0.0.3"]));
        names
    }

    fn ask(names: &[&Names], question: &Question<'_>) -> Answer {
        let asker = Asker { networks: names, links: &BTreeMap::new(), ndots_set: false, may_forward: true };
        answer(&asker, question, 0)
    }

    #[test]
    fn a_container_is_found_by_name_id_and_alias_in_any_case() {
        let names = net();
        for name in ["web", "WEB.", "0123456789ab", "web.front", "web.front."] {
            assert_eq!(
                ask(&[&names], &Question::Address(name, Family::V4)),
                Answer::Addresses(vec![ip("10.0.0.2")]),
                "{name}"
            );
        }
        assert_eq!(
            ask(&[&names], &Question::Address("web2", Family::V4)),
            Answer::Addresses(vec![ip("10.0.0.3")])
        );
    }

    #[test]
    fn a_name_without_addresses_of_a_family_is_there_and_empty() {
        let names = net();
        assert_eq!(ask(&[&names], &Question::Address("web2", Family::V6)), Answer::Addresses(Vec::new()));
        assert_eq!(ask(&[&names], &Question::Other("web2")), Answer::Addresses(Vec::new()));
    }

    #[test]
    fn an_alias_of_several_answers_in_changing_order() {
        let names = net();
        let links = BTreeMap::new();
        let asker = Asker { networks: &[&names], links: &links, ndots_set: false, may_forward: true };
        let first = |turn| answer(&asker, &Question::Address("www", Family::V4), turn);
        assert_eq!(first(0), Answer::Addresses(vec![ip("10.0.0.2"), ip("10.0.0.3")]));
        assert_eq!(first(1), Answer::Addresses(vec![ip("10.0.0.3"), ip("10.0.0.2")]));
        assert_eq!(first(2), first(0));
    }

    #[test]
    fn what_nobody_is_called_goes_outside_unless_there_is_no_way_out() {
        let names = net();
        assert_eq!(ask(&[&names], &Question::Address("example.com", Family::V4)), Answer::Forward);
        assert_eq!(ask(&[&names], &Question::Pointer(ip("192.0.2.1"))), Answer::Forward);
        let links = BTreeMap::new();
        let asker = Asker { networks: &[&names], links: &links, ndots_set: false, may_forward: false };
        assert_eq!(answer(&asker, &Question::Address("example.com", Family::V4), 0), Answer::Unknown);
        let asker = Asker { ndots_set: true, may_forward: true, ..asker };
        assert_eq!(answer(&asker, &Question::Address("other", Family::V4), 0), Answer::Addresses(Vec::new()));
        assert_eq!(answer(&asker, &Question::Address("a.b", Family::V4), 0), Answer::Forward);
    }

    #[test]
    fn an_address_leads_back_to_the_container_and_its_network() {
        let names = net();
        assert_eq!(ask(&[&names], &Question::Pointer(ip("fd00::2"))), Answer::Name("web.front".into()));
    }

    #[test]
    fn a_link_is_seen_by_who_has_it_alone() {
        let names = net();
        let links = BTreeMap::from([("db".to_string(), "web2".to_string())]);
        let asker = Asker { networks: &[&names], links: &links, ndots_set: false, may_forward: true };
        assert_eq!(
            answer(&asker, &Question::Address("db", Family::V4), 0),
            Answer::Addresses(vec![ip("10.0.0.3")])
        );
        assert_eq!(ask(&[&names], &Question::Address("db", Family::V4)), Answer::Forward);
    }

    #[test]
    fn who_leaves_is_forgotten_and_a_rename_leaves_nothing_behind() {
        let mut names = net();
        names.insert("e2", neighbour("db", &["db"], &["10.0.0.3"]));
        assert_eq!(ask(&[&names], &Question::Address("web2", Family::V4)), Answer::Forward);
        assert_eq!(
            ask(&[&names], &Question::Address("www", Family::V4)),
            Answer::Addresses(vec![ip("10.0.0.2")])
        );
        names.remove("e1");
        names.remove("e2");
        assert!(names.index.is_empty() && names.neighbours.is_empty());
    }

    #[test]
    fn a_network_that_is_asked_for_by_name_answers_alone() {
        let front = net();
        let mut back = Names::new("back");
        back.insert("e3", neighbour("web", &["web"], &["10.9.0.2"]));
        for (name, wanted) in [("web", "10.0.0.2"), ("web.back", "10.9.0.2"), ("web.front", "10.0.0.2")] {
            assert_eq!(
                ask(&[&front, &back], &Question::Address(name, Family::V4)),
                Answer::Addresses(vec![ip(wanted)]),
                "{name}"
            );
        }
    }
}
