//! A registry that misbehaves as it is told, and remembers what it was asked: for the tests of all that speak with registries.
//! Behind a feature; never part of a program.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};

use crate::server::{Access, Answer, AnswerBody, Handler, Running, Server, Storage, TlsFiles, serve};

/// What a registry was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What was shown, empty where nothing was.
    pub authorization: String,
    /// The range that was asked for, empty where none was.
    pub range: String,
}

/// What a registry does instead of answering well.
#[derive(Clone)]
pub enum Fault {
    /// Answers this: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Breaks off after so many bytes of the body.
    CutAfter(usize),
    /// Takes no notice of a range.
    IgnoreRange,
    /// Sends so many bytes at a time, with a pause before each.
    Drip(usize, Duration),
    /// Never ends its body.
    Endless,
    /// Turns the first byte of the body around.
    WrongByte,
    /// Says nothing.
    Silence,
    /// Breaks off after having read so many bytes of the request's body.
    RefuseAfter(usize),
    /// Adds a header to a good answer.
    Header(&'static str, String),
}

/// When a fault happens.
#[derive(Clone)]
struct Rule {
    method: &'static str,
    part: String,
    /// The matching requests that are answered well before.
    skip: usize,
    times: usize,
    fault: Fault,
}

/// A registry that misbehaves. Ends when it is dropped.
pub struct Stand {
    /// The registry behind.
    pub server: Server,
    running: Running,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stand {
    /// An open one in memory, over plain HTTP.
    pub async fn open() -> Self {
        Self::new(Access::Open, None).await
    }

    /// One in memory, on a port of this host's loopback.
    pub async fn new(access: Access, tls: Option<&TlsFiles>) -> Self {
        let server = Server::new(Storage::in_memory(), access);
        let state: Arc<Mutex<State>> = Arc::default();
        let (behind, shared) = (server.clone(), state.clone());
        let handler: Handler = Arc::new(move |request| {
            let (server, state) = (behind.clone(), shared.clone());
            Box::pin(async move { answer(&server, &state, request).await })
        });
        let address = "127.0.0.1:0".parse().expect("an address");
        let running = serve(address, tls, handler).await.expect("a port of the loopback");
        Self { server, running, state }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.running.address.to_string()
    }

    /// Misbehaves the next `times` times that it is asked with `method` (empty: any) for a target that contains `part`.
    pub fn fault(&self, method: &'static str, part: &str, times: usize, fault: Fault) {
        self.fault_after(method, part, 0, times, fault);
    }

    /// As [`Self::fault`], after `skip` such requests.
    pub fn fault_after(&self, method: &'static str, part: &str, skip: usize, times: usize, fault: Fault) {
        locked(&self.state).rules.push(Rule { method, part: part.to_owned(), skip, times, fault });
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.state).seen.clone()
    }

    /// How often it was asked with `method` for a target that contains `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let state = locked(&self.state);
        state.seen.iter().filter(|seen| seen.method == method && seen.target.contains(part)).count()
    }
}

/// Remembers a request, and says how to misbehave.
fn take(state: &Mutex<State>, request: &Request<Incoming>) -> Option<Fault> {
    let text = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let method = request.method().as_str().to_owned();
    let mut state = locked(state);
    let matching = state.rules.iter_mut().filter(|rule| {
        rule.times > 0 && (rule.method.is_empty() || rule.method == method) && target.contains(&rule.part)
    });
    let mut fault = None;
    for rule in matching {
        if rule.skip > 0 {
            rule.skip -= 1;
        } else {
            rule.times -= 1;
            fault = Some(rule.fault.clone());
            break;
        }
    }
    state.seen.push(Seen { method, target, authorization: text("authorization"), range: text("range") });
    fault
}

async fn answer(server: &Server, state: &Mutex<State>, mut request: Request<Incoming>) -> io::Result<Answer> {
    Ok(match take(state, &request) {
        None => server.answer(request).await,
        Some(Fault::Answer(status, headers, text)) => {
            // Read to its end: who is still writing might not see the answer.
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            let headers: Vec<(&'static str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            crate::server::text_answer(status, &headers, &text)
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::IgnoreRange) => {
            request.headers_mut().remove("range");
            server.answer(request).await
        }
        Some(Fault::RefuseAfter(bytes)) => {
            let mut body = request.into_body();
            let mut read = 0;
            while read < bytes {
                let Some(Ok(frame)) = body.frame().await else { break };
                read += frame.data_ref().map_or(0, Bytes::len);
            }
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Some(Fault::Header(name, value)) => {
            let mut answer = server.answer(request).await;
            answer.headers_mut().insert(name, value.parse().expect("a header's value"));
            answer
        }
        Some(fault) => {
            let (mut parts, body) = server.answer(request).await.into_parts();
            if matches!(fault, Fault::Endless) {
                parts.headers.remove("content-length");
            }
            Answer::from_parts(parts, spoil(body, fault))
        }
    })
}

fn spoil(body: AnswerBody, fault: Fault) -> AnswerBody {
    match fault {
        Fault::Endless => {
            let parts = stream::repeat_with(|| {
                Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[b' '; 64 << 10])))
            });
            StreamBody::new(parts).boxed_unsync()
        }
        Fault::CutAfter(left) => {
            let parts = stream::unfold((body, left), |(mut body, left)| async move {
                if left == 0 {
                    // What was sent before is written out meanwhile.
                    tokio::task::yield_now().await;
                    return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (body, 0)));
                }
                let mut bytes = body.frame().await?.ok()?.into_data().unwrap_or_default();
                bytes.truncate(left);
                let left = left - bytes.len();
                Some((Ok(Frame::data(bytes)), (body, left)))
            });
            StreamBody::new(parts).boxed_unsync()
        }
        Fault::Drip(size, pause) => {
            let parts = stream::unfold((body, Bytes::new()), move |(mut body, mut held)| async move {
                if held.is_empty() {
                    held = body.frame().await?.ok()?.into_data().unwrap_or_default();
                }
                tokio::time::sleep(pause).await;
                let part = held.split_to(size.min(held.len()));
                Some((Ok::<_, io::Error>(Frame::data(part)), (body, held)))
            });
            StreamBody::new(parts).boxed_unsync()
        }
        _ => {
            let parts = stream::unfold((body, true), |(mut body, first)| async move {
                let bytes = body.frame().await?.ok()?.into_data().unwrap_or_default();
                let mut bytes = bytes.to_vec();
                if let Some(byte) = bytes.first_mut().filter(|_| first) {
                    *byte ^= 0xff;
                }
                Some((Ok::<_, io::Error>(Frame::data(Bytes::from(bytes))), (body, false)))
            });
            StreamBody::new(parts).boxed_unsync()
        }
    }
}
