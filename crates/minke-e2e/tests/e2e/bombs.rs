//! Small archives that are large inside: bounded memory, a clear word, an engine that answers, and nothing left on the disk.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use minke_e2e::{EngineKind, Rig, once};

use crate::hostile_images::{Ends, memory, ping};
use crate::images::docker_archive;

/// What the engine may ever have used of memory, in KiB: names that are remembered, windows of decompressors, and itself.
const MEMORY_KIB: u64 = 160 << 10;

/// A tar header.
fn header(kind: u8, name: &[u8], size: &str) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    let mut set = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    set(0, &name[..name.len().min(100)]);
    set(100, b"0000755\x000000000\x000000000\0");
    set(124, size.as_bytes());
    set(136, b"13727602400 ");
    set(148, b"        ");
    set(156, &[kind]);
    set(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(size: u64) -> String {
    format!("{size:011o}")
}

/// An entry with content.
fn entry(kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, &octal(content.len() as u64));
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A name of any length, as GNU's tar writes it, for the entry that follows.
fn long_name(name: &[u8]) -> Vec<u8> {
    entry(b'L', b"././@LongLink", &[name, b"\0"].concat())
}

/// PAX records for the entry that follows.
fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        all.extend([format!("{length} {key}=").as_bytes(), value, b"\n"].concat());
    }
    entry(b'x', b"PaxHeaders/0", &all)
}

/// A zstd stream (RFC 8878) of `head` as it is, then `zeros` zeros in a hundred thousandth of their room.
fn zstd_of_zeros(head: &[u8], zeros: u64, window_log: u8) -> Vec<u8> {
    const BLOCK: u64 = 128 << 10;
    let mut stream = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
    let mut block = |kind: u32, size: u64, content: &[u8], is_last: bool| {
        let number = u32::from(is_last) | kind << 1 | (size as u32) << 3;
        stream.extend(&number.to_le_bytes()[..3]);
        stream.extend(content);
    };
    for piece in head.chunks(BLOCK as usize) {
        block(0, piece.len() as u64, piece, false);
    }
    for _ in 0..zeros / BLOCK {
        block(1, BLOCK, &[0], false);
    }
    block(1, zeros % BLOCK, &[0], true);
    stream
}

/// What gzip makes of bytes.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("gzip").arg("-1c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut input = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).expect("it reads"));
        child.wait_with_output().expect("it ends").stdout
    })
}

/// What becomes of an archive.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is an image, of so many bytes at most on the disk.
    Taken(u64),
    /// It is refused, with this in the words.
    Refused(&'static str),
}

/// So many folders that no entry has, of one entry each.
fn folders_of_one_name(entries: usize) -> Vec<u8> {
    let mut tar = Vec::new();
    for number in 0..entries {
        let name = format!("{number}/{}x", "d/".repeat(250));
        tar.extend(long_name(name.as_bytes()));
        tar.extend(entry(b'0', b"x", b""));
    }
    tar
}

/// A chain of links, each of which leads through the one before hundreds of times.
fn links_through_links() -> Vec<u8> {
    let mut tar = Vec::new();
    tar.extend(entry(b'5', b"d/", b""));
    let way = "d/../".repeat(700) + "d";
    for number in 0..30 {
        let target = if number == 0 { way.clone() } else { format!("{}{}", "d/../".repeat(700), number - 1) };
        tar.extend(entry(b'K', b"././@LongLink", &[target.as_bytes(), b"\0"].concat()));
        tar.extend(entry(b'2', number.to_string().as_bytes(), b""));
    }
    for number in 0..50 {
        tar.extend(entry(b'0', format!("29/{number}").as_bytes(), b""));
    }
    tar
}

fn sparse(size: &str) -> Vec<u8> {
    let mut map = b"1\n0\n3\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abc");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    [pax(&records), entry(b'0', b"GNUSparseFile.0/sparse", &map)].concat()
}

const MIB: u64 = 1 << 20;

/// Every bomb that is imported, and what becomes of it.
fn bombs() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let zeros = |mib: u64| header(b'0', b"zeros", &octal(mib * MIB));
    let many: Vec<u8> =
        (0..20_000).flat_map(|number: u32| entry(b'0', format!("many/{number}").as_bytes(), b"")).collect();
    let deep = |levels: usize| [long_name(&b"d/".repeat(levels)), entry(b'5', b"d/", b"")].concat();
    let records: Vec<(String, Vec<u8>)> =
        (0..20_000).map(|number| (format!("SCHILY.xattr.user.{number}"), vec![b'v'; 20])).collect();
    let records: Vec<(&str, &[u8])> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
    let mut whole = zeros(12);
    whole.resize(whole.len() + 12 * MIB as usize + 1024, 0);
    let mut torn = gzip(&whole);
    torn.truncate(torn.len() - 9);
    vec![
        ("zeros behind gzip", gzip(&whole), Fate::Taken(12 * MIB)),
        ("zeros behind zstd", zstd_of_zeros(&zeros(96), 96 * MIB + 1024, 17), Fate::Taken(96 * MIB)),
        ("zeros whose stream ends too early", torn, Fate::Refused("")),
        (
            "a window of two gigabytes",
            zstd_of_zeros(&zeros(1), MIB + 1024, 31),
            Fate::Refused("too much memory"),
        ),
        ("a terabyte that doesn't come", gzip(&header(b'0', b"x", &octal(1 << 32))), Fate::Refused("")),
        ("many entries", gzip(&many), Fate::Taken(0)),
        ("names that make folders", gzip(&folders_of_one_name(60)), Fate::Taken(0)),
        ("a file of fifteen terabytes of holes", sparse("16492674416640"), Fate::Taken(u64::MAX)),
        ("a file of exabytes of holes", sparse("9223372036854775807"), Fate::Refused("")),
        ("a record of two megabytes", pax(&[("path", &vec![b'x'; 2 << 20])]), Fate::Refused("")),
        ("twenty thousand attributes", [pax(&records), entry(b'0', b"x", b"")].concat(), Fate::Refused("")),
        ("a depth of two hundred", deep(200), Fate::Taken(0)),
        ("a depth of two thousand", deep(2000), Fate::Refused("")),
        ("a depth of a hundred thousand", deep(100_000), Fate::Refused("")),
        ("links through links", links_through_links(), Fate::Refused("links")),
    ]
}

/// What the engine keeps that isn't the test's own image, in files.
fn kept(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["layers", "blobs", "ingest", "staging", "trash"] {
        files_below(&rig.marks().data_root.join(folder), &mut found);
    }
    found.sort();
    found
}

fn files_below(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => files_below(&entry.path(), found),
            false => found.push(entry.path().display().to_string()),
        }
    }
}

/// Sends one, looks at its fate, and that nothing is left.
fn explode(rig: &Rig, path: &str, (what, body, fate): (&str, Vec<u8>, Fate), before: &[String]) {
    let started = std::time::Instant::now();
    let answer = rig.request("POST", path, "application/x-tar", &body);
    let text = answer.text();
    let is_taken = answer.status == 200 && !text.contains("\"error\"");
    println!("{what}: {} bytes, {:?}: {} {text:.300}", body.len(), started.elapsed(), answer.status);
    match fate {
        Fate::Taken(size) => {
            assert!(is_taken, "{what}: {answer:?}");
            let image = rig.get("/images/bomb/json").json();
            assert!(image["Size"].as_u64().is_some_and(|found| found <= size), "{what}: {image}");
            assert_eq!(rig.delete("/images/bomb?force=1").status, 200, "{what}");
        }
        Fate::Refused(words) => {
            assert!(!is_taken && text.contains(words) && !text.contains("panic"), "{what}: {answer:?}");
        }
    }
    minke_e2e::within(30, &format!("{what}: nothing is left"), || {
        let now = kept(rig);
        (now == before).then_some(())
    });
}

#[test]
fn what_is_larger_than_it_looks_takes_no_memory_and_leaves_nothing() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let over = AtomicBool::new(false);
        let before = kept(rig);
        let longest = std::thread::scope(|scope| {
            let pinging = scope.spawn(|| ping(rig.socket(), &over));
            let ends = Ends(&over);
            for bomb in bombs() {
                explode(rig, "/images/create?fromSrc=-&repo=bomb", bomb, &before);
            }
            // A bomb in a bomb: the archive is compressed, and so is the layer in it.
            let mut layer = header(b'0', b"zeros", &octal(12 * MIB));
            layer.resize(layer.len() + 12 * MIB as usize + 1024, 0);
            let nested = gzip(&docker_archive("bomb:latest", &[gzip(&layer)]));
            explode(rig, "/images/load?quiet=1", ("nested", nested, Fate::Refused("diffID")), &before);
            drop(ends);
            pinging.join().expect("the engine answered all along")
        });
        let peak = memory(rig);
        println!("longest ping {longest:?}, {peak} KiB at most");
        assert!(peak < MEMORY_KIB, "{peak} KiB");
        assert_eq!(rig.ok("run --rm busybox echo well"), "well");
    });
}
