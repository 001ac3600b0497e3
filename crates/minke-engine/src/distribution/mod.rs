//! Images from registries and to them. `minke-registry` speaks with a registry, the store keeps what comes; here both meet.
//!
//! ```text
//!  image_pull   pull.rs      name -> manifest -> platform -> layers -> record, for one client
//!      |  watches             report.rs    a layer's state as Docker's messages, as often as a client wants them
//!  Transfer     transfer.rs  one blob or layer on its way, for all pulls that want it; ends when none does any more
//!      |  network -> bounded channel -> file, hashed          fetch.rs
//!      |                                  \ read while it grows: decompressed, hashed, unpacked
//!  image_push   push.rs, outgoing.rs
//! ```
//!
//! Must never hold a layer in memory, nor let a slow client hold up a transfer.

mod access;
mod bookmarks;
mod fetch;
mod outgoing;
mod pull;
mod push;
mod report;
mod resolve;
mod search;
mod transfer;

use std::path::Path;
use std::sync::Arc;

use minke_model::Result;
use minke_registry::client::{Insecure, Registry, Settings};
pub use minke_registry::client::{Mirror, Proxies};
use tokio::sync::Semaphore;

use transfer::Transfers;

/// Layers that are unpacked at once.
const UNPACKS: usize = 4;

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Registries and networks that need no checked certificate, as the configuration has them.
    pub insecure: Vec<String>,
    /// What is asked before a registry.
    pub mirrors: Vec<Mirror>,
    /// Folders with the certificates of single registries.
    pub certs_dirs: Vec<std::path::PathBuf>,
    /// Blobs that are fetched at once.
    pub max_downloads: usize,
    /// Layers that are sent at once.
    pub max_uploads: usize,
    /// How often something is tried.
    pub max_attempts: u32,
    /// What requests go through.
    pub proxies: Proxies,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certs_dirs: Vec::new(),
            max_downloads: 3,
            max_uploads: 5,
            max_attempts: 5,
            proxies: Proxies::from_environment(),
        }
    }
}

/// What all pulls and pushes of an engine share.
pub struct Distribution {
    registry: Registry,
    transfers: Transfers,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    unpacks: Arc<Semaphore>,
    bookmarks: bookmarks::Bookmarks,
}

impl Distribution {
    /// Checks the options; opens nothing.
    ///
    /// # Errors
    /// An insecure registry that cannot be read.
    pub fn new(options: &RegistryOptions, data_root: &Path) -> Result<Self> {
        let insecure = options.insecure.iter().map(|text| Insecure::parse(text)).collect::<Result<_>>()?;
        let mut settings = Settings {
            mirrors: options.mirrors.clone(),
            insecure,
            certs_dirs: options.certs_dirs.clone(),
            proxies: options.proxies.clone(),
            ..Settings::default()
        };
        settings.limits.attempts = options.max_attempts.max(1);
        Ok(Self {
            registry: Registry::new(settings),
            transfers: Transfers::default(),
            downloads: Arc::new(Semaphore::new(options.max_downloads.max(1))),
            uploads: Arc::new(Semaphore::new(options.max_uploads.max(1))),
            unpacks: Arc::new(Semaphore::new(UNPACKS)),
            bookmarks: bookmarks::Bookmarks::new(data_root.join("uploads")),
        })
    }

    /// Forgets the uploads that broke off.
    pub fn forget_uploads(&self) -> Result<()> {
        self.bookmarks.clear()
    }
}
