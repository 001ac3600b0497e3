//! The nouns of minke: parsed, printed and compared, never acted upon. No I/O happens here.

pub mod base64;
pub mod cdi;
pub mod digest;
pub mod duration;
pub mod env;
pub mod error;
pub mod idmap;
pub mod image;
pub mod mount;
pub mod platform;
pub mod reference;
pub mod restart_policy;
pub mod signal;
pub mod size;
pub mod strconv;
pub mod ulimit;
pub mod volume;

pub use digest::Digest;
pub use error::{Context, Error, ErrorKind, Result};
pub use platform::Platform;
pub use reference::{AnyReference, Reference};
