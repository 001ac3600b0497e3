//! The shim, as the build script has built it; the engine starts it from a sealed memory file.

/// The bytes of the program `minke-shim`.
pub static SHIM: &[u8] = include_bytes!(env!("MINKE_SHIM_IMAGE"));
