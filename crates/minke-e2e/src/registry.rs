//! Registries for pulls and pushes: a scripted one that counts what it gives and misbehaves as it is told, and Debian's
//! `docker-registry`. Both listen on loopback only.
//!
//! Deliberately not the product's: what it answers is exactly what the specification says, or what the test says.

mod docker;
mod serve;
mod upload;

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use docker::{DockerRegistry, PASSWORDS};

use crate::within;

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
    /// Uploads; nothing where one has ended.
    uploads: HashMap<String, Option<Vec<u8>>>,
    /// Bytes of uploads that have come.
    taken: u64,
    /// How often each blob has come whole.
    arrived: HashMap<String, usize>,
    /// The answer to every search, if it can be searched.
    searches: Option<Value>,
    /// Bytes that may be given and taken, if not all.
    budget: Option<u64>,
    /// Connections of an earlier one are cut.
    generation: u64,
}

type Shared = (Mutex<State>, Condvar);

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
                std::thread::spawn(move || drop(serve::serve(stream, &shared)));
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

    /// Answers every search so from now on.
    pub fn answer_searches(&self, found: Value) {
        self.state().searches = Some(found);
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

    /// Cuts all connections, and gives and takes no more than so many bytes from now on, if it says how many.
    pub fn cut(&self, budget: Option<u64>) {
        let mut state = self.state();
        state.generation += 1;
        state.budget = budget;
        self.shared.1.notify_all();
    }

    /// Whether all that may be given and taken has been.
    pub fn is_spent(&self) -> bool {
        self.state().budget == Some(0)
    }

    /// The bytes of uploads that have come.
    pub fn bytes_taken(&self) -> u64 {
        self.state().taken
    }

    /// How often a blob has come whole.
    pub fn arrivals(&self, digest: &str) -> usize {
        self.state().arrived.get(digest).copied().unwrap_or(0)
    }

    /// The document under a tag or digest.
    pub fn document_of(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        self.state().manifests.get(&format!("{repository}/{reference}")).map(|document| document.1.clone())
    }

    /// Whether a blob is here.
    pub fn has(&self, digest: &str) -> bool {
        self.state().blobs.contains_key(digest)
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

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
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

/// Waits until a registry has given so many bytes of a blob.
pub fn await_given(registry: &Registry, digest: &str, bytes: u64) {
    within(30, "the registry has given the blob's beginning", || {
        (registry.bytes_given(digest) >= bytes).then_some(())
    });
}
