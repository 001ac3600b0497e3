//! Uploads to the scripted registry: it keeps what came of one that broke off, says how much that is, and counts.

use std::io::{self, Read as _};

use super::serve::{Connection, Request};
use super::{digest_of, lock};

/// What a request to `NAME/blobs/uploads/ID` asks for.
pub fn serve(connection: &mut Connection, request: &Request, name: &str, id: &str) -> io::Result<()> {
    if request.method == "POST" {
        let id = connection.change(|state| {
            let id = state.uploads.len().to_string();
            state.uploads.insert(id.clone(), Some(Vec::new()));
            id
        })?;
        return tell(connection, "202 Accepted", name, &id, 0);
    }
    let there = lock(connection.shared).uploads.get(id).and_then(Option::as_ref).map(Vec::len);
    let Some(there) = there else {
        return connection.refuse("404 Not Found", "BLOB_UPLOAD_UNKNOWN", false);
    };
    match request.method.as_str() {
        "PATCH" if request.sent_from.is_some_and(|from| from != there) => {
            tell(connection, "416 Range Not Satisfiable", name, id, there)
        }
        "PATCH" => {
            let there = take(connection, request, id)?;
            tell(connection, "202 Accepted", name, id, there)
        }
        "PUT" => {
            take(connection, request, id)?;
            finish(connection, request, id)
        }
        "DELETE" => {
            connection.change(|state| state.uploads.insert(id.to_owned(), None))?;
            connection.answer("204 No Content", "", b"", false)
        }
        _ => tell(connection, "204 No Content", name, id, there),
    }
}

fn tell(connection: &mut Connection, status: &str, name: &str, id: &str, there: usize) -> io::Result<()> {
    let last = there.saturating_sub(1);
    let more = format!("Location: /v2/{name}/blobs/uploads/{id}\r\nRange: 0-{last}\r\n");
    connection.answer(status, &more, b"", false)
}

/// Takes a body in as it comes; gives how much of the upload is there then.
fn take(connection: &mut Connection, request: &Request, id: &str) -> io::Result<usize> {
    let mut left = request.length;
    let mut part = vec![0; 64 << 10];
    while left > 0 {
        let wanted = left.min(part.len());
        connection.spend(wanted)?;
        let read = connection.reader.read(&mut part[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
        connection.change(|state| {
            state.taken += read as u64;
            if let Some(Some(bytes)) = state.uploads.get_mut(id) {
                bytes.extend_from_slice(&part[..read]);
            }
        })?;
    }
    Ok(lock(connection.shared).uploads.get(id).and_then(Option::as_ref).map_or(0, Vec::len))
}

fn finish(connection: &mut Connection, request: &Request, id: &str) -> io::Result<()> {
    let said = request.query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap_or_default();
    let said = said.replace("%3A", ":").replace("%3a", ":");
    let stored = connection.change(|state| {
        let bytes = state.uploads.insert(id.to_owned(), None).flatten().unwrap_or_default();
        let right = digest_of(&bytes) == said;
        if right {
            *state.arrived.entry(said.clone()).or_default() += 1;
            state.blobs.insert(said.clone(), bytes);
        }
        right
    })?;
    match stored {
        true => connection.answer("201 Created", &format!("Docker-Content-Digest: {said}\r\n"), b"", false),
        false => connection.refuse("400 Bad Request", "DIGEST_INVALID", false),
    }
}
