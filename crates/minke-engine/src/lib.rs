//! minke-engine
