//! Chains of somebody else's table, copied, so that what they decide is decided the same at another place of a packet's way. What
//! is told of them is taken over byte by byte; only names lead to the copies, a refusal becomes a drop, and what counts or logs is
//! left out. A rule that says something else that can't be copied is no rule.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use minke_sys::Errno;
use minke_sys::netlink::Refusal;
use netlink_bindings::nftables::Nfgenmsg;

use super::attribute::{self, EXPRESSION_DATA, EXPRESSION_NAME, LOOKUP_SET};
use super::{Family, Nft, encode};

const GET_RULE: u16 = encode::SUBSYSTEM << 8 | 7;
const GET_SET: u16 = encode::SUBSYSTEM << 8 | 10;
const GET_ELEMENT: u16 = encode::SUBSYSTEM << 8 | 13;

const TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const LOOKUP_ID: u16 = 4;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
/// Key, data, their lengths, policy, description, and for whom shows it: what a set is made of.
const SET_PARTS: [u16; 8] = [4, 5, 6, 7, 8, 9, 11, 13];
/// `NFT_SET_ANONYMOUS` and `NFT_SET_CONSTANT`: a copy has a name, and its elements come after it.
const SET_OF_A_RULE: u32 = 0b11;
const ELEMENTS: u16 = 3;
/// Key, value, flags and the last key of a range.
const ELEMENT_PARTS: [u16; 4] = [1, 2, 3, 10];
/// Expressions that are taken over as they are.
const SAME: [&str; 12] = [
    "meta",
    "payload",
    "cmp",
    "bitwise",
    "byteorder",
    "ct",
    "fib",
    "range",
    "exthdr",
    "socket",
    "limit",
    "hash",
];
/// Expressions that decide nothing.
const ASIDE: [&str; 5] = ["counter", "log", "notrack", "objref", "last"];

/// Chains of somebody else's, as they are to be here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// By name.
    pub chains: BTreeMap<String, Vec<CopiedRule>>,
    /// The sets that their rules ask.
    pub sets: Vec<CopiedSet>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRule {
    /// The chain that it leads to.
    pub leads: Option<String>,
    sets: BTreeSet<String>,
    /// Its expressions, as attributes.
    pub expressions: Vec<u8>,
}

/// A set with its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedSet {
    name: String,
    attributes: Vec<u8>,
    elements: Vec<u8>,
}

impl Copied {
    /// What lets nobody in, in place of a chain that can't be copied.
    pub fn closed(name: &str) -> Self {
        let mut expressions = Vec::new();
        put_expression(&mut expressions, "immediate", &verdict(&0u32.to_be_bytes(), None));
        let drop = CopiedRule { leads: None, sets: BTreeSet::new(), expressions };
        Self { chains: [(name.to_owned(), vec![drop])].into(), sets: Vec::new() }
    }
}

impl Nft {
    /// Copies a chain of somebody's table and those that it leads to, the first one as `prefix`, the others with it before their
    /// names. None where there is no such table, or no rule in the chain.
    ///
    /// # Errors
    /// The kernel's.
    pub fn copy(
        &self,
        family: Family,
        (table, entry): (&str, &str),
        prefix: &str,
    ) -> Result<Option<Copied>, Refusal> {
        let names = Names { entry, prefix };
        let all = RefCell::new(BTreeMap::<String, Vec<CopiedRule>>::new());
        let request = request(family, &[(TABLE, table)]);
        let told = self.0.dump(
            GET_RULE,
            &request,
            || all.borrow_mut().clear(),
            |message| {
                if let Some((chain, rule)) = rule(body(message.payload), table, &names) {
                    all.borrow_mut().entry(chain).or_default().extend(rule);
                }
            },
        );
        match told {
            Err(refusal) if refusal.errno == Errno::NOENT => return Ok(None),
            other => other?,
        }
        let Some(chains) = reachable(all.into_inner(), prefix) else { return Ok(None) };
        let asked: BTreeSet<String> = chains.values().flatten().flat_map(|rule| rule.sets.clone()).collect();
        let mut sets = Vec::new();
        for name in asked {
            sets.extend(self.copy_set(family, (table, &name), prefix)?);
        }
        Ok(Some(Copied { chains, sets }))
    }

    fn copy_set(
        &self,
        family: Family,
        (table, name): (&str, &str),
        prefix: &str,
    ) -> Result<Option<CopiedSet>, Refusal> {
        let found = RefCell::new(None);
        let in_table = request(family, &[(TABLE, table)]);
        self.0.dump(
            GET_SET,
            &in_table,
            || drop(found.take()),
            |message| {
                let body = body(message.payload);
                if text(body, TABLE) == table && text(body, SET_NAME) == name {
                    found.replace(Some(set(body)));
                }
            },
        )?;
        let Some(attributes) = found.into_inner() else { return Ok(None) };
        let elements = RefCell::new(Vec::new());
        let of_set = request(family, &[(TABLE, table), (SET_NAME, name)]);
        self.0.dump(
            GET_ELEMENT,
            &of_set,
            || elements.borrow_mut().clear(),
            |message| {
                elements.borrow_mut().extend(copy_elements(body(message.payload)));
            },
        )?;
        Ok(Some(CopiedSet { name: format!("{prefix}_{name}"), attributes, elements: elements.into_inner() }))
    }
}

impl CopiedSet {
    /// What makes the set, and what fills it, as attributes without those of the table.
    pub(super) fn messages(&self, id: u32) -> [Option<Vec<u8>>; 2] {
        let name = [self.name.as_bytes(), &[0]].concat();
        let mut set = Vec::new();
        attribute::put(&mut set, SET_NAME, &name);
        attribute::put(&mut set, 10, &id.to_be_bytes());
        set.extend(&self.attributes);
        let elements = (!self.elements.is_empty()).then(|| {
            let mut all = Vec::new();
            attribute::put(&mut all, SET_NAME, &name);
            attribute::put_nested(&mut all, ELEMENTS, |list| list.extend(&self.elements));
            all
        });
        [Some(set), elements]
    }
}

struct Names<'a> {
    entry: &'a str,
    prefix: &'a str,
}

impl Names<'_> {
    fn of(&self, chain: &str) -> String {
        if chain == self.entry { self.prefix.to_owned() } else { format!("{}_{chain}", self.prefix) }
    }
}

fn request(family: Family, attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = encode::header(family).as_slice().to_vec();
    for (kind, text) in attributes {
        attribute::put(&mut bytes, *kind, &[text.as_bytes(), &[0]].concat());
    }
    bytes
}

/// What is behind a message's header.
fn body(payload: &[u8]) -> &[u8] {
    payload.get(size_of::<Nfgenmsg>()..).unwrap_or_default()
}

fn get(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attribute::all(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn text(bytes: &[u8], kind: u16) -> String {
    let value = get(bytes, kind).unwrap_or_default();
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// The chains that the first one leads to, with it.
fn reachable(
    mut all: BTreeMap<String, Vec<CopiedRule>>,
    first: &str,
) -> Option<BTreeMap<String, Vec<CopiedRule>>> {
    if !all.contains_key(first) {
        return None;
    }
    let mut kept = BTreeMap::new();
    let mut open = vec![first.to_owned()];
    while let Some(name) = open.pop() {
        if kept.contains_key(&name) {
            continue;
        }
        // A chain without rules is none that is told of.
        let rules = all.remove(&name).unwrap_or_default();
        open.extend(rules.iter().filter_map(|rule| rule.leads.clone()));
        kept.insert(name, rules);
    }
    Some(kept)
}

/// A rule's chain, by its new name, and the rule, unless it can't be copied.
fn rule(body: &[u8], table: &str, names: &Names<'_>) -> Option<(String, Option<CopiedRule>)> {
    if text(body, TABLE) != table {
        return None;
    }
    let chain = names.of(&text(body, RULE_CHAIN));
    let list = get(body, RULE_EXPRESSIONS).unwrap_or_default();
    let mut copied = CopiedRule { leads: None, sets: BTreeSet::new(), expressions: Vec::new() };
    for (_, one) in attribute::all(list).filter(|(kind, _)| *kind == LIST_ELEMENT) {
        if expression(one, names, &mut copied).is_none() {
            return Some((chain, None));
        }
    }
    Some((chain, Some(copied)))
}

fn expression(one: &[u8], names: &Names<'_>, rule: &mut CopiedRule) -> Option<()> {
    let name = text(one, EXPRESSION_NAME);
    let data = get(one, EXPRESSION_DATA).unwrap_or_default();
    let mut put = |name: &str, data: &[u8]| put_expression(&mut rule.expressions, name, data);
    match name.as_str() {
        same if SAME.contains(&same) => put(same, data),
        aside if ASIDE.contains(&aside) => {}
        "reject" => put("immediate", &verdict(&0u32.to_be_bytes(), None)),
        "immediate" => {
            let Some(found) = get(get(data, IMMEDIATE_DATA)?, DATA_VERDICT) else {
                put("immediate", data);
                return Some(());
            };
            let to = get(found, VERDICT_CHAIN).map(|_| names.of(&text(found, VERDICT_CHAIN)));
            put("immediate", &verdict(get(found, VERDICT_CODE)?, to.as_deref()));
            rule.leads = to;
        }
        "lookup" => {
            let set = text(data, LOOKUP_SET);
            let mut copy = Vec::new();
            attribute::put(&mut copy, LOOKUP_SET, format!("{}_{set}\0", names.prefix).as_bytes());
            for (kind, value) in
                attribute::all(data).filter(|(kind, _)| ![LOOKUP_SET, LOOKUP_ID].contains(kind))
            {
                // What leads to verdicts would lead to chains of theirs.
                if kind == attribute::LOOKUP_VALUE {
                    return None;
                }
                attribute::put(&mut copy, kind, value);
            }
            put("lookup", &copy);
            rule.sets.insert(set);
        }
        _ => return None,
    }
    Some(())
}

fn put_expression(list: &mut Vec<u8>, name: &str, data: &[u8]) {
    attribute::put_nested(list, LIST_ELEMENT, |bytes| {
        attribute::put(bytes, EXPRESSION_NAME, &[name.as_bytes(), &[0]].concat());
        attribute::put_nested(bytes, EXPRESSION_DATA, |bytes| bytes.extend(data));
    });
}

fn verdict(code: &[u8], chain: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    attribute::put(&mut bytes, IMMEDIATE_REGISTER, &0u32.to_be_bytes());
    attribute::put_nested(&mut bytes, IMMEDIATE_DATA, |bytes| {
        attribute::put_nested(bytes, DATA_VERDICT, |bytes| {
            attribute::put(bytes, VERDICT_CODE, code);
            if let Some(chain) = chain {
                attribute::put(bytes, VERDICT_CHAIN, &[chain.as_bytes(), &[0]].concat());
            }
        });
    });
    bytes
}

fn set(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = get(body, SET_FLAGS).and_then(|value| value.try_into().ok()).map_or(0, u32::from_be_bytes);
    attribute::put(&mut bytes, SET_FLAGS, &(flags & !SET_OF_A_RULE).to_be_bytes());
    for (kind, value) in attribute::all_as_they_are(body) {
        if SET_PARTS.contains(&(kind & attribute::KIND)) {
            attribute::put(&mut bytes, kind, value);
        }
    }
    bytes
}

fn copy_elements(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (_, one) in attribute::all(get(body, ELEMENTS).unwrap_or_default()) {
        attribute::put_nested(&mut bytes, LIST_ELEMENT, |bytes| {
            for (kind, value) in attribute::all_as_they_are(one) {
                if ELEMENT_PARTS.contains(&(kind & attribute::KIND)) {
                    attribute::put(bytes, kind, value);
                }
            }
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'static> = Names { entry: "filter_INPUT", prefix: "fw" };

    fn told(chain: &str, expressions: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        attribute::put(&mut bytes, TABLE, b"firewalld\0");
        attribute::put(&mut bytes, RULE_CHAIN, format!("{chain}\0").as_bytes());
        attribute::put_nested(&mut bytes, RULE_EXPRESSIONS, |list| {
            expressions.iter().for_each(|(name, data)| put_expression(list, name, data));
        });
        bytes
    }

    fn copied(expressions: &[(&str, Vec<u8>)]) -> Option<CopiedRule> {
        rule(&told("filter_IN_public", expressions), "firewalld", &NAMES).unwrap().1
    }

    #[test]
    fn names_lead_to_the_copies() {
        let jump = verdict(&(-3i32).to_be_bytes(), Some("filter_IN_public"));
        let (chain, rule) = rule(&told("filter_INPUT", &[("immediate", jump)]), "firewalld", &NAMES).unwrap();
        assert_eq!(chain, "fw");
        let expected = verdict(&(-3i32).to_be_bytes(), Some("fw_filter_IN_public"));
        let mut list = Vec::new();
        put_expression(&mut list, "immediate", &expected);
        let rule = rule.unwrap();
        assert_eq!(rule.expressions, list);
        assert_eq!(rule.leads.as_deref(), Some("fw_filter_IN_public"));
        assert_eq!(super::rule(&told("filter_INPUT", &[]), "other", &NAMES), None);
    }

    #[test]
    fn a_refusal_becomes_a_drop_and_what_decides_nothing_is_left_out() {
        let rule = copied(&[("counter", vec![]), ("log", vec![]), ("reject", vec![])]).unwrap();
        let mut list = Vec::new();
        put_expression(&mut list, "immediate", &verdict(&[0; 4], None));
        assert_eq!(rule.expressions, list);
        assert_eq!(copied(&[("match", vec![]), ("immediate", verdict(&1u32.to_be_bytes(), None))]), None);
    }

    #[test]
    fn sets_are_asked_by_their_copies_names() {
        let mut lookup = Vec::new();
        attribute::put(&mut lookup, LOOKUP_SET, b"__set3\0");
        attribute::put(&mut lookup, 2, &8u32.to_be_bytes());
        let rule = copied(&[("lookup", lookup.clone())]).unwrap();
        assert_eq!(rule.sets.iter().map(String::as_str).collect::<Vec<_>>(), ["__set3"]);
        attribute::put(&mut lookup, attribute::LOOKUP_VALUE, &[0; 4]);
        assert_eq!(copied(&[("lookup", lookup)]), None);
    }

    #[test]
    fn only_what_is_led_to_is_kept() {
        let rule = |leads: Option<&str>| CopiedRule {
            leads: leads.map(str::to_owned),
            sets: BTreeSet::new(),
            expressions: Vec::new(),
        };
        let all = [
            ("fw".to_owned(), vec![rule(Some("fw_a")), rule(None)]),
            ("fw_a".to_owned(), vec![rule(Some("fw_empty"))]),
            ("fw_b".to_owned(), vec![rule(None)]),
        ];
        let kept = reachable(all.into(), "fw").unwrap();
        assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["fw", "fw_a", "fw_empty"]);
        assert_eq!(reachable(BTreeMap::new(), "fw"), None);
    }
}
