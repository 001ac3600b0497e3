//! What engine and netd say to each other: JSON in packets (`minke_sys::channel`), since either may be years older than the
//! other. A field that is unknown is ignored, one that is missing has a default; a message that is unknown is answered by nothing.

use std::os::fd::OwnedFd;

use minke_sys::channel::Limits;
use serde::{Deserialize, Serialize};

use super::{Change, Sockets};
use crate::ports::Published;

/// What this program speaks. A netd below [`OLDEST`] is asked to give way.
pub const VERSION: u32 = 1;
/// The oldest netd that this engine can use.
pub const OLDEST: u32 = 1;

/// How messages are put into packets.
pub const LIMITS: Limits = Limits { inline: 32 * 1024, message: 64 * 1024 * 1024, large_mark: 0 };

/// The descriptors that one packet carries; the rest goes in packets before it.
pub const DESCRIPTORS: usize = 200;

/// From the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of all.
    Hello {
        /// The engine's [`VERSION`].
        version: u32,
    },
    /// The descriptors of this packet belong to the next [`Request::Change`], before those of its own packet.
    More,
    /// A new state.
    Change {
        /// What [`Reply::Done`] says again.
        number: u64,
        /// Whether this is everything: what isn't in it is gone.
        #[serde(default)]
        whole: bool,
        /// What is other.
        change: Change,
        /// What the descriptors are, in order.
        #[serde(default)]
        given: Vec<Tag>,
    },
    /// Give way to another netd: let go of every port and resolver, and end when the last connection has.
    Retire,
}

/// From netd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// netd's [`VERSION`].
        version: u32,
    },
    /// To [`Request::Change`]: it is served now, but for what troubles said.
    Done {
        /// As in the request.
        number: u64,
    },
    /// Something couldn't be served, or isn't any more. For the log.
    Trouble {
        /// What.
        text: String,
    },
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tag {
    /// The network namespace of a sandbox.
    Namespace(String),
    /// The socket at 127.0.0.11 for datagrams, with the redirect to it in place.
    Datagrams(String),
    /// The same for connections.
    Connections(String),
    /// The bound socket of a port.
    Port(String, Published),
}

/// What the engine hands over instead of having netd make it.
#[derive(Debug)]
pub enum Given {
    /// The network namespace of a sandbox, which needs no process yet.
    Namespace {
        /// The container's id.
        sandbox: String,
        /// The namespace.
        namespace: OwnedFd,
        /// The sockets that were made in it ahead, with their redirect; none: netd makes them.
        sockets: Option<Sockets>,
    },
    /// A port that was reserved.
    Port {
        /// The container's id.
        sandbox: String,
        /// The port.
        published: Published,
        /// Bound, by [`super::Reservations`].
        socket: OwnedFd,
    },
}

impl Given {
    /// Takes it apart, in the order in which descriptors are sent.
    pub fn into_tagged(self) -> Vec<(Tag, OwnedFd)> {
        match self {
            Self::Namespace { sandbox, namespace, sockets } => {
                let mut all = vec![(Tag::Namespace(sandbox.clone()), namespace)];
                if let Some(Sockets { datagrams, connections }) = sockets {
                    all.push((Tag::Datagrams(sandbox.clone()), datagrams));
                    all.push((Tag::Connections(sandbox), connections));
                }
                all
            }
            Self::Port { sandbox, published, socket } => vec![(Tag::Port(sandbox, published), socket)],
        }
    }
}

/// Encodes a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // Maps with text for keys and no floating point: nothing that JSON hasn't.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Decodes a message; `None`: it is newer than this program, or none.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::names::Neighbour;
    use crate::netd::{Named, Network, Port, Process, Resolver, Sandbox, Upstream};
    use crate::ports::Protocol;

    /// What the first released netd read: it must be read, and written, as long as there may be one.
    const FIRST: &str = r#"{"change":{"number":7,"whole":true,"change":{"networks":{"n":{"name":"front"}},"named":{"e":{"network":"n","sandbox":"c","neighbour":{"name":"web","names":["web"],"addresses":["10.0.0.2"]}},"f":null},"sandboxes":{"c":{"run":2,"process":{"pid":42,"start_ticks":99},"resolver":{"networks":["n"],"links":{"db":"web"},"upstreams":[{"address":"127.0.0.53","port":53,"from_host":true}],"ndots_set":false,"may_forward":true},"ports":[{"published":{"protocol":"tcp","host":"0.0.0.0:8080","container_port":80},"target":"10.0.0.2:80"}]}}},"given":[{"namespace":"c"}]}}"#;

    fn first() -> Request {
        let published =
            Published { protocol: Protocol::Tcp, host: "0.0.0.0:8080".parse().unwrap(), container_port: 80 };
        let neighbour = Neighbour {
            name: "web".into(),
            names: vec!["web".into()],
            addresses: vec![Ipv4Addr::new(10, 0, 0, 2).into()],
        };
        let sandbox = Sandbox {
            run: 2,
            process: Some(Process { pid: 42, start_ticks: 99 }),
            resolver: Some(Resolver {
                networks: vec!["n".into()],
                links: BTreeMap::from([("db".into(), "web".into())]),
                upstreams: vec![Upstream::new(Ipv4Addr::new(127, 0, 0, 53).into(), true)],
                ndots_set: false,
                may_forward: true,
            }),
            ports: vec![Port { published, target: Some("10.0.0.2:80".parse().unwrap()) }],
        };
        let change = Change {
            networks: BTreeMap::from([("n".into(), Some(Network { name: "front".into() }))]),
            named: BTreeMap::from([
                ("e".into(), Some(Named { network: "n".into(), sandbox: "c".into(), neighbour })),
                ("f".into(), None),
            ]),
            sandboxes: BTreeMap::from([("c".into(), Some(sandbox))]),
        };
        Request::Change { number: 7, whole: true, change, given: vec![Tag::Namespace("c".into())] }
    }

    #[test]
    fn the_first_layout_is_written_and_read_for_ever() {
        assert_eq!(String::from_utf8(encode(&first())).unwrap(), FIRST);
        assert_eq!(decode::<Request>(FIRST.as_bytes()), Some(first()));
    }

    #[test]
    fn what_is_newer_is_left_out_and_what_is_missing_has_a_default() {
        let text = br#"{"change":{"number":1,"later":3,"change":{"sandboxes":{"c":{"run":1,"later":{}}}}}}"#;
        let Some(Request::Change { number: 1, whole: false, change, given }) = decode(text) else { panic!() };
        assert!(given.is_empty() && change.sandboxes["c"].as_ref().unwrap().resolver.is_none());
        assert_eq!(decode::<Request>(br#"{"later":{}}"#), None);
    }
}
