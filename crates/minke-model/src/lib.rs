//! The nouns of minke: parsed, printed and compared, never acted upon. No I/O happens here.

pub mod error;

pub use error::{Context, Error, ErrorKind, Result};
