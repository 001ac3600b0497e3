//! Tables and elements as messages. Pure.

use minke_sys::netlink::{APPEND, Batch, CREATE};
use netlink_bindings::nftables::{
    Nfgenmsg, OpBatchBeginDo, OpBatchEndDo, OpDelsetelemDo, OpDeltableDo, OpNewchainDo, OpNewruleDo,
    OpNewsetDo, OpNewsetelemDo, OpNewtableDo, PushExprAttrs, PushExprListAttrs, PushSetelemListElemAttrs,
};
use netlink_bindings::traits::Pusher;

use super::attribute::{
    self, ELEMENT_TO, EXPRESSION_DATA, LOOKUP_FLAGS, LOOKUP_KEY, LOOKUP_SET, LOOKUP_VALUE, VALUE,
};
use super::expression::VERDICT;
use super::{
    Chain, Copied, Data, Element, Expression, Family, Leads, Place, Rate, Set, Table, Type, Verdict,
};

pub(super) const SUBSYSTEM: u16 = 10;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;

const SET_RANGES: u32 = 1 << 2;
const SET_MAP: u32 = 1 << 3;
const SET_GOES: u32 = 1 << 4;
const SET_BY_PACKETS: u32 = 1 << 5;
const SET_PARTS: u32 = 1 << 7;
/// How many sources are counted at the same time.
const COUNTED: u32 = 65_535;
/// `NFTA_*_TABLE`, `NFTA_CHAIN_NAME`, `NFTA_RULE_CHAIN`, `NFTA_RULE_EXPRESSIONS`.
const OF_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const DATA_VERDICT: u32 = 0xffff_ff00;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
const JUMP: u32 = -3i32 as u32;
const GOTO: u32 = -4i32 as u32;
const RETURN: u32 = -5i32 as u32;
const FIB_DESTINATION: u32 = 1 << 1;
const FIB_ADDRESS_KIND: u32 = 3;
/// An attribute holds 64 KiB; an element of ours at most 120 bytes.
const ELEMENTS_AT_ONCE: usize = 400;

pub(super) fn header(family: Family) -> Nfgenmsg {
    Nfgenmsg { nfgen_family: family.number(), ..Nfgenmsg::default() }
}

fn subsystem() -> Nfgenmsg {
    let mut header = Nfgenmsg::default();
    header.set_res_id(SUBSYSTEM);
    header
}

/// Opens a batch, all of which is done or nothing.
pub(super) fn begin(batch: &mut Batch) {
    batch.push(BEGIN, 0, |bytes| drop(OpBatchBeginDo::encode_request(bytes, &subsystem())));
}

/// Ends it.
pub(super) fn end(batch: &mut Batch) {
    batch.push(END, 0, |bytes| drop(OpBatchEndDo::encode_request(bytes, &subsystem())));
}

/// Makes a table with all that is in it. `comment` is kept with it.
pub(super) fn new_table(batch: &mut Batch, table: &Table, comment: &str) {
    let header = header(table.family);
    batch.push(NEW_TABLE, CREATE, |bytes| {
        OpNewtableDo::encode_request(bytes, &header)
            .push_name_bytes(table.name.as_bytes())
            .push_userdata(&super::read::comment(comment));
    });
    for (id, set) in table.sets.iter().enumerate() {
        new_set(batch, table, set, id as u32 + 1);
    }
    for chain in &table.chains {
        new_chain(batch, table, chain);
    }
    if let Some(copied) = &table.copied {
        new_copies(batch, table, copied);
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            batch.push(NEW_RULE, CREATE | APPEND, |bytes| {
                let rules = OpNewruleDo::encode_request(bytes, &header)
                    .push_table_bytes(table.name.as_bytes())
                    .push_chain_bytes(chain.name.as_bytes());
                let mut list = rules.nested_expressions();
                for expression in rule {
                    list = encode(list, expression);
                }
            });
        }
    }
}

/// Makes what is copied from somebody else.
fn new_copies(batch: &mut Batch, table: &Table, copied: &Copied) {
    let header = header(table.family);
    let name = [table.name.as_bytes(), &[0]].concat();
    let mut push = |kind, flags, attributes: &[u8]| {
        batch.push(kind, flags, |bytes| {
            bytes.extend(header.as_slice());
            attribute::put(bytes, OF_TABLE, &name);
            bytes.extend(attributes);
        });
    };
    for (id, set) in copied.sets.iter().enumerate() {
        let [made, filled] = set.messages((table.sets.len() + id) as u32 + 1);
        made.iter().for_each(|set| push(NEW_SET, CREATE, set));
        filled.iter().for_each(|elements| push(NEW_ELEMENT, CREATE, elements));
    }
    let chain_name = |kind, chain: &str| {
        let mut bytes = Vec::new();
        attribute::put(&mut bytes, kind, &[chain.as_bytes(), &[0]].concat());
        bytes
    };
    for chain in copied.chains.keys() {
        push(NEW_CHAIN, CREATE, &chain_name(CHAIN_NAME, chain));
    }
    for (chain, rules) in &copied.chains {
        for rule in rules {
            let mut bytes = chain_name(RULE_CHAIN, chain);
            attribute::put_nested(&mut bytes, RULE_EXPRESSIONS, |list| list.extend(&rule.expressions));
            push(NEW_RULE, CREATE | APPEND, &bytes);
        }
    }
}

/// Adds a rule at the beginning of a chain of somebody else.
pub(super) fn insert_rule(batch: &mut Batch, family: Family, table: &str, chain: &str, rule: &[Expression]) {
    batch.push(NEW_RULE, CREATE, |bytes| {
        let rules = OpNewruleDo::encode_request(bytes, &header(family))
            .push_table_bytes(table.as_bytes())
            .push_chain_bytes(chain.as_bytes());
        let mut list = rules.nested_expressions();
        for expression in rule {
            list = encode(list, expression);
        }
    });
}

/// Removes a table with all that is in it.
pub(super) fn delete_table(batch: &mut Batch, family: Family, name: &str) {
    batch.push(DELETE_TABLE, 0, |bytes| {
        OpDeltableDo::encode_request(bytes, &header(family)).push_name_bytes(name.as_bytes());
    });
}

fn new_set(batch: &mut Batch, table: &Table, set: &Set, id: u32) {
    let padded =
        |types: &[Type]| types.iter().map(|part| part.size().next_multiple_of(4)).sum::<usize>() as u32;
    let length = |types: &[Type]| if let [one] = types { one.size() as u32 } else { padded(types) };
    let numbers = |types: &[Type]| types.iter().fold(0, |all, part| all << 6 | part.number());
    let mut flags = 0;
    if set.ranges {
        flags |= SET_RANGES;
    }
    if set.leads != Leads::Nowhere {
        flags |= SET_MAP;
    }
    if set.key.len() > 1 {
        flags |= SET_PARTS;
    }
    if set.counted_s.is_some() {
        flags |= SET_GOES | SET_BY_PACKETS;
    }
    batch.push(NEW_SET, CREATE, |bytes| {
        let mut attributes = OpNewsetDo::encode_request(bytes, &header(table.family))
            .push_table_bytes(table.name.as_bytes())
            .push_name_bytes(set.name.as_bytes())
            .push_flags(flags)
            .push_key_type(numbers(set.key))
            .push_key_len(length(set.key))
            .push_id(id);
        attributes = match set.leads {
            Leads::Nowhere => attributes,
            Leads::To(types) => attributes.push_data_type(numbers(types)).push_data_len(length(types)),
            Leads::ToVerdict => attributes.push_data_type(DATA_VERDICT).push_data_len(16),
        };
        if let Some(seconds) = set.counted_s {
            // The library writes this number as the host does, and the kernel reads it as a network does.
            let timeout_ms = (seconds * 1000).to_be();
            attributes = attributes.push_timeout(timeout_ms).nested_desc().push_size(COUNTED).end_nested();
        }
        if set.key == [Type::Interface] {
            // For the `nft` tool, which would show names the wrong way round: the key's bytes are in the host's order.
            attributes = attributes.push_userdata(&[0, 4, 1, 0, 0, 0]);
        }
        if set.key.len() > 1 {
            let mut parts = attributes.nested_desc().nested_concat();
            for part in set.key {
                parts = parts.nested_elem().push_len(part.size() as u32).end_nested();
            }
        }
    });
}

fn new_chain(batch: &mut Batch, table: &Table, chain: &Chain) {
    batch.push(NEW_CHAIN, CREATE, |bytes| {
        let attributes = OpNewchainDo::encode_request(bytes, &header(table.family))
            .push_table_bytes(table.name.as_bytes())
            .push_name_bytes(chain.name.as_bytes());
        if let Some(hook) = chain.hook {
            let place = match hook.place {
                Place::Prerouting => 0,
                Place::Input => 1,
                Place::Forward => 2,
                Place::Output => 3,
                Place::Postrouting => 4,
            };
            attributes
                .nested_hook()
                .push_num(place)
                .push_priority(hook.priority)
                .end_nested()
                .push_type_bytes(hook.kind.as_bytes())
                .push_policy(ACCEPT);
        }
    });
}

/// Adds elements to a set, or takes them away.
pub(super) fn elements<'a>(
    batch: &mut Batch,
    (family, table, set): (Family, &str, &str),
    elements: impl Iterator<Item = &'a Element>,
    add: bool,
) {
    let all: Vec<&Element> = elements.collect();
    for some in all.chunks(ELEMENTS_AT_ONCE) {
        let header = header(family);
        if add {
            batch.push(NEW_ELEMENT, CREATE, |bytes| {
                let list = OpNewsetelemDo::encode_request(bytes, &header)
                    .push_table_bytes(table.as_bytes())
                    .push_set_bytes(set.as_bytes());
                some.iter().fold(list.nested_elements(), |list, one| encode_element(list, one, true));
            });
        } else {
            batch.push(DELETE_ELEMENT, 0, |bytes| {
                let list = OpDelsetelemDo::encode_request(bytes, &header)
                    .push_table_bytes(table.as_bytes())
                    .push_set_bytes(set.as_bytes());
                some.iter().fold(list.nested_elements(), |list, one| encode_element(list, one, false));
            });
        }
    }
}

fn encode_element<P: Pusher>(
    list: PushSetelemListElemAttrs<P>,
    element: &Element,
    add: bool,
) -> PushSetelemListElemAttrs<P> {
    let mut one = list.nested_elem();
    if !element.begins {
        one = one.push_flags(&1u32.to_be_bytes());
    }
    one = one.nested_key().push_value(&element.key).end_nested();
    if let Some(to) = &element.to {
        attribute::put_nested(one.as_vec_mut(), ELEMENT_TO, |bytes| attribute::put(bytes, VALUE, to));
    }
    one = match &element.data {
        _ if !add => one,
        Data::Value(value) => one.nested_data().push_value(value).end_nested(),
        Data::Jump(chain) => one
            .nested_data()
            .nested_verdict()
            .push_code(JUMP)
            .push_chain_bytes(chain.as_bytes())
            .end_nested()
            .end_nested(),
        Data::None | Data::Other => one,
    };
    one.end_nested()
}

fn encode<P: Pusher>(list: PushExprListAttrs<P>, expression: &Expression) -> PushExprListAttrs<P> {
    let one = list.nested_elem();
    match expression {
        Expression::Meta { key, register } => {
            one.nested_data_meta().push_key(*key).push_dreg(*register).end_nested().end_nested()
        }
        Expression::SetMeta { key, register } => {
            one.nested_data_meta().push_key(*key).push_sreg(*register).end_nested().end_nested()
        }
        Expression::Connection { key, register, original } => {
            let mut ct = one.nested_data_ct().push_key(*key).push_dreg(*register);
            if *original {
                ct = ct.push_direction(0);
            }
            ct.end_nested().end_nested()
        }
        Expression::Payload { base, offset, length, register } => one
            .nested_data_payload()
            .push_dreg(*register)
            .push_base(*base)
            .push_offset(*offset)
            .push_len(*length)
            .end_nested()
            .end_nested(),
        Expression::DestinationKind { register } => one
            .nested_data_fib()
            .push_dreg(*register)
            .push_result(FIB_ADDRESS_KIND)
            .push_flags(FIB_DESTINATION)
            .end_nested()
            .end_nested(),
        Expression::Compare { register, value, equal } => one
            .nested_data_cmp()
            .push_sreg(*register)
            .push_op(u32::from(!*equal))
            .nested_data()
            .push_value(value)
            .end_nested()
            .end_nested()
            .end_nested(),
        Expression::Range { register, first, last } => one
            .nested_data_range()
            .push_sreg(*register)
            .push_op(0)
            .nested_from_data()
            .push_value(first)
            .end_nested()
            .nested_to_data()
            .push_value(last)
            .end_nested()
            .end_nested()
            .end_nested(),
        Expression::Bits { register, mask, xor } => one
            .nested_data_bitwise()
            .push_sreg(*register)
            .push_dreg(*register)
            .push_len(mask.len() as u32)
            .nested_mask()
            .push_value(mask)
            .end_nested()
            .nested_xor()
            .push_value(xor)
            .end_nested()
            .end_nested()
            .end_nested(),
        Expression::Lookup { set, register, not } => {
            let flags = if *not { Some(1) } else { None };
            encode_lookup(one, set, *register, None, flags)
        }
        Expression::Map { map, register, into } => encode_lookup(one, map, *register, Some(*into), None),
        Expression::Immediate { register, value } => one
            .nested_data_immediate()
            .push_dreg(*register)
            .nested_data()
            .push_value(value)
            .end_nested()
            .end_nested()
            .end_nested(),
        Expression::Nat { source, family, address, port } => {
            let mut nat =
                one.nested_data_nat().push_type(u32::from(!*source)).push_family(u32::from(*family));
            if let Some(register) = address {
                nat = nat.push_reg_addr_min(*register);
            }
            if let Some(register) = port {
                nat = nat.push_reg_proto_min(*register);
            }
            nat.end_nested().end_nested()
        }
        Expression::Reject { kind, code } => {
            one.nested_data_reject().push_type(*kind).push_icmp_code(*code).end_nested().end_nested()
        }
        Expression::Masquerade => one.push_name(c"masq").end_nested(),
        Expression::TooMany { set, register, rate } => encode_too_many(one, set, *register, *rate),
        Expression::Counter => one.nested_data_counter().end_nested().end_nested(),
        Expression::Verdict(verdict) => {
            let (code, chain) = match verdict {
                Verdict::Accept => (ACCEPT, None),
                Verdict::Drop => (DROP, None),
                Verdict::Return => (RETURN, None),
                Verdict::Jump(chain) => (JUMP, Some(chain)),
                Verdict::Goto(chain) => (GOTO, Some(chain)),
            };
            let mut data =
                one.nested_data_immediate().push_dreg(VERDICT).nested_data().nested_verdict().push_code(code);
            if let Some(chain) = chain {
                data = data.push_chain_bytes(chain.as_bytes());
            }
            data.end_nested().end_nested().end_nested().end_nested()
        }
    }
}

fn encode_too_many<P: Pusher>(one: PushExprAttrs<P>, set: &str, register: u32, rate: Rate) -> P {
    use attribute as a;
    let mut one = one.push_name(c"dynset");
    let limit = |bytes: &mut Vec<u8>| {
        a::put(bytes, a::LIMIT_RATE, &u64::from(rate.a_minute).to_be_bytes());
        a::put(bytes, a::LIMIT_UNIT, &60u64.to_be_bytes());
        a::put(bytes, a::LIMIT_BURST, &rate.at_once.to_be_bytes());
        a::put(bytes, a::LIMIT_FLAGS, &a::LIMIT_OVER.to_be_bytes());
    };
    attribute::put_nested(one.as_vec_mut(), EXPRESSION_DATA, |bytes| {
        a::put(bytes, a::DYNAMIC_SET, &[set.as_bytes(), &[0]].concat());
        a::put(bytes, a::DYNAMIC_OPERATION, &a::DYNAMIC_UPDATE.to_be_bytes());
        a::put(bytes, a::DYNAMIC_KEY, &register.to_be_bytes());
        a::put_nested(bytes, a::DYNAMIC_EXPRESSION, |bytes| {
            a::put(bytes, a::EXPRESSION_NAME, b"limit\0");
            a::put_nested(bytes, EXPRESSION_DATA, limit);
        });
    });
    one.end_nested()
}

fn encode_lookup<P: Pusher>(
    one: PushExprAttrs<P>,
    set: &str,
    key: u32,
    value: Option<u32>,
    flags: Option<u32>,
) -> P {
    let mut one = one.push_name(c"lookup");
    attribute::put_nested(one.as_vec_mut(), EXPRESSION_DATA, |bytes| {
        attribute::put(bytes, LOOKUP_SET, &[set.as_bytes(), &[0]].concat());
        attribute::put(bytes, LOOKUP_KEY, &key.to_be_bytes());
        if let Some(register) = value {
            attribute::put(bytes, LOOKUP_VALUE, &register.to_be_bytes());
        }
        if let Some(flags) = flags {
            attribute::put(bytes, LOOKUP_FLAGS, &flags.to_be_bytes());
        }
    });
    one.end_nested()
}
