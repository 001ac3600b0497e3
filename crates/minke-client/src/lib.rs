//! minke-client
