//! minke-sys
