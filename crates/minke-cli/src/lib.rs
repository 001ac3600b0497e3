//! minke-cli
