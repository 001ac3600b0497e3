//! minke-content
