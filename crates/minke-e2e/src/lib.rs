//! minke-e2e
