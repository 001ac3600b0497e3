//! Networks, where they meet containers.

pub mod netd;
