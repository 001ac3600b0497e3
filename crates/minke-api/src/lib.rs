//! minke-api
