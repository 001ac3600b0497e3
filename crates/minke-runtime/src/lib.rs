//! minke-runtime
