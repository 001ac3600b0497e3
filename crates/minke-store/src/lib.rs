//! minke-store
