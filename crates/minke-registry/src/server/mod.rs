//! A registry: OCI distribution 1.1 with uploads in one or many parts, mounts, deletion, referrers, lists in pages; in memory or
//! in a folder; open, with passwords, or with tokens that it issues itself; with or without TLS.
//!
//! ```text
//!  listen   connections, TLS               access    who may do what; the token server
//!  route    path and method to a noun      blob, upload, manifest, list   the nouns
//!  answer   answers and refusals           storage   bytes, and what each repository has of them
//! ```

mod access;
mod answer;
mod blob;
mod list;
mod listen;
mod manifest;
mod route;
mod storage;
mod upload;

pub use access::{Access, Action, Users};
pub use answer::{Answer, AnswerBody, text_answer};
pub use listen::{Handler, Running, TlsFiles, serve};
pub use route::Server;
pub use storage::Storage;
