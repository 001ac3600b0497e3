//! One question and its answer as messages (RFC 1035, EDNS by RFC 6891). Pure. The messages are those of a library; whatever the
//! bytes are, the worst that comes of them is an error's answer or none.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use crate::ipam::Family;
use crate::names::{self, Answer, Asker, Question, TTL_S};

/// What an answer may be at most where the question doesn't say, by datagram.
const SMALLEST: u16 = 512;
/// What this side takes by datagram.
const OURS: u16 = 4096;
/// The bytes of a header.
const HEADER: usize = 12;

/// How a question came, and so its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By datagram.
    Datagram,
    /// By connection.
    Connection,
}

/// What is done about a packet.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// This is the answer.
    Reply(Vec<u8>),
    /// Somebody outside is asked.
    Forward(Box<Asked>),
    /// It is no question: nothing.
    Ignore,
}

/// A question that is on its way outside.
#[derive(Clone, Debug)]
pub struct Asked {
    message: Message,
    way: Way,
}

/// What comes back from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer.
    Answer,
    /// This resolver can't or won't: the next one is asked.
    Failure,
    /// Not an answer to this question: as if nothing had come.
    Stranger,
}

/// Decides what is done about a packet of somebody who sees `asker`'s names.
pub fn decide(packet: &[u8], way: Way, asker: &Asker<'_>, turn: usize) -> Verdict {
    let message = match Message::from_vec(packet) {
        Ok(message) => message,
        Err(_) => return unreadable(packet),
    };
    if message.metadata.message_type != MessageType::Query {
        return Verdict::Ignore;
    }
    let asked = Asked { message, way };
    if asked.message.metadata.op_code != OpCode::Query {
        return Verdict::Reply(asked.error(ResponseCode::NotImp));
    }
    let [query] = &asked.message.queries[..] else {
        return Verdict::Reply(asked.error(ResponseCode::FormErr));
    };
    if asked.message.version() > 0 {
        return Verdict::Reply(asked.error(ResponseCode::BADVERS));
    }
    if query.query_class() != DNSClass::IN {
        return if asker.may_forward {
            Verdict::Forward(Box::new(asked))
        } else {
            Verdict::Reply(asked.error(ResponseCode::ServFail))
        };
    }
    let name = query.name().to_ascii();
    let question = match query.query_type() {
        RecordType::A => Question::Address(&name, Family::V4),
        RecordType::AAAA => Question::Address(&name, Family::V6),
        RecordType::PTR => match address_of(query.name()) {
            Some(address) => Question::Pointer(address),
            None => Question::Other(&name),
        },
        _ => Question::Other(&name),
    };
    match names::answer(asker, &question, turn) {
        Answer::Addresses(addresses) => Verdict::Reply(asked.reply(addresses.into_iter().map(record_of))),
        Answer::Name(name) => match Name::from_ascii(&name) {
            Ok(mut name) => {
                name.set_fqdn(true);
                Verdict::Reply(asked.reply([RData::PTR(PTR(name))].into_iter()))
            }
            Err(_) => Verdict::Reply(asked.error(ResponseCode::ServFail)),
        },
        Answer::Unknown => Verdict::Reply(asked.error(ResponseCode::ServFail)),
        Answer::Forward => Verdict::Forward(Box::new(asked)),
    }
}

/// A question whose header can be read gets an answer; anything else doesn't.
fn unreadable(packet: &[u8]) -> Verdict {
    let Ok(header) = Header::read(&mut BinDecoder::new(packet.get(..HEADER).unwrap_or_default())) else {
        return Verdict::Ignore;
    };
    if header.metadata.message_type != MessageType::Query {
        return Verdict::Ignore;
    }
    let error =
        Message::error_msg(header.metadata.id, header.metadata.op_code, ResponseCode::FormErr).to_vec();
    error.map_or(Verdict::Ignore, Verdict::Reply)
}

/// The whole address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn address_of(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

fn record_of(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

impl Asked {
    /// Its number.
    pub fn id(&self) -> u16 {
        self.message.metadata.id
    }

    /// How it came.
    pub fn way(&self) -> Way {
        self.way
    }

    /// How many bytes an answer may have.
    pub fn room(&self) -> usize {
        match self.way {
            Way::Datagram => usize::from(self.message.max_payload().clamp(SMALLEST, OURS)),
            Way::Connection => usize::from(u16::MAX),
        }
    }

    /// An answer without records.
    pub fn error(&self, code: ResponseCode) -> Vec<u8> {
        let mut reply = self.empty();
        reply.metadata.response_code = code;
        // Of a message that could be read at all, header and question can be written.
        reply.to_vec().unwrap_or_default()
    }

    /// Nobody outside has answered.
    pub fn nobody(&self) -> Vec<u8> {
        self.error(ResponseCode::ServFail)
    }

    /// An answer with the question alone, and the mark that the rest is to be had by connection.
    fn truncated(&self) -> Vec<u8> {
        let mut reply = self.empty();
        reply.metadata.truncation = true;
        reply.to_vec().unwrap_or_default()
    }

    fn empty(&self) -> Message {
        let metadata = &self.message.metadata;
        let mut reply = Message::response(metadata.id, metadata.op_code);
        reply.metadata.recursion_desired = metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_queries(self.message.queries.iter().take(1).cloned());
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(OURS);
            reply.set_edns(edns);
        }
        reply
    }

    /// An answer of our own; what has no room is left out, and said to be.
    fn reply(&self, data: impl Iterator<Item = RData>) -> Vec<u8> {
        let mut reply = self.empty();
        let name = self.message.queries.first().map(|query| query.name().clone()).unwrap_or_default();
        reply.add_answers(data.map(|data| Record::from_rdata(name.clone(), TTL_S, data)));
        loop {
            let bytes = reply.to_vec().unwrap_or_default();
            let over = bytes.len().saturating_sub(self.room());
            if over == 0 || reply.answers.is_empty() {
                return bytes;
            }
            // None of ours is longer than 28 bytes: as many at least have to go.
            let fewer = reply.answers.len() - over.div_ceil(28).clamp(1, reply.answers.len());
            reply.answers.truncate(fewer);
            reply.metadata.truncation = true;
        }
    }

    /// What a packet means that came from the resolver that was asked under the number `id`.
    pub fn hear(&self, packet: &[u8], id: u16) -> Heard {
        let mut decoder = BinDecoder::new(packet);
        let Ok(header) = Header::read(&mut decoder) else { return Heard::Stranger };
        let metadata = &header.metadata;
        if metadata.message_type != MessageType::Response
            || metadata.id != id
            || metadata.op_code != self.message.metadata.op_code
        {
            return Heard::Stranger;
        }
        let failed = matches!(
            metadata.response_code,
            ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr
        );
        match header.counts.queries {
            // A resolver that couldn't read it has nothing to repeat.
            0 if failed => return Heard::Failure,
            1 => {}
            _ => return Heard::Stranger,
        }
        let Ok(query) = Query::read(&mut decoder) else { return Heard::Stranger };
        if self.message.queries.first() != Some(&query) {
            return Heard::Stranger;
        }
        if failed { Heard::Failure } else { Heard::Answer }
    }

    /// The packet for the one who asked, of one that was [`Heard::Answer`]; `cut`: its end is missing.
    pub fn pass_on(&self, mut packet: Vec<u8>, cut: bool) -> Vec<u8> {
        // Some resolvers know no EDNS and answer at any length; who said no length is given what there is, as Docker does.
        let room = if self.message.edns.is_some() { self.room() } else { usize::from(OURS).max(self.room()) };
        if cut || packet.len() > room || packet.len() < HEADER {
            return self.truncated();
        }
        packet[..2].copy_from_slice(&self.id().to_be_bytes());
        packet
    }
}

/// The packet as it is asked outside: under a number that nobody can guess from the container's.
pub fn renumbered(packet: &[u8], id: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Some(place) = packet.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    packet
}
