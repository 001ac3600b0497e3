//! A plain HTTP/1.1 client over a unix socket: one request per connection, the answer as it came.
//!
//! Deliberately not the product's client: what it sends and shows is exactly what is on the wire.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::deadline;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the body as JSON; panics where it isn't.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the `message` of an error's body, or all of a body that has none.
    pub fn message(&self) -> String {
        let parsed: Option<Value> = serde_json::from_slice(&self.body).ok();
        parsed.and_then(|body| body["message"].as_str().map(str::to_string)).unwrap_or_else(|| self.text())
    }

    /// Returns a header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and reads the whole answer.
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<Response> {
    exchange(socket, method, path, &[("Content-Type", kind)], body)
}

/// The same with all headers as given; with `Transfer-Encoding: chunked` the body comes in small chunks.
pub fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut stream = connect(socket)?;
    let headers = [headers, &[("Connection", "close")]].concat();
    send(&mut stream, method, path, &headers, body)?;
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader)?;
    let body = if status == 204 || status == 304 || method == "HEAD" {
        Vec::new()
    } else {
        read_body(&mut reader, &headers)?
    };
    Ok(Response { status, headers, body })
}

/// Sends a request that upgrades the connection, and returns the answer's status with the raw stream after it.
pub fn upgrade(socket: &Path, path: &str, body: &[u8]) -> std::io::Result<(u16, BufReader<UnixStream>)> {
    let mut stream = connect(socket)?;
    let headers = [("Content-Type", "application/json"), ("Connection", "Upgrade"), ("Upgrade", "tcp")];
    send(&mut stream, "POST", path, &headers, body)?;
    let mut reader = BufReader::new(stream);
    let (status, _) = head(&mut reader)?;
    Ok((status, reader))
}

/// Sends a request whose answer does not end by itself, and returns a reader of its lines.
pub fn follow(socket: &Path, path: &str) -> std::io::Result<Lines> {
    let mut stream = connect(socket)?;
    send(&mut stream, "GET", path, &[("Connection", "close")], &[])?;
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader)?;
    assert_eq!(status, 200, "GET {path}");
    Ok(Lines { reader, chunked: is_chunked(&headers), pending: Vec::new() })
}

/// The lines of an answer that goes on.
pub struct Lines {
    reader: BufReader<UnixStream>,
    chunked: bool,
    pending: Vec<u8>,
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            if self.chunked {
                self.pending.extend(read_chunk(&mut self.reader).ok()??);
            } else if self.reader.read_until(b'\n', &mut self.pending).ok()? == 0 {
                return None;
            }
        }
    }
}

fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    let limit: Duration = deadline::seconds(120);
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

fn send(
    stream: &mut UnixStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let chunked = headers.contains(&("Transfer-Encoding", "chunked"));
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n");
    if !chunked {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    stream.write_all(text.as_bytes())?;
    // An engine that refuses early may close before it has read everything; its answer is what counts.
    let _ = if chunked { write_chunks(stream, body) } else { stream.write_all(body) };
    Ok(())
}

fn write_chunks(stream: &mut UnixStream, body: &[u8]) -> std::io::Result<()> {
    for chunk in body.chunks(7) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

fn head(reader: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    Ok((status, headers))
}

fn is_chunked(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked")
}

fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if is_chunked(headers) {
        while let Some(chunk) = read_chunk(reader)? {
            body.extend(chunk);
        }
        return Ok(body);
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    match length {
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

fn read_chunk(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let size = line.trim_end().split(';').next().unwrap_or_default();
    let size =
        usize::from_str_radix(size, 16).map_err(|_| std::io::Error::other(format!("no chunk: {line:?}")))?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok((size > 0).then_some(chunk))
}

/// Tells the other side of a raw stream that nothing more comes.
pub fn half_close(reader: &BufReader<UnixStream>) {
    let _ = reader.get_ref().shutdown(Shutdown::Write);
}
