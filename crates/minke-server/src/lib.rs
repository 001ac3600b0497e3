//! minke-server
