//! A context as an archive: `meta.json`, and `tls/ENDPOINT/FILE`. Pure, over the few fields of a tar header that this takes.

use minke_client::context::TlsFile;
use minke_model::{Error, Result};

const BLOCK_BYTES: usize = 512;

/// Writes the archive.
pub fn write(meta: &[u8], files: &[TlsFile]) -> Vec<u8> {
    let mut out = Vec::new();
    entry(&mut out, "meta.json", 0o644, Some(meta));
    entry(&mut out, "tls", 0o700, None);
    let mut last = "";
    for (endpoint, file, bytes) in files {
        if last != endpoint {
            entry(&mut out, &format!("tls/{endpoint}"), 0o700, None);
            last = endpoint;
        }
        entry(&mut out, &format!("tls/{endpoint}/{file}"), 0o600, Some(bytes));
    }
    out.resize(out.len() + 2 * BLOCK_BYTES, 0);
    out
}

/// A file with its bytes, or a folder.
fn entry(out: &mut Vec<u8>, name: &str, mode: u32, bytes: Option<&[u8]>) {
    let mut header = [0u8; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0", 0, 0).as_bytes());
    put(124, format!("{:011o}\0{:011o}\0", bytes.map_or(0, <[u8]>::len), 0).as_bytes());
    put(148, b"        ");
    put(156, if bytes.is_some() { b"0" } else { b"5" });
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    let bytes = bytes.unwrap_or_default();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Reads an archive: the context's file and its TLS files.
///
/// # Errors
/// It is not an archive, has no `meta.json`, or has an entry that does not belong there.
pub fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<TlsFile>)> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(Error::invalid(
            "invalid context: a zip archive is not read by this version; export it as tar",
        ));
    }
    let mut meta = None;
    let mut files = Vec::new();
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_at_checked(BLOCK_BYTES) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let (name, size, kind) =
            parse_header(header).ok_or_else(|| Error::invalid("archive/tar: invalid tar header"))?;
        let content = after.get(..size).ok_or_else(|| Error::invalid("unexpected EOF"))?;
        rest = after.get(size.next_multiple_of(BLOCK_BYTES)..).unwrap_or_default();
        if kind != b'0' && kind != 0 {
            continue;
        }
        match *name.split('/').collect::<Vec<_>>() {
            ["meta.json"] => meta = Some(content.to_vec()),
            ["tls", endpoint, file] if is_plain(endpoint) && is_plain(file) => {
                files.push((endpoint.to_string(), file.to_string(), content.to_vec()));
            }
            _ => return Err(Error::invalid(format!("invalid context: unexpected context file: {name}"))),
        }
    }
    if meta.is_none() && rest.len() == bytes.len() && !bytes.is_empty() {
        return Err(Error::invalid("archive/tar: invalid tar header"));
    }
    meta.map(|meta| (meta, files)).ok_or_else(|| Error::invalid("invalid context: no metadata found"))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".."
}

fn parse_header(header: &[u8]) -> Option<(&str, usize, u8)> {
    let octal = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(&header[range]).ok()?;
        usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let sum: usize = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { usize::from(b' ') } else { usize::from(*byte) })
        .sum();
    if octal(148..156)? != sum {
        return None;
    }
    let name = header[..100].split(|byte| *byte == 0).next()?;
    Some((std::str::from_utf8(name).ok()?, octal(124..136)?, header[156]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let files: Vec<TlsFile> = vec![("docker".into(), "ca.pem".into(), vec![7; 600])];
        let bytes = write(b"{}", &files);
        assert_eq!(bytes.len() % BLOCK_BYTES, 0);
        assert_eq!(read(&bytes).unwrap(), (b"{}".to_vec(), files));
    }

    #[test]
    fn a_foreign_archive_is_refused() {
        assert_eq!(read(b"").unwrap_err().message(), "invalid context: no metadata found");
        assert!(read(&[b'x'; 2000]).is_err());
        assert!(read(b"root:x:0:0").is_err());
        let outside: Vec<TlsFile> = vec![("..".into(), "x".into(), Vec::new())];
        assert!(read(&write(b"{}", &outside)).is_err(), "no entry leaves its folder");
        let whole = write(b"{\"Name\":\"x\"}", &[]);
        assert!(read(&whole[..520]).is_err(), "half an archive");
    }
}
