//! The client's half of the protocol. One [`Registry`] per engine keeps connections and tokens; a [`Repository`] of it pulls from
//! and pushes to one name. Nothing is opened, loaded or resolved before the first request, and what was is dropped again after
//! half a minute without one. Dropping a future ends what it does.
//!
//! ```text
//!  Repository   manifest, blob, upload, tags ...     repository, blob, spread, upload, list: what is asked, what an answer means
//!      |  each place in turn: mirrors, then the registry; HTTPS, then HTTP where that is allowed     place
//!  Session      again after 429, 5xx and broken connections     backoff
//!      |  with the credential that the place asks for           auth, challenge, token
//!      |  along redirects, which never carry that credential    send, url
//!  Connections  pool, proxies, TLS                              transport, proxy, tls
//! ```
//!
//! Every failure is an [`Error`] with a kind and Docker's words; it becomes a [`minke_model::Error`] by `?`.

mod auth;
mod backoff;
mod blob;
mod body;
mod bookmark;
mod challenge;
mod error;
mod image;
mod list;
mod login;
mod place;
mod proxy;
mod repository;
mod search;
mod send;
mod settings;
mod source;
mod spread;
mod tls;
mod transport;
mod upload;
mod url;

pub use blob::BlobStream;
pub use bookmark::{Bookmark, Marked};
pub use error::{Error, ErrorKind};
pub use image::{Image, choose as choose_manifest};
pub use login::LoginAnswer;
pub use repository::{Head, Manifest, MountAnswer, Registry, Repository, TagOrDigest};
pub use search::Found;
pub use settings::{Credentials, Insecure, Limits, Mirror, Proxies, Settings};
pub use source::{Chunks, Open, UploadSource};
pub use spread::{Spare, SpreadStream};
pub use tls::AnyCertificate;
#[cfg(any(test, feature = "server"))]
pub(crate) use {url::decode, url::encode};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
