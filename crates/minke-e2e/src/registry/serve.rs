//! What the scripted registry answers.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::{Manner, Shared, digest_of, lock, upload};

const JSON: &str = "Content-Type: application/json\r\n";

/// A request's first line and what matters of its header.
pub struct Request {
    pub method: String,
    /// Below `/v2/`; else with its slash.
    pub path: String,
    pub query: String,
    /// The range that is asked for: where it begins, and where it ends if it says so.
    range: (usize, Option<usize>),
    /// Where the range begins that is sent.
    pub sent_from: Option<usize>,
    pub length: usize,
    kind: String,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // A proxy passes on the whole address.
        let beyond = target.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let target = beyond.unwrap_or(&target).to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = path.strip_prefix("/v2/").unwrap_or(path).to_owned();
        let (query, kind) = (query.to_owned(), String::new());
        let mut request = Self { method, path, query, range: (0, None), sent_from: None, length: 0, kind };
        let first = |range: &str| range.split('-').next().and_then(|text| text.trim().parse().ok());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { return Ok(Some(request)) };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = range(value),
                "content-range" => request.sent_from = first(value),
                "content-length" => request.length = value.parse().unwrap_or(0),
                "content-type" => request.kind = value.to_owned(),
                _ => {}
            }
        }
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Where `bytes=FIRST-LAST` begins, and what is behind its last byte.
fn range(text: &str) -> (usize, Option<usize>) {
    let parts = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let (first, last) = parts.unwrap_or_default();
    (first.parse().unwrap_or(0), last.parse().ok().map(|last: usize| last + 1))
}

/// One connection, of a time: what is cut later goes no further.
pub struct Connection<'a> {
    pub reader: BufReader<TcpStream>,
    pub writer: TcpStream,
    pub shared: &'a Shared,
    generation: u64,
}

/// Answers the requests of one connection.
pub fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let generation = lock(shared).generation;
    let writer = stream.try_clone()?;
    let mut connection = Connection { reader: BufReader::new(stream), writer, shared, generation };
    while let Some(request) = Request::read(&mut connection.reader)? {
        if let Some((name, rest)) = request.path.split_once("/blobs/uploads/") {
            upload::serve(&mut connection, &request, name, rest)?;
        } else if let Some((_, digest)) = request.path.split_once("/blobs/") {
            if !give_blob(&mut connection, digest, request.range, request.is_head())? {
                return Ok(());
            }
        } else if let Some((name, reference)) = request.path.split_once("/manifests/") {
            match request.method.as_str() {
                "PUT" => take_manifest(&mut connection, &request, name, reference)?,
                _ => give_manifest(&mut connection, name, reference, request.is_head())?,
            }
        } else if let Some(name) = request.path.strip_suffix("/tags/list") {
            let prefix = format!("{name}/");
            let state = lock(shared);
            let names = state.manifests.keys().filter_map(|key| key.strip_prefix(&prefix));
            let mut tags: Vec<&str> = names.filter(|tag| !tag.contains([':', '/'])).collect();
            tags.sort_unstable();
            let body = json!({"name": name, "tags": tags}).to_string();
            drop(state);
            connection.answer("200 OK", JSON, body.as_bytes(), false)?;
        } else if request.path == "/v1/search" {
            let found = lock(shared).searches.clone();
            match found {
                Some(found) => connection.answer("200 OK", JSON, found.to_string().as_bytes(), false)?,
                None => connection.refuse("404 Not Found", "UNSUPPORTED", false)?,
            }
        } else {
            connection.answer("200 OK", "", b"{}", request.is_head())?;
        }
    }
    Ok(())
}

impl Connection<'_> {
    /// Writes an answer; `more` are whole lines of its header.
    pub fn answer(&mut self, status: &str, more: &str, body: &[u8], head: bool) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n");
        let _ = write!(text, "{more}Content-Length: {}\r\n\r\n", body.len());
        self.writer.write_all(text.as_bytes())?;
        if head { Ok(()) } else { self.writer.write_all(body) }
    }

    /// Says in a registry's words that there is no such thing.
    pub fn refuse(&mut self, status: &str, code: &str, head: bool) -> io::Result<()> {
        let message = code.to_ascii_lowercase().replace('_', " ");
        let error = json!({"errors": [{"code": code, "message": message}]}).to_string();
        self.answer(status, JSON, error.as_bytes(), head)
    }

    /// Takes bytes off what may be transferred, waiting where that is used up; fails where this connection is of the past.
    pub fn spend(&self, bytes: usize) -> io::Result<()> {
        let mut state = lock(self.shared);
        loop {
            if state.generation != self.generation {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match &mut state.budget {
                None => return Ok(()),
                Some(left) if *left > 0 => {
                    *left = left.saturating_sub(bytes as u64);
                    return Ok(());
                }
                Some(_) => state = self.shared.1.wait(state).expect("no test panics with the registry held"),
            }
        }
    }

    /// Changes the state, unless this connection is of the past.
    pub fn change<T>(&self, change: impl FnOnce(&mut super::State) -> T) -> io::Result<T> {
        let mut state = lock(self.shared);
        match state.generation == self.generation {
            true => Ok(change(&mut state)),
            false => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}

fn give_manifest(connection: &mut Connection, name: &str, reference: &str, head: bool) -> io::Result<()> {
    let found = lock(connection.shared).manifests.get(&format!("{name}/{reference}")).cloned();
    let Some((kind, body)) = found else {
        return connection.refuse("404 Not Found", "MANIFEST_UNKNOWN", head);
    };
    let more = format!("Content-Type: {kind}\r\nDocker-Content-Digest: {}\r\n", digest_of(&body));
    connection.answer("200 OK", &more, &body, head)
}

fn take_manifest(
    connection: &mut Connection,
    request: &Request,
    name: &str,
    reference: &str,
) -> io::Result<()> {
    let body = connection.body(request.length)?;
    let digest = digest_of(&body);
    connection.change(|state| {
        for key in [reference, &digest] {
            state.manifests.insert(format!("{name}/{key}"), (request.kind.clone(), body.clone()));
        }
    })?;
    connection.answer("201 Created", &format!("Docker-Content-Digest: {digest}\r\n"), b"", false)
}

/// Gives a blob in its manner; tells whether the connection can serve on.
fn give_blob(
    connection: &mut Connection,
    digest: &str,
    (from, to): (usize, Option<usize>),
    head: bool,
) -> io::Result<bool> {
    let shared = connection.shared;
    let (found, manner) = {
        let mut state = lock(shared);
        if !head {
            state.given.entry(digest.to_owned()).or_default().1 += 1;
        }
        let found = state.blobs.get(digest).map(|bytes| {
            let end = to.unwrap_or(bytes.len()).min(bytes.len());
            (bytes[from.min(end)..end].to_vec(), bytes.len())
        });
        (found, state.manners.get(digest).copied().unwrap_or_default())
    };
    let Some((mut bytes, total)) = found else {
        connection.refuse("404 Not Found", "BLOB_UNKNOWN", head)?;
        return Ok(true);
    };
    if manner == Manner::Wrong {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let last = (from + bytes.len()).saturating_sub(1);
    let mut text = match (from, to) {
        (0, None) => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{total}\r\n"),
    };
    let _ = write!(text, "Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", bytes.len());
    connection.writer.write_all(text.as_bytes())?;
    if head {
        return Ok(true);
    }
    let limit = match manner {
        Manner::Hold(limit) | Manner::Truncate(limit) => limit.min(bytes.len()),
        _ => bytes.len(),
    };
    give(connection, digest, &bytes[..limit])?;
    if matches!(manner, Manner::Truncate(_)) && limit < bytes.len() {
        return Ok(false);
    }
    if limit < bytes.len() {
        let mut state = lock(shared);
        while !state.released {
            state = shared.1.wait(state).expect("no test panics with the registry held");
        }
        drop(state);
        give(connection, digest, &bytes[limit..])?;
    }
    Ok(true)
}

fn give(connection: &mut Connection, digest: &str, bytes: &[u8]) -> io::Result<()> {
    for part in bytes.chunks(64 << 10) {
        connection.spend(part.len())?;
        connection.writer.write_all(part)?;
        lock(connection.shared).given.entry(digest.to_owned()).or_default().0 += part.len() as u64;
    }
    Ok(())
}
