//! Registries for pulls and pushes: a scripted one that counts what it gives and misbehaves as it is told, and Debian's
//! `docker-registry`. Both listen on loopback only.
//!
//! Deliberately not the product's: what it answers is exactly what the specification says, or what the test says.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{deadline, peers, within};

/// How a blob is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it is.
    #[default]
    Honest,
    /// So many bytes, then nothing until [`Registry::release`].
    Hold(usize),
    /// So many bytes, then the connection is closed; each time.
    Truncate(usize),
    /// Other bytes of the same length.
    Wrong,
}

/// How a layer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Plain.
    Tar,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// An image as the registry has it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The manifest's digest.
    pub manifest: String,
    /// The configuration's digest: the image's ID.
    pub config: String,
    /// The layers' digests, bottom first.
    pub layers: Vec<String>,
    /// What an index says of it.
    pub descriptor: Value,
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Vec<u8>>,
    /// By `name/reference`: type and bytes.
    manifests: HashMap<String, (String, Vec<u8>)>,
    manners: HashMap<String, Manner>,
    /// Bytes given of each blob, and how often it was asked for.
    given: HashMap<String, (u64, usize)>,
    released: bool,
}

/// A scripted registry; it ends with the process.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Registry {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("the port's number");
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let registry = Self { address, shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // Whoever went away has its reasons.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        registry
    }

    /// The name of a repository here.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Puts an image of `layers`, tars, under a tag.
    pub fn image(&self, repository: &str, tag: &str, layers: &[(&[u8], Packing)]) -> Stored {
        let stored = self.image_for(repository, layers, "amd64", true);
        self.name_it(repository, tag, &stored.manifest);
        stored
    }

    /// Puts an image for a processor, without a tag; with OCI's types, or Docker's.
    pub fn image_for(
        &self,
        repository: &str,
        layers: &[(&[u8], Packing)],
        architecture: &str,
        oci: bool,
    ) -> Stored {
        let mut state = self.state();
        let mut blobs = Vec::new();
        let mut diff_ids = Vec::new();
        for (tar, packing) in layers {
            diff_ids.push(digest_of(tar));
            let (bytes, suffix) = pack(tar, *packing);
            let kind = match (oci, *packing) {
                (true, _) => format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                (false, Packing::Tar) => "application/vnd.docker.image.rootfs.diff.tar".to_owned(),
                (false, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
            };
            blobs.push(json!({"mediaType": kind, "digest": digest_of(&bytes), "size": bytes.len()}));
            state.blobs.insert(digest_of(&bytes), bytes);
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"made": "here"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let (manifest_type, config_type) = match oci {
            true => {
                ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
            }
            false => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            ),
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": digest_of(&config), "size": config.len()},
            "layers": blobs,
        });
        let manifest = manifest.to_string().into_bytes();
        let stored = Stored {
            manifest: digest_of(&manifest),
            config: digest_of(&config),
            layers: blobs.iter().map(|blob| blob["digest"].as_str().unwrap_or_default().to_owned()).collect(),
            descriptor: json!({
                "mediaType": manifest_type, "digest": digest_of(&manifest), "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            }),
        };
        state.blobs.insert(stored.config.clone(), config);
        let name = format!("{repository}/{}", stored.manifest);
        state.manifests.insert(name, (manifest_type.to_owned(), manifest));
        stored
    }

    /// Puts an index of images under a tag; gives its digest.
    pub fn index(&self, repository: &str, tag: &str, images: &[&Stored]) -> String {
        let kind = "application/vnd.oci.image.index.v1+json";
        let manifests: Vec<&Value> = images.iter().map(|image| &image.descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        self.document(repository, tag, kind, index.to_string().as_bytes())
    }

    /// Puts a document under a tag; gives its digest.
    pub fn document(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let document = (kind.to_owned(), bytes.to_vec());
        self.state().manifests.insert(format!("{repository}/{digest}"), document);
        self.name_it(repository, tag, &digest);
        digest
    }

    /// Gives a document one more tag.
    pub fn name_it(&self, repository: &str, tag: &str, digest: &str) {
        let mut state = self.state();
        let document = state.manifests[&format!("{repository}/{digest}")].clone();
        state.manifests.insert(format!("{repository}/{tag}"), document);
    }

    /// Says how a blob is given from now on.
    pub fn give(&self, digest: &str, manner: Manner) {
        self.state().manners.insert(digest.to_owned(), manner);
    }

    /// Lets go of what is held, now and later.
    pub fn release(&self) {
        self.state().released = true;
        self.shared.1.notify_all();
    }

    /// The bytes of a blob that have been given.
    pub fn bytes_given(&self, digest: &str) -> u64 {
        self.state().given.get(digest).map_or(0, |given| given.0)
    }

    /// How often a blob was asked for.
    pub fn asked(&self, digest: &str) -> usize {
        self.state().given.get(digest).map_or(0, |given| given.1)
    }

    /// The length of a blob.
    pub fn size(&self, digest: &str) -> u64 {
        self.state().blobs[digest].len() as u64
    }
}

fn lock(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    shared.0.lock().expect("no test panics with the registry held")
}

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn pack(tar: &[u8], packing: Packing) -> (Vec<u8>, &'static str) {
    match packing {
        Packing::Tar => (tar.to_vec(), ""),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).expect("memory");
            (encoder.finish().expect("memory"), "+gzip")
        }
        Packing::Zstd => (zstd::encode_all(tar, 1).expect("memory"), "+zstd"),
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, shared: &(Mutex<State>, Condvar)) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let (method, path) =
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut from = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                from = range.split('-').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            }
        }
        let path = path.split('?').next().unwrap_or_default().strip_prefix("/v2/").unwrap_or_default();
        if let Some((_, digest)) = path.split_once("/blobs/") {
            if !give_blob(&mut writer, shared, digest, from, method == "HEAD")? {
                return Ok(());
            }
        } else if let Some((name, reference)) = path.split_once("/manifests/") {
            let found = lock(shared).manifests.get(&format!("{name}/{reference}")).cloned();
            let (status, kind, body) = match found {
                Some((kind, bytes)) => ("200 OK", kind, bytes),
                None => {
                    let error =
                        json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
                    ("404 Not Found", "application/json".to_owned(), error.to_string().into_bytes())
                }
            };
            let more = format!("Content-Type: {kind}\r\nDocker-Content-Digest: {}\r\n", digest_of(&body));
            let more = if status.starts_with('2') { more } else { format!("Content-Type: {kind}\r\n") };
            answer(&mut writer, status, &more, &body, method == "HEAD")?;
        } else if let Some(name) = path.strip_suffix("/tags/list") {
            let prefix = format!("{name}/");
            let state = lock(shared);
            let names = state.manifests.keys().filter_map(|key| key.strip_prefix(&prefix));
            let mut tags: Vec<&str> = names.filter(|tag| !tag.contains([':', '/'])).collect();
            tags.sort_unstable();
            let body = json!({"name": name, "tags": tags}).to_string();
            drop(state);
            answer(&mut writer, "200 OK", "Content-Type: application/json\r\n", body.as_bytes(), false)?;
        } else {
            answer(&mut writer, "200 OK", "", b"{}", method == "HEAD")?;
        }
    }
}

fn answer(writer: &mut impl Write, status: &str, more: &str, body: &[u8], head: bool) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n");
    let _ = write!(text, "{more}Content-Length: {}\r\n\r\n", body.len());
    writer.write_all(text.as_bytes())?;
    if head { Ok(()) } else { writer.write_all(body) }
}

/// Gives a blob in its manner; tells whether the connection can serve on.
fn give_blob(
    writer: &mut TcpStream,
    shared: &(Mutex<State>, Condvar),
    digest: &str,
    from: usize,
    head: bool,
) -> std::io::Result<bool> {
    let (found, manner) = {
        let mut state = lock(shared);
        if !head {
            state.given.entry(digest.to_owned()).or_default().1 += 1;
        }
        (state.blobs.get(digest).cloned(), state.manners.get(digest).copied().unwrap_or_default())
    };
    let Some(mut bytes) = found else {
        let error = json!({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry"}]});
        let more = "Content-Type: application/json\r\n";
        answer(writer, "404 Not Found", more, error.to_string().as_bytes(), head)?;
        return Ok(true);
    };
    if manner == Manner::Wrong {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let total = bytes.len();
    let bytes = &bytes[from.min(total)..];
    let mut text = match from {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\n", total - 1),
    };
    let _ = write!(text, "Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", bytes.len());
    writer.write_all(text.as_bytes())?;
    if head {
        return Ok(true);
    }
    let limit = match manner {
        Manner::Hold(limit) | Manner::Truncate(limit) => limit.min(bytes.len()),
        _ => bytes.len(),
    };
    give(writer, shared, digest, &bytes[..limit])?;
    if matches!(manner, Manner::Truncate(_)) && limit < bytes.len() {
        return Ok(false);
    }
    if limit < bytes.len() {
        let mut state = lock(shared);
        while !state.released {
            state = shared.1.wait(state).expect("no test panics with the registry held");
        }
        drop(state);
        give(writer, shared, digest, &bytes[limit..])?;
    }
    Ok(true)
}

fn give(
    writer: &mut TcpStream,
    shared: &(Mutex<State>, Condvar),
    digest: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    for part in bytes.chunks(64 << 10) {
        writer.write_all(part)?;
        lock(shared).given.entry(digest.to_owned()).or_default().0 += part.len() as u64;
    }
    Ok(())
}

/// `me` with the password `secret`, as htpasswd writes it.
pub const PASSWORDS: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Debian's registry, with its files below a folder; ends when this is dropped.
pub struct DockerRegistry {
    child: Child,
    address: String,
}

impl DockerRegistry {
    /// Starts one; `more` are lines of its configuration: what belongs below `http:`, and then others as `auth:`.
    pub fn start(folder: &Path, more: &str) -> Self {
        Self::start_beside(folder, more, None)
    }

    /// The same, on the loopback of a process that has a network of its own, as the reference engine has.
    pub fn start_beside(folder: &Path, more: &str, pid: Option<i32>) -> Self {
        let inside = pid.map(|pid| ["--target".to_owned(), pid.to_string(), "--net".to_owned()]);
        std::fs::create_dir_all(folder.join("data")).expect("the folder takes the registry's files");
        let program = peers::program("docker-registry", "registry");
        // Somebody may take the port between the question and the start: then the next is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let address = port.expect("a port of loopback").to_string();
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{more}",
                folder.join("data").display()
            );
            let path = folder.join("config.yml");
            std::fs::write(&path, config).expect("the folder takes the configuration");
            let log = std::fs::File::create(folder.join("log")).expect("the folder takes the log");
            let mut command = match &inside {
                Some(words) => {
                    let mut command = Command::new("nsenter");
                    command.args(words).arg(&program);
                    command
                }
                None => Command::new(&program),
            };
            let mut child = command
                .arg("serve")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("docker-registry starts");
            let listens = within_or(10, || {
                child.try_wait().ok().flatten().is_none().then(|| answers(&address, inside.as_ref()))
            });
            if listens {
                return Self { child, address };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("docker-registry does not listen: {log}");
    }

    /// The name of a repository here.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The manifest under a name, with its digest; only of a registry without passwords and TLS.
    pub fn manifest(&self, repository: &str, reference: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("the registry listens");
        let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let request = format!(
            "GET /v2/{repository}/manifests/{reference} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("the registry reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the registry answers");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a body");
        (digest_of(body.as_bytes()), serde_json::from_str(body).expect("a manifest is JSON"))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody listens, on this loopback or on that of `inside`.
fn answers(address: &str, inside: Option<&[String; 3]>) -> bool {
    let Some(words) = inside else { return TcpStream::connect(address).is_ok() };
    let probe = format!(": </dev/tcp/{}", address.replace(':', "/"));
    let tried =
        Command::new("nsenter").args(words).args(["bash", "-c", &probe]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Waits until `look` says yes; no when it says that there is nothing to wait for, or the time is over.
fn within_or(limit_s: u64, mut look: impl FnMut() -> Option<bool>) -> bool {
    let end = std::time::Instant::now() + deadline::seconds(limit_s);
    while std::time::Instant::now() < end {
        match look() {
            Some(true) => return true,
            Some(false) => std::thread::sleep(std::time::Duration::from_millis(20)),
            None => return false,
        }
    }
    false
}

/// Waits until a registry has given so many bytes of a blob.
pub fn await_given(registry: &Registry, digest: &str, bytes: u64) {
    within(30, "the registry has given the blob's beginning", || {
        (registry.bytes_given(digest) >= bytes).then_some(())
    });
}
