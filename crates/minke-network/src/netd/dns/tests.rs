use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::query::{Asked, Heard, Verdict, Way, decide, renumbered};
use crate::names::{Asker, Names, Neighbour};

fn names(count: u8) -> Names {
    let mut names = Names::new("front");
    for number in 1..=count {
        let name = format!("c{number}");
        let addresses = vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))];
        names.insert(
            &name,
            Neighbour { name: name.clone(), names: vec![name.clone(), "all".into()], addresses },
        );
    }
    names
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn verdict(message: &Message, way: Way, may_forward: bool) -> Verdict {
    of_bytes(&message.to_vec().unwrap(), way, may_forward)
}

fn of_bytes(bytes: &[u8], way: Way, may_forward: bool) -> Verdict {
    let (names, links) = (names(200), BTreeMap::new());
    decide(bytes, way, &Asker { networks: &[&names], links: &links, ndots_set: false, may_forward }, 0)
}

fn reply(verdict: Verdict) -> Message {
    match verdict {
        Verdict::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn forwarded(message: &Message) -> Box<Asked> {
    match verdict(message, Way::Datagram, true) {
        Verdict::Forward(asked) => asked,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_own_name_is_answered_with_the_question_in_its_case() {
    let message = reply(verdict(&question("C7.Front.", RecordType::A), Way::Datagram, true));
    assert_eq!(message.metadata.id, 77);
    assert!(message.metadata.recursion_available && message.metadata.recursion_desired);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!(message.queries[0].name().to_ascii(), "C7.Front.");
    assert_eq!((message.answers.len(), message.answers[0].ttl), (1, 600));
    assert_eq!(message.answers[0].data, RData::A(A(Ipv4Addr::new(10, 0, 0, 7))));
    assert!(message.edns.is_none());
}

#[test]
fn a_name_without_ipv6_is_there_and_empty() {
    let message = reply(verdict(&question("c7.", RecordType::AAAA), Way::Datagram, true));
    assert_eq!((message.metadata.response_code, message.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn an_address_is_answered_with_its_name() {
    let message = reply(verdict(&question("7.0.0.10.in-addr.arpa.", RecordType::PTR), Way::Datagram, true));
    let RData::PTR(name) = &message.answers[0].data else { panic!() };
    assert_eq!(name.to_ascii(), "c7.front.");
    forwarded(&question("0.0.10.in-addr.arpa.", RecordType::PTR));
    forwarded(&question("9.9.9.9.in-addr.arpa.", RecordType::PTR));
}

#[test]
fn what_has_no_room_is_cut_and_said_to_be() {
    let mut message = question("all.", RecordType::A);
    let short = reply(verdict(&message, Way::Datagram, true));
    assert!(short.metadata.truncation && short.to_vec().unwrap().len() <= 512, "{}", short.answers.len());
    assert!(short.answers.len() > 20);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    let longer = reply(verdict(&message, Way::Datagram, true));
    assert!(longer.answers.len() > short.answers.len() && longer.edns.is_some());
    let whole = reply(verdict(&message, Way::Connection, true));
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
}

#[test]
fn what_nobody_is_called_is_a_failure_where_nobody_else_may_be_asked() {
    let message = reply(verdict(&question("example.com.", RecordType::A), Way::Datagram, false));
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    forwarded(&question("example.com.", RecordType::A));
}

#[test]
fn what_is_no_plain_question_is_refused_or_ignored() {
    let mut message = question("c7.", RecordType::A);
    message.metadata.op_code = OpCode::Status;
    let code = |message: &Message| reply(verdict(message, Way::Datagram, true)).metadata.response_code;
    assert_eq!(code(&message), ResponseCode::NotImp);
    let mut message = question("c7.", RecordType::A);
    message.add_query(Query::query(Name::from_ascii("c8.").unwrap(), RecordType::A));
    assert_eq!(code(&message), ResponseCode::FormErr);
    assert_eq!(code(&Message::new(1, MessageType::Query, OpCode::Query)), ResponseCode::FormErr);
    let mut message = question("c7.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(3);
    message.set_edns(edns);
    assert_eq!(u16::from(code(&message)), 16, "BADVERS");
    let mut message = question("c7.", RecordType::A);
    message.metadata.message_type = MessageType::Response;
    assert!(matches!(verdict(&message, Way::Datagram, true), Verdict::Ignore));
    assert!(matches!(of_bytes(b"short", Way::Datagram, true), Verdict::Ignore));
}

/// An answer to `message` under another number.
fn answer_to(message: &Message, id: u16) -> Message {
    let mut answer = Message::response(id, OpCode::Query);
    answer.add_queries(message.queries.clone());
    let name = message.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::LOCALHOST))));
    answer
}

#[test]
fn only_an_answer_to_the_question_under_its_number_is_heard() {
    let message = question("example.com.", RecordType::A);
    let asked = forwarded(&message);
    let heard = |answer: &Message, id| asked.hear(&answer.to_vec().unwrap(), id);
    assert_eq!(heard(&answer_to(&message, 5), 5), Heard::Answer);
    assert_eq!(heard(&answer_to(&question("EXAMPLE.com.", RecordType::A), 5), 5), Heard::Answer);
    assert_eq!(heard(&answer_to(&message, 6), 5), Heard::Stranger, "another number");
    assert_eq!(heard(&answer_to(&question("example.org.", RecordType::A), 5), 5), Heard::Stranger);
    assert_eq!(heard(&answer_to(&question("example.com.", RecordType::AAAA), 5), 5), Heard::Stranger);
    let mut query = answer_to(&message, 5);
    query.metadata.message_type = MessageType::Query;
    assert_eq!(heard(&query, 5), Heard::Stranger);
    assert_eq!(heard(&Message::response(5, OpCode::Query), 5), Heard::Stranger, "no question in it");
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let mut failure = answer_to(&message, 5);
        failure.metadata.response_code = code;
        assert_eq!(heard(&failure, 5), Heard::Failure);
    }
    assert_eq!(heard(&Message::error_msg(5, OpCode::Query, ResponseCode::FormErr), 5), Heard::Failure);
    let mut nowhere = answer_to(&message, 5);
    nowhere.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(heard(&nowhere, 5), Heard::Answer, "that there is no such name is an answer");
}

#[test]
fn an_answer_is_passed_on_under_the_number_of_who_asked() {
    let message = question("example.com.", RecordType::A);
    let asked = forwarded(&message);
    let passed = asked.pass_on(answer_to(&message, 5).to_vec().unwrap(), false);
    assert_eq!(Message::from_vec(&passed).unwrap(), answer_to(&message, 77));
    let cut = Message::from_vec(&asked.pass_on(answer_to(&message, 5).to_vec().unwrap(), true)).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.metadata.id == 77);
    assert_eq!(renumbered(&message.to_vec().unwrap(), 0x0102)[..2], [1, 2]);
}

proptest! {
    #[test]
    fn any_bytes_are_answered_by_a_message_or_not_at_all(bytes: Vec<u8>, by_datagram: bool, may_forward: bool) {
        let way = if by_datagram { Way::Datagram } else { Way::Connection };
        if let Verdict::Reply(answer) = of_bytes(&bytes, way, may_forward) {
            let answer = Message::from_vec(&answer).unwrap();
            prop_assert_eq!(answer.metadata.message_type, MessageType::Response);
        }
    }

    #[test]
    fn a_question_with_bytes_changed_is_answered_by_a_message_or_not_at_all(
        changes in prop::collection::vec((0usize..64, any::<u8>()), 0..8),
        tail: Vec<u8>,
        may_forward: bool,
    ) {
        let mut bytes = question("all.front.", RecordType::A).to_vec().unwrap();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        bytes.extend(tail);
        match of_bytes(&bytes, Way::Datagram, may_forward) {
            Verdict::Reply(answer) => {
                prop_assert!(answer.len() <= 4096);
                let answer = Message::from_vec(&answer).unwrap();
                prop_assert_eq!(&answer.metadata.id.to_be_bytes()[..], &bytes[..2]);
            }
            Verdict::Forward(asked) => prop_assert!(!asked.nobody().is_empty()),
            Verdict::Ignore => {}
        }
    }

    #[test]
    fn no_bytes_from_outside_are_taken_for_an_answer_by_chance(bytes: Vec<u8>, id: u16) {
        let message = question("example.com.", RecordType::A);
        let asked = forwarded(&message);
        if asked.hear(&bytes, id) != Heard::Stranger {
            prop_assert_eq!(&bytes[..2], &id.to_be_bytes()[..]);
            prop_assert!(bytes[2] & 0x80 != 0);
        }
        prop_assert!(asked.pass_on(bytes, false).len() >= 12);
    }

    #[test]
    fn an_answer_with_bytes_changed_never_answers_another_question(
        changes in prop::collection::vec((0usize..64, any::<u8>()), 1..8),
    ) {
        let message = question("example.com.", RecordType::A);
        let asked = forwarded(&message);
        let mut bytes = answer_to(&message, 5).to_vec().unwrap();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        if asked.hear(&bytes, 5) == Heard::Answer {
            let question = &bytes[12..29];
            prop_assert_eq!(question.to_ascii_lowercase(), message.to_vec().unwrap()[12..29].to_ascii_lowercase());
        }
    }
}
