//! Commands about registries: who asks them.

pub mod login;
pub mod logout;
pub mod search;
