//! What the kernel tells of tables, read. Pure.

use netlink_bindings::nftables::{
    IterableDataAttrs, IterableSetelemAttrs, OpGetchainDump, OpGetsetelemDump, OpGettableDo,
    SetelemListElemAttrs,
};

use super::attribute::{self, ELEMENT_TO, VALUE};
use super::{Chain, Data, Element, Table, Verdict};
use crate::nft::Expression;

/// A comment as the `nft` tool shows it: number, length, text.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// What a table's comment says.
pub(super) fn table_comment(payload: &[u8]) -> Option<String> {
    let bytes = OpGettableDo::decode_request(payload).1.get_userdata().ok()?;
    let (head, text) = bytes.split_at_checked(2)?;
    let text = text.get(..usize::from(head[1]))?;
    (head[0] == 0).then(|| String::from_utf8_lossy(text).trim_end_matches('\0').to_string())
}

/// A table's name.
pub(super) fn table_name(payload: &[u8]) -> Option<String> {
    Some(OpGettableDo::decode_request(payload).1.get_name().ok()?.to_string_lossy().into_owned())
}

/// A chain's table and name, and how many rules it has and is jumped to by.
pub(super) fn chain(payload: &[u8]) -> Option<(String, String, u32)> {
    let chain = OpGetchainDump::decode_request(payload).1;
    let table = chain.get_table().ok()?.to_string_lossy().into_owned();
    let name = chain.get_name().ok()?.to_string_lossy().into_owned();
    Some((table, name, chain.get_use().unwrap_or(0)))
}

/// How often the kernel counts each chain of a table: once for each of its rules, and for each that leads to it.
pub(super) fn uses(table: &Table) -> Vec<(String, u32)> {
    let leads_to = |name: &str, other: &Chain| {
        let leads = |one: &&Expression| match one {
            Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => *to == name,
            _ => false,
        };
        other.rules.iter().flatten().filter(leads).count()
    };
    let count = |chain: &Chain| {
        let jumps: usize = table.chains.iter().map(|other| leads_to(chain.name, other)).sum();
        (chain.rules.len() + jumps) as u32
    };
    let mut all: Vec<_> = table.chains.iter().map(|chain| (chain.name.to_string(), count(chain))).collect();
    let copied = table.copied.as_ref().map(|copied| &copied.chains).into_iter().flatten();
    for (name, rules) in copied {
        let lead = |rules: &[super::copy::CopiedRule]| {
            rules.iter().filter(|rule| rule.leads.as_ref() == Some(name)).count()
        };
        let others = table.copied.iter().flat_map(|copied| copied.chains.values());
        let jumps: usize = others.map(|rules| lead(rules)).sum();
        let ours: usize = table.chains.iter().map(|other| leads_to(name, other)).sum();
        all.push((name.clone(), (rules.len() + jumps + ours) as u32));
    }
    all
}

/// The elements of one message; `chains` are the names that verdicts of ours lead to.
pub(super) fn elements(payload: &[u8], chains: &[&'static str]) -> Vec<Element> {
    let Ok(list) = OpGetsetelemDump::decode_request(payload).1.get_elements() else { return Vec::new() };
    let mut all = Vec::new();
    for one in list {
        let Ok(SetelemListElemAttrs::Elem(one)) = one else { continue };
        all.extend(element(&one, chains));
    }
    all
}

fn element(one: &IterableSetelemAttrs<'_>, chains: &[&'static str]) -> Option<Element> {
    let value = |data: IterableDataAttrs<'_>| data.get_value().ok().map(<[u8]>::to_vec);
    let data = match one.get_data() {
        Err(_) => Data::None,
        Ok(data) => match (data.get_value(), data.get_verdict()) {
            (Ok(value), _) => Data::Value(value.to_vec()),
            (_, Ok(verdict)) => {
                let name = verdict.get_chain().map(|name| name.to_string_lossy().into_owned()).ok();
                let known = chains.iter().find(|chain| Some(**chain) == name.as_deref());
                known.map_or(Data::Other, |chain| Data::Jump(chain))
            }
            _ => Data::Other,
        },
    };
    Some(Element {
        key: one.get_key().ok().and_then(value)?,
        to: attribute::all(one.get_buf()).find(|(kind, _)| *kind == ELEMENT_TO).and_then(|(_, data)| {
            let (_, value) = attribute::all(data).find(|(kind, _)| *kind == VALUE)?;
            Some(value.to_vec())
        }),
        begins: !one.get_flags().is_ok_and(|flags| flags.last().is_some_and(|bits| bits & 1 != 0)),
        data,
    })
}
